//! A program that nobody here wrote goes out: Debian's busybox httpd with real files. A good version, one whose
//! configuration does not start on the machines, one that hangs there; the last two pass the gate, because what breaks
//! them is on the machines only, and are halted and undone.

use crate::fleet::{Fleet, agent_process, get, has_tool, seconds, show};
use serde_json::Value;
use staffel_cli::lab::{self, Options, release_folder};
use std::{
    io::Write as _,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// A port for a program of the machines.
fn free_port() -> u16 {
    lab::free_port().expect("a port")
}

const BUSYBOX: &str = "/bin/busybox";
const MACHINES: usize = 5;
/// The ceiling is the subject of other tests.
const AT_ONCE: [(u64, u32); 1] = [(0, 100)];

const DESCRIPTION: &str = r#"
name = "site"
version = "VERSION"
sequence = VERSION
supplier = "Debian"

[service]
exec = ["./bin/serve", "{dir}", "{state}"]

[[probes]]
probe = "process"

[[probes]]
probe = "command"
exec = ["./bin/check", "{state}"]
"#;

/// The machines of a laboratory share one network, so each has a port of its own in a file that the test puts there; the
/// gate's machine has none. What runs in the end is busybox itself.
const SERVE: &str = "#!/bin/sh
port=$(cat \"$2/../../../port\" 2>/dev/null || echo GATE)
exec ./bin/busybox httpd -f -p \"127.0.0.1:PORT\" -h \"$1/www\" -c \"$1/httpd.conf\"
";

const CHECK: &str = "#!/bin/sh
port=$(cat \"$1/../../../port\" 2>/dev/null || echo GATE)
[ \"$(./bin/busybox wget -q -O - http://127.0.0.1:PORT/PAGE)\" = \"ANSWER\" ]
";

/// Real configuration: who may ask, a type, a page for errors.
const CONFIGURATION: &str = "A:127.0.0.1\nD:*\n.txt:text/plain\nE404:missing.html\n";

/// The page's own words pass through the machine's other program.
const HEALTH: &str = "#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
exec \"../../bin/busybox\" nc 127.0.0.1 BACKEND
";

/// What stands in front of version 4's start; the gate's machine has no such file.
const FREEZE: &str = "
agent=$(cat \"$2/../../../agent-pid\" 2>/dev/null) && kill -STOP \"$agent\"
";

/// A version of the site.
struct Version<'a> {
    number: u64,
    gate_port: u16,
    /// As the shell sees it.
    port: String,
    page: &'a str,
    answer: String,
    more: Vec<(&'a str, String)>,
}

impl Version<'_> {
    fn write(&self, folder: &Path) -> PathBuf {
        let source = folder.join(format!("site-{}", self.number));
        let version = self.number.to_string();
        let fill = |text: &str| {
            text.replace("VERSION", &version)
                .replace("GATE", &self.gate_port.to_string())
                .replace("PORT", &self.port)
                .replace("PAGE", self.page)
                .replace("ANSWER", &self.answer)
        };
        let busybox = std::fs::read(BUSYBOX).expect("busybox is readable");
        let (serve, check, page, words) = (fill(SERVE), fill(CHECK), page(self.number), format!("version {version}"));
        let mut files: Vec<(&str, &[u8])> = vec![
            ("bin/busybox", &busybox),
            ("bin/serve", serve.as_bytes()),
            ("bin/check", check.as_bytes()),
            ("httpd.conf", CONFIGURATION.as_bytes()),
            ("www/index.html", page.as_bytes()),
            ("www/version.txt", words.as_bytes()),
            ("www/missing.html", b"<p>not here</p>\n"),
        ];
        files.extend(self.more.iter().map(|(name, text)| (*name, text.as_bytes())));
        release_folder(&source, &fill(DESCRIPTION), &files).expect("a release folder");
        for (name, _) in self.more.iter().filter(|(name, _)| name.contains("cgi-bin")) {
            let path = source.join("files").join(name);
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("executable");
        }
        source
    }
}

fn page(version: u64) -> String {
    // Long enough that it does not fit one packet.
    let rows: String = (0..2_000).map(|n| format!("<tr><td>{n}</td><td>price list {version}</td></tr>\n")).collect();
    format!("<!doctype html><title>Version {version}</title><table>\n{rows}</table>\n")
}

/// The machine's other program that version 3 asks: answers while the gate looks, later takes the call and says nothing.
struct Backend {
    port: u16,
    answers: Arc<AtomicBool>,
}

impl Backend {
    fn start() -> Backend {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = socket.local_addr().expect("an address").port();
        let answers = Arc::new(AtomicBool::new(true));
        let says = Arc::clone(&answers);
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for mut stream in socket.incoming().flatten() {
                if says.load(Ordering::Relaxed) {
                    // The asker may be gone; that is its affair.
                    let _ = stream.write_all(b"fine");
                } else {
                    open.push(stream);
                }
            }
        });
        Backend { port, answers }
    }
}

fn assert_all_serve(fleet: &Fleet, ports: &[u16], version: u64) {
    for (machine, port) in fleet.lab.machines.iter().zip(ports) {
        fleet.wait(&format!("{} to serve version {version}", machine.name), |_| {
            Ok(get(*port, "/version.txt").is_ok_and(|words| words == format!("version {version}")))
        });
        let served = get(*port, "/index.html").expect("the page is served");
        assert!(served == page(version), "{} serves another page than version {version} has", machine.name);
        assert_eq!(get(*port, "/nothing"), Err("status 404".into()));
    }
}

/// Halted after few, undone everywhere, denied for good.
fn assert_halted_and_undone(fleet: &Fleet, id: u64, version: u64, ports: &[u16]) -> String {
    let view = fleet.ended(id);
    assert_eq!(view.state, "halted", "{view:?}");
    assert!((1..=2).contains(&view.exposed_ever), "{} were exposed: {view:?}", view.exposed_ever);
    assert_eq!(view.confirmed, 0, "{view:?}");
    fleet.all_run("site", "1");
    assert_all_serve(fleet, ports, 1);
    // Every machine has the halt in its own memory, not only those that had the release.
    for machine in &fleet.lab.machines {
        fleet.wait(&format!("{} to deny version {version}", machine.name), |_| {
            let why = fleet.json(&["device", "why", &machine.name]);
            let denied = |rollout: &Value| {
                let refusals = rollout["refusals"].as_array().cloned().unwrap_or_default();
                rollout["rollout"] == id && refusals.iter().any(|r| r.to_string().contains("denied"))
            };
            let tried = |rollout: &Value| {
                rollout["rollout"] == id && rollout["problems"].to_string().contains("tried here and taken back")
            };
            Ok(why["rollouts"].as_array().is_some_and(|all| all.iter().any(|r| denied(r) || tried(r))))
        });
    }
    let source = fleet.lab.folder.join(format!("site-{version}"));
    let again = fleet.refused_start(&source, &AT_ONCE);
    assert!(again.contains("was halted and must not run"), "{again}");
    view.why
}

#[test]
fn busybox_goes_out_and_two_bad_versions_come_back() {
    if !has_tool("shipping", BUSYBOX) {
        return;
    }
    let fleet = Fleet::new(MACHINES, Options::default());
    let ports: Vec<u16> = fleet.lab.machines.iter().map(|_| free_port()).collect();
    for (machine, port) in fleet.lab.machines.iter().zip(&ports) {
        std::fs::write(machine.folder.join("port"), port.to_string()).expect("written");
    }
    let gate_port = free_port();
    let version = |number, page, answer: &str| Version {
        number,
        gate_port,
        port: "$port".into(),
        page,
        answer: answer.into(),
        more: Vec::new(),
    };

    // Version 1 reaches all, and is what a browser gets.
    let begun = Instant::now();
    let first = version(1, "version.txt", "version 1").write(&fleet.lab.folder);
    let good = fleet.ended(fleet.ship(&first, &AT_ONCE));
    assert_eq!((good.state.as_str(), good.confirmed, good.failed), ("completed", MACHINES as u64, 0), "{good:?}");
    fleet.all_run("site", "1");
    assert_all_serve(&fleet, &ports, 1);
    show("busybox 1 reached", format!("{} of {MACHINES} in {} waves, {}", good.confirmed, good.wave, seconds(begun)));

    // The gate stops what breaks everywhere: nothing is signed, so no rollout can start.
    let broken = version(9, "version.txt", "version 9").write(&fleet.lab.folder);
    std::fs::remove_file(broken.join("files/httpd.conf")).expect("removed");
    fleet.release(&broken);
    let (code, error) = fleet.refusal(&["gate", &broken.to_string_lossy(), "--soak", "1"]);
    assert!(code == Some(3) && error.contains("the gate refuses site 9"), "{error}");
    assert!(fleet.refused_start(&broken, &AT_ONCE).contains("gate"));

    // Version 2 listens where another program of the machines does: it ends at once, and the machine says so.
    let taken = free_port();
    let second = Version { port: taken.to_string(), ..version(2, "version.txt", "version 2") };
    let second = second.write(&fleet.lab.folder);
    fleet.release(&second);
    fleet
        .lab
        .staffel_ok(&["gate", &second.to_string_lossy(), "--soak", "1"])
        .expect("the gate's machine has that port");
    let occupant = TcpListener::bind((Ipv4Addr::LOCALHOST, taken)).expect("the port is free again");
    let begun = Instant::now();
    let id = fleet.start(&second, &AT_ONCE);
    let why = assert_halted_and_undone(&fleet, id, 2, &ports);
    assert!(why.contains("came back on the version before"), "halted by the machine's own word: {why}");
    show("busybox 2 halted", format!("{} exposed, {}: {why}", fleet.rollout(id).exposed_ever, seconds(begun)));
    drop(occupant);

    // Version 3 answers through another program, which takes its calls and says nothing: the machine stays silent about
    // the release. Held at the deadline, halted when it does not come.
    let backend = Backend::start();
    let mut third = version(3, "cgi-bin/health", "fine");
    third.more = vec![("www/cgi-bin/health", HEALTH.replace("BACKEND", &backend.port.to_string()))];
    let third = third.write(&fleet.lab.folder);
    fleet.release(&third);
    fleet.lab.staffel_ok(&["gate", &third.to_string_lossy(), "--soak", "1"]).expect("the gate's machine has an answer");
    backend.answers.store(false, Ordering::Relaxed);
    let begun = Instant::now();
    let id = fleet.start(&third, &AT_ONCE);
    let why = assert_halted_and_undone(&fleet, id, 3, &ports);
    // Whoever looks now and then may look past the hold; the history has it.
    let history = fleet.lab.staffel_ok(&["rollout", "why", &id.to_string()]).expect("it tells how it came");
    assert!(history.contains("FirstCheckInMissed of a Treated device"), "{history}");
    let mut ends = history.lines().filter(|line| line.contains("held: ") || line.contains("halted: "));
    let held = ends.next().unwrap_or_default();
    assert!(held.contains("held: ") && held.contains("silent past its deadline"), "first a hold: {history}");
    show("busybox 3 held, then halted", format!("{}: {held}; {why}", seconds(begun)));

    // Version 4 is fine but for one thing: it freezes the machine's agent, so nothing ever comes back. The silence alone
    // halts it, and the guard undoes it without a word from anybody.
    for machine in &fleet.lab.machines {
        let agent = agent_process(&machine.folder).expect("its agent runs");
        std::fs::write(machine.folder.join("agent-pid"), agent.to_string()).expect("written");
    }
    let fourth = version(4, "version.txt", "version 4").write(&fleet.lab.folder);
    let serve = fourth.join("files/bin/serve");
    let frozen = std::fs::read_to_string(&serve).expect("written before").replacen('\n', FREEZE, 1);
    std::fs::write(&serve, frozen).expect("written");
    let begun = Instant::now();
    let id = fleet.ship(&fourth, &AT_ONCE);
    let view = fleet.ended(id);
    assert!(view.state == "halted" && view.exposed_ever == 1, "{view:?}");
    assert!(view.why.contains("went silent and missed 3 deadlines"), "{}", view.why);
    let halted = seconds(begun);
    assert_all_serve(&fleet, &ports, 1);
    for machine in &fleet.lab.machines {
        let agent = agent_process(&machine.folder).expect("its agent runs");
        let thaw = std::process::Command::new("kill").args(["-CONT", &agent.to_string()]).status();
        assert!(thaw.expect("kill runs").success());
    }
    assert_halted_and_undone(&fleet, id, 4, &ports);
    show("busybox 4, silent for good", format!("halted after {halted}, gate included: {}", view.why));
    show("shipping log", format!("{} entries verified", fleet.log_is_sound()));
}

/// The other program of the machine as the release names it, and the HTTP probe of the product itself.
#[test]
fn nginx_with_an_http_probe() {
    const NGINX: &str = "/usr/sbin/nginx";
    if !has_tool("nginx", NGINX) {
        return;
    }
    let fleet = Fleet::new(1, Options::default());
    let nginx = std::fs::read(NGINX).expect("nginx is readable");
    let write = |version: u64, port: u16, listens: u16| {
        let source = fleet.lab.folder.join(format!("web-{version}"));
        let description = format!(
            "name = \"web\"\nversion = \"{version}\"\nsequence = {version}\nsupplier = \"Debian\"\n[service]\n\
             exec = [\"./bin/nginx\", \"-p\", \"{{state}}\", \"-c\", \"{{dir}}/nginx.conf\", \"-e\", \"stderr\"]\n\
             environment = {{ }}\n[[probes]]\nprobe = \"process\"\n\
             [[probes]]\nprobe = \"http\"\nport = {port}\npath = \"/\"\n"
        );
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("  {kind}_temp_path {kind};\n"))
            .concat();
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {{ }}\nhttp {{\n{paths}  \
             access_log off;\n  server {{ listen 127.0.0.1:{listens}; location / {{ return 200 'web {version}'; }} }}\n}}\n"
        );
        release_folder(&source, &description, &[("bin/nginx", &nginx), ("nginx.conf", configuration.as_bytes())])
            .expect("a release folder");
        source
    };
    let ports = [free_port(), free_port(), free_port()];
    for version in [1, 2] {
        let port = ports[version - 1];
        let view = fleet.ended(fleet.ship(&write(version as u64, port, port), &AT_ONCE));
        assert_eq!((view.state.as_str(), view.confirmed), ("completed", 1), "{view:?}");
        fleet.all_run("web", &version.to_string());
        assert_eq!(get(port, "/"), Ok(format!("web {version}")));
    }
    assert!(get(ports[0], "/").is_err(), "version 1 is no longer there");

    // It runs and answers, only not where its release says: the gate's own HTTP probe says no.
    let third = write(3, ports[2], ports[0]);
    fleet.release(&third);
    let (code, error) = fleet.refusal(&["gate", &third.to_string_lossy(), "--soak", "1"]);
    assert!(code == Some(3) && error.contains(&format!("port {}", ports[2])), "{error}");
    assert_eq!(get(ports[1], "/"), Ok("web 2".into()));
    show("nginx", format!("2 versions, {} entries verified", fleet.log_is_sound()));
}

//! A whole fleet on one machine: a real server process and real machines, each a guard, an agent and a service.
//!
//! For the demo and the end-to-end tests. Everything lies below one folder and listens on loopback; dropping the
//! laboratory ends every process that it started. What must stay out: anything that makes it easier for the product
//! than the world would (shared memory, skipped checks, fake time).

use crate::{
    client::Client,
    command::{
        gate::sibling,
        init,
        machine::{BOOT_ID, POWER_CUT, PSTORE},
    },
    layout::{Layout, write},
    output::Failure,
};
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use staffel_core::policy::CustomerPolicy;
use staffel_server::api::{Role, TokenRequest};
use staffel_statement::predicate::{Headed, Header, TenantPolicy, sign};
use staffel_trust::keyfile::KeyPair;
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What a laboratory's gate asks for.
const GATE: &str = "checks = [\"contract\", \"consumers\", \"lifecycle\"]\n[lifecycle]\ndays = []\n";

/// Nobody: what agents and services run as when the laboratory is run by root.
const NOBODY: u32 = 65_534;

/// The folder of a machine's sensor, below the machine's folder, and where it leaves its findings.
pub const SENSOR: &str = "sensor";
pub const FINDINGS: &str = "sensor/spool";

/// Longest path of a Unix socket, bytes: `sun_path` is one longer (unix(7)).
const LONGEST_SOCKET: usize = 107;

/// A process that was told to stop and takes longer hangs: a busy machine is no hurry.
const STOPS_WITHIN: Duration = Duration::from_secs(60);

/// A server that does not listen by then never will.
const LISTENS_WITHIN: Duration = Duration::from_secs(120);

/// The programs under test.
#[derive(Clone, Debug)]
pub struct Programs {
    pub staffel: PathBuf,
    pub guard: PathBuf,
    pub agent: PathBuf,
}

impl Programs {
    /// Those beside the program that runs now.
    pub fn beside_this() -> Result<Self> {
        Ok(Programs { staffel: sibling("staffel")?, guard: sibling("guard-ctl")?, agent: sibling("staffel-agent")? })
    }

    /// Those in a folder.
    pub fn in_folder(folder: &Path) -> Self {
        let program = |name| folder.join(name);
        Programs { staffel: program("staffel"), guard: program("guard-ctl"), agent: program("staffel-agent") }
    }

    /// Puts them where every user of the machine may run them.
    fn copy_to(&self, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let copy = |from: &Path| put_program(from, folder);
        Ok(Programs { staffel: copy(&self.staffel)?, guard: copy(&self.guard)?, agent: copy(&self.agent)? })
    }
}

/// Puts a program into a folder; answers where it is now. By a link where that is possible: hundreds of megabytes on their way
/// to the disk would hold up every write that has to be durable. Else another process copies it: of a file that this one
/// writes, a program that another thread starts at the same moment holds a copy of the descriptor, and as long as it does
/// nobody can run the file (ETXTBSY, execve(2)).
///
/// # Errors
///
/// It can be neither linked nor copied.
pub fn put_program(from: &Path, folder: &Path) -> Result<PathBuf> {
    let to = folder.join(from.file_name().context("a program without a name")?);
    if std::fs::hard_link(from, &to).is_err() {
        run(Command::new("cp").arg(from).arg(&to))?;
    }
    Ok(to)
}

/// A machine to set up.
#[derive(Clone, Copy, Debug)]
pub struct Spec<'a> {
    pub tenant: &'a str,
    pub site: &'a str,
    pub name: &'a str,
    pub os_build: &'a str,
    pub hardware_model: &'a str,
}

/// A machine of the laboratory.
pub struct Machine {
    pub name: String,
    pub tenant: String,
    pub folder: PathBuf,
    power: Option<Child>,
}

impl Machine {
    /// The process that stands for the machine's power supply, while it is on.
    pub fn process_id(&self) -> Option<u32> {
        self.power.as_ref().map(Child::id)
    }

    /// Times that every process of this machine was killed at once.
    pub fn panics(&self) -> usize {
        let log = std::fs::read_to_string(self.folder.join("machine.log")).unwrap_or_default();
        log.lines().filter(|line| line.contains(" panic: ")).count()
    }
}

/// A machine's sensor that runs; it ends with this.
pub struct Sensor(Child);

impl Drop for Sensor {
    fn drop(&mut self) {
        end(&mut self.0, Duration::from_secs(5));
    }
}

/// Times and places of a laboratory.
#[derive(Clone, Debug)]
pub struct Options {
    /// Power loss to first program, milliseconds.
    pub power_on_ms: u64,
    /// A trial that is not confirmed by then is taken back, milliseconds.
    pub trial_timeout_ms: u64,
    /// Seconds between two check-ins while nothing goes on.
    pub idle_cadence: u64,
    /// Agents know each start of their machine as a boot of its own; else the boot is that of the kernel that all share.
    pub own_boots: bool,
    /// Agents of machines that are enrolled from here on deliver what a sensor leaves in [`FINDINGS`] of its machine's
    /// folder. Who wants one, has to start it ([`Lab::start_sensor`]).
    pub sensors: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { power_on_ms: 2_500, trial_timeout_ms: 20_000, idle_cadence: 1, own_boots: false, sensors: false }
    }
}

/// The laboratory.
pub struct Lab {
    pub folder: PathBuf,
    pub layout: Layout,
    pub machines: Vec<Machine>,
    pub url: String,
    /// Where the console is.
    pub console: String,
    programs: Programs,
    pub options: Options,
    address: SocketAddr,
    server: Option<Child>,
}

impl Lab {
    /// Makes keys, repository and certificates in `folder` and starts the server.
    pub fn new(folder: &Path, programs: &Programs, options: Options) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        // Agents may run as nobody: they must be able to reach their own folders.
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
        let programs = programs.copy_to(&folder.join("bin"))?;
        // The port is chosen once, so that a restarted server is found where it was.
        let [address, console] = [free_port()?, free_port()?].map(|port| (Ipv4Addr::LOCALHOST, port).into());
        let layout = init::create(&init::Args {
            dir: folder.join("staffel"),
            names: vec!["localhost".into(), "127.0.0.1".into()],
            listen: address,
            bins: 16,
            console,
            idle_cadence: options.idle_cadence,
            witness: Vec::new(),
        })?;
        // No way back, no later clocks, no measuring: a laboratory's gate is passed a dozen times.
        write(&layout.root.join("gate.toml"), GATE.as_bytes())?;
        let mut lab = Lab {
            folder: folder.to_path_buf(),
            layout,
            machines: Vec::new(),
            url: format!("https://localhost:{}", address.port()),
            console: format!("https://localhost:{}", console.port()),
            programs,
            options,
            address,
            server: None,
        };
        lab.start_server()?;
        Ok(lab)
    }

    /// Starts the server and waits until it answers.
    pub fn start_server(&mut self) -> Result<()> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("server.log"))?;
        // Written by our own server once it listens: something else may have the port.
        let listens = self.folder.join("listens");
        if let Err(error) = std::fs::remove_file(&listens)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error).with_context(|| format!("remove {}", listens.display()));
        }
        let child = Command::new(&self.programs.staffel)
            .args(["-v", "server", "--dir"])
            .arg(&self.layout.root)
            .args(["--listen", &self.address.to_string(), "--address-file"])
            .arg(&listens)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start the server")?;
        self.server = Some(child);
        let end = Instant::now() + LISTENS_WITHIN;
        while !listens.exists() {
            if let Some(server) = &mut self.server
                && let Some(status) = server.try_wait()?
            {
                bail!("the server ended with {status}; see {}", self.folder.join("server.log").display());
            }
            if Instant::now() > end {
                bail!("the server does not listen; see {}", self.folder.join("server.log").display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Kills the server as a power loss would.
    pub fn kill_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            // Dead already is what was wanted.
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Stops the server in an orderly way.
    pub fn stop_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            end(&mut server, STOPS_WITHIN);
        }
    }

    /// A client with the first operator's token.
    pub fn client(&self) -> Result<Client> {
        Client::new(&self.url, &self.layout.ca_file(), &self.layout.operator_token()?)
    }

    /// Runs `staffel` as a person would.
    pub fn staffel(&self, arguments: &[&str]) -> Result<Output> {
        Command::new(&self.programs.staffel)
            .args(arguments)
            .env("STAFFEL_DIR", &self.layout.root)
            .env("STAFFEL_SERVER", &self.url)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("run staffel {}", arguments.join(" ")))
    }

    /// Runs `staffel` and expects it to work; answers what it printed.
    pub fn staffel_ok(&self, arguments: &[&str]) -> Result<String> {
        let output = self.staffel(arguments)?;
        if !output.status.success() {
            bail!(
                "staffel {} ended with {}: {}{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// An account of the console, with a password made up now, which is answered.
    pub fn account(&self, name: &str, role: Role, tenant: Option<&str>) -> Result<String> {
        let mut secret = [0; 12];
        getrandom::fill(&mut secret).map_err(|error| anyhow::anyhow!("no random bytes for a password: {error}"))?;
        let password = hex::encode(secret);
        staffel_console::accounts::add(&self.layout.server_dir(), name, role, tenant, &password)?;
        Ok(password)
    }

    /// A customer with a key of its own and its signed policy.
    pub fn tenant(&self, name: &str, policy: CustomerPolicy) -> Result<()> {
        let file = self.layout.key_file(&format!("tenant-{name}"));
        if !file.exists() {
            KeyPair::generate()?.save(&file)?;
        }
        self.staffel_ok(&["tenant", "keys", name])?;
        let client = self.client()?;
        let sequence =
            client.tenants()?.iter().find(|t| t.tenant == name).map_or(1, |tenant| tenant.policy_sequence + 1);
        let now = crate::command::repo::now_ms();
        let header = Header { issued_ms: now, expires_ms: u64::MAX, ..Header::default() };
        let body = TenantPolicy { tenant: name.into(), sequence, policy };
        let key = self.layout.signing_key(&format!("tenant-{name}"))?;
        client.put_policy(name, &sign(&Headed { header, body }, &[&key]))?;
        Ok(())
    }

    /// Enrols a machine and switches it on.
    pub fn machine(&mut self, spec: Spec<'_>) -> Result<()> {
        self.machine_with(spec, |_| Ok(()))
    }

    /// The same, with other makers' software: `furnish` gets the folder where the machine's own file system begins.
    pub fn machine_with(&mut self, spec: Spec<'_>, furnish: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let folder = self.enrolled(spec, furnish)?;
        self.machines.push(Machine { name: spec.name.into(), tenant: spec.tenant.into(), folder, power: None });
        self.switch_on(self.machines.len() - 1)
    }

    /// Enrols a machine that runs elsewhere; answers its folder.
    pub fn enrolled(&self, spec: Spec<'_>, furnish: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        // Numbered, because names repeat from site to site, and short, because the guard's socket lies below.
        let folder = self.folder.join("machines").join(format!("{}-{}", self.machines.len() + 1, spec.name));
        if guard_socket(&folder).as_os_str().len() > LONGEST_SOCKET {
            return Err(Failure::refused(
                format!("{} is too long for the path of a socket", guard_socket(&folder).display()),
                "choose a folder with a shorter path (`--folder`, or TMPDIR)",
            )
            .into());
        }
        let (agent_dir, guard_dir) = (folder.join("agent"), folder.join("guard"));
        std::fs::create_dir_all(&agent_dir)?;
        std::fs::create_dir_all(host(&folder).join("opt"))?;
        furnish(&host(&folder))?;
        let request = TokenRequest { tenant: spec.tenant.into(), site: spec.site.into(), hours: Some(1) };
        let token = self.client()?.token(&request)?;
        let tenant_key = self.layout.public_key(&format!("tenant-{}", spec.tenant))?.to_hex();
        run(Command::new(&self.programs.agent)
            .args(["enrol", "--server", &self.url, "--token", &token.token, "--name", spec.name])
            .args(["--os-build", spec.os_build, "--hardware-model", spec.hardware_model])
            .args(["--tenant-key", &tenant_key])
            .arg("--ca")
            .arg(self.layout.ca_file())
            .arg("--keyring")
            .arg(self.layout.pinned_keyring_file())
            .arg("--tuf-root")
            .arg(self.layout.tuf_root_file())
            .arg("--dir")
            .arg(&agent_dir))?;
        run(Command::new(&self.programs.guard)
            .arg("init")
            .arg("--root")
            .arg(&guard_dir)
            .arg("--keyring")
            .arg(self.layout.pinned_keyring_file())
            .arg("--installation")
            .arg(agent_dir.join("installation.json")))?;
        if self.options.sensors {
            std::fs::create_dir_all(folder.join(FINDINGS))?;
        }
        if rustix::process::getuid().is_root() {
            hand_over(&agent_dir)?;
            if folder.join(FINDINGS).is_dir() {
                hand_over(&folder.join(SENSOR))?;
            }
        }
        Ok(folder)
    }

    /// Switches a machine on.
    pub fn switch_on(&mut self, at: usize) -> Result<()> {
        self.switch_on_through(at, &[])
    }

    /// Switches a machine on through other programs that end by starting what follows them (`env`, `unshare`): for
    /// machines with a wrong clock or a small disk.
    pub fn switch_on_through(&mut self, at: usize, before: &[&str]) -> Result<()> {
        let folder = self.machines[at].folder.clone();
        let (agent_dir, guard_dir) = (folder.join("agent"), folder.join("guard"));
        let mut command = match before.split_first() {
            None => Command::new(&self.programs.staffel),
            Some((first, others)) => {
                let mut command = Command::new(first);
                command.args(others).arg(&self.programs.staffel);
                command
            }
        };
        command
            .arg("demo-machine")
            .arg("--folder")
            .arg(&folder)
            .args(["--power-on-ms", &self.options.power_on_ms.to_string()])
            .arg("--")
            .arg(&self.programs.guard)
            .arg("serve")
            .arg("--root")
            .arg(&guard_dir)
            .args(["--trial-timeout-ms", &self.options.trial_timeout_ms.to_string()])
            .arg("--host-root")
            .arg(host(&folder))
            .args(["--quarantine-root", "/opt"])
            // Not what the machine below has been through.
            .arg("--pstore")
            .arg(folder.join(PSTORE))
            .arg("--watchdogs")
            .arg(folder.join("watchdogs"));
        if rustix::process::getuid().is_root() {
            let user = format!("{NOBODY}:{NOBODY}");
            command.args(["--agent-user", &user, "--service-user", &user]);
        }
        command
            .arg("--agent")
            .arg(&self.programs.agent)
            .args(["run", "--server", &self.url, "--dir"])
            .arg(&agent_dir)
            .arg("--guard-socket")
            .arg(guard_socket(&folder))
            .arg("--spool")
            .arg(guard_dir.join("spool"))
            .arg("--inventory-root")
            .arg(host(&folder));
        if folder.join(FINDINGS).is_dir() {
            command.arg("--sensor").arg(folder.join(FINDINGS));
        }
        if self.options.own_boots {
            command.arg("--boot-id-file").arg(folder.join(BOOT_ID));
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("power.log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("switch {} on", self.machines[at].name))?;
        self.machines[at].power = Some(child);
        Ok(())
    }

    /// Starts a machine's sensor (`program`, with its evaluator beside it). It runs this pack, once there is one, or the
    /// built-in one, looks at processes now and then, and follows the log that is answered, which is empty.
    pub fn start_sensor(&self, at: usize, program: &Path, content: Option<&Path>) -> Result<(Sensor, PathBuf)> {
        let machine = &self.machines[at].folder;
        // Where every user of the machine may run it.
        let programs = machine.join("programs");
        std::fs::create_dir_all(&programs)?;
        let own = put_program(program, &programs)?;
        let evaluator = program.with_file_name("evaluator.cwasm");
        std::fs::copy(&evaluator, programs.join("evaluator.cwasm"))
            .with_context(|| format!("copy {}", evaluator.display()))?;
        let log = machine.join("auth.log");
        write(&log, b"")?;
        let said = std::fs::File::create(machine.join("sensor.log"))?;
        let sensor = Command::new(own)
            .args(["run", "--processes", "poll", "--state"])
            .arg(machine.join(SENSOR))
            .arg("--auth-log")
            .arg(&log)
            .args(content.map(|content| [Path::new("--content"), content]).into_iter().flatten())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .context("start a sensor")?;
        let sensor = Sensor(sensor);
        let alive = machine.join(FINDINGS).join("alive.json");
        self.wait_for("the sensor's sign of life", Duration::from_secs(60), |_| Ok(alive.exists()))?;
        Ok((sensor, log))
    }

    /// A power cut: every process of the machine is dead at once, and it stays dark.
    pub fn cut_power(&self, at: usize) -> Result<()> {
        let folder = &self.machines[at].folder;
        write(&folder.join(POWER_CUT), b"")?;
        let trigger = folder.join("sysrq-trigger");
        std::fs::write(&trigger, "c\n").with_context(|| format!("write {}", trigger.display()))
    }

    /// Switches a machine off in an orderly way.
    pub fn switch_off(&mut self, at: usize) {
        if let Some(mut power) = self.machines[at].power.take() {
            end(&mut power, STOPS_WITHIN);
        }
    }

    /// Waits until `holds`, looking every 200 ms.
    pub fn wait_for(&self, what: &str, within: Duration, mut holds: impl FnMut(&Lab) -> Result<bool>) -> Result<()> {
        let until = Instant::now() + within;
        loop {
            let last = match holds(self) {
                Ok(true) => return Ok(()),
                Ok(false) => None,
                Err(error) => Some(error),
            };
            if Instant::now() > until {
                let why = last.map_or(String::new(), |error| format!(" ({error:#})"));
                bail!("waited {} s for {what}{why}; logs are in {}", within.as_secs(), self.folder.display());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // All are told first, then each is waited for.
        for machine in &self.machines {
            if let Some(power) = &machine.power {
                terminate(power);
            }
        }
        for machine in &mut self.machines {
            if let Some(mut power) = machine.power.take() {
                end(&mut power, STOPS_WITHIN);
            }
        }
        self.stop_server();
    }
}

/// The machine's own file system, as far as it has one.
pub(crate) fn host(machine: &Path) -> PathBuf {
    machine.join("host")
}

fn guard_socket(machine: &Path) -> PathBuf {
    machine.join("guard").join("guard.sock")
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn terminate(child: &Child) {
    // Gone already is what is wanted.
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
}

/// Ends a process: politely, and after `patience` not so.
fn end(child: &mut Child, patience: Duration) {
    terminate(child);
    let until = Instant::now() + patience;
    while Instant::now() < until {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            _ => return,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// A port of the loopback interface that nobody has at the moment, and that this program was not given before: whoever was
/// may not listen yet. Not one of those that Linux gives to outgoing connections (32768 and above, ip(7)): among thousands of
/// these, one would take the port while its owner restarts.
///
/// # Errors
///
/// There are no random bytes, or no such port is free.
pub fn free_port() -> Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..1_000 {
        let mut random = [0; 2];
        getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random bytes for a port: {error}"))?;
        let port = 10_000 + u16::from_le_bytes(random) % 22_000;
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return Ok(port);
        }
    }
    bail!("none of 1000 ports of {} between 10000 and 32000 is free", Ipv4Addr::LOCALHOST)
}

/// Gives a folder and what is in it to nobody.
fn hand_over(folder: &Path) -> Result<()> {
    std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY))?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            hand_over(&entry.path())?;
        } else {
            std::os::unix::fs::chown(entry.path(), Some(NOBODY), Some(NOBODY))?;
        }
    }
    Ok(())
}

/// Writes a release folder: `release.toml` and files with their contents; names below `bin/` are executable.
pub fn release_folder(folder: &Path, description: &str, files: &[(&str, &[u8])]) -> Result<()> {
    write(&folder.join("release.toml"), description.as_bytes())?;
    for (name, bytes) in files {
        let path = folder.join("files").join(name);
        write(&path, bytes)?;
        if name.starts_with("bin/") {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

//! One machine of the demo and of the end-to-end tests: power supply and reset button around a real guard.
//!
//! The machine's process tree is the guard, the agent and the services. Writing into `sysrq-trigger` is this machine's
//! `echo c > /proc/sysrq-trigger`: the whole tree is killed at once and sends nothing, until the power comes back and the
//! guard starts again. Other software of the machine, `host/opt/*/start`, is started as its init would: in a normal boot,
//! not in safe mode, which is a system without it. While the file `power-cut` is there the machine stays dark. What must stay out: anything that helps the guard recover.

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, wait};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// In the machine's folder: no power.
pub const POWER_CUT: &str = "power-cut";

/// In the machine's folder: the identity of its present boot.
pub const BOOT_ID: &str = "boot-id";

/// In the machine's folder: what a kernel that panics leaves for the next start, as Linux shows it in `/sys/fs/pstore`.
pub const PSTORE: &str = "pstore";

/// A guard that was told to stop and takes longer hangs. Less would make a busy machine's orderly end a crash.
const STOPS_WITHIN: Duration = Duration::from_secs(45);

/// Arguments of the hidden command.
#[derive(clap::Args)]
pub struct Args {
    /// The machine's folder: holds `sysrq-trigger`, `boot-id` and `machine.log`.
    #[arg(long)]
    pub folder: PathBuf,
    /// Milliseconds from power loss to the first program.
    #[arg(long, default_value_t = 2_000)]
    pub power_on_ms: u64,
    /// The guard and its arguments; `--boot-id-file` is added.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub guard: Vec<OsString>,
}

/// Runs until it is told to stop.
pub fn run(args: &Args) -> Result<()> {
    // Whatever loses its parent becomes our child: no process of the machine can hide from a power loss.
    set_child_subreaper(Some(rustix::process::getpid())).context("become the reaper of the machine's processes")?;
    let stop = Arc::new(AtomicBool::new(false));
    watch_signals(stop.clone())?;
    let trigger = args.folder.join("sysrq-trigger");
    let mut boots: u64 = 0;
    loop {
        boots += 1;
        std::fs::write(&trigger, b"").with_context(|| format!("create {}", trigger.display()))?;
        allow_all(&trigger)?;
        let boot_id = args.folder.join(BOOT_ID);
        std::fs::write(&boot_id, format!("{}-{boots}-{}", std::process::id(), seconds()))?;
        note(args, &format!("power on, boot {boots}"));
        let ended = boot(args, &trigger, &boot_id, &stop)?;
        if stop.load(Ordering::Relaxed) {
            note(args, "switched off in an orderly way");
            return Ok(());
        }
        let no_power = || args.folder.join(POWER_CUT).exists();
        note(args, if no_power() { "power cut: every process of this machine is dead" } else { ended });
        std::thread::sleep(Duration::from_millis(args.power_on_ms));
        while no_power() && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}

/// One life of the machine; answers how it ended.
fn boot(args: &Args, trigger: &std::path::Path, boot_id: &std::path::Path, stop: &AtomicBool) -> Result<&'static str> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(args.folder.join("guard.log"))?;
    let mut arguments = args.guard[1..].to_vec();
    // Before `--agent`, after which everything is the agent's.
    let at = arguments.iter().position(|a| a == "--agent").unwrap_or(arguments.len());
    arguments.splice(at..at, [OsString::from("--boot-id-file"), boot_id.as_os_str().to_os_string()]);
    let guard = Command::new(&args.guard[0])
        .args(&arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {}", args.guard[0].display()))?;
    let pid = Pid::from_child(&guard);
    let mut others = Others { ask_at: Instant::now() + ASK_EVERY, started: false };
    loop {
        std::thread::sleep(Duration::from_millis(30));
        reap();
        others.start_in_normal_mode(args, trigger);
        if stop.load(Ordering::Relaxed) {
            orderly_end(pid);
            return Ok("stopped");
        }
        if std::fs::metadata(trigger).is_ok_and(|file| file.len() > 0) {
            power_loss();
            if !args.folder.join(POWER_CUT).exists() {
                last_words(args);
            }
            return Ok("panic: every process of this machine is dead");
        }
        if !alive(pid) {
            power_loss();
            return Ok("the guard is gone: every process of this machine is dead");
        }
    }
}

/// What the kernel of a machine writes when it panics, for the guard of the next start.
fn last_words(args: &Args) {
    let folder = args.folder.join(PSTORE);
    let record = "Panic#1 Part1\n<6>[    4.100000] sysrq: Trigger a crash\n\
                  <0>[    4.200000] Kernel panic - not syncing: sysrq triggered crash\n";
    let name = format!("dmesg-efi_pstore-{}01001", seconds());
    // The time makes each panic's record one of its own, as it does in a kernel's log.
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join(name), format!("{record}<0>[    4.3] at {}\n", seconds())));
    if let Err(error) = written {
        note(args, &format!("the kernel's last words are lost: {error}"));
    }
}

/// Between two questions for the guard's mode.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The machine's other software.
struct Others {
    ask_at: Instant,
    started: bool,
}

impl Others {
    fn start_in_normal_mode(&mut self, args: &Args, trigger: &Path) {
        if self.started || Instant::now() < self.ask_at {
            return;
        }
        self.ask_at = Instant::now() + ASK_EVERY;
        let programs = std::fs::read_dir(args.folder.join("host/opt")).into_iter().flatten().flatten();
        let programs: Vec<PathBuf> = programs.map(|one| one.path().join("start")).filter(|p| p.exists()).collect();
        if programs.is_empty() || !is_normal(args) {
            return;
        }
        self.started = true;
        for program in programs {
            let child = Command::new(&program).arg(trigger).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
            note(args, &format!("{}: {}", program.display(), if child.is_ok() { "started" } else { "does not start" }));
        }
    }
}

/// What the guard says; a guard that does not answer yet says nothing.
fn is_normal(args: &Args) -> bool {
    let root = args.guard.iter().skip_while(|argument| *argument != "--root").nth(1);
    let Some(root) = root else { return false };
    let status = Command::new(&args.guard[0]).args(["status", "--json", "--root"]).arg(root).output();
    let status = status.ok().and_then(|output| serde_json::from_slice::<serde_json::Value>(&output.stdout).ok());
    status.is_some_and(|status| status["mode"]["mode"] == "normal")
}

fn orderly_end(guard: Pid) {
    // It may have ended by itself in this moment.
    let _ = kill_process(guard, Signal::TERM);
    let end = Instant::now() + STOPS_WITHIN;
    while alive(guard) && Instant::now() < end {
        reap();
        std::thread::sleep(Duration::from_millis(20));
    }
    power_loss();
}

/// Kills everything below this process until nothing is left.
fn power_loss() {
    loop {
        let victims = descendants();
        if victims.is_empty() {
            return;
        }
        for pid in victims {
            // Gone already is as good as killed.
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(10));
        reap();
    }
}

fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

fn alive(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}

/// All processes below this one that are not just waiting to be reaped.
fn descendants() -> Vec<Pid> {
    let mut parents: Vec<(i32, i32)> = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let mut fields = rest.split(' ');
        let state = fields.next();
        let parent = fields.next().and_then(|field| field.parse().ok());
        if let (Some(state), Some(parent)) = (state, parent)
            && state != "Z"
        {
            parents.push((pid, parent));
        }
    }
    let mut below: BTreeSet<i32> = [std::process::id() as i32].into();
    loop {
        let before = below.len();
        below.extend(
            parents.iter().filter(|(_, parent)| below.contains(parent)).map(|(pid, _)| *pid).collect::<Vec<_>>(),
        );
        if below.len() == before {
            break;
        }
    }
    below.remove(&(std::process::id() as i32));
    below.into_iter().filter_map(Pid::from_raw).collect()
}

fn watch_signals(stop: Arc<AtomicBool>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut terminate), Ok(mut interrupt)) =
                (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
            else {
                return;
            };
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            stop.store(true, Ordering::Relaxed);
        });
    });
    Ok(())
}

fn allow_all(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
        .with_context(|| format!("open {} to the machine's services", path.display()))
}

fn seconds() -> u64 {
    crate::command::repo::now_ms() / 1_000
}

fn note(args: &Args, what: &str) {
    use std::io::Write as _;
    let line = format!("{} {what}\n", crate::command::repo::now_ms());
    let file = std::fs::OpenOptions::new().create(true).append(true).open(args.folder.join("machine.log"));
    if let Ok(mut file) = file {
        // The log of a toy power supply is not worth dying for.
        let _ = file.write_all(line.as_bytes());
    }
}

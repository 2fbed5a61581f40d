//! The guard at work: one thread owns the state and does, for each thing that happens, "decide, write down, act".
//!
//! Other threads only wait: for connections, for processes that end, for a slot that is being built. They hand what they
//! know to the one thread over a channel. Start-up takes the same way as everything else (`Event::Started`), so
//! recovery is the normal path. What must stay out: deciding (`staffel_core::boot`), verifying (`staffel_statement`).

mod below;
mod commands;
mod decide;
pub mod os;
mod prepare;
mod remedies;
mod report;
mod run;

use crate::{
    Doing as _, DoneTo,
    codec::{Outlives, Records},
    install::{self, InstallError, Pins},
    layout::Layout,
    platform::{self, Noted, User},
    quarantine,
    record::{Keeper, Record},
    slots::Slots,
    socket,
    supervise::{AGENT, AgentProgram, MARKER, Supervisor},
    traces::{self, Places},
};
use serde::{Deserialize, Serialize};
use staffel_core::{
    boot::{Event, Generation, traces::Start},
    ids::Digest,
};
use staffel_statement::{bundle::Verifier, guard::Command};
use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::Ordering, mpsc},
    time::Duration,
};

use commands::{Answer, Ask};
use prepare::Prepared;

/// How a guard is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    pub root: PathBuf,
    /// A file with the identity of the machine's boot, for machines and tests where the platform has none.
    pub boot_id_file: Option<PathBuf>,
    pub agent: Option<AgentProgram>,
    /// Only used by root.
    pub agent_user: Option<User>,
    /// Only used by root.
    pub service_user: Option<User>,
    /// A trial that is not confirmed within this is given up, milliseconds on the boot-time clock.
    pub trial_timeout_ms: u64,
    /// A committed generation that ran this long without a crash is stable, milliseconds.
    pub stable_after_ms: u64,
    /// Where the machine's own file system begins: remedies name files and roots as the machine does, below this.
    pub host_root: PathBuf,
    /// Where remedies may take foreign files away.
    pub quarantine_roots: Vec<PathBuf>,
    /// The system partition, where the guard below the system is set up (`staffel_guard`).
    pub system_partition: Option<PathBuf>,
    /// Where the running kernel's command line stands.
    pub command_line_file: PathBuf,
    /// Where earlier starts of the machine left traces.
    pub traces: Places,
}

impl Options {
    /// The defaults for a folder: no agent, ten minutes each.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Options {
            root: root.into(),
            boot_id_file: None,
            agent: None,
            agent_user: None,
            service_user: None,
            trial_timeout_ms: 600_000,
            stable_after_ms: 600_000,
            host_root: "/".into(),
            quarantine_roots: Vec::new(),
            system_partition: None,
            command_line_file: "/proc/cmdline".into(),
            traces: Places::default(),
        }
    }
}

/// Why a guard can't be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error(transparent)]
    Io(#[from] DoneTo),
    #[error("another guard runs in {root}: {source}")]
    Running { root: PathBuf, source: std::io::Error },
    #[error("the path {0:?} is no UTF-8; services could not be given it")]
    Path(PathBuf),
    #[error("no random bytes: {0}")]
    Random(getrandom::Error),
}

/// Why a guard ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to.
    Stopped,
    /// The machine has to be started again.
    StartAgain,
}

/// What reaches the one thread.
enum Input {
    Ask(Ask, mpsc::SyncSender<Answer>),
    Ended(String, u32),
}

/// What a guard notes about its processes for the next one. Means nothing after a reboot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Processes {
    boot_id: String,
    marker: String,
    processes: Vec<Noted>,
}

const PROCESSES: &str = "processes";
/// How long a stop signal may go unnoticed.
const LONGEST_SLEEP_MS: u64 = 200;
/// What was answered leaves this machine before it is started again, milliseconds.
const LAST_WORDS_MS: u64 = 500;

/// The guard's one thread.
pub(crate) struct Guard {
    options: Options,
    layout: Layout,
    slots: Slots,
    pins: Pins,
    verifier: Verifier,
    keeper: Keeper,
    record: Record,
    /// SHA-256 of this program.
    consumer: Digest,
    supervisor: Supervisor,
    processes: (Records, Processes),
    /// The generation whose services were started by this process.
    running: Option<Digest>,
    /// Generations from which something may run although the record no longer names them.
    in_use: Vec<Generation>,
    prepared: Option<Prepared>,
    /// What follows from what was just done.
    pending: VecDeque<Event>,
    /// Why the record could not be written the last time.
    unsaved: Option<String>,
    /// What was found damaged at the start.
    damage: Vec<String>,
    /// What earlier starts of the machine left; none before this one has its id.
    found: Option<Start>,
    ticked_ms: u64,
    saved_ms: u64,
    trial_until_ms: Option<u64>,
    stable_at_ms: Option<u64>,
    collect_due: bool,
    /// The system partition, if the machine runs its safe system.
    safe_system: Option<PathBuf>,
    /// When this guard ends so that the machine is started again, milliseconds on the boot-time clock.
    start_again_ms: Option<u64>,
    /// Held by whoever builds a slot; nothing is deleted meanwhile.
    building: Arc<Mutex<()>>,
}

/// Runs a guard until a stop signal comes, or the machine has to be started again.
pub fn serve(mut options: Options) -> Result<End, ServeError> {
    let stop = platform::stop_flag();
    let pins = install::load(&Layout::new(&options.root))?;
    options.root = options.root.canonicalize().doing("find", &options.root)?;
    if options.root.to_str().is_none() {
        return Err(ServeError::Path(options.root));
    }
    options.host_root = options.host_root.canonicalize().doing("find", &options.host_root)?;
    for root in &mut options.quarantine_roots {
        let on_host = quarantine::on_host(&options.host_root, root);
        *root = on_host.canonicalize().doing("find", &on_host)?;
    }
    let layout = Layout::new(&options.root);
    let _lock =
        platform::lock(&layout.lock()).map_err(|source| ServeError::Running { root: options.root.clone(), source })?;
    layout.create(options.agent_user)?;
    let shared_with = options.agent_user.filter(|_| platform::is_root());
    let listener = platform::listen(&layout.socket(), shared_with).doing("listen on", &layout.socket())?;

    let (inputs, received) = mpsc::channel();
    let mut guard = Guard::open(options, layout, pins, &inputs)?;
    guard.start()?;
    let (slots, building) = (guard.slots.clone(), guard.building.clone());
    let answer = move |command: Command| commands::answer_from_outside(&inputs, &slots, &building, command);
    let listening = std::thread::Builder::new().name("socket".into());
    listening
        .spawn(move || socket::serve(listener, Arc::new(answer)))
        .doing("start a thread for", &guard.layout.socket())?;

    while !stop.load(Ordering::SeqCst) && guard.start_again_ms.is_none_or(|at| platform::awake_ms() < at) {
        match received.recv_timeout(guard.sleep()) {
            Ok(Input::Ask(ask, reply)) => {
                // A peer that went away does not get its answer; what it asked for is done all the same.
                let _ = reply.send(guard.answer(ask));
            }
            Ok(Input::Ended(name, pid)) => guard.process_ended(&name, pid),
            Err(_) => {}
        }
        guard.do_what_is_due();
    }
    guard.stop();
    Ok(if guard.start_again_ms.is_some() { End::StartAgain } else { End::Stopped })
}

impl Guard {
    fn open(options: Options, layout: Layout, pins: Pins, inputs: &mpsc::Sender<Input>) -> Result<Self, ServeError> {
        let program = std::env::current_exe().doing("find", "this program".as_ref())?;
        let consumer = Digest::of(&std::fs::read(&program).doing("read", &program)?);
        let marker = crate::random_hex(16).map_err(ServeError::Random)?;
        let (keeper, found) = Keeper::open(Records::new(&layout.root));
        let mut damage = pins.damage.clone();
        damage.extend(found.damage);
        damage.iter().for_each(|what| eprintln!("guard-ctl: damaged record: {what}"));
        let verifier = Verifier::new(pins.keyring.clone(), pins.installation.pinned(), found.record.memory.clone());
        let ended = inputs.clone();
        let ended = move |name, pid| drop(ended.send(Input::Ended(name, pid)));
        let supervisor = Supervisor::new(layout.clone(), marker.clone(), Arc::new(ended));
        let now = platform::boot_time_ms();
        let boot_id = platform::boot_id().unwrap_or_default();
        Ok(Guard {
            safe_system: below::safe_system(&options),
            slots: Slots { layout: layout.clone() },
            processes: (Records::new(&layout.root), Processes { boot_id, marker, processes: Vec::new() }),
            options,
            layout,
            pins,
            verifier,
            keeper,
            record: found.record,
            consumer,
            supervisor,
            running: None,
            in_use: Vec::new(),
            prepared: None,
            pending: VecDeque::new(),
            unsaved: None,
            damage,
            found: None,
            ticked_ms: now,
            saved_ms: now,
            trial_until_ms: None,
            stable_at_ms: None,
            collect_due: true,
            start_again_ms: None,
            building: Arc::new(Mutex::new(())),
        })
    }

    fn start(&mut self) -> Result<(), ServeError> {
        self.kill_leftovers();
        // The first last-known-good: nothing runs, but it is there to go back to.
        let empty = self.layout.generation(&Generation::empty().id);
        std::fs::create_dir_all(&empty).doing("create the folder", &empty)?;
        let boot_id = match &self.options.boot_id_file {
            Some(file) => std::fs::read_to_string(file).doing("read", file)?.trim().to_string(),
            None => platform::boot_id().doing("read the boot id of", "this machine".as_ref())?,
        };
        self.found = Some(traces::look(&self.options.traces, self.options.system_partition.as_deref(), &boot_id));
        self.enter_safe_system();
        if let Err(error) = self.handle(Event::Started { boot_id }) {
            eprintln!("guard-ctl: {error}");
        }
        self.leave_safe_system();
        if let Some(agent) = &self.options.agent {
            let launch = agent.launch(&self.layout.root, self.options.agent_user.filter(|_| platform::is_root()));
            for failed in self.supervisor.start_agent(launch, platform::awake_ms()) {
                eprintln!("guard-ctl: {}", failed.why);
            }
            self.note_processes();
        }
        Ok(())
    }

    fn stop(&mut self) {
        if let Err(error) = self.handle(Event::Stopping) {
            eprintln!("guard-ctl: the clean stop is not written down: {error}");
        }
        self.supervisor.stop_all();
        self.note_processes();
        let _ = std::fs::remove_file(self.layout.socket());
    }

    fn kill_leftovers(&mut self) {
        let (records, mine) = &mut self.processes;
        if let Ok(before) = records.load::<Processes>(PROCESSES)
            && before.value.boot_id == mine.boot_id
        {
            let marker = format!("{MARKER}={}", before.value.marker);
            let killed = platform::kill_leftovers(&before.value.processes, &marker);
            if killed > 0 {
                eprintln!("guard-ctl: killed {killed} processes that a killed guard left behind");
            }
        }
        // Before anything is started: whatever happens next, the marker is known.
        self.write_processes();
    }

    fn note_processes(&mut self) {
        let noted = self.supervisor.noted();
        if self.processes.1.processes != noted {
            self.processes.1.processes = noted;
            self.write_processes();
        }
    }

    fn write_processes(&mut self) {
        let (records, mine) = &mut self.processes;
        if let Err(error) = records.save(PROCESSES, mine, Outlives::Process) {
            eprintln!("guard-ctl: {error}");
        }
    }

    fn process_ended(&mut self, name: &str, pid: u32) {
        let Some(how) = self.supervisor.has_ended(name, pid, platform::awake_ms()) else { return };
        eprintln!("guard-ctl: {name} {how}");
        self.note_processes();
        if name != AGENT {
            self.act(Event::ServiceDied { service: name.into(), how });
        }
    }

    /// Ends this guard soon, so that the machine is started again.
    fn start_again(&mut self) {
        self.start_again_ms.get_or_insert(platform::awake_ms().saturating_add(LAST_WORDS_MS));
    }

    /// How long nothing is due.
    fn sleep(&self) -> Duration {
        let now = platform::awake_ms();
        let due = [self.supervisor.next_due_ms(), self.trial_until_ms, self.stable_at_ms];
        let next = due.into_iter().flatten().min().unwrap_or(u64::MAX);
        Duration::from_millis(next.saturating_sub(now).min(LONGEST_SLEEP_MS))
    }
}

//! The guard below the system, as the one above it sees it: the safe system, and operating systems on trial.

use crate::support::*;
use staffel_core::{
    boot::{
        Mode,
        firmware::{Counts, Event, Running, State},
    },
    conditions::Refusal,
    ids::Digest,
    release::Kind,
};
use staffel_guard::{
    partition::{Images, Partition},
    volume::Folder,
};
use staffel_statement::{guard::Reply, predicate::Action};
use std::{fs, path::PathBuf};

/// The exit code that asks for the machine to be started again.
const START_AGAIN: i32 = 3;

struct Machine {
    world: World,
    partition: PathBuf,
}

impl Machine {
    /// One whose service was committed, with the guard below it set up.
    fn new() -> Self {
        let mut world = World::new();
        let (partition, drivers) = (world.path("partition"), world.path("drivers"));
        for folder in [&partition, &drivers] {
            fs::create_dir(folder).unwrap();
        }
        let images = Images { kernel: b"kernel", initrd: b"initramfs", options: "panic=1 oops=panic" };
        Partition::set_up(Folder::new(&partition), images, b"safe system").unwrap();
        let line = world.write("command-line", b"quiet staffel.entry=1");
        let options =
            [("--system-partition", &partition), ("--command-line-file", &line), ("--quarantine-root", &drivers)];
        let options = options.map(|(name, path)| [name.to_string(), path.display().to_string()]);
        world.options = options.into_iter().flatten().collect();
        world.start();
        world.commit(&stays(1));
        Machine { world, partition }
    }

    /// The machine is started again with this entry.
    fn starts_with(&mut self, line: &str) -> staffel_statement::guard::Status {
        self.world.next_boot();
        self.world.write("command-line", line.as_bytes());
        self.world.start()
    }

    fn tell(&self, event: Event) {
        Partition::open(Folder::new(&self.partition)).unwrap().apply(event).unwrap();
    }

    fn stays_safe(&self) -> bool {
        Partition::open(Folder::new(&self.partition)).unwrap().state().stay_safe.is_some()
    }
}

fn why(status: &staffel_statement::guard::Status) -> &str {
    match &status.mode {
        Mode::Safe { why } => why,
        Mode::Normal => panic!("not in safe mode"),
    }
}

#[test]
fn a_repair_in_the_safe_system_is_followed_by_a_normal_start() {
    let mut machine = Machine::new();
    let driver = machine.world.path("drivers/C-291.sys");
    fs::write(&driver, [0; 512]).unwrap();
    machine.world.kill();
    let status = machine.starts_with("staffel.safe");
    assert!(why(&status).starts_with("the machine came up in its safe system"), "{:?}", status.mode);
    assert!(status.services.is_empty(), "nothing of the machine runs there");
    assert!(!status.readiness.preflight.is_empty(), "nothing is changed there");
    let action = Action::QuarantineFile {
        pattern: driver.canonicalize().unwrap().display().to_string(),
        sha256: Digest::of(&[0; 512]),
    };
    let reply = machine.world.remedy(1, action, &[16, 17]);
    let Reply::Done { why } = reply else { panic!("{reply:?}") };
    assert!(why.contains("was moved to") && why.contains("last-known-good at the next start"), "{why}");
    assert_eq!(machine.world.ended().code(), Some(START_AGAIN));
    let status = machine.starts_with("staffel.entry=1");
    assert_eq!(status.mode, Mode::Normal);
    assert!(machine.world.status().services[0].running);
    assert_eq!(status.remedies.last().map(|went| (went.sequence, went.done)), Some((1, true)));
}

#[test]
fn a_safe_system_that_somebody_asked_for_is_left_only_when_somebody_says_so() {
    let mut machine = Machine::new();
    machine.world.stop();
    machine.tell(Event::StaySafe { why: "evidence first".into() });
    assert!(why(&machine.starts_with("staffel.safe")).ends_with("evidence first"));
    let strange = machine.world.remedy(1, Action::DisableService { name: "till".into() }, &[16, 17]);
    let Reply::Done { why } = strange else { panic!("{strange:?}") };
    assert!(why.ends_with("stays in its safe system: evidence first"), "{why}");
    assert!(machine.stays_safe());
    let enabled = machine.world.remedy(2, Action::EnableService { name: "till".into() }, &[16, 17]);
    assert!(matches!(enabled, Reply::Done { .. }), "{enabled:?}");
    assert!(matches!(machine.world.remedy(3, Action::LeaveSafe, &[16]), Reply::Done { .. }));
    assert_eq!(machine.world.ended().code(), Some(START_AGAIN));
    assert!(!machine.stays_safe());
    machine.starts_with("staffel.entry=1");
    assert!(machine.world.wait_status("the service", |status| !status.services.is_empty()).services[0].running);
}

/// A release of an operating system.
fn system(version: u64) -> Made {
    let kernel = format!("kernel {version}");
    let mut made = Made::new("system", version).file("linux", kernel, false).file("initrd", "initramfs", false);
    made.release.kind = Kind::Os;
    made
}

impl Machine {
    /// Puts an operating system on trial; the guard ends, so that the machine is started again. The trial's nonce.
    fn arm(&mut self, made: &Made) -> String {
        let nonce = self.world.arm(made);
        assert_eq!(self.world.ended().code(), Some(START_AGAIN));
        nonce
    }

    fn firmware(&self) -> State {
        Partition::open(Folder::new(&self.partition)).unwrap().state().clone()
    }

    /// As `guard-commit` at a start with this entry.
    fn guard_commit(&self, running: Running, healthy: bool, counts: Counts) {
        let mut partition = Partition::open(Folder::new(&self.partition)).unwrap();
        partition.reached(running, &counts).unwrap();
        if healthy && let Running::Entry { number, .. } = running {
            partition.apply(Event::Healthy { running, counted: Some(number) }).unwrap();
        }
    }
}

#[test]
fn an_operating_system_is_committed_below_and_above() {
    let mut machine = Machine::new();
    let made = system(1);
    let nonce = machine.arm(&made);
    let trial = machine.firmware().trial.expect("it is armed");
    assert_eq!((trial.number, trial.kernel), (2, Digest::of(b"kernel 1")));
    assert_eq!(trial.options, machine.firmware().good.options, "those of today");
    let status = machine.starts_with("staffel.entry=2 staffel.trial");
    assert!(status.trial.is_some());
    let too_early = machine.world.confirm(&made, &nonce);
    assert!(matches!(&too_early, Reply::Failed { why } if why.contains("guard-commit")), "{too_early:?}");
    machine.guard_commit(Running::Entry { number: 2, trial: true }, true, Counts::default());
    let reply = machine.world.confirm(&made, &nonce);
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    let status = machine.world.status();
    assert!(status.trial.is_none() && status.last_known_good.releases.contains_key("system"), "{status:?}");
    // What is committed here and left later is left below, too.
    let generation = status.last_known_good.id;
    let left = machine.world.remedy(1, Action::QuarantineGeneration { generation }, &[16]);
    assert!(matches!(left, Reply::Done { .. }), "{left:?}");
    assert_eq!(machine.world.ended().code(), Some(START_AGAIN));
    assert_eq!(machine.firmware().good.number, 1);
    let status = machine.starts_with("staffel.entry=1");
    assert!(!status.last_known_good.releases.contains_key("system"), "{status:?}");
}

#[test]
fn an_operating_system_that_does_not_start_is_left_above_too() {
    let mut machine = Machine::new();
    machine.arm(&system(1));
    // Three panics later the loader has taken what was good before.
    let counts = Counts { of: vec![(2, 3)], ..Counts::default() };
    machine.guard_commit(Running::Entry { number: 1, trial: false }, false, counts);
    let status = machine.starts_with("staffel.entry=1");
    assert!(status.trial.is_none() && status.mode == Mode::Normal, "{status:?}");
    let outcome = status.outcome.expect("it has ended");
    assert!(!outcome.committed && outcome.why.contains("did not reach user space"), "{outcome:?}");
    assert!(machine.world.status().services[0].running, "everything else goes on");
    // The same again is another attempt.
    machine.arm(&system(2));
    assert_eq!(machine.firmware().trial.map(|trial| trial.number), Some(3));
}

#[test]
fn without_a_guard_below_no_operating_system_is_taken() {
    let world = World::running();
    let Reply::Refused { refusals } = world.prepare(&system(1)) else { panic!("it was prepared") };
    assert!(matches!(refusals[0], Refusal::KindNotHandled { .. }), "{refusals:?}");
}

//! The promises of recovery cases: by hand, and with thousands of random days.

use super::*;
use crate::{
    conditions::{Authorisation, Unit},
    fleet::{Fleet, Joining},
    ids::{DeviceId, Digest},
    profile::{Profile, ProfileName},
    release::{Kind, Release, StateCompatibility},
    rollout::{self, Rollout},
};
use proptest::prelude::*;

mod random;

const SECOND: u64 = 1_000;

/// A fleet of sites with three devices each, a book, and everything that was applied to it.
pub(super) struct World {
    pub fleet: Fleet,
    pub book: Book,
    pub log: Vec<(u64, Event)>,
    pub now: u64,
}

pub(super) fn ran(_: DeviceIndex) -> Vec<String> {
    vec!["till".into()]
}

impl World {
    pub fn new(sites: u32) -> World {
        let mut fleet = Fleet::default();
        let mut book = Book::new(Limits::demo());
        for n in 0..sites * 3 {
            let device = fleet.join(&Joining {
                id: DeviceId([n as u8; 16]),
                name: &format!("pc-{n}"),
                tenant: if n / 3 % 2 == 0 { "clinic" } else { "school" },
                site: &format!("site-{}", n / 3),
                os_build: "debian-12",
                hardware_model: "box",
                stratum: "debian-12/box",
            });
            book.joined(device, fleet.device(device).site, 0);
        }
        World { fleet, book, log: Vec::new(), now: SECOND }
    }

    pub fn take(&mut self, events: Vec<Event>) -> usize {
        let taken = events.len();
        for event in events {
            self.book.apply(&event, self.now);
            self.log.push((self.now, event));
        }
        self.check();
        taken
    }

    /// Lets time pass, second by second.
    pub fn pass(&mut self, ms: u64) {
        let until = self.now + ms;
        while self.now < until {
            self.now = (self.now + SECOND).min(until);
            let events = self.book.due(&self.fleet, self.now, &ran);
            self.take(events);
        }
    }

    /// The same, while these devices speak each second and answer what they are asked.
    pub fn live(&mut self, ms: u64, devices: &[DeviceIndex]) {
        for _ in 0..ms / SECOND {
            self.pass(SECOND);
            for device in devices {
                self.says(*device, &well());
            }
        }
    }

    pub fn says(&mut self, device: DeviceIndex, evidence: &Evidence) {
        self.fleet.heard(device, self.now);
        let safe = evidence.safe_mode.clone();
        let events = self.book.heard(&self.fleet, device, safe.as_deref(), self.now, &ran, || evidence.clone());
        self.take(events);
    }

    pub fn word(&mut self, case: CaseId, word: Word) -> Result<(), Vec<Refusal>> {
        let events = self.book.word(case, "ann", word, self.now)?;
        self.take(events);
        Ok(())
    }

    pub fn open(&mut self, devices: &[DeviceIndex]) -> IncidentId {
        let aware = Awareness { at_ms: self.now, who: "ann".into(), source: "a call".into() };
        let opening = Opening {
            class: Class::Outage,
            origin: Origin::Operator,
            aware,
            why: "tills are dark".into(),
            devices: devices.to_vec(),
            incident: None,
        };
        let events = self.book.open_by_hand(opening, &ran).unwrap();
        self.take(events);
        self.book.incidents().next_back().unwrap().id
    }

    pub fn state(&self, case: CaseId) -> State {
        self.book.case(case).unwrap().state
    }

    /// What must hold after whatever happened.
    pub fn check(&self) {
        for case in self.book.cases.values() {
            assert_eq!(crate::invariants::case(case), Ok(()), "{case:?}");
            let next = self.book.next(case, self.now);
            assert_eq!(next.action == Action::Nothing, case.state == State::Closed, "{case:?}");
            assert!(next.due_ms > 0);
            let may = self.book.cannot_close(case).is_empty();
            assert_eq!(may, case.state == State::Verified && case.debts().is_empty(), "{case:?}");
        }
        for incident in self.book.incidents() {
            for state in State::ALL {
                let found = incident.cases.iter().filter(|id| self.state(**id) == state).count() as u64;
                assert_eq!(incident.count(state), found, "{state:?}");
            }
            let last = incident.curve().last();
            assert_eq!((last.back, last.cases), (incident.back(), incident.cases.len() as u64));
            assert_eq!(incident.ended_ms.is_some(), incident.open() == 0 && !incident.cases.is_empty());
        }
    }
}

/// A device that proves that it is well.
pub(super) fn well() -> Evidence {
    Evidence {
        boot: 7,
        running: vec!["till".into()],
        health: Some(Health {
            generation: Some(Digest::of(b"generation")),
            committed: true,
            failures: Vec::new(),
            checked: 2,
            debts: Vec::new(),
        }),
        ..Evidence::default()
    }
}

#[test]
fn a_case_goes_from_suspected_to_closed_by_its_probe_alone() {
    let mut world = World::new(1);
    world.open(&[0]);
    assert_eq!(world.state(1), State::Suspected);
    world.live(SECOND, &[0]);
    assert_eq!((world.state(1), world.book.progress(world.book.case(1).unwrap()).0), (State::Working, 1));
    world.live(2 * SECOND, &[0]);
    assert_eq!(world.state(1), State::Verified);
    world.live(3 * SECOND, &[0]);
    let case = world.book.case(1).unwrap();
    assert_eq!((case.state, case.closed_by(), case.proof().map(|proof| proof.passed)), (State::Closed, None, Some(3)));
    assert!(world.book.incident(1).unwrap().ended_ms.is_some());
}

#[test]
fn each_thing_that_is_not_well_keeps_a_device_from_being_verified() {
    let health = |edit: fn(&mut Health)| {
        let mut evidence = well();
        edit(evidence.health.as_mut().unwrap());
        evidence
    };
    type Named = fn(&Doubt) -> bool;
    let cases: Vec<(Evidence, Named)> = vec![
        (Evidence { health: None, ..well() }, |d| *d == Doubt::NotAnswered),
        (Evidence { safe_mode: Some("x".into()), ..well() }, |d| matches!(d, Doubt::SafeMode { .. })),
        (Evidence { running: Vec::new(), ..well() }, |d| matches!(d, Doubt::ProtectionOff { .. })),
        (Evidence { denied: vec!["till 2".into()], ..well() }, |d| matches!(d, Doubt::Denied { .. })),
        (health(|h| h.committed = false), |d| *d == Doubt::OnTrial),
        (health(|h| h.generation = None), |d| *d == Doubt::OnTrial),
        (health(|h| h.failures.push("http".into())), |d| matches!(d, Doubt::ProbesFailed { .. })),
        (health(|h| h.debts.push("quarantine".into())), |d| matches!(d, Doubt::ProtectionOff { .. })),
    ];
    for (evidence, expected) in cases {
        let mut world = World::new(1);
        world.open(&[0]);
        for _ in 0..20 {
            world.pass(SECOND);
            world.says(0, &evidence);
        }
        let case = world.book.case(1).unwrap();
        assert!(matches!(case.state, State::Working | State::Restricted), "{evidence:?}: {:?}", case.state);
        let refusals = world.word(1, Word::Close).unwrap_err();
        let Refusal::NotVerified { doubts, passed: 0, .. } = &refusals[0] else { panic!("{refusals:?}") };
        assert!(doubts.iter().any(expected), "{doubts:?}");
        // It gets well, and only then it is verified.
        world.live(10 * SECOND, &[0]);
        assert_eq!(world.state(1), State::Closed, "{evidence:?}");
    }
}

#[test]
fn a_machine_that_boots_again_and_again_is_not_back() {
    let mut world = World::new(1);
    world.open(&[0]);
    for boot in 0..20 {
        world.pass(SECOND);
        world.says(0, &Evidence { boot, ..well() });
        world.pass(SECOND);
        world.says(0, &Evidence { boot, ..well() });
    }
    assert_eq!(world.state(1), State::Working);
}

#[test]
fn what_people_say_is_never_verified_and_closes_nothing() {
    let mut world = World::new(1);
    world.open(&[0]);
    let said = |state| Word::State { state, why: "the customer is sure".into() };
    assert_eq!(world.word(1, said(State::Verified)).unwrap_err(), [Refusal::OnlyAProbeVerifies]);
    assert_eq!(world.word(1, said(State::Closed)).unwrap_err(), [Refusal::CloseItInstead]);
    let works = Word::Contact { channel: Channel::Phone, outcome: Contact::SaysItWorks, text: String::new() };
    world.word(1, works).unwrap();
    let case = world.book.case(1).unwrap();
    assert_eq!((case.state, case.alive), (State::Working, false));
    assert_eq!(world.book.next(case, world.now).action, Action::AskForCheckIn);
    assert!(world.book.needs_people(case, world.now), "it stays on the call list");
    assert!(matches!(world.word(1, Word::Close).unwrap_err()[..], [Refusal::NotVerified { passed: 0, .. }]));
}

#[test]
fn a_declared_debt_stays_until_somebody_lifts_it_and_holds_the_case_open() {
    let mut world = World::new(1);
    world.open(&[0]);
    world.word(1, Word::OpenDebt { what: "scanner off".into() }).unwrap();
    world.live(30 * SECOND, &[0]);
    assert_eq!(world.state(1), State::Verified);
    let debt = Debt::Declared { what: "scanner off".into() };
    assert_eq!(world.word(1, Word::Close).unwrap_err(), [Refusal::DebtOpen { debt }]);
    let lift = |what: &str| Word::LiftDebt { what: what.into(), why: "checked on site".into() };
    assert_eq!(world.word(1, lift("something")).unwrap_err(), [Refusal::NoSuchDebt { case: 1 }]);
    world.word(1, lift("scanner off")).unwrap();
    world.live(3 * SECOND, &[0]);
    assert_eq!(world.state(1), State::Closed);
    // And on a closed case it opens the case again.
    world.word(1, Word::OpenDebt { what: "scanner off".into() }).unwrap();
    assert_ne!(world.state(1), State::Closed);
}

#[test]
fn a_debt_that_the_device_shows_is_lifted_by_the_device_only() {
    let mut world = World::new(1);
    world.open(&[0]);
    world.says(0, &Evidence { running: Vec::new(), ..well() });
    assert_eq!(world.state(1), State::Restricted);
    let lift = Word::LiftDebt { what: "till".into(), why: "it runs, I saw it".into() };
    assert_eq!(world.word(1, lift).unwrap_err(), [Refusal::LiftedByTheDeviceOnly]);
    world.live(SECOND, &[0]);
    assert_eq!(world.state(1), State::Working);
    // A verified one that shows it again is not verified any more.
    world.live(2 * SECOND, &[0]);
    assert_eq!(world.state(1), State::Verified);
    world.says(0, &Evidence { safe_mode: Some("crashed".into()), ..well() });
    assert_eq!(world.state(1), State::Restricted);
}

#[test]
fn silence_opens_the_same_case_again_and_takes_a_verification_back() {
    let mut world = World::new(1);
    world.open(&[0]);
    world.live(3 * SECOND, &[0]);
    assert_eq!(world.state(1), State::Verified);
    world.book.limits.close_after_ms = 60 * SECOND;
    world.pass(15 * SECOND);
    assert_eq!(world.state(1), State::Suspected, "silent before it was closed");
    world.book.limits.close_after_ms = 2 * SECOND;
    world.live(10 * SECOND, &[0]);
    assert_eq!(world.state(1), State::Closed);
    world.pass(15 * SECOND);
    let case = world.book.case(1).unwrap();
    assert_eq!((case.state, case.reopened()), (State::Suspected, 1));
    assert_eq!(world.book.incident(1).unwrap().ended_ms, None);
}

#[test]
fn an_orderly_shutdown_is_no_silence() {
    let mut world = World::new(1);
    world.open(&[0]);
    world.live(10 * SECOND, &[0, 1, 2]);
    assert_eq!(world.state(1), State::Closed);
    for device in 0..3 {
        world.book.left(device, true);
    }
    world.pass(1_000 * SECOND);
    assert_eq!((world.state(1), world.book.incidents().count()), (State::Closed, 1));
}

#[test]
fn a_silent_device_and_a_silent_site_open_one_incident_a_site() {
    let mut world = World::new(2);
    // pc-5 is silent, its neighbours speak; nobody of the first site does.
    for _ in 0..200 {
        world.pass(SECOND);
        for device in [3, 4] {
            world.says(device, &well());
        }
    }
    let all: Vec<_> = world.book.incidents().map(|i| (i.origin.clone(), i.cases.len())).collect();
    let [
        (Origin::Silence { site: 0, whole_site: true, .. }, 3),
        (Origin::Silence { site: 1, whole_site: false, .. }, 1),
    ] = all[..]
    else {
        panic!("{all:?}")
    };
    assert!(world.book.cases.values().all(|case| world.book.needs_people(case, world.now)));
    world.pass(1_000 * SECOND);
    // The rest of the second site joins its neighbour, and nobody gets a second case.
    let cases: Vec<_> = world.book.incidents().map(|i| i.cases.len()).collect();
    assert_eq!(cases, [3, 3]);
}

#[test]
fn a_server_that_was_away_blames_nobody() {
    let mut world = World::new(1);
    world.live(10 * SECOND, &[0, 1, 2]);
    world.book.gap(world.now, world.now + 600 * SECOND);
    world.now += 600 * SECOND;
    world.pass(60 * SECOND);
    assert_eq!(world.book.incidents().count(), 0);
    world.book.observing_since(world.now);
    world.pass(100 * SECOND);
    assert_eq!(world.book.incidents().count(), 0);
    world.pass(30 * SECOND);
    assert_eq!(world.book.incidents().count(), 1);
}

#[test]
fn a_site_that_nobody_reaches_is_unreachable_and_stays_on_the_list() {
    let mut world = World::new(1);
    world.open(&[0]);
    let call = |outcome| Word::Contact { channel: Channel::Phone, outcome, text: String::new() };
    for _ in 0..3 {
        assert_ne!(world.state(1), State::Unreachable);
        world.word(1, call(Contact::NoAnswer)).unwrap();
    }
    assert_eq!(world.state(1), State::Unreachable);
    world.pass(1_000 * SECOND);
    let case = world.book.case(1).unwrap();
    assert!(world.book.needs_people(case, world.now) && case.attempts() == 3);
    assert_eq!(world.book.next(case, world.now).action, Action::TryAnotherWay);
    world.word(1, call(Contact::Reached)).unwrap();
    assert_eq!((world.state(1), world.book.case(1).unwrap().attempts()), (State::Reached, 0));
}

#[test]
fn refusals_say_what_is_wrong() {
    let mut world = World::new(1);
    world.open(&[0]);
    assert_eq!(world.word(9, Word::Close).unwrap_err(), [Refusal::UnknownCase { case: 9 }]);
    assert_eq!(world.word(1, Word::Note { text: " ".into() }).unwrap_err(), [Refusal::NothingSaid]);
    let past = Word::CallBack { at_ms: Some(1), text: String::new() };
    assert_eq!(world.word(1, past).unwrap_err(), [Refusal::CallBackInThePast]);
    assert_eq!(world.word(1, Word::Reopen { why: "x".into() }).unwrap_err(), [Refusal::NotClosed { case: 1 }]);
    world.live(10 * SECOND, &[0]);
    assert_eq!(world.word(1, Word::Own { owner: None }).unwrap_err(), [Refusal::Closed { case: 1 }]);
    let aware = Awareness { at_ms: 1, who: "ann".into(), source: String::new() };
    let opening = |devices, incident| Opening {
        class: Class::Outage,
        origin: Origin::Operator,
        aware: aware.clone(),
        why: "x".into(),
        devices,
        incident,
    };
    let open = |opening| world.book.open_by_hand(opening, &ran);
    assert_eq!(open(opening(Vec::new(), None)), Err(Refusal::NoDevices));
    assert_eq!(open(opening(vec![1], Some(7))), Err(Refusal::UnknownIncident { incident: 7 }));
    assert_eq!(open(opening(vec![0], Some(1))), Err(Refusal::AllHaveCases { incident: 1 }));
}

#[test]
fn a_halted_rollout_opens_a_case_for_each_device_that_it_reached_and_not_for_controls() {
    let mut world = World::new(4);
    let release = Release {
        name: "till".into(),
        version: "2".into(),
        sequence: 2,
        kind: Kind::Component,
        security_floor: 0,
        state: StateCompatibility::None,
        digest: Digest::of(b"till 2"),
    };
    let profile = Profile::named(ProfileName::Demo);
    let authorisation = Authorisation {
        rollout: 1,
        release: release.digest,
        log_root: Digest::of(b"root"),
        unit: Unit::Device,
        profile: ProfileName::Demo,
        start_ms: 0,
        not_after_ms: u64::MAX,
        ceiling: vec![crate::profile::CeilingStep { age_ms: 0, share: crate::ids::Share::ALL }],
        exposure_budget: None,
        supersedes: None,
        signers: 2,
    };
    let mut rollout = Rollout::new(&world.fleet, release, authorisation, profile, 0).unwrap();
    for device in 0..12 {
        world.fleet.heard(device, world.now);
    }
    for event in rollout.plan(&world.fleet, world.now).actions {
        rollout.apply(&mut world.fleet, &event, world.now);
    }
    let mut treated = Vec::new();
    for device in 0..12 {
        let (events, _) = rollout.report(&world.fleet, device, &rollout::Report::Ready, world.now);
        for event in events {
            if let rollout::Event::Permitted { arm: crate::evidence::Arm::Treated, .. } = event {
                treated.push(device);
            }
            rollout.apply(&mut world.fleet, &event, world.now);
        }
    }
    assert!(!treated.is_empty() && treated.len() < 12, "{treated:?}");
    for event in rollout.by_hand(rollout::ByHand::Halt { who: "ann".into(), why: "x".into() }) {
        rollout.apply(&mut world.fleet, &event, world.now);
    }
    let events = world.book.open_for_halt(&rollout, "halted", world.now, &ran);
    world.take(events);
    let devices: Vec<_> = world.book.cases.values().map(|case| case.device).collect();
    assert_eq!(devices, treated);
    assert_eq!(world.book.of_rollout(1).unwrap().class, Class::FaultyUpdate);
    assert_eq!(world.book.open_for_halt(&rollout, "halted", world.now, &ran), Vec::new(), "once a halt");
}

#[test]
fn the_curve_names_when_a_share_was_back_for_good() {
    let mut world = World::new(4);
    world.open(&(0..12).collect::<Vec<_>>());
    world.live(5 * SECOND, &(0..11).collect::<Vec<_>>());
    let incident = world.book.incident(1).unwrap();
    let milestones = incident.curve().milestones();
    let reached: Vec<_> = milestones.iter().map(|m| (m.percent, m.at_ms.is_some())).collect();
    assert_eq!(reached, [(50, true), (90, true), (97, false), (99, false), (100, false)]);
    let own = Curve::of(incident.cases.iter().filter_map(|id| world.book.case(*id)));
    assert_eq!((own.last().back, own.last().cases), (11, 12));
    assert!(own.thinned(2).points.len() <= 2);
}

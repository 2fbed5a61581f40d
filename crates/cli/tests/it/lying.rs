//! A thief has everything from the server's machine: online key, certificate, log. Every device must go on running what it
//! runs, and say why; the guard must say the same when its agent lies as well. And once all seven conditions hold, the same
//! thief's server gets a device to change, or these tests would prove nothing.
//!
//! One laboratory for all of it: version 1 comes from the real server, which is then replaced by the lying one. Each
//! machine hears another lie. Then the real server is back and must be able to tell what its devices went through.
//! `server` lies, `keys` signs, `guard` asks a guard without its agent.

pub mod guard;
mod keys;
mod server;

use crate::fleet::{Fleet, show};
use guard::{Attempt, Guard};
use keys::{DAY_MS, Gated, MINUTE_MS, Offline, Shipment, Terms, Thief, offer};
use server::LyingServer;
use staffel_agent::{directory::Directory, status::AgentStatus};
use staffel_cli::lab::{Options, Spec};
use staffel_core::{
    conditions::{Memory, Refusal},
    device::Phase,
    ids::{DeviceId, Digest, Share},
    policy::{CustomerPolicy, PolicyRefusal},
};
use staffel_server::api::{DeviceWhy, StartRollout, Word};
use staffel_statement::{
    Envelope,
    guard::{Installation, Reply},
    predicate::{Headed, TenantPolicy, read, sign},
};
use staffel_trust::wire::Offer;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Of every machine of a [`Fleet`].
pub const STRATUM: &str = "debian-12.11/terminal-x1";
/// A lie is told for at least this many check-ins after it was refused.
const CHECK_INS: u32 = 5;

/// An authorisation lives so long that a busy machine has shown it to the guard before it ends, and not much longer.
const SOON_MS: u64 = 12_000;

/// Unix milliseconds.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    u64::try_from(since.as_millis()).expect("the clock is set")
}

/// A machine of the fleet.
#[derive(Clone)]
struct Machine {
    at: usize,
    name: String,
    folder: PathBuf,
    id: DeviceId,
}

impl Machine {
    fn of(fleet: &Fleet) -> Vec<Machine> {
        let machine = |(at, machine): (usize, &staffel_cli::lab::Machine)| {
            let file = Directory::new(&machine.folder.join("agent")).installation();
            let text = std::fs::read(file).expect("an enrolled machine");
            let id = serde_json::from_slice::<Installation>(&text).expect("JSON").device;
            Machine { at, name: machine.name.clone(), folder: machine.folder.clone(), id }
        };
        fleet.lab.machines.iter().enumerate().map(machine).collect()
    }

    fn directory(&self) -> Directory {
        Directory::new(&self.folder.join("agent"))
    }

    fn memory(&self) -> Option<Memory> {
        serde_json::from_slice(&std::fs::read(self.directory().memory()).ok()?).ok()
    }

    fn policy(&self) -> Envelope {
        let text = std::fs::read(self.directory().policy()).expect("a policy came");
        serde_json::from_slice(&text).expect("an envelope")
    }

    fn policy_sequence(&self) -> u64 {
        let payload = self.policy().payload().expect("a payload");
        read::<Headed<TenantPolicy>>(&payload).expect("a policy").body.sequence
    }

    fn runs(&self) -> BTreeMap<String, Digest> {
        Guard::new(&self.folder).status().selected.map(|selected| selected.releases).unwrap_or_default()
    }
}

/// What a device must say of a rollout: this refusal and no other.
struct Expected {
    what: &'static str,
    machine: Machine,
    rollout: u64,
    holds: fn(&Refusal) -> bool,
}

impl Expected {
    /// That a permit is still missing is said as long as something else is in its way.
    fn is_met_by(&self, refusals: &[Refusal]) -> bool {
        let mut others = refusals.iter().filter(|refusal| **refusal != Refusal::PermitMissing);
        others.next().is_some_and(self.holds) && others.next().is_none()
    }

    fn is_met(&self, status: &AgentStatus) -> bool {
        status.reasons.iter().any(|reason| reason.rollout == self.rollout && self.is_met_by(&reason.refusals))
    }

    fn is_met_on_the_server(&self, why: &DeviceWhy) -> bool {
        why.rollouts.iter().any(|entry| entry.rollout == self.rollout && self.is_met_by(&entry.refusals))
    }
}

macro_rules! expected {
    ($what:literal, $machine:expr, $rollout:expr, $($refusal:tt)+) => {
        Expected {
            what: $what,
            machine: $machine.clone(),
            rollout: $rollout,
            holds: |refusal| matches!(refusal, $($refusal)+),
        }
    };
}

/// Everything and everybody.
struct Scene {
    fleet: Fleet,
    machines: Vec<Machine>,
    offline: Offline,
    thief: Thief,
    first: Shipment,
    second: Shipment,
    halted: Shipment,
    /// The policy of the customer that freezes, as it was before.
    thawed: Envelope,
}

impl Scene {
    /// Seven machines with version 1, a release that was halted, a customer that has frozen its only machine, the last.
    fn set_up() -> (Scene, BTreeMap<&'static str, Shipment>) {
        let mut fleet = Fleet::new(6, Options::default());
        fleet.lab.tenant("museum", CustomerPolicy::default()).expect("a customer");
        let (os_build, hardware_model) = STRATUM.split_once('/').expect("two parts");
        let frozen = Spec { tenant: "museum", site: "hall", name: "pc-7", os_build, hardware_model };
        fleet.lab.machine(frozen).expect("a machine");
        let machines = Machine::of(&fleet);

        let mut offline = Offline::new(&fleet.lab);
        let first = offline.component("till", 1, Gated::Passed);
        let second = offline.component("till", 2, Gated::Passed);
        let halted = offline.content("halted", Gated::Passed);
        let mut others = BTreeMap::new();
        for (name, gated) in [
            ("no-gate", Gated::Never),
            ("foreign-gate", Gated::Foreign),
            ("other-consumer", Gated::OtherConsumer),
            ("other-authorisation", Gated::Passed),
            ("other-frontier", Gated::Passed),
            ("replayed", Gated::Passed),
            ("forked", Gated::Passed),
            ("late", Gated::Passed),
            ("no-room", Gated::Passed),
            ("one-releaser", Gated::Passed),
        ] {
            others.insert(name, offline.content(name, gated));
        }
        offline.publish();
        let thief = Thief::new(&fleet.lab.layout);
        let last = machines.last().expect("seven").clone();
        fleet.wait("a policy on every machine", |_| Ok(machines.iter().all(|m| m.directory().policy().exists())));
        let thawed = last.policy();
        let scene = Scene { fleet, machines, offline, thief, first, second, halted, thawed };
        scene.live_a_little(&last);
        (scene, others)
    }

    /// What happened before the theft: version 1, a halt, a freeze.
    fn live_a_little(&self, frozen: &Machine) {
        let installed = self.really_start(&self.first, |terms| terms);
        let view = self.fleet.ended(installed);
        assert_eq!(view.state, "completed", "{}", view.why);
        // A ceiling without a step lets nobody go.
        let bad = self.really_start(&self.halted, |terms| Terms { ceiling: Vec::new(), ..terms });
        let word = Word { why: "tills hang".into(), halt: None };
        let client = self.fleet.lab.client().expect("a client");
        client.word(bad, "halt", &word).expect("halted");
        let freeze = CustomerPolicy { freeze: Some("the exhibition opens".into()), ..CustomerPolicy::default() };
        self.fleet.lab.tenant("museum", freeze).expect("a policy");
        let halted = self.halted.digest;
        let known = |machine: &Machine| machine.memory().is_some_and(|memory| memory.denied.contains_key(&halted));
        self.fleet.wait("the halt and the freeze on the machines", |_| {
            Ok(self.machines.iter().all(known) && frozen.policy_sequence() == 2)
        });
    }

    fn really_start(&self, shipment: &Shipment, change: impl FnOnce(Terms) -> Terms) -> u64 {
        let client = self.fleet.lab.client().expect("a client");
        let next = client.next_rollout().expect("the server answers");
        let terms = Terms { log_root: next.log_root, ..Terms::open(next.rollout, shipment.digest) };
        let start = StartRollout {
            release: shipment.release.clone(),
            gate: shipment.gate.clone().expect("it was gated"),
            authorisation: self.offline.authorise(&change(terms)),
        };
        client.start_rollout(&start).expect("the rollout starts").rollout
    }

    fn frontier(&self, terms: &Terms, sequence: u64, everybody: bool) -> Envelope {
        self.thief.frontier(terms.rollout, terms.release, sequence, everybody, now_ms())
    }

    /// An offer with a frontier for everybody.
    fn offer(&self, shipment: &Shipment, terms: &Terms) -> Offer {
        offer(terms.rollout, shipment, &self.offline.authorise(terms), self.frontier(terms, 1, true))
    }

    fn wait_for(&self, expected: &Expected) {
        let what = format!("{} to refuse ({})", expected.machine.name, expected.what);
        self.fleet
            .wait(&what, |_| Ok(self.fleet.status(expected.machine.at).is_some_and(|status| expected.is_met(&status))));
    }

    fn has_version_1(&self, machine: &Machine) {
        let version_1: BTreeMap<_, _> = [(self.first.name.clone(), self.first.digest)].into();
        let status = Guard::new(&machine.folder).status();
        let what = format!("{}: {status:?}", machine.name);
        assert_eq!(status.selected.map(|selected| selected.releases), Some(version_1), "{what}");
        assert_eq!(status.trial, None, "{what}");
    }
}

/// A server with the online key and the truth is not to be told from the real one.
fn tell_the_truth(scene: &Scene, server: &LyingServer, machine: &Machine) {
    let terms = Terms::open(100, scene.second.digest);
    let (thief, id) = (Thief::new(&scene.fleet.lab.layout), machine.id);
    let permit = move |ready: &staffel_trust::wire::Ready| {
        Some(thief.permit(ready.rollout, ready.release, id, &ready.nonce, now_ms()))
    };
    server.tell(id, vec![scene.offer(&scene.second, &terms)], Some(Box::new(permit)));
}

/// Permits whose time is `ahead_ms` before everybody else's.
fn permits(scene: &Scene, id: DeviceId, ahead_ms: u64) -> Option<server::Permits> {
    let thief = Thief::new(&scene.fleet.lab.layout);
    Some(Box::new(move |ready| Some(thief.permit(ready.rollout, ready.release, id, &ready.nonce, now_ms() + ahead_ms))))
}

/// Condition 3: everybody may, a minute after an authorisation that lets one in a thousand.
fn lie_about_the_ceiling(scene: &Scene, server: &LyingServer, machine: &Machine) -> Expected {
    let terms = Terms::open(101, scene.second.digest).standard(machine.id);
    server.tell(machine.id, vec![scene.offer(&scene.second, &terms)], permits(scene, machine.id, 0));
    expected!("100 % after a minute", machine, 101, Refusal::AboveCeiling { ceiling: Share(1_000_000), age_ms, .. }
        if *age_ms < 10 * MINUTE_MS)
}

/// The same, and it is next week: age counts on the device's own clock.
fn lie_about_the_time(scene: &Scene, server: &LyingServer, machine: &Machine) -> Expected {
    let terms = Terms::open(102, scene.second.digest).standard(machine.id);
    let mut offer = scene.offer(&scene.second, &terms);
    server.tell(machine.id, vec![offer.clone()], None);
    scene.fleet.wait("the device to be ready", |_| Ok(server.asks(machine.id).is_some()));
    let next_week = now_ms() + 7 * DAY_MS;
    offer.frontier = Some(scene.thief.frontier(102, scene.second.digest, 2, true, next_week));
    server.tell(machine.id, vec![offer], permits(scene, machine.id, 7 * DAY_MS));
    scene.fleet.wait("the device to believe that it is next week", |_| {
        Ok(scene.fleet.status(machine.at).is_some_and(|status| status.written_ms >= next_week))
    });
    expected!("100 %, and a week has passed", machine, 102, Refusal::AboveCeiling { age_ms, .. }
        if *age_ms < 10 * MINUTE_MS)
}

/// Condition 7: a permit that was good for an earlier question of this very device.
fn replay_a_permit(scene: &Scene, server: &LyingServer, machine: &Machine) -> Expected {
    let terms = Terms::open(103, scene.second.digest);
    let offer = scene.offer(&scene.second, &terms);
    server.tell(machine.id, vec![offer.clone()], None);
    let mut asked = None;
    scene.fleet.wait("the device to be ready", |_| {
        asked = server.asks(machine.id);
        Ok(asked.is_some())
    });
    let before = asked.expect("it asks").nonce;
    server.tell(machine.id, Vec::new(), None);
    scene.fleet.wait("the device to drop it", |_| {
        Ok(scene.fleet.status(machine.at).is_some_and(|status| status.phase == Phase::Idle))
    });
    // Signed anew each time, so that it never fails for its age instead.
    let (thief, id) = (Thief::new(&scene.fleet.lab.layout), machine.id);
    let permit = move |_: &staffel_trust::wire::Ready| Some(thief.permit(103, terms.release, id, &before, now_ms()));
    server.tell(machine.id, vec![offer], Some(Box::new(permit)));
    expected!("a replayed permit", machine, 103, Refusal::PermitReplayed)
}

/// Condition 7: a permit for somebody else's change, then for this change of somebody else.
fn misdirect_a_permit(scene: &Scene, server: &LyingServer, machine: &Machine) -> Expected {
    let terms = Terms::open(104, scene.second.digest);
    let offer = scene.offer(&scene.second, &terms);
    let (thief, id, other) = (Thief::new(&scene.fleet.lab.layout), machine.id, scene.machines[0].id);
    server.tell(
        id,
        vec![offer.clone()],
        Some(Box::new(move |ready| Some(thief.permit(ready.rollout, ready.release, other, &ready.nonce, now_ms())))),
    );
    scene.wait_for(
        &expected!("another device's permit", machine, 104, Refusal::PermitForOther { what } if what == "device"),
    );
    let (thief, first) = (Thief::new(&scene.fleet.lab.layout), scene.first.digest);
    server.tell(
        id,
        vec![offer],
        Some(Box::new(move |ready| Some(thief.permit(ready.rollout, first, id, &ready.nonce, now_ms())))),
    );
    expected!("a permit for another release", machine, 104, Refusal::PermitForOther { what } if what == "release")
}

/// Condition 5: a customer's freeze can't be unsigned, withheld from a device that has it, replaced or turned back.
fn lie_about_the_policy(scene: &Scene, server: &LyingServer, machine: &Machine) -> Expected {
    let terms = Terms::open(105, scene.second.digest);
    server.tell(machine.id, vec![scene.offer(&scene.second, &terms)], permits(scene, machine.id, 0));
    let body = TenantPolicy { tenant: "museum".into(), sequence: 3, policy: CustomerPolicy::default() };
    for (sequence, policy, says) in [
        (3, scene.thief.sign(body, now_ms()), "0 of 1 keys of the role customer"),
        (4, scene.thawed.clone(), "it is an old one: sequence 1, 2 was seen before"),
    ] {
        server.hand_out_policy(machine.id, sequence, policy);
        scene.fleet.wait_for_words(machine.at, &["the customer's policy does not hold", says]);
    }
    expected!("a customer's freeze", machine, 105, Refusal::Policy(PolicyRefusal::Frozen { .. }))
}

/// Conditions 1 to 4 and 6, side by side on one board.
fn lie_on_the_board(
    scene: &Scene,
    server: &LyingServer,
    machine: &Machine,
    shipments: &BTreeMap<&'static str, Shipment>,
) -> Vec<Expected> {
    let (now, first) = (now_ms(), scene.first.digest);
    let terms = |rollout, name: &str| Terms::open(rollout, shipments[name].digest);
    let plain = |rollout, name: &str| scene.offer(&shipments[name], &terms(rollout, name));
    let with = |rollout, name: &str, frontier| Offer { frontier: Some(frontier), ..plain(rollout, name) };
    // The first board shows frontiers that reach nobody; the second replays an older one and shows another one with the
    // same sequence.
    let (replayed, forked) = (terms(206, "replayed"), terms(207, "forked"));
    server.tell(
        machine.id,
        vec![
            with(206, "replayed", scene.frontier(&replayed, 5, false)),
            with(207, "forked", scene.frontier(&forked, 6, false)),
        ],
        None,
    );
    scene.fleet.wait("the device to have seen the frontiers", |_| Ok(server.check_ins(machine.id) > 0));

    // The guard's folder takes nothing any more, even from root.
    std::fs::create_dir(machine.folder.join("guard/preflight.tmp")).expect("a folder in the guard's way");
    let halted = Terms::open(208, scene.halted.digest).starting(now - 13 * DAY_MS);
    let late = terms(209, "late").starting(now - 20 * DAY_MS);
    let mut one = plain(211, "one-releaser");
    let releaser = scene.fleet.lab.layout.signing_key("releaser-1").expect("a releaser's key");
    let online = scene.fleet.lab.layout.signing_key("online-1").expect("the online key");
    one.authorisation = sign(&terms(211, "one-releaser").statement(), &[&releaser, &online]);
    let mut other = plain(204, "other-authorisation");
    other.authorisation = scene.offline.authorise(&Terms::open(204, scene.second.digest));
    let offers = vec![
        plain(201, "no-gate"),
        plain(202, "foreign-gate"),
        plain(203, "other-consumer"),
        other,
        with(205, "other-frontier", scene.thief.frontier(205, first, 1, true, now)),
        with(206, "replayed", scene.frontier(&replayed, 4, true)),
        with(207, "forked", scene.frontier(&forked, 6, true)),
        scene.offer(&scene.halted, &halted),
        scene.offer(&shipments["late"], &late),
        plain(210, "no-room"),
        one,
    ];
    server.tell(machine.id, offers, permits(scene, machine.id, 0));
    vec![
        expected!("no gate attestation", machine, 201, Refusal::GateMissing),
        expected!("a foreign gate", machine, 202, Refusal::GateRejected { .. }),
        expected!("a gate that ran another consumer", machine, 203, Refusal::GateWithoutThisConsumer { .. }),
        expected!("an authorisation for another release", machine, 204, Refusal::AuthorisationForOtherRelease),
        expected!("a frontier for another release", machine, 205, Refusal::FrontierForOther),
        expected!("a replayed frontier", machine, 206, Refusal::FrontierReplayed { sequence: 4, seen: 5 }),
        expected!("two frontiers with one sequence", machine, 207, Refusal::FrontierForked { sequence: 6 }),
        expected!("a halted release with a mature ceiling", machine, 208, Refusal::ReleaseDenied { .. }),
        expected!("a mature ceiling that the device never saw", machine, 209, Refusal::AuthorisationExpired { .. }),
        expected!("a guard that can't write", machine, 210, Refusal::PreflightFailed { .. }),
        expected!("one releaser and the thief", machine, 211, Refusal::AuthorisationTooFewSigners { have: 1 }),
    ]
}

#[test]
fn nothing_moves_for_a_server_that_lies() {
    let begun = Instant::now();
    let (mut scene, shipments) = Scene::set_up();
    show("version 1 on seven machines", crate::fleet::seconds(begun));

    // The theft.
    scene.fleet.lab.kill_server();
    let server = LyingServer::start(&scene.fleet.lab);
    let machines = scene.machines.clone();
    let [ceiling, time, replay, other, board, truth, frozen] = &machines[..] else { panic!("seven machines") };
    tell_the_truth(&scene, &server, truth);
    let mut expected = vec![lie_about_the_ceiling(&scene, &server, ceiling)];
    std::thread::scope(|threads| {
        let told = [
            threads.spawn(|| vec![lie_about_the_time(&scene, &server, time)]),
            threads.spawn(|| vec![replay_a_permit(&scene, &server, replay)]),
            threads.spawn(|| vec![misdirect_a_permit(&scene, &server, other)]),
            threads.spawn(|| vec![lie_about_the_policy(&scene, &server, frozen)]),
            threads.spawn(|| lie_on_the_board(&scene, &server, board, &shipments)),
        ];
        for told in told {
            expected.extend(told.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    for expected in &expected {
        scene.wait_for(expected);
    }
    // The negative control: with all seven, the thief's word is enough.
    let version_2: BTreeMap<_, _> = [(scene.second.name.clone(), scene.second.digest)].into();
    scene.fleet.wait("the machine that hears the truth to commit version 2", |_| {
        let status = Guard::new(&truth.folder).status();
        Ok(status.trial.is_none() && status.last_known_good.releases == version_2)
    });
    assert_eq!(truth.runs(), version_2);

    // The lies go on for a while. Nothing moves, and the reasons stay.
    let liars: Vec<&Machine> = machines.iter().filter(|machine| machine.id != truth.id).collect();
    let so_far: Vec<u32> = liars.iter().map(|machine| server.check_ins(machine.id)).collect();
    scene.fleet.wait("more check-ins", |_| {
        Ok(liars.iter().zip(&so_far).all(|(machine, before)| server.check_ins(machine.id) >= before + CHECK_INS))
    });
    for expected in &expected {
        let status = scene.fleet.status(expected.machine.at).expect("a status");
        assert!(expected.is_met(&status), "{}: {:?}", expected.what, status.reasons);
    }
    for machine in &liars {
        scene.has_version_1(machine);
    }
    show("refused by agents", format!("{} lies, {}", expected.len(), crate::fleet::seconds(begun)));

    // The real server is back and hears it from the devices.
    drop(server);
    scene.fleet.lab.start_server().expect("the real server starts");
    for expected in &expected {
        let what = format!("`device why` to say why ({})", expected.what);
        scene.fleet.wait(&what, |_| {
            let why = scene.fleet.json(&["device", "why", &expected.machine.name]);
            Ok(expected.is_met_on_the_server(&serde_json::from_value(why)?))
        });
    }
    show("told to the real server", crate::fleet::seconds(begun));

    // Now the agents lie, too.
    std::fs::remove_dir(board.folder.join("guard/preflight.tmp")).expect("out of the guard's way");
    for machine in [replay, frozen] {
        scene.fleet.wait("the agent to be quiet", |_| {
            let status = scene.fleet.status(machine.at);
            Ok(status.is_some_and(|s| s.phase == Phase::Idle && s.reasons.iter().all(|r| r.rollout < 100)))
        });
    }
    guards_refuse_a_frozen_customers_agent(&scene, frozen);
    guards_refuse_a_lying_agent(&scene, replay, &shipments);
    show("refused by guards", crate::fleet::seconds(begun));
}

/// One refusal, and no other.
#[track_caller]
fn assert_only(what: &str, refusals: &[Refusal], holds: fn(&Refusal) -> bool) {
    assert!(refusals.len() == 1 && holds(&refusals[0]), "{what}: {refusals:?}");
}

fn guards_refuse_a_frozen_customers_agent(scene: &Scene, machine: &Machine) {
    let guard = Guard::new(&machine.folder);
    let terms = Terms::open(301, scene.second.digest);
    let (offline, thief, policy) = (&scene.offline, &scene.thief, machine.policy());
    let mut attempt = Attempt::new(&guard, machine.id, offline, thief, &scene.second, terms, &policy);
    let frozen = |refusal: &Refusal| matches!(refusal, Refusal::Policy(PolicyRefusal::Frozen { .. }));
    assert_only("a frozen customer", &attempt.refused(), frozen);
    attempt.bundle.policy = Some(scene.thawed.clone());
    assert_only(
        "its policy before",
        &attempt.refused(),
        |refusal| matches!(refusal, Refusal::PolicyRejected { why } if why.contains("sequence 1, 2 was seen before")),
    );
    attempt.bundle.policy = None;
    assert_only("no policy", &attempt.refused(), |refusal| *refusal == Refusal::PolicyMissing);
    scene.has_version_1(machine);
}

fn guards_refuse_a_lying_agent(scene: &Scene, machine: &Machine, shipments: &BTreeMap<&'static str, Shipment>) {
    let guard = Guard::new(&machine.folder);
    let (policy, thief) = (machine.policy(), &scene.thief);
    let release = scene.second.digest;
    let attempt_with = |shipment: &Shipment, terms: Terms| {
        Attempt::new(&guard, machine.id, &scene.offline, thief, shipment, terms, &policy)
    };
    let attempt = |terms: Terms| attempt_with(&scene.second, terms);
    let now = now_ms();

    // An authorisation that will be over soon is seen now; see below.
    let begun = Instant::now();
    let soon = Terms { not_after_ms: now + SOON_MS, start_ms: now, ..Terms::open(310, release) };
    let overdue = attempt(soon).claiming(now + 1);
    overdue.guard.prepare(&overdue.bundle).expect("nothing is wrong with it yet");

    let standard = || Terms::open(311, release).standard(machine.id);
    let above = |refusal: &Refusal| matches!(refusal, Refusal::AboveCeiling { age_ms, .. } if *age_ms < 10 * MINUTE_MS);
    assert_only("100 % after a minute", &attempt(standard()).refused(), above);
    let next_week = attempt(Terms { rollout: 312, ..standard() }).claiming(now + 7 * DAY_MS);
    assert_only("100 %, and a week has passed", &next_week.refused(), above);

    let twice = attempt(Terms::open(313, release));
    let before = guard.prepare(&twice.bundle).expect("a nonce");
    guard.prepare(&twice.bundle).expect("another nonce");
    let replayed = guard.arm(&twice.bundle, twice.permit(&before)).expect_err("a permit that was replayed");
    assert_only("a replayed permit", &replayed, |refusal| *refusal == Refusal::PermitReplayed);
    let nonce = guard.prepare(&twice.bundle).expect("a nonce");
    for (what, permit) in [
        ("device", thief.permit(313, release, scene.machines[0].id, &nonce, now)),
        ("rollout", thief.permit(314, release, machine.id, &nonce, now)),
        ("release", thief.permit(313, scene.first.digest, machine.id, &nonce, now)),
    ] {
        let refusals = guard.arm(&twice.bundle, permit).expect_err("a permit for another");
        assert_eq!(refusals, [Refusal::PermitForOther { what: what.into() }]);
    }

    let mut replay = attempt(Terms::open(315, release));
    replay.bundle.frontier = Some(thief.frontier(315, release, 5, false, now));
    guard.prepare(&replay.bundle).expect("the guard sees the frontier");
    replay.bundle.frontier = Some(thief.frontier(315, release, 4, true, now));
    assert_eq!(replay.refused(), [Refusal::FrontierReplayed { sequence: 4, seen: 5 }]);
    let mut fork = attempt(Terms::open(316, release));
    for everybody in [false, true] {
        fork.bundle.frontier = Some(thief.frontier(316, release, 6, everybody, now));
        guard.prepare(&fork.bundle).expect("the guard sees the frontier");
    }
    assert_eq!(fork.refused(), [Refusal::FrontierForked { sequence: 6 }]);
    fork.bundle.frontier = Some(thief.frontier(316, release, 7, true, now));
    assert_eq!(fork.refused(), [Refusal::FrontierForked { sequence: 6 }], "held for good");
    let mut other = attempt(Terms::open(317, release));
    other.bundle.frontier = Some(thief.frontier(317, scene.first.digest, 1, true, now));
    assert_eq!(other.refused(), [Refusal::FrontierForOther]);

    for (rollout, name, holds) in [
        (318, "no-gate", (|r| *r == Refusal::GateMissing) as fn(&Refusal) -> bool),
        (319, "foreign-gate", |r| matches!(r, Refusal::GateRejected { .. })),
        (320, "other-consumer", |r| matches!(r, Refusal::GateWithoutThisConsumer { .. })),
    ] {
        let shipment = &shipments[name];
        assert_only(name, &attempt_with(shipment, Terms::open(rollout, shipment.digest)).refused(), holds);
    }
    let mut stolen = attempt(Terms::open(321, release));
    stolen.bundle.gate = shipments["no-room"].gate.clone();
    assert_eq!(stolen.refused(), [Refusal::GateForOtherRelease]);
    let mut other = attempt(Terms::open(322, release));
    other.bundle.authorisation = Some(scene.offline.authorise(&Terms::open(322, scene.first.digest)));
    assert_only("an authorisation for another release", &other.refused(), |refusal| {
        *refusal == Refusal::AuthorisationForOtherRelease
    });

    let halted = Terms::open(323, scene.halted.digest).starting(now - 13 * DAY_MS);
    let refusals = attempt_with(&scene.halted, halted).refused();
    assert_only("a halted release", &refusals, |refusal| matches!(refusal, Refusal::ReleaseDenied { .. }));
    // The old ceiling would let everybody go by now. Seen for the first time it has no age, and it is over anyway.
    let late = Terms { rollout: 324, ..standard() }.starting(now - 20 * DAY_MS);
    let refusals = attempt(late.clone()).refused();
    assert!(
        matches!(&refusals[..], [Refusal::AuthorisationExpired { .. }, Refusal::AboveCeiling { .. }]),
        "{refusals:?}"
    );
    // The releasers' later words have told the guard what time it is at least.
    let refusals = attempt(Terms { rollout: 326, ..late }).claiming(now - 7 * DAY_MS).refused();
    assert!(
        matches!(&refusals[..2], [Refusal::AuthorisationExpired { .. }, Refusal::AboveCeiling { .. }]),
        "an old ceiling, and it is last week: {refusals:?}"
    );

    let in_the_way = guard.folder().join("preflight.tmp");
    std::fs::create_dir(&in_the_way).expect("a folder in the guard's way");
    let full = attempt(Terms::open(325, release));
    let failed = |refusal: &Refusal| matches!(refusal, Refusal::PreflightFailed { .. });
    assert_only("a folder that can't be written", &full.guard.prepare(&full.bundle).expect_err("no preflight"), failed);
    std::fs::remove_dir(&in_the_way).expect("out of the guard's way");

    // Whatever time the thief claims, what has passed on the guard's own clock has passed.
    std::thread::sleep(std::time::Duration::from_millis(SOON_MS + 1_000).saturating_sub(begun.elapsed()));
    assert_only("an authorisation that is over, and a permit that says it is not", &overdue.refused(), |refusal| {
        matches!(refusal, Refusal::AuthorisationExpired { .. })
    });
    scene.has_version_1(machine);

    // The negative control.
    let truth = attempt(Terms::open(399, release));
    truth.run().expect("all seven hold");
    let trial = guard.status().trial.expect("it is on trial");
    assert_eq!((trial.rollout, trial.release), (399, release));
    let abort = staffel_statement::guard::Command::Abort { why: "the test is over".into() };
    assert!(matches!(guard.ask(&abort), Reply::Done { .. }));
}

//! The server is killed again and again while a rollout goes on, and nobody is harmed: not by a lost event, not by one that
//! counts twice, not by a server that takes its own absence for a wave of deaths.

use crate::fleet::{Fleet, PANIC, show};
use staffel_agent::{
    api::Api,
    clock::TrustedTime,
    directory::Directory,
    https::{self, ClientIdentity},
};
use staffel_cli::lab::Options;
use staffel_core::{
    evidence::{Arm, Metric},
    ids::{DeviceId, Digest},
    profile::{Profile, ProfileName},
    rollout::Event,
};
use staffel_server::engine::record::Record;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const MACHINES: usize = 18;
const KILLS: u32 = 50;
/// Between two kills, milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 100..900;
/// From the permit to the first word, in the demo's profile, milliseconds.
const DEADLINE_MS: u64 = 5_000;
/// Three of the demo's cadences.
const HEARTBEATS_MS: u64 = 3_000;
/// K of the good rollout. So small that it takes ten waves, each longer than the soak time: every kill meets it open.
const BUDGET: u32 = 2;
const AT_ONCE: [(u64, u32); 1] = [(0, 100)];

/// SplitMix64 (Steele, Lea, Flood 2014): the moments of the kills, from a seed that is printed.
struct Random(u64);

impl Random {
    fn seeded() -> Random {
        let given = std::env::var("STAFFEL_SEED").ok().and_then(|text| text.parse().ok());
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        let seed = given.unwrap_or_else(now);
        show("restart seed (STAFFEL_SEED)", seed);
        Random(seed)
    }

    fn in_range(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        range.start + (z ^ (z >> 31)) % (range.end - range.start)
    }
}

/// Frontiers that a device was shown: rollout and sequence, and the digests of the bodies.
type Bodies = BTreeMap<(u64, u64), BTreeSet<Digest>>;

/// Looks at the board all the time, with the identity of a machine.
struct Watcher {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Bodies>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    fn start(fleet: &Fleet) -> Watcher {
        let folder = Directory::new(&fleet.lab.machines[0].folder.join("agent"));
        let read = |path: PathBuf| std::fs::read(path).expect("the agent's file");
        let (authority, certificate, key) = (read(folder.authority()), read(folder.certificate()), read(folder.key()));
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Bodies::new())));
        let (url, stops, sees) = (fleet.lab.url.clone(), Arc::clone(&stop), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let identity = ClientIdentity { certificate_pem: &certificate, key_pem: &key };
                let time = Arc::new(Mutex::new(TrustedTime::new(0)));
                let api = Api::new(https::client(&authority, Some(identity), time).expect("a client"), &url);
                while !stops.load(Ordering::Relaxed) {
                    // The server is dead now and then.
                    if let Ok(board) = api.board().await {
                        let mut seen = sees.lock().expect("nobody panics here");
                        for (offer, frontier) in board.offers.iter().filter_map(|o| Some((o, o.frontier.as_ref()?))) {
                            let payload = frontier.payload().expect("a payload");
                            let body: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
                            let sequence = sequence(&body).expect("a frontier has a sequence");
                            seen.entry((offer.rollout, sequence)).or_default().insert(Digest::of(&payload));
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
            });
        });
        Watcher { stop, seen, thread: Some(thread) }
    }

    fn stop(mut self) -> Bodies {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join).expect("it runs").expect("it did not panic");
        self.seen.lock().expect("nobody panics here").clone()
    }
}

/// The field `sequence`, wherever the statement's form has put it.
fn sequence(body: &serde_json::Value) -> Option<u64> {
    body.get("sequence").and_then(serde_json::Value::as_u64).or_else(|| {
        let inner = body.as_object()?.values();
        inner.filter(|value| value.is_object()).find_map(sequence)
    })
}

/// Kills the server until `enough`; what each start took, milliseconds.
fn kill_again_and_again(
    fleet: &mut Fleet,
    random: &mut Random,
    mut enough: impl FnMut(&Fleet, u32) -> bool,
) -> Vec<u64> {
    let mut starts = Vec::new();
    while !enough(fleet, starts.len() as u32) {
        std::thread::sleep(Duration::from_millis(random.in_range(PAUSE_MS)));
        fleet.lab.kill_server();
        let begun = Instant::now();
        fleet.lab.start_server().expect("the server starts again");
        starts.push(begun.elapsed().as_millis() as u64);
    }
    starts
}

/// What the log says of one rollout.
#[derive(Default)]
struct Story {
    most_exposed: usize,
    exposed_ever: BTreeSet<u32>,
    confirmed: BTreeMap<u32, u32>,
    /// Silences of treated devices, and those of them for which the server did not look for long enough.
    silences: u32,
    imagined: Vec<String>,
    held: Vec<String>,
    halted: Option<String>,
    completed: bool,
    starts_within: u32,
    frontiers: Vec<u64>,
}

/// Milliseconds since a moment in which the server did not look.
fn away_since(gaps: &[(u64, u64)], since: u64) -> u64 {
    gaps.iter().map(|(from, to)| to.saturating_sub((*from).max(since))).sum()
}

/// Recomputes a rollout from nothing but the log, and checks after each entry what must hold then.
fn story(log: &[(u64, u64, Record)], id: u64, signed: u64) -> Story {
    let mut story = Story::default();
    let (mut running, mut over) = (false, false);
    let mut exposed: BTreeSet<u32> = BTreeSet::new();
    // What a wave may add: one unit in the first, then what the last one's end said.
    let (mut next, mut carried, mut labels) = (1, 0, BTreeSet::new());
    // Treated devices without a word since their permit, and when the server did not look.
    let (mut awaited, mut away): (BTreeMap<u32, u64>, Vec<(u64, u64)>) = Default::default();
    for (position, at_ms, record) in log {
        match record {
            Record::RolloutStarted { rollout, .. } if *rollout == id => running = true,
            Record::ServerStarted { .. } if running && !over => story.starts_within += 1,
            Record::FrontierMoved { rollout, sequence, .. } if *rollout == id => {
                let last = story.frontiers.last().copied().unwrap_or(0);
                assert!(*sequence > last, "entry {position}: frontier {sequence} comes after {last}");
                story.frontiers.push(*sequence);
            }
            Record::Rollout { rollout, event } if *rollout == id => match event {
                Event::WaveOpened { .. } => {
                    carried = exposed.len() as u64;
                    labels.clear();
                }
                Event::WaveResolved { next: size, .. } => next = *size,
                Event::Permitted { device, arm, .. } => {
                    assert!(!over, "entry {position}: a permit after the end");
                    assert!(labels.insert(*device), "entry {position}: device {device} is permitted twice in a wave");
                    if *arm == Arm::Treated {
                        awaited.insert(*device, *at_ms);
                        assert!(
                            story.exposed_ever.insert(*device),
                            "entry {position}: device {device} is treated twice"
                        );
                        exposed.insert(*device);
                    }
                }
                Event::Confirmed { device } => {
                    awaited.remove(device);
                    assert!(exposed.remove(device), "entry {position}: {device} is confirmed and was not exposed");
                    *story.confirmed.entry(*device).or_default() += 1;
                }
                Event::Failed { device, .. } => {
                    awaited.remove(device);
                    exposed.remove(device);
                }
                Event::Observed { metric, arm: Arm::Treated, .. } => {
                    story.silences += 1;
                    let looked = |since: u64| at_ms.saturating_sub(since).saturating_sub(away_since(&away, since));
                    let (looked, enough) = match metric {
                        // It names no device: one of those that are awaited.
                        Metric::FirstCheckInMissed => {
                            (awaited.values().map(|since| looked(*since)).max().unwrap_or(0), DEADLINE_MS)
                        }
                        // Heartbeats are not in the log: none can be missed before the server has looked for so long.
                        _ => (at_ms - away.last().map_or(0, |(_, to)| *to), HEARTBEATS_MS),
                    };
                    if looked < enough {
                        story.imagined.push(format!("entry {position}: {metric:?} after {looked} ms"));
                    }
                }
                Event::OnTrial { device } | Event::Withdrawn { device, .. } | Event::CutOff { device, .. } => {
                    awaited.remove(device);
                }
                Event::ObservationGap { from_ms, to_ms } => away.push((*from_ms, *to_ms)),
                Event::Held { reason } => story.held.push(reason.to_string()),
                Event::Halted { reason } => (story.halted, over) = (Some(reason.to_string()), true),
                Event::Completed => (story.completed, over) = (true, true),
                _ => {}
            },
            _ => {}
        }
        let k = signed.min(next + carried);
        assert!(exposed.len() as u64 <= k, "entry {position}: {} exposed, K is {k}", exposed.len());
        story.most_exposed = story.most_exposed.max(exposed.len());
    }
    story
}

#[test]
fn fifty_kills_in_a_good_rollout_and_more_in_a_bad_one() {
    let mut random = Random::seeded();
    let mut fleet = Fleet::new(MACHINES, Options::default());
    let watcher = Watcher::start(&fleet);
    let good = fleet.counter(1, "");
    fleet.budget = Some(BUDGET);
    let good = fleet.ship(&good, &AT_ONCE);
    let mut starts = kill_again_and_again(&mut fleet, &mut random, |_, kills| kills == KILLS);
    let view = fleet.ended(good);
    assert_eq!((view.state.as_str(), view.confirmed, view.failed), ("completed", MACHINES as u64, 0), "{view:?}");
    fleet.all_run("counter", "1");

    // The bad one: killed as often as it takes until it is halted.
    let bad = fleet.counter(2, PANIC);
    fleet.budget = None;
    let bad = fleet.ship(&bad, &AT_ONCE);
    let over =
        |fleet: &Fleet| fleet.lab.client().and_then(|client| client.rollout(bad)).map(|view| view.state == "halted");
    let begun = Instant::now();
    let more = kill_again_and_again(&mut fleet, &mut random, |fleet, _| {
        over(fleet).unwrap_or(false) || begun.elapsed() > crate::fleet::PATIENCE
    });
    let kills_of_the_bad = more.len();
    starts.extend(more);
    let view = fleet.ended(bad);
    assert_eq!((view.state.as_str(), view.confirmed), ("halted", 0), "{view:?}");
    fleet.all_run("counter", "1");

    let bodies = watcher.stop();
    fleet.lab.stop_server();
    let entries = fleet.log_is_sound();
    let log = fleet.log();
    assert_eq!(log.len() as u64, entries);

    let story_of_good = story(&log, good, u64::from(BUDGET));
    assert_eq!(story_of_good.starts_within, KILLS, "every kill met the open rollout");
    assert!(story_of_good.completed);
    assert_eq!(story_of_good.halted, None);
    // On a busy machine a device may really be late for a while: then it was seen for the whole deadline.
    assert_eq!(story_of_good.imagined, Vec::<String>::new(), "the server took its own absence for a silence");
    assert!(story_of_good.held.is_empty() || story_of_good.silences > 0, "{:?}", story_of_good.held);
    let devices: BTreeSet<DeviceId> = log
        .iter()
        .filter_map(|(_, _, record)| match record {
            Record::DeviceEnrolled { device, .. } => Some(*device),
            _ => None,
        })
        .collect();
    assert_eq!(devices.len(), MACHINES);
    assert_eq!(story_of_good.confirmed.len(), MACHINES, "an outcome was lost");
    assert!(story_of_good.confirmed.values().all(|times| *times == 1), "an outcome counts twice");

    let of_the_profile = Profile::named(ProfileName::Demo).exposure_budget.expect("demo has a budget");
    let story_of_bad = story(&log, bad, u64::from(of_the_profile));
    assert!(story_of_bad.halted.is_some() && !story_of_bad.completed);
    assert!(story_of_bad.exposed_ever.len() <= 4, "{:?}", story_of_bad.exposed_ever);
    assert!(story_of_bad.confirmed.is_empty());

    for (frontier, bodies) in &bodies {
        assert_eq!(bodies.len(), 1, "frontier {frontier:?} has two bodies");
    }
    assert!(bodies.keys().any(|(rollout, _)| *rollout == good), "the watcher saw nothing");
    for at in 0..MACHINES {
        let said = fleet.status(at).map(|status| status.to_string()).unwrap_or_default();
        assert!(!said.contains("two frontiers"), "{said}");
    }

    starts.sort_unstable();
    show("server kills", format!("{KILLS} in the good rollout, {kills_of_the_bad} in the bad one"));
    show("server start, ms", format!("median {}, longest {}", starts[starts.len() / 2], starts[starts.len() - 1]));
    show(
        "most exposed at a time",
        format!("{} (good), {} (bad)", story_of_good.most_exposed, story_of_bad.most_exposed),
    );
    show("exposed by the bad one, ever", story_of_bad.exposed_ever.len());
    show("frontiers in the log, and seen", format!("{}, {}", story_of_good.frontiers.len(), bodies.len()));
    show("log", format!("{entries} entries verified"));
    show("the bad one", story_of_bad.halted.unwrap_or_default());
}

/// The log's files in `from`, with whatever the database keeps beside them, go to `to` in the place of those there.
fn copy_log(from: &Path, to: &Path) {
    let files = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.filter(|path| path.to_string_lossy().contains("log.sqlite")).collect()
    };
    std::fs::create_dir_all(to).expect("a folder");
    for old in files(to) {
        std::fs::remove_file(old).expect("removed");
    }
    for file in files(from) {
        std::fs::copy(&file, to.join(file.file_name().expect("a name"))).expect("copied");
    }
}

#[test]
fn a_log_from_a_backup_holds_everything_until_a_person_has_looked() {
    let mut fleet = Fleet::new(3, Options::default());
    let id = fleet.ship(&fleet.counter(1, ""), &AT_ONCE);
    let (server, backup) = (fleet.lab.layout.server_dir(), fleet.lab.folder.join("backup"));
    fleet.lab.stop_server();
    copy_log(&server, &backup);
    fleet.lab.start_server().expect("the server starts");
    let view = fleet.ended(id);
    assert_eq!((view.state.as_str(), view.confirmed), ("completed", 3), "{view:?}");
    fleet.all_run("counter", "1");

    // One machine is off, so that what the others say of themselves does not complete it before anybody looks.
    fleet.lab.switch_off(2);
    fleet.lab.stop_server();
    copy_log(&backup, &server);
    fleet.lab.start_server().expect("the server starts");
    fleet.wait("the old log to be noticed", |lab| Ok(lab.client()?.rollout(id)?.state == "held"));
    let why = fleet.rollout(id).why;
    assert!(why.contains("a device saw") && why.contains("it comes from a backup"), "{why}");
    show("restored backup", why);

    fleet.lab.switch_on(2).expect("it is switched on");
    fleet.lab.staffel_ok(&["rollout", "resume", &id.to_string()]).expect("a person lets it go on");
    fleet.wait("all to be known to have it", |lab| {
        let view = lab.client()?.rollout(id)?;
        Ok((view.state.as_str(), view.confirmed, view.failed) == ("completed", 3, 0))
    });
    fleet.log_is_sound();
}

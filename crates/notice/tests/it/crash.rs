//! The program may end between any two steps: afterwards nobody has got a parcel twice and nobody none.

use crate::{
    mail::mail,
    support::{World, draft, person},
};
use staffel_notice::{
    AttemptKey, Event, Kind, Step,
    address::Channel,
    deliver::{Carrier, Parcel, Spool},
};

/// Where the program ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// The attempt is not logged.
    BeforeStart,
    /// Logged, not handed over.
    BeforeSend,
    /// A file half written, without its name.
    InTheMiddle,
    /// Handed over, not logged.
    BeforeEnd,
    /// The answer of the look-up is not logged.
    BeforeLookedUp,
    Never,
}

const CUTS: [Cut; 6] =
    [Cut::BeforeStart, Cut::BeforeSend, Cut::InTheMiddle, Cut::BeforeEnd, Cut::BeforeLookedUp, Cut::Never];

/// One step for the first recipient that needs one; `false` if nothing is left. Ends in the middle where `cut` says so.
async fn turn(world: &mut World, carrier: &Carrier, spool: &Spool, cut: Cut) -> bool {
    let due = world.book.due(&world.manners, world.now_ms, 1);
    let Some((notice, recipient, step)) = due.into_iter().next() else { return false };
    match step {
        Step::Send { attempt, .. } => {
            let key = AttemptKey { notice, recipient, attempt };
            let event = world.book.start(key, &world.manners, world.now_ms).expect("it comes next");
            if cut == Cut::BeforeStart {
                return true;
            }
            world.record(event);
            if cut == Cut::InTheMiddle {
                std::fs::write(spool.folder().join(format!(".{key}.eml.part")), "half").expect("a file");
            }
            if matches!(cut, Cut::BeforeSend | Cut::InTheMiddle) {
                return true;
            }
            let parcel = Parcel::Mail(mail(key, &format!("r{recipient}@kunde.example")));
            let outcome = carrier.send(&key.to_string(), &parcel).await;
            if cut == Cut::BeforeEnd {
                return true;
            }
            let event = world.book.end(key, outcome).expect("it is under way");
            world.record(event);
        }
        Step::LookUp { attempt, .. } => {
            let key = AttemptKey { notice, recipient, attempt };
            let found = carrier.look_up(&key.to_string()).await;
            let event = world.book.looked_up(key, found).expect("it is unknown");
            if cut == Cut::BeforeLookedUp {
                return true;
            }
            world.record(event);
        }
        step => panic!("due answers sends and look-ups, not {step:?}"),
    }
    true
}

#[tokio::test]
async fn nobody_gets_it_twice_and_nobody_is_forgotten() {
    for first in CUTS {
        for second in CUTS {
            let folder = tempfile::tempdir().expect("a folder");
            let spool = Spool::open(folder.path()).expect("a spool");
            let carrier = Carrier::Spool(spool.clone());
            let mut world = World::new();
            let people = (0..3).map(|n| person(&format!("r{n}"), &[(Channel::Email, &format!("r{n}@kunde.example"))]));
            world.draw(draft(Kind::FirstInformation, people.collect()));
            // Each turn ends in a crash: the first ones where `first` says, the next ones where `second` does.
            for cut in [first, second, first, second, Cut::Never, Cut::Never] {
                turn(&mut world, &carrier, &spool, cut).await;
                world.restart();
            }
            let mut turns = 0;
            while turn(&mut world, &carrier, &spool, Cut::Never).await {
                turns += 1;
                assert!(turns < 50, "{first:?} {second:?}: it does not end");
            }
            let mut sent: Vec<String> = std::fs::read_dir(folder.path())
                .expect("a folder")
                .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
                .filter(|name| name.ends_with(".eml") && !name.starts_with('.'))
                .map(|name| name.split("-attempt-").next().unwrap_or_default().to_owned())
                .collect();
            sent.sort();
            let wanted = [0, 1, 2].map(|n| format!("notice-1-recipient-{n}"));
            assert_eq!(sent, wanted, "{first:?} then {second:?}");
            let ended = world.log.iter().filter(|(_, event)| matches!(event, Event::Ended { .. })).count();
            let started = world.log.iter().filter(|(_, event)| matches!(event, Event::Started { .. })).count();
            assert_eq!(ended, started, "every attempt has an end");
        }
    }
}

#[tokio::test]
async fn a_parcel_that_somebody_took_still_counts_as_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = Spool::open(folder.path()).expect("a spool");
    let carrier = Carrier::Spool(spool.clone());
    let parcel = Parcel::Fax { number: "0351".into(), pdf: b"%PDF".to_vec() };
    carrier.send("k-1", &parcel).await;
    for file in ["k-1.fax.json", "k-1.fax.pdf"] {
        std::fs::rename(folder.path().join(file), folder.path().join("taken").join(file)).expect("it is there");
    }
    assert_eq!(carrier.look_up("k-1").await, staffel_notice::Found::There);
    carrier.send("k-1", &parcel).await;
    assert!(!folder.path().join("k-1.fax.json").exists(), "the same attempt is not put there again");
    assert_eq!(carrier.look_up("k-2").await, staffel_notice::Found::NotThere);
}

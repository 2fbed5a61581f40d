//! Random days: devices die, come back, boot again, fall into safe mode; people call, declare, try to close. After each step
//! everything that [`World::check`] names must hold, and the log must rebuild the same book.

use super::*;

/// One thing that may happen; devices and cases are taken modulo their number.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Well(u32, u64),
    Says(u32, u8),
    Left(u32, bool),
    Open(Vec<u32>),
    Word(u64, u8),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..60_000_u64).prop_map(Step::Pass),
        6 => (0..12_u32, 0..2_u64).prop_map(|(device, boot)| Step::Well(device, boot)),
        3 => (0..12_u32, 0..8_u8).prop_map(|(device, what)| Step::Says(device, what)),
        1 => (0..12_u32, any::<bool>()).prop_map(|(device, left)| Step::Left(device, left)),
        1 => proptest::collection::vec(0..12_u32, 1..6).prop_map(Step::Open),
        4 => (1..30_u64, 0..14_u8).prop_map(|(case, word)| Step::Word(case, word)),
        1 => Just(Step::Restart),
    ]
}

fn evidence(what: u8) -> Evidence {
    let mut evidence = well();
    let health = evidence.health.get_or_insert_with(|| unreachable!("a well device answers"));
    match what {
        0 => evidence.health = None,
        1 => health.committed = false,
        2 => health.failures.push("x".into()),
        3 => health.debts.push("quarantine".into()),
        4 => evidence.running.clear(),
        5 => evidence.safe_mode = Some("crashed".into()),
        6 => evidence.denied.push("till 2".into()),
        _ => evidence.boot = 9,
    }
    evidence
}

fn words(what: u8, now: u64) -> Word {
    let text = || "words".to_string();
    let call = |outcome| Word::Contact { channel: Channel::Phone, outcome, text: text() };
    match what {
        0 => Word::Own { owner: Some("ann".into()) },
        1 => Word::Note { text: text() },
        2 => call(Contact::NoAnswer),
        3 => call(Contact::Reached),
        4 => call(Contact::SaysItWorks),
        5 => call(Contact::Sent),
        6 => Word::CallBack { at_ms: Some(now + 5_000), text: text() },
        7 => Word::OpenDebt { what: "off".into() },
        8 => Word::LiftDebt { what: "off".into(), why: text() },
        9 => Word::Reopen { why: text() },
        10 => Word::State { state: State::Unreachable, why: text() },
        11 => Word::State { state: State::Working, why: text() },
        12 => Word::State { state: State::Verified, why: text() },
        _ => Word::Close,
    }
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut world = World::new(4);
    for step in steps {
        match step {
            Step::Pass(ms) => world.pass(ms),
            Step::Well(device, boot) => world.says(device, &Evidence { boot, ..well() }),
            Step::Says(device, what) => world.says(device, &evidence(what)),
            Step::Left(device, left) => world.book.left(device, left),
            Step::Open(devices) => {
                world.open(&devices);
                let incident = world.book.incidents().next_back().unwrap();
                for device in devices {
                    let has = world.book.cases_of(device).any(|case| case.incident == incident.id);
                    prop_assert!(has, "device {device} was named and has no case");
                }
            }
            Step::Word(case, what) => {
                let word = words(what, world.now);
                let before = world.book.case(case).map(|case| (case.state, case.debts().len()));
                match world.word(case, word.clone()) {
                    Ok(()) if word == Word::Close => {
                        prop_assert_eq!(before, Some((State::Verified, 0)));
                        prop_assert_eq!(world.state(case), State::Closed);
                    }
                    Ok(()) => {
                        let claims = matches!(&word, Word::State { state: State::Verified, .. });
                        prop_assert!(!claims, "a person made a case verified");
                    }
                    Err(refusals) => {
                        prop_assert!(!refusals.is_empty());
                        prop_assert!(refusals.iter().all(|refusal| !refusal.to_string().is_empty()));
                    }
                }
            }
            Step::Restart => {
                let again = rebuilt(&world);
                // When to look next is found out again.
                let lasting = |book: &Book| -> Vec<Case> {
                    book.cases.values().map(|case| Case { look_ms: 0, ..case.clone() }).collect()
                };
                prop_assert_eq!(lasting(&again), lasting(&world.book));
                prop_assert_eq!(&again.incidents, &world.book.incidents);
                world.book = again;
                world.book.observing_since(world.now);
            }
        }
    }
    // Whatever happened: once the devices are well for long enough and debts are lifted, everything closes.
    let ids: Vec<_> = world.book.cases.keys().copied().collect();
    for id in ids {
        let lift = Word::LiftDebt { what: "off".into(), why: "checked".into() };
        let _ = world.word(id, lift);
    }
    for device in 0..12 {
        world.book.left(device, false);
    }
    world.live(90 * SECOND, &(0..12).collect::<Vec<_>>());
    let open: Vec<_> = world.book.cases.values().filter(|case| case.state != State::Closed).collect();
    prop_assert!(open.is_empty(), "not closed although all is well: {open:?}");
    Ok(())
}

/// A book made from the log alone.
fn rebuilt(world: &World) -> Book {
    let mut book = Book::new(Limits::demo());
    for device in 0..world.fleet.devices.len() as DeviceIndex {
        book.joined(device, world.fleet.device(device).site, 0);
        book.left(device, world.book.watch.has_left(device));
    }
    for (at_ms, event) in &world.log {
        // As the log has it: written and read again.
        let text = serde_json::to_string(event).unwrap();
        book.apply(&serde_json::from_str(&text).unwrap(), *at_ms);
    }
    book
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn random_days_break_no_promise(steps in proptest::collection::vec(step(), 1..60)) {
        run(steps)?;
    }
}

//! `kill -9` of the guard at any moment of its work: what is selected afterwards is always whole.

use crate::support::*;
use staffel_boot::client;
use staffel_statement::guard::{Command, Reply};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

const KILLS: u64 = 40;

/// A release with enough files that copying takes a moment.
fn made(version: u64) -> Made {
    let mut made = stays(version);
    for n in 0..12 {
        made = made.file(&format!("data/{}/{n}", n % 3), format!("{version} {n} ").repeat(2_000), n % 2 == 0);
    }
    made
}

/// A small generator (splitmix64): the same moments in every run.
fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Changes again and again, as far as the guard lives, and returns how many were committed.
fn change(world: &World, all: &[Made], first: usize, stop: &AtomicBool, sent: &AtomicU64) -> u32 {
    let mut commits = 0;
    for made in all.iter().cycle().skip(first) {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let ask = |command| {
            sent.fetch_add(1, Ordering::SeqCst);
            client::ask(&world.layout, &command).ok()
        };
        world.spool(made);
        let prepare = Command::Prepare { bundle: Box::new(world.bundle(made, "")) };
        let Some(Reply::Prepared { nonce, .. }) = ask(prepare) else { continue };
        let arm = Command::Arm { bundle: Box::new(world.bundle(made, &nonce)) };
        let Some(Reply::Done { .. }) = ask(arm) else { continue };
        if let Some(Reply::Done { .. }) = ask(Command::Confirm { receipt: receipt(made, &nonce) }) {
            commits += 1;
        }
    }
    commits
}

#[test]
fn whatever_the_moment_of_the_kill_a_whole_generation_is_selected() {
    let all: Vec<Made> = (1..=4).map(made).collect();
    let refs: Vec<&Made> = all.iter().collect();
    let mut world = World::new();
    let mut seed = 20_240_719;
    let mut commits = 0;
    for round in 0..KILLS {
        let status = world.start();
        match &status.selected {
            Some(generation) => world.assert_whole(generation, &refs),
            None => assert!(is_safe(&status), "round {round}"),
        }
        let unfinished = |names: Vec<String>| names.into_iter().filter(|name| name.starts_with("tmp-")).count();
        for folder in [world.layout.generations(), world.layout.blobs(), world.layout.snapshots()] {
            assert_eq!(unfinished(world.names(&folder)), 0, "round {round}: {}", folder.display());
        }
        // A trial that was under way is ended, so that there is work to be killed in.
        let _ = world.ask(Command::Abort { why: "the next round".into() });
        let pid = world.process_id();
        // So many commands later, and then at any moment of what the next one does: on slow machines too.
        let (after, pause) = (random(&mut seed) % 8, Duration::from_micros(random(&mut seed) % 30_000));
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        commits += std::thread::scope(|scope| {
            let killer = scope.spawn(|| {
                wait_for("the commands before the kill", || (sent.load(Ordering::SeqCst) > after).then_some(()));
                std::thread::sleep(pause);
                signal(pid, "KILL");
                stop.store(true, Ordering::SeqCst);
            });
            let commits = change(&world, &all, usize::try_from(round % 4).unwrap(), &stop, &sent);
            killer.join().unwrap();
            commits
        });
        world.ended();
        world.next_boot();
        if round % 2 == 1 {
            // A second time, while it comes up.
            world.spawn();
            std::thread::sleep(Duration::from_micros(random(&mut seed) % 60_000));
            world.kill();
            world.next_boot();
        }
    }
    eprintln!("{KILLS} kills at work, {} at the start, {commits} commits between them", KILLS / 2);
    assert!(commits > 0, "the guard was killed in its work, not before it");
    let status = world.start();
    assert!(status.selected.is_some() || is_safe(&status));
}

#[test]
fn a_lock_that_outlives_a_killed_guard_for_a_moment_is_waited_for() {
    let mut world = World::running();
    world.kill();
    // As a program that it was just starting does.
    let held = std::fs::File::open(world.layout.lock()).unwrap();
    held.lock().unwrap();
    world.spawn();
    std::thread::sleep(Duration::from_millis(300));
    held.unlock().unwrap();
    wait_for("the guard's first answer", || client::ask(&world.layout, &Command::Status).ok());
}

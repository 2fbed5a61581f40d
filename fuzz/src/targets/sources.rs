//! What a sensor's sources say: messages of the kernel, lines that whoever tries to log in writes a part of. And what a
//! collector that was taken over could say to its supervisor.

use crate::Target;
use staffel_pack::{Catalogue, record::Batch};
use staffel_sensor::collect::{
    Ask, Collected, Cursor, Source, authentication, child::Collector, connector, frame_datagram, inotify, join, split,
};
use std::{cell::RefCell, collections::BTreeMap};

fn ask(source: Source) -> Ask {
    let folders = [(1, "/etc".to_string()), (2, "/root/.ssh".to_string())].into();
    Ask { source, sequence: 100, at_ms: 1_800_000_000_000, cursor: Cursor::default(), folders }
}

/// Records that a collector made of this chunk: each parses, and is numbered as it was asked for.
fn judged(collector: &mut Collector, ask: &Ask, chunk: &[u8]) -> Result<Collected, String> {
    let (said, batch) = collector.collect(ask, chunk);
    let catalogue = Catalogue::linux();
    let mut records = Batch::new(&batch, &catalogue);
    let numbers: Vec<u64> = records.by_ref().map(|record| record.sequence).collect();
    if records.dropped > 0 || numbers != (ask.sequence..ask.sequence + said.records).collect::<Vec<_>>() {
        return Err(format!(
            "{} records are said, {} are there, {} broken",
            said.records,
            numbers.len(),
            records.dropped
        ));
    }
    Ok(said)
}

/// Datagrams of the process connector.
pub fn connector() -> Target {
    let chunk = |messages: &[Vec<u8>]| {
        let mut chunk = Vec::new();
        messages.iter().for_each(|message| frame_datagram(&mut chunk, message));
        chunk
    };
    // Process numbers that nobody has: the parser is tried, not `/proc`.
    let exec = |number, processor| connector::sample(number, processor, 2, u32::MAX);
    let seeds = vec![
        chunk(&[exec(7, 0), exec(9, 0), exec(1, 1)]),
        chunk(&[connector::sample(1, 0, 0, 0), connector::sample(2, 0, 1, 5), exec(3, 0)]),
        chunk(&[exec(u32::MAX, 3), exec(0, 3)]),
    ];
    let run = |bytes: &[u8]| {
        let mut last = BTreeMap::new();
        let whole = connector::read(bytes, &mut last);
        // Whoever reads on where another has stopped finds the same.
        let mut again = last.clone();
        let nothing = connector::read(&[], &mut again);
        if again != last || nothing != connector::Said::default() {
            return Err("nothing says something".into());
        }
        if whole.execs.len() as u64 + whole.unreadable > bytes.len() as u64 / 4 + 1 {
            return Err("more messages than bytes for them".into());
        }
        if !bytes.is_empty()
            && whole.execs.is_empty()
            && whole.unreadable == 0
            && last.is_empty()
            && whole.answer.is_none()
        {
            return Err("bytes vanished uncounted".into());
        }
        let (execs, unreadable) = (whole.execs.len().min(4), whole.unreadable.min(3));
        let (lost, answer) = (whole.lost.min(3), whole.answer.is_some());
        Ok(format!(
            "execs {execs} unreadable {unreadable} lost {lost} answer {answer} processors {}",
            last.len().min(4)
        ))
    };
    Target { name: "connector", seeds, run: Box::new(run) }
}

/// Events of watched folders.
pub fn folders() -> Target {
    let seeds = vec![
        [inotify::sample(1, 0x100, "ld.so.preload"), inotify::sample(2, 8, "authorized_keys")].concat(),
        [inotify::sample(-1, 0x4000, ""), inotify::sample(1, 0x8000, ""), inotify::sample(2, 0x4000_0200, "d")]
            .concat(),
        [inotify::sample(7, 0x40, "x"), inotify::sample(1, 4, ""), inotify::sample(1, 0x2000, "")].concat(),
    ];
    let collector = RefCell::new(Collector::new());
    let run = move |bytes: &[u8]| {
        let ask = ask(Source::Inotify);
        let said = judged(&mut collector.borrow_mut(), &ask, bytes)?;
        let read = inotify::read(bytes, &ask.folders);
        if read.touched.len() as u64 != said.records || read.touched.len() > bytes.len() / 16 {
            return Err("more events than bytes for them".into());
        }
        if let Some(touched) =
            read.touched.iter().find(|t| !t.path.starts_with("/etc") && !t.path.starts_with("/root/.ssh"))
        {
            return Err(format!("{} lies in no watched folder", touched.path));
        }
        let operations: String = read.touched.iter().take(3).map(|touched| touched.operation).collect();
        let (unreadable, ended) = (said.unreadable.min(3), said.unwatched.len().min(3));
        Ok(format!("{operations} unreadable {unreadable} overflowed {} ended {ended}", said.overflowed))
    };
    Target { name: "folders", seeds, run: Box::new(run) }
}

/// Lines of the authentication log.
pub fn authentication() -> Target {
    let line = |rest: &str| format!("Nov 22 15:06:57 ward-1 {rest}\n");
    let seeds = [
        line("sshd[411]: Failed password for invalid user a from b from 192.0.2.4 port 5001 ssh2"),
        "2026-11-22T15:06:57.1+00:00 w sshd-session[1]: Accepted publickey for max from 2001:db8::1 port 2 ssh2\n"
            .into(),
        line("sshd[1]: ROOT LOGIN REFUSED FROM 192.0.2.4 port 9") + &line("sshd[1]: Invalid user  from ::1 port 9"),
        line("sudo:   max : user NOT in sudoers ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh"),
        line("su[7]: FAILED SU (to root) max on pts/0") + &line("su[7]: (to root) max on none"),
        line("su[7]: pam_unix(su:auth): authentication failure; uid=1 ruser=max rhost=192.0.2.1  user=root"),
        line("su[7]: pam_unix(su:session): session opened for user root(uid=0) by max(uid=1000)"),
    ];
    let collector = RefCell::new(Collector::new());
    let run = move |bytes: &[u8]| {
        let said = judged(&mut collector.borrow_mut(), &ask(Source::Authentication), bytes)?;
        let text = String::from_utf8_lossy(bytes);
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        if lines.clone().count() as u64 != said.records + said.unreadable {
            return Err("a line vanished uncounted".into());
        }
        let mut kinds = Vec::new();
        for entry in lines.take(3).filter_map(authentication::read) {
            let all = [entry.user, entry.target, entry.address];
            // Of a refused root nothing but the name is known.
            let known = |part: &&str| *part == "root" || entry.message.contains(*part);
            if let Some(part) = all.into_iter().flatten().find(|part| !known(part)) {
                return Err(format!("{part:?} does not stand in the line"));
            }
            let program = ["sshd", "sudo", "su"].iter().find(|known| **known == entry.program).unwrap_or(&"other");
            let parts: String = all.iter().map(|part| if part.is_some() { 'y' } else { 'n' }).collect();
            kinds.push(format!("{program} {parts} {:?}", entry.outcome));
        }
        Ok(format!("{} unreadable {}", kinds.join(", "), said.unreadable.min(3)))
    };
    let seeds = seeds.into_iter().map(String::into_bytes).collect();
    Target { name: "authentication", seeds, run: Box::new(run) }
}

/// What a collector says to its supervisor, and the other way round.
pub fn collected() -> Target {
    let said = Collected {
        records: 1,
        lost: 2,
        cursor: Cursor { connector: [(0, 7)].into(), polled: Some(9) },
        ..Collected::default()
    };
    let seeds =
        vec![join(&said, b"\x01\x00\x00\x00"), join(&ask(Source::Poll), b""), join(&ask(Source::Inotify), b"abc")];
    let run = |bytes: &[u8]| {
        let said = split::<Collected>(bytes);
        let asked = split::<Ask>(bytes);
        if let Some((said, rest)) = &said
            && split::<Collected>(&join(said, rest)).as_ref() != Some(&(said.clone(), rest))
        {
            return Err("it is read otherwise than it was written".into());
        }
        let lengths =
            (said.as_ref().map(|(_, rest)| rest.len().min(4)), asked.as_ref().map(|(_, rest)| rest.len().min(4)));
        let source = asked.map(|(ask, _)| ask.source);
        Ok(format!("{lengths:?} {source:?} {}", said.map_or(0, |(said, _)| said.cursor.connector.len().min(3))))
    };
    Target { name: "collected", seeds, run: Box::new(run) }
}

//! What earlier starts of a machine left behind: a kernel's last words (pstore), a watchdog that bit, how boot entries ended.
//! It is read as the next start begins and goes to the server with that start's id. Everything in it may be hostile or
//! damaged: it is bounded here, and turned into single plain lines. What must stay out: reading files.

use crate::ids::Digest;
use serde::{Deserialize, Serialize};

/// Kernel records that are told of at once, the latest; a start that crashed has one or two.
pub const KERNEL_RECORDS: usize = 8;
/// Traces of one start that are taken.
pub const TRACES: usize = 24;
/// Characters of a line that are kept.
pub const LINE: usize = 200;
/// The card was reset by its watchdog (linux/watchdog.h, `WDIOF_CARDRESET`).
pub const CARD_RESET: u32 = 0x20;

/// Something that an earlier start left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "trace", rename_all = "kebab-case")]
pub enum Trace {
    /// A kernel's last words.
    Kernel {
        /// Why the kernel wrote them, in its own word: `Panic`, `Oops`, `Emergency`; empty if that can't be read.
        reason: String,
        /// The line that says the most.
        line: String,
        /// Of all of it.
        sha256: Digest,
        bytes: u64,
    },
    /// A watchdog that does not say "nothing happened".
    Watchdog {
        /// Its name, such as `watchdog0`.
        name: String,
        /// What it calls itself.
        identity: String,
        /// Flags `WDIOF_*` of linux/watchdog.h.
        status: u32,
    },
    /// A boot entry that the guard below the system looks after has ended its trial, or was left later.
    Entry { number: u64, committed: bool, why: String },
}

impl Trace {
    /// True if the start that left it crashed. An entry that was left says why it was left, not that this start crashed.
    pub fn is_crash(&self) -> bool {
        match self {
            Trace::Kernel { reason, .. } => !reason.is_empty(),
            Trace::Watchdog { status, .. } => status & CARD_RESET != 0,
            Trace::Entry { .. } => false,
        }
    }

    /// By what it is known again: however often it is found, it is told once. A watchdog says the same until the next start,
    /// so that start's id belongs to it.
    pub fn id(&self, boot_id: &str) -> Digest {
        match self {
            Trace::Kernel { sha256, .. } => *sha256,
            Trace::Watchdog { name, status, .. } => {
                Digest::of(format!("staffel/watchdog/v1\n{boot_id}\n{name}\n{status}\n").as_bytes())
            }
            Trace::Entry { number, committed, why } => {
                Digest::of(format!("staffel/ending/v1\n{number}\n{committed}\n{why}\n").as_bytes())
            }
        }
    }

    fn bounded(self) -> Self {
        match self {
            Trace::Kernel { reason, line, sha256, bytes } => {
                Trace::Kernel { reason: plain(&reason, 16), line: plain(&line, LINE), sha256, bytes }
            }
            Trace::Watchdog { name, identity, status } => {
                Trace::Watchdog { name: plain(&name, 64), identity: plain(&identity, 64), status }
            }
            Trace::Entry { number, committed, why } => Trace::Entry { number, committed, why: plain(&why, LINE) },
        }
    }
}

impl std::fmt::Display for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trace::Kernel { reason, line, sha256, bytes } => {
                let reason = if reason.is_empty() { "unreadable" } else { reason };
                write!(f, "kernel, {reason}: {line} ({bytes} bytes, sha256 {})", sha256.short())
            }
            Trace::Watchdog { name, identity, status } if status & CARD_RESET != 0 => {
                write!(f, "{name} ({identity}) started the machine again, status {status:#x}")
            }
            Trace::Watchdog { name, identity, status } => write!(f, "{name} ({identity}) has status {status:#x}"),
            Trace::Entry { number, committed: true, why } => write!(f, "boot entry {number} was committed: {why}"),
            Trace::Entry { number, committed: false, why } => write!(f, "boot entry {number} was left: {why}"),
        }
    }
}

/// A start of the machine, with what it found that nobody had been told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Identity of this start.
    pub boot_id: String,
    /// Oldest first.
    pub traces: Vec<Trace>,
}

impl Start {
    /// The same in bounds that hold whoever says it.
    pub fn bounded(self) -> Self {
        let traces = self.traces.into_iter().take(TRACES).map(Trace::bounded).collect();
        Start { boot_id: plain(&self.boot_id, 64), traces }
    }

    /// Those that were not told before, by their [`Trace::id`].
    pub fn without(mut self, told: &[Digest]) -> Option<Self> {
        self.traces.retain(|trace| !told.contains(&trace.id(&self.boot_id)));
        (!self.traces.is_empty()).then_some(self)
    }
}

/// One line of at most so many characters: no control characters, nothing that changes the direction of writing.
pub fn plain(text: &str, most: usize) -> String {
    let is_odd = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.trim().chars().map(|c| if is_odd(c) { '\u{fffd}' } else { c }).take(most).collect()
}

/// A part of a kernel's last words, as pstore names and begins them (`Panic#1 Part2`, fs/pstore/platform.c).
struct Part<'a> {
    /// The number at the end of the name: it grows with time.
    order: u64,
    reason: &'a str,
    count: u32,
    part: u32,
    bytes: &'a [u8],
}

fn part<'a>(name: &str, bytes: &'a [u8]) -> Part<'a> {
    let digits: Vec<char> = name.chars().rev().take_while(char::is_ascii_digit).collect();
    let order = digits.into_iter().rev().collect::<String>().parse().unwrap_or(0);
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let header = std::str::from_utf8(line).ok().and_then(|line| {
        let (what, part) = line.trim().split_once(" Part")?;
        let (reason, count) = what.split_once('#')?;
        Some((reason, count.parse().ok()?, part.parse().ok()?))
    });
    let (reason, count, part) = header.unwrap_or(("", 0, 0));
    Part { order, reason, count, part, bytes }
}

/// What files of pstore say, by name and contents: parts of one record are put together, records that are no crash (a
/// kernel may write one at each shutdown) are left out. Oldest first.
pub fn kernel_records(files: &[(String, Vec<u8>)]) -> Vec<Trace> {
    let mut parts: Vec<Part<'_>> =
        files.iter().filter(|(name, _)| name.starts_with("dmesg-")).map(|(name, bytes)| part(name, bytes)).collect();
    parts.retain(|part| matches!(part.reason, "Panic" | "Oops" | "Emergency" | ""));
    parts.sort_by_key(|part| (part.order, part.part));
    let mut records: Vec<Vec<Part<'_>>> = Vec::new();
    for part in parts {
        let belongs = |record: &&mut Vec<Part<'_>>| {
            !part.reason.is_empty()
                && record
                    .iter()
                    .all(|other| (other.reason, other.count) == (part.reason, part.count) && other.part != part.part)
        };
        // An oops and the panic that follows it in the same second are listed part by part, in turn.
        match records.iter_mut().rev().find(belongs) {
            Some(record) => record.push(part),
            None => records.push(vec![part]),
        }
    }
    let first = records.len().saturating_sub(KERNEL_RECORDS);
    records[first..].iter().map(|record| summary(record)).collect()
}

fn summary(record: &[Part<'_>]) -> Trace {
    // Part 1 holds the end.
    let mut whole = Vec::new();
    for part in record.iter().rev() {
        whole.extend_from_slice(part.bytes);
    }
    let text = String::from_utf8_lossy(&whole);
    let lines: Vec<&str> = text.lines().map(message).filter(|line| !line.is_empty() && !is_header(line)).collect();
    // `RIP` names the function and the module that it is in.
    const TELLING: [&str; 6] =
        ["Kernel panic - not syncing", "BUG:", "Unable to handle", "general protection fault", "RIP:", "Oops:"];
    let telling = TELLING.into_iter().find_map(|words| lines.iter().find(|line| line.contains(words)));
    let line = telling.or(lines.last()).copied().unwrap_or_default();
    Trace::Kernel {
        reason: record.first().map_or("", |part| part.reason).to_string(),
        line: plain(line, LINE),
        sha256: Digest::of(&whole),
        bytes: whole.len() as u64,
    }
}

fn is_header(line: &str) -> bool {
    line.split_once(" Part").is_some_and(|(what, part)| what.contains('#') && part.parse::<u32>().is_ok())
}

/// A line of a kernel's log without its level and time (`<0>[    3.141593] `).
fn message(line: &str) -> &str {
    let line = line.trim();
    let line = line.strip_prefix('<').and_then(|rest| Some(rest.split_once('>')?.1)).unwrap_or(line);
    let time = |rest: &str| rest.trim_start().split('.').all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((stamp, rest)) if time(stamp) => rest.trim(),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> (String, Vec<u8>) {
        (name.into(), text.as_bytes().to_vec())
    }

    fn lines(traces: &[Trace]) -> Vec<String> {
        let line = |trace: &Trace| match trace {
            Trace::Kernel { reason, line, .. } => format!("{reason}: {line}"),
            other => other.to_string(),
        };
        traces.iter().map(line).collect()
    }

    #[test]
    fn parts_of_one_panic_are_one_record_and_the_panic_is_its_line() {
        let files = [
            file(
                "dmesg-efi_pstore-178225200101001",
                "Panic#1 Part1\n<4>[    3.2]  ? do_init\n<0>[    3.3] Kernel panic - not syncing: sysrq triggered crash\n<0>[    3.4] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\n",
            ),
            file("dmesg-efi_pstore-178225200102001", "Panic#1 Part2\n<6>[    3.0] sysrq: Trigger a crash\n"),
            // The next start's, with the same count.
            file(
                "dmesg-efi_pstore-178225260001001",
                "Panic#1 Part1\n<0>[    9.1] Kernel panic - not syncing: Attempted to kill init!\n",
            ),
            file("console-ramoops-0", "not a record of a crash"),
            file("dmesg-ramoops-0", "Shutdown#2 Part1\nall is well\n"),
        ];
        let found = kernel_records(&files);
        assert_eq!(
            lines(&found),
            [
                "Panic: Kernel panic - not syncing: sysrq triggered crash",
                "Panic: Kernel panic - not syncing: Attempted to kill init!"
            ]
        );
        assert!(found.iter().all(Trace::is_crash));
        // In whatever order the folder lists them.
        let mut turned = files.to_vec();
        turned.reverse();
        assert_eq!(kernel_records(&turned), found);
    }

    #[test]
    fn an_oops_and_its_panic_within_a_second_are_two_records_although_their_parts_alternate() {
        let name = |part: u32, count: u32| format!("dmesg-efi_pstore-1782252001{part:02}00{count}");
        let mut files = Vec::new();
        for (part, oops, panic) in [
            (1, "<1>[1.0] BUG: bad module", "<0>[1.2] Kernel panic - not syncing: Fatal exception"),
            (2, "<6>[0.1] NET: registered", "<6>[0.2] signal: max sigframe size"),
            (3, "<6>[0.0] NR_IRQS: 1", "<6>[0.0] NR_IRQS: 2"),
        ] {
            files.push(file(&name(part, 1), &format!("Oops#1 Part{part}\n{oops}\n")));
            files.push(file(&name(part, 2), &format!("Panic#2 Part{part}\n{panic}\n")));
        }
        let said = lines(&kernel_records(&files));
        assert_eq!(said, ["Oops: BUG: bad module", "Panic: Kernel panic - not syncing: Fatal exception"]);
    }

    #[test]
    fn an_oops_before_its_panic_is_a_record_of_its_own() {
        let files = [
            file(
                "dmesg-efi_pstore-178225200101001",
                "Oops#1 Part1\n<1>[1.0] BUG: unable to handle page fault\n<4>[1.1] RIP: x\n",
            ),
            file(
                "dmesg-efi_pstore-178225200201002",
                "Panic#2 Part1\n<0>[1.2] Kernel panic - not syncing: Fatal exception\n",
            ),
        ];
        let said = lines(&kernel_records(&files));
        assert_eq!(
            said,
            ["Oops: BUG: unable to handle page fault", "Panic: Kernel panic - not syncing: Fatal exception"]
        );
    }

    #[test]
    fn hostile_contents_are_bounded_and_plain_and_an_unreadable_record_is_no_crash() {
        let long = format!("Panic#1 Part1\nKernel panic - not syncing: \u{202e}\u{7}<script>{}\n", "x".repeat(100_000));
        let mut files: Vec<(String, Vec<u8>)> =
            (0..50).map(|n| file(&format!("dmesg-x-{n}"), &format!("{long}{n}"))).collect();
        files.push(("dmesg-".into(), vec![0xff; 100]));
        files.push(file("dmesg-99999999999999999999999999999999", ""));
        let found = kernel_records(&files);
        assert_eq!(found.len(), KERNEL_RECORDS);
        for trace in &found {
            let Trace::Kernel { line, .. } = trace else { panic!("{trace:?}") };
            assert!(line.chars().count() <= LINE && !line.chars().any(char::is_control), "{line:?}");
            assert!(!line.contains('\u{202e}'), "{line:?}");
        }
        let odd = kernel_records(&files[50..]);
        assert_eq!((odd.len(), odd.iter().any(Trace::is_crash)), (2, false));
        let many = vec![Trace::Entry { number: 1, committed: false, why: "a\nb".repeat(500) }; 100];
        let start = Start { boot_id: "b\u{0}".repeat(100), traces: many }.bounded();
        assert_eq!((start.traces.len(), start.boot_id.chars().count()), (TRACES, 64));
        assert!(!start.traces[0].to_string().contains('\n'));
    }

    #[test]
    fn what_was_told_is_not_told_again_but_a_watchdog_speaks_anew_at_each_start() {
        let kernel = Trace::Kernel { reason: "Panic".into(), line: "x".into(), sha256: Digest::of(b"x"), bytes: 1 };
        let bit = Trace::Watchdog { name: "watchdog0".into(), identity: "i6300ESB".into(), status: CARD_RESET };
        let start = |boot_id: &str| Start { boot_id: boot_id.into(), traces: vec![kernel.clone(), bit.clone()] };
        let told: Vec<Digest> = start("1").traces.iter().map(|trace| trace.id("1")).collect();
        assert_eq!(start("1").without(&told), None);
        assert_eq!(start("2").without(&told).unwrap().traces, std::slice::from_ref(&bit));
        assert_eq!(start("1").without(&[]), Some(start("1")));
        assert!(bit.is_crash());
        let warm = Trace::Watchdog { name: "watchdog0".into(), identity: String::new(), status: 1 };
        assert!(!warm.is_crash(), "a fan that failed is no crash");
    }
}

//! The collector process: builds its walls, then makes records of one chunk after the other until its input ends.

use super::{
    Ask, Collected, Cursor, Source, authentication, connector, inotify, join,
    process::{self, Names, Seen},
    split,
};
use crate::{
    frame::{self, Kind},
    platform,
};
use staffel_pack::{Catalogue, Value, record::encode};
use std::io::{self, Read, Write};

/// Processes younger than this are left for the next look, clock ticks.
const YOUNG: u64 = 20;

/// Serves until the input ends.
pub fn run(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    platform::close_others()?;
    let mut lacking = platform::leave_root();
    lacking.extend(platform::restrict_to_reading(&["/proc", "/etc/passwd"]));
    lacking.extend(platform::restrict_calls(platform::Calls::Reading));
    frame::write(&mut output, Kind::Ready, &serde_json::to_vec(&lacking)?)?;
    let mut collector = Collector::new();
    while let Some((kind, bytes)) = frame::read(&mut input)? {
        let asked = if kind == Kind::Chunk { split::<Ask>(&bytes) } else { None };
        let Some((ask, chunk)) = asked else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame that is no chunk"));
        };
        let (said, batch) = collector.collect(&ask, chunk);
        frame::write(&mut output, Kind::Records, &join(&said, &batch))?;
    }
    Ok(())
}

/// Makes records. What it remembers is for speed alone.
pub struct Collector {
    catalogue: Catalogue,
    names: Names,
}

impl Default for Collector {
    fn default() -> Self {
        Self::new()
    }
}

/// Records that are being written.
struct Batch<'c> {
    catalogue: &'c Catalogue,
    bytes: Vec<u8>,
    first: u64,
    records: u64,
}

impl Batch<'_> {
    fn push(&mut self, class: &str, named: &[(&str, Option<Value<'_>>)]) {
        let Some((class, _)) = self.catalogue.class(class) else { return };
        let named = named.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        let left_out = encode(&mut self.bytes, self.catalogue, self.first + self.records, class, named);
        debug_assert_eq!(left_out, 0, "the catalogue has what the collector supplies");
        self.records += 1;
    }
}

impl Collector {
    /// With nothing remembered.
    pub fn new() -> Self {
        Collector { catalogue: Catalogue::linux(), names: Names::default() }
    }

    /// Records of one chunk, whatever it holds.
    pub fn collect(&mut self, ask: &Ask, chunk: &[u8]) -> (Collected, Vec<u8>) {
        let mut said = Collected { cursor: ask.cursor.clone(), ..Collected::default() };
        let Collector { catalogue, names } = self;
        let mut batch = Batch { catalogue, bytes: Vec::new(), first: ask.sequence, records: 0 };
        match ask.source {
            Source::Connector => {
                let read = connector::read(chunk, &mut said.cursor.connector);
                (said.unreadable, said.lost) = (read.unreadable, read.lost);
                for process in read.execs {
                    let seen = process::look(process, names);
                    said.gone += u64::from(!started(process, seen.as_ref(), ask.at_ms, &mut batch));
                }
            }
            Source::Poll => poll(ask, names, &mut said, &mut batch),
            Source::Inotify => {
                let read = inotify::read(chunk, &ask.folders);
                (said.unreadable, said.overflowed, said.unwatched) = (read.unreadable, read.overflowed, read.unwatched);
                for touched in read.touched {
                    batch.push(
                        "file_event",
                        &[
                            ("UtcTime", Some(Value::Number(ask.at_ms))),
                            ("TargetFilename", Some(Value::Text(&touched.path))),
                            ("Operation", Some(Value::Text(touched.operation))),
                        ],
                    );
                }
            }
            Source::Authentication => {
                for line in String::from_utf8_lossy(chunk).lines().filter(|line| !line.trim().is_empty()) {
                    match authentication::read(line) {
                        Some(entry) => log_entry(&entry, ask.at_ms, &mut batch),
                        None => said.unreadable += 1,
                    }
                }
            }
            Source::Collector | Source::Evaluator => said.unreadable = 1,
        }
        said.records = batch.records;
        (said, batch.bytes)
    }
}

/// Everything that started between the last look and this one.
fn poll(ask: &Ask, names: &mut Names, said: &mut Collected, batch: &mut Batch<'_>) {
    // A process is begun as a copy of another one: the youngest are left for the next look, when they run what they were
    // begun for.
    let Some(until) = process::now_ticks().and_then(|now| now.checked_sub(YOUNG)) else { return };
    let Cursor { polled, .. } = &mut said.cursor;
    let since = polled.replace(until);
    // The first look finds what runs already: that did not start now.
    let Some(since) = since else { return };
    for process in process::all() {
        if !process::started(process).is_some_and(|started| (since..until).contains(&started)) {
            continue;
        }
        match process::look(process, names) {
            // A copy that stayed one runs no other program.
            Some(seen) if seen.command_line == seen.parent_command_line => {}
            seen => said.gone += u64::from(!started(process, seen.as_ref(), ask.at_ms, batch)),
        }
    }
}

/// False: it has ended before it could be looked at.
fn started(process: u32, seen: Option<&Seen>, at_ms: i64, batch: &mut Batch<'_>) -> bool {
    let Some(seen @ Seen { command_line: Some(command_line), .. }) = seen else { return false };
    let texts = [
        ("Image", seen.image.as_deref()),
        ("CommandLine", Some(command_line.as_str())),
        ("User", seen.user.as_deref()),
        ("Terminal", seen.terminal.as_deref()),
        ("ParentImage", seen.parent_image.as_deref()),
        ("ParentCommandLine", seen.parent_command_line.as_deref()),
        ("ParentUser", seen.parent_user.as_deref()),
        ("OriginalFileName", Some(seen.kernel_name.as_str())),
        ("ControlGroup", seen.control_group.as_deref()),
    ];
    let numbers = [
        ("UtcTime", Some(at_ms)),
        ("ProcessId", Some(i64::from(process))),
        ("UserId", seen.user_id),
        ("EffectiveUserId", seen.effective_user_id),
        ("LogonId", seen.logon),
        ("TerminalSessionId", seen.session),
        ("ParentProcessId", seen.parent),
        ("Capabilities", seen.capabilities),
    ];
    let texts = texts.iter().map(|(name, text)| (*name, text.map(Value::Text)));
    let numbers = numbers.iter().map(|(name, number)| (*name, number.map(Value::Number)));
    batch.push("process_creation", &texts.chain(numbers).collect::<Vec<_>>());
    true
}

fn log_entry(entry: &authentication::Entry<'_>, at_ms: i64, batch: &mut Batch<'_>) {
    batch.push(
        "authentication",
        &[
            ("UtcTime", Some(Value::Number(at_ms))),
            ("Program", Some(Value::Text(entry.program))),
            ("ProcessId", entry.process.map(Value::Number)),
            ("Host", Some(Value::Text(entry.host))),
            ("Message", Some(Value::Text(entry.message))),
            ("User", entry.user.map(Value::Text)),
            ("TargetUser", entry.target.map(Value::Text)),
            ("SourceIp", entry.address.map(Value::Text)),
            ("Outcome", entry.outcome.map(Value::Text)),
        ],
    );
}

//! Lines in, files and lines out, over all cores. A bad line is answered with an error and the others go on.

use crate::{Press, PressError};
use staffel_paper::{Job, Printed};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, Read as _, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, mpsc},
};

/// A line's answer, and whether it was printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub written: usize,
    pub refused: usize,
}

/// Why the run as a whole ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("create the folder {folder}")]
    Folder { folder: PathBuf, source: std::io::Error },
    #[error("read the documents")]
    Read(#[source] std::io::Error),
    #[error("write the results")]
    Answer(#[source] std::io::Error),
}

/// Lines waiting for a thread: as few as keep the threads busy, because a line may be large.
const WAITING: usize = 64;
/// Longest line, bytes; a longer one is refused without being kept.
const LONGEST: usize = 8 << 20;
/// The typesetter remembers results for later documents; after so many it forgets what was not used lately.
const FORGET_EACH: usize = 64;

/// Prints each line of `input` into `folder` with so many threads, and answers each with one line of `output`, in the
/// order in which they are done.
pub fn run(
    press: &Press,
    mut input: impl BufRead,
    output: impl Write + Send,
    folder: &Path,
    threads: usize,
) -> Result<Tally, RunError> {
    std::fs::create_dir_all(folder).map_err(|source| RunError::Folder { folder: folder.into(), source })?;
    let output = Mutex::new((output, Tally::default(), None));
    let (sender, receiver) = mpsc::sync_channel::<(usize, Result<Job, Printed>)>(WAITING);
    let receiver = Mutex::new(receiver);
    let read = std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut done = 0;
                loop {
                    let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((line, job)) = next else { return };
                    let printed = job.map_or_else(|refused| refused, |job| print(press, &job, line, folder));
                    answer(&output, &printed);
                    done += 1;
                    if done % FORGET_EACH == 0 {
                        typst::comemo::evict(1);
                    }
                }
            });
        }
        let read = feed(&mut input, &sender);
        drop(sender);
        read
    });
    let (_, tally, failed) = output.into_inner().unwrap_or_else(PoisonError::into_inner);
    read.map_err(RunError::Read)?;
    failed.map_or(Ok(tally), |error| Err(RunError::Answer(error)))
}

fn feed(
    input: &mut impl BufRead,
    sender: &mpsc::SyncSender<(usize, Result<Job, Printed>)>,
) -> Result<(), std::io::Error> {
    let mut names = BTreeSet::new();
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let read = input.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', &mut text)?;
        if read == 0 {
            break;
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let refuse = |name: Option<String>, error: &str, message: String| {
            Err(Printed::Refused { line, name, error: error.into(), message })
        };
        let job = if text.len() > LONGEST {
            skip_line(input)?;
            refuse(None, "unreadable", format!("the line is longer than {LONGEST} bytes"))
        } else {
            match serde_json::from_slice::<Job>(&text) {
                Err(error) => refuse(name_of(&text), "unreadable", format!("the line is no document: {error}")),
                Ok(job) if !names.insert(job.name.clone()) => {
                    refuse(Some(job.name), "name", "an earlier line has this name".into())
                }
                Ok(job) => Ok(job),
            }
        };
        // Nobody listens any more only if every thread has panicked; the scope hands that on.
        if sender.send((line, job)).is_err() {
            break;
        }
    }
    Ok(())
}

/// The rest of a line that is too long, without keeping it.
fn skip_line(input: &mut impl BufRead) -> Result<(), std::io::Error> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|b| *b == b'\n');
        let used = end.map_or(buffer.len(), |at| at + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}

/// The name that a bad line gave itself, so that its writer finds it.
fn name_of(text: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(text).ok()?;
    Some(value.get("name")?.as_str()?.chars().take(120).collect())
}

fn print(press: &Press, job: &Job, line: usize, folder: &Path) -> Printed {
    let refused = |error: &str, message: String| Printed::Refused {
        line,
        name: Some(job.name.clone()),
        error: error.into(),
        message,
    };
    match press.print(job) {
        Err(error) => refused(error.word(), chain(&error)),
        Ok(paper) => {
            let file = format!("{}.pdf", job.name);
            match write_whole(folder, &file, &paper.pdf) {
                Err(error) => refused("file", format!("write {file}: {error}")),
                Ok(()) => Printed::Written { name: job.name.clone(), file, pages: paper.pages, bytes: paper.pdf.len() },
            }
        }
    }
}

/// The file is there whole or not at all, also after a power cut.
fn write_whole(folder: &Path, file: &str, bytes: &[u8]) -> Result<(), std::io::Error> {
    let part = folder.join(format!(".{file}.part"));
    let mut handle = File::create(&part)?;
    handle.write_all(bytes)?;
    handle.sync_data()?;
    std::fs::rename(&part, folder.join(file))
}

fn chain(error: &PressError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn answer<W: Write>(output: &Mutex<(W, Tally, Option<std::io::Error>)>, printed: &Printed) {
    let mut guard = output.lock().unwrap_or_else(PoisonError::into_inner);
    let (writer, tally, failed) = &mut *guard;
    match printed {
        Printed::Written { .. } => tally.written += 1,
        Printed::Refused { .. } => tally.refused += 1,
    }
    let mut line = serde_json::to_vec(printed).unwrap_or_default();
    line.push(b'\n');
    if let Err(error) = writer.write_all(&line).and_then(|()| writer.flush()) {
        failed.get_or_insert(error);
    }
}

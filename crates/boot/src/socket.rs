//! The local socket: lines in, lines out, nothing believed. Who may connect is a matter of file permissions; what comes
//! is bounded in size, time and number, and nonsense gets a [`Reply::Failed`]. What must stay out: carrying it out.

use crate::platform::{self, Listener, Stream};
use staffel_statement::guard::{Command, MAX_LINE, Reply};
use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Connections at a time.
pub const MOST_CONNECTIONS: usize = 8;
/// How long one more connection waits for a place.
const PLACE: Duration = Duration::from_secs(1);
/// A connection on which nothing comes is closed after this.
pub const IDLE: Duration = Duration::from_secs(60);
/// A line must be whole this long after its first byte.
pub const WHOLE_LINE: Duration = Duration::from_secs(30);
/// Only one connection at a time may send a line longer than this, bytes: it bounds what hostile lines can occupy.
const LARGE: usize = 1 << 20;

/// Answers one command; called from several threads.
pub type Answerer = Arc<dyn Fn(Command) -> Reply + Send + Sync>;

/// Serves connections until the process ends.
pub fn serve(listener: Listener, answer: Answerer) {
    let open = Arc::new(AtomicUsize::new(0));
    let large = Arc::new(Mutex::new(()));
    loop {
        let stream = match platform::accept(&listener) {
            Ok(stream) => stream,
            Err(error) => {
                // Out of file descriptors, for example: others are being closed meanwhile.
                eprintln!("guard-ctl: can't accept a connection: {error}");
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        if !a_place_is_free(&open) {
            let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
            let _ = send(&stream, &failed(format!("more than {MOST_CONNECTIONS} connections at a time")));
            continue;
        }
        open.fetch_add(1, Ordering::SeqCst);
        let (answer, large, slot) = (answer.clone(), large.clone(), Slot(open.clone()));
        let handled = std::thread::Builder::new().name("connection".into()).spawn(move || {
            let _slot = slot;
            // A connection that breaks concerns nobody but its peer.
            let _ = connection(stream, &answer, &large);
        });
        if let Err(error) = handled {
            eprintln!("guard-ctl: can't start a thread for a connection: {error}");
        }
    }
}

/// Waits a moment: a peer that asks often may be faster than the ends of its last connections.
fn a_place_is_free(open: &AtomicUsize) -> bool {
    let begin = Instant::now();
    while open.load(Ordering::SeqCst) >= MOST_CONNECTIONS {
        if begin.elapsed() >= PLACE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Counts down when its connection ends, however that happens.
struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn failed(why: String) -> Reply {
    Reply::Failed { why }
}

fn send(mut stream: &Stream, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Serves one connection until its peer closes it: one line in, one line out. `large` is held while a long line comes.
///
/// # Errors
///
/// The connection broke, or a line was too long, too slow or had no end; its peer was told, if it still listens.
pub fn connection(stream: Stream, answer: &Answerer, large: &Mutex<()>) -> io::Result<()> {
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let line = match read_line(&mut reader, &stream, large) {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(()),
            Err(error) => {
                send(&stream, &failed(error.to_string()))?;
                return Err(error);
            }
        };
        let reply = match serde_json::from_slice::<Command>(&line) {
            Ok(command) => {
                drop(line);
                answer(command)
            }
            Err(error) => failed(format!("the command is not readable: {error}")),
        };
        send(&stream, &reply)?;
    }
}

/// One line without its end; `None` if the peer has closed, or said nothing for too long.
fn read_line(reader: &mut BufReader<Stream>, stream: &Stream, large: &Mutex<()>) -> io::Result<Option<Vec<u8>>> {
    let mut line: Vec<u8> = Vec::new();
    let mut deadline = Instant::now() + IDLE;
    let mut turn: Option<MutexGuard<'_, ()>> = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return no_more(&line, "the line was not whole in time");
        }
        stream.set_read_timeout(Some(left))?;
        let buffer = match reader.fill_buf() {
            Ok([]) => return no_more(&line, "the line has no end"),
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => continue,
            Err(error) => return Err(error),
        };
        if line.is_empty() {
            deadline = Instant::now() + WHOLE_LINE;
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let (part, used) = match end {
            Some(at) => (&buffer[..at], at + 1),
            None => (buffer, buffer.len()),
        };
        if line.len() + part.len() > MAX_LINE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the line is longer than {MAX_LINE} bytes"),
            ));
        }
        line.extend_from_slice(part);
        reader.consume(used);
        if end.is_some() {
            return Ok(Some(line));
        }
        if line.len() > LARGE && turn.is_none() {
            turn = Some(large.lock().unwrap_or_else(PoisonError::into_inner));
            deadline = Instant::now() + WHOLE_LINE;
        }
    }
}

fn no_more(line: &[u8], why: &str) -> io::Result<Option<Vec<u8>>> {
    match line.is_empty() {
        true => Ok(None),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, why)),
    }
}

//! What `/proc` says of a process to anybody (proc(5)). The link to its program is for its owner alone, so the program's
//! path is what the process was called by, checked against the name that the kernel took from the file.

use rustix::fs::{Access, access};
use std::{collections::BTreeMap, fs, io::Read as _, time::Instant};

/// No file of `/proc` is read further, bytes.
const MOST: u64 = 32 << 10;
/// Where a program lies that was called by its name alone.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// The names of users are read again after this many seconds, if one is missing.
const NAMES_AGE: u64 = 60;
/// Clock ticks a second in `/proc`: `USER_HZ`, 100 on every architecture that Rust runs on under Linux.
const TICKS: u64 = 100;

/// A process as far as it can be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub image: Option<String>,
    pub command_line: Option<String>,
    /// The name that the kernel took from the program's file, at most 15 bytes; a process may change it.
    pub kernel_name: String,
    pub parent: Option<i64>,
    pub parent_image: Option<String>,
    pub parent_command_line: Option<String>,
    pub parent_user: Option<String>,
    pub user: Option<String>,
    pub user_id: Option<i64>,
    pub effective_user_id: Option<i64>,
    pub logon: Option<i64>,
    pub session: Option<i64>,
    pub terminal: Option<String>,
    pub control_group: Option<String>,
    pub capabilities: Option<i64>,
    /// When it started, in clock ticks since the machine did.
    pub started: u64,
}

/// Names of users.
#[derive(Debug, Default)]
pub struct Names {
    known: BTreeMap<u32, String>,
    read: Option<Instant>,
}

impl Names {
    fn of(&mut self, user: u32) -> Option<String> {
        if !self.known.contains_key(&user) && self.read.is_none_or(|at| at.elapsed().as_secs() >= NAMES_AGE) {
            self.read = Some(Instant::now());
            let text = read("/etc/passwd", 1 << 20).unwrap_or_default();
            self.known = String::from_utf8_lossy(&text)
                .lines()
                .filter_map(|line| {
                    let mut fields = line.split(':');
                    let (name, id) = (fields.next()?, fields.nth(1)?);
                    Some((id.parse().ok()?, name.to_string()))
                })
                .collect();
        }
        self.known.get(&user).cloned()
    }
}

fn read(path: &str, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn text(process: u32, file: &str) -> Option<String> {
    Some(String::from_utf8_lossy(&read(&format!("/proc/{process}/{file}"), MOST)?).into_owned())
}

/// Looks a process up. None: it has ended.
pub fn look(process: u32, names: &mut Names) -> Option<Seen> {
    // The arguments first: they are what most rules ask for, and the process may end at any time.
    let arguments = arguments_of(process)?;
    let stat = text(process, "stat")?;
    let (kernel_name, fields) = stat_fields(&stat)?;
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<i64>().ok());
    let status = text(process, "status").unwrap_or_default();
    let (user_id, effective_user_id) = users(&status);
    let parent = number(1);
    let parent_process = parent.and_then(|parent| u32::try_from(parent).ok()).filter(|parent| *parent > 0);
    let parents = parent_process.and_then(arguments_of);
    let parent_status = parent_process.and_then(|parent| text(parent, "status")).unwrap_or_default();
    let mut name = |id: Option<i64>| names.of(u32::try_from(id?).ok()?);
    Some(Seen {
        image: image(&arguments, &kernel_name),
        command_line: joined(&arguments),
        parent,
        parent_image: parents.as_ref().and_then(|arguments| image(arguments, "")),
        parent_command_line: parents.as_ref().and_then(|arguments| joined(arguments)),
        parent_user: name(users(&parent_status).0),
        user: name(user_id),
        user_id,
        effective_user_id,
        // "Not set" is the largest number.
        logon: text(process, "sessionid")
            .and_then(|id| id.trim().parse::<u32>().ok())
            .filter(|id| *id != u32::MAX)
            .map(i64::from),
        session: number(3),
        terminal: number(4).and_then(terminal),
        control_group: text(process, "cgroup")
            .and_then(|groups| groups.lines().find_map(|line| line.strip_prefix("0::").map(String::from))),
        capabilities: status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
            .and_then(|bits| i64::try_from(bits).ok()),
        started: number(19).and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(0),
        kernel_name,
    })
}

/// None: there is no such process any more.
fn arguments_of(process: u32) -> Option<Vec<String>> {
    let bytes = read(&format!("/proc/{process}/cmdline"), MOST)?;
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
    if bytes.is_empty() {
        // A thread of the kernel, or one that has ended and is not yet buried.
        return Some(Vec::new());
    }
    Some(bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

fn joined(arguments: &[String]) -> Option<String> {
    (!arguments.is_empty()).then(|| arguments.join(" "))
}

/// The path that it was called by; a name alone is looked for where programs lie.
fn image(arguments: &[String], kernel_name: &str) -> Option<String> {
    let called = arguments.first()?;
    if called.starts_with('/') {
        return Some(called.clone());
    }
    // A log-in shell is called with a line before its name.
    let called = called.trim_start_matches('-');
    let candidates = [called, kernel_name].into_iter().filter(|name| !name.is_empty() && !name.contains('/'));
    candidates
        .flat_map(|name| FOLDERS.iter().map(move |folder| format!("{folder}/{name}")))
        .find(|path| access(path.as_str(), Access::EXISTS).is_ok())
}

/// The name in brackets and what follows it; the name may hold brackets and spaces.
fn stat_fields(stat: &str) -> Option<(String, Vec<&str>)> {
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    Some((name.to_string(), after.split_ascii_whitespace().collect()))
}

fn users(status: &str) -> (Option<i64>, Option<i64>) {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    let mut ids = line.split_ascii_whitespace().map(|id| id.parse().ok());
    (ids.next().flatten(), ids.next().flatten())
}

/// Major and minor number of a terminal (Linux, Documentation/admin-guide/devices.txt).
fn terminal(device: i64) -> Option<String> {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    match major {
        136..=143 => Some(format!("pts/{}", (major - 136) * 256 + minor)),
        4 if minor < 64 => Some(format!("tty{minor}")),
        4 => Some(format!("ttyS{}", minor - 64)),
        _ => None,
    }
}

/// Clock ticks since the machine started; none if `/proc` does not say.
pub fn now_ticks() -> Option<u64> {
    let uptime = read("/proc/uptime", 64)?;
    let uptime = String::from_utf8(uptime).ok()?;
    let (seconds, hundredths) = uptime.split_whitespace().next()?.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * TICKS + hundredths.parse::<u64>().ok()?)
}

/// Numbers of all processes.
pub fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// When a process started, without looking at the rest of it.
pub fn started(process: u32) -> Option<u64> {
    let stat = text(process, "stat")?;
    let (_, fields) = stat_fields(&stat)?;
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let seen = look(std::process::id(), &mut Names::default()).expect("it runs");
        let own = std::env::args().next().expect("a name");
        assert!(seen.command_line.expect("it has one").starts_with(&own));
        assert_eq!(seen.user_id, Some(i64::from(rustix::process::getuid().as_raw())));
        assert_eq!(seen.parent, rustix::process::getppid().map(|pid| i64::from(pid.as_raw_nonzero().get())));
        assert!(seen.started > 0 && seen.started <= now_ticks().expect("a clock"));
        assert!(all().contains(&std::process::id()));
        assert_eq!(started(std::process::id()), Some(seen.started));
        assert_eq!(look(u32::MAX, &mut Names::default()), None);
    }

    #[test]
    fn names_with_brackets_terminals_and_paths() {
        let (name, fields) = stat_fields("7 (a) S (b) R 1 2 3 34816").expect("a line");
        assert_eq!((name.as_str(), fields[0], fields[1]), ("a) S (b", "R", "1"));
        assert_eq!(terminal(34_816).as_deref(), Some("pts/0"));
        assert_eq!(terminal(1_025).as_deref(), Some("tty1"));
        assert_eq!(terminal(0), None);
        let words = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        assert_eq!(image(&words("/dev/shm/x -q"), "x").as_deref(), Some("/dev/shm/x"));
        assert!(image(&words("-sh"), "sh").is_some_and(|path| path.ends_with("/sh")));
        assert!(
            image(&words("[kworker/0:1]"), "sh").is_some_and(|path| path.ends_with("/sh")),
            "the kernel knows better"
        );
        assert_eq!(image(&words("./no-such-program"), "no-such-program"), None);
        assert_eq!(users("Name:\tx\nUid:\t1000\t0\t0\t0\n"), (Some(1_000), Some(0)));
    }
}

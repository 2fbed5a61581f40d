//! Lines of the authentication log: `Nov 22 15:06:57 host sshd[123]: message`, or with an RFC 3339 time before the host.
//!
//! Whoever tries to log in writes a part of these lines: a name may hold any words. So each form is taken apart from the
//! side that the program writes. What must stay out: files.

use staffel_pack::record::cut;

/// Longer lines are cut, bytes.
pub const LONGEST: usize = 8 * 1_024;

/// A line taken apart. What is not said is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry<'a> {
    pub program: &'a str,
    pub process: Option<i64>,
    pub host: &'a str,
    pub message: &'a str,
    /// Who acts, or wants in.
    pub user: Option<&'a str>,
    /// Whose rights are asked for, where that is another one.
    pub target: Option<&'a str>,
    /// Where from.
    pub address: Option<&'a str>,
    /// `success` or `failure`.
    pub outcome: Option<&'static str>,
}

/// Takes a line apart; none if it is no line of such a log.
pub fn read(line: &str) -> Option<Entry<'_>> {
    let line = cut(line.trim_end(), LONGEST);
    let rest = if line.starts_with(|first: char| first.is_ascii_digit()) {
        let (time, rest) = line.split_once(' ')?;
        time.contains('T').then_some(rest)?
    } else {
        // Month, day, time; a day below ten has another space before it.
        let (_, rest) = line.split_once(' ')?;
        let (_, rest) = rest.trim_start().split_once(' ')?;
        let (time, rest) = rest.split_once(' ')?;
        time.contains(':').then_some(rest)?
    };
    let (host, rest) = rest.split_once(' ')?;
    let (tag, message) = rest.split_once(':')?;
    let (program, process) = match tag.split_once('[') {
        Some((program, number)) => (program, number.strip_suffix(']')?.parse().ok()),
        None => (tag, None),
    };
    if program.is_empty() || program.contains(char::is_whitespace) || host.is_empty() {
        return None;
    }
    // Newer versions of OpenSSH do their work in programs of other names.
    let program = if program.starts_with("sshd-") { "sshd" } else { program };
    let mut entry = Entry { program, process, host, message: message.trim_start(), ..Entry::default() };
    match program {
        _ if entry.message.starts_with("pam_") => pam(&mut entry),
        "sshd" => sshd(&mut entry),
        "sudo" => sudo(&mut entry),
        "su" => su(&mut entry),
        _ => {}
    }
    Some(entry)
}

fn named(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

/// `Accepted publickey for max from 192.0.2.4 port 5001 ssh2`, `Failed password for invalid user x from ..`,
/// `Invalid user x from ..`, `ROOT LOGIN REFUSED FROM ..`.
fn sshd(entry: &mut Entry<'_>) {
    let message = entry.message;
    if let Some(rest) = message.strip_prefix("ROOT LOGIN REFUSED FROM ") {
        (entry.user, entry.address, entry.outcome) = (Some("root"), rest.split(' ').next(), Some("failure"));
        return;
    }
    let (outcome, rest) = if let Some(rest) = message.strip_prefix("Accepted ") {
        ("success", rest.split_once(" for ").map(|(_, rest)| rest))
    } else if let Some(rest) = message.strip_prefix("Failed ") {
        ("failure", rest.split_once(" for ").map(|(_, rest)| rest))
    } else {
        ("failure", message.strip_prefix("Invalid user "))
    };
    let Some(rest) = rest else { return };
    let rest = rest.strip_prefix("invalid user ").unwrap_or(rest);
    // The last one: a name may hold the words, too.
    let Some((user, from)) = rest.rsplit_once(" from ").or_else(|| Some(("", rest.strip_prefix("from ")?))) else {
        return;
    };
    (entry.user, entry.address, entry.outcome) = (named(user), from.split(' ').next().and_then(named), Some(outcome));
}

/// `max : TTY=pts/0 ; PWD=/home/max ; USER=root ; COMMAND=/bin/sh`, with what is wrong before `TTY`.
fn sudo(entry: &mut Entry<'_>) {
    let Some((user, rest)) = entry.message.split_once(" : ") else { return };
    let Some((before, said)) = rest.split_once("TTY=") else { return };
    entry.user = named(user);
    entry.outcome = Some(if before.is_empty() { "success" } else { "failure" });
    // Before the command, which its user writes.
    let ours = said.split_once("COMMAND=").map_or(said, |(ours, _)| ours);
    entry.target = ours.split_once(" USER=").and_then(|(_, rest)| rest.split(' ').next()).and_then(named);
}

/// `(to root) max on pts/0`, `FAILED SU (to root) max on pts/0`.
fn su(entry: &mut Entry<'_>) {
    let (outcome, rest) = match entry.message.strip_prefix("FAILED SU ") {
        Some(rest) => ("failure", rest),
        None => ("success", entry.message),
    };
    let Some((target, rest)) = rest.strip_prefix("(to ").and_then(|rest| rest.split_once(") ")) else { return };
    let user = rest.rsplit_once(" on ").map_or(rest, |(user, _)| user);
    (entry.user, entry.target, entry.outcome) = (named(user), named(target), Some(outcome));
}

/// `pam_unix(su:auth): authentication failure; logname= uid=1000 .. ruser=max rhost=192.0.2.4  user=root`,
/// `pam_unix(su:session): session opened for user root(uid=0) by max(uid=1000)`.
fn pam(entry: &mut Entry<'_>) {
    let Some((_, said)) = entry.message.split_once("): ") else { return };
    if let Some(rest) = said.strip_prefix("authentication failure;") {
        let value = |name: &str| rest.split(' ').find_map(|word| word.strip_prefix(name)).and_then(named);
        entry.outcome = Some("failure");
        entry.address = value("rhost=");
        // With one name alone that is who wants in.
        (entry.user, entry.target) = match (value("ruser="), value("user=")) {
            (None, only) => (only, None),
            both => both,
        };
    } else if let Some(rest) = said.strip_prefix("session opened for user ") {
        let (target, by) = rest.split_once(" by ").map_or((rest, ""), |(target, by)| (target, by));
        (entry.user, entry.target, entry.outcome) = (account(by), account(target), Some("success"));
    }
}

/// `root(uid=0)`, without the number.
fn account(text: &str) -> Option<&str> {
    named(text.split('(').next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Said<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<&'static str>);

    fn said(line: &str) -> Option<Said<'_>> {
        read(line).map(|entry| (entry.program, entry.user, entry.target, entry.address, entry.outcome))
    }

    #[test]
    fn what_log_ins_and_changes_of_rights_say_is_taken_apart() {
        let sshd = |rest| format!("Nov  2 15:06:57 ward-1 sshd[411]: {rest}");
        let line = sshd("Failed password for invalid user a from b from 192.0.2.4 port 5001 ssh2");
        let entry = read(&line).expect("a line");
        assert_eq!((entry.host, entry.process), ("ward-1", Some(411)));
        assert_eq!(said(&line), Some(("sshd", Some("a from b"), None, Some("192.0.2.4"), Some("failure"))));
        let line = "2026-11-22T15:06:57.123456+00:00 w sshd-session[1]: Accepted publickey for max from 2001:db8::1 port 2 ssh2";
        assert_eq!(said(line), Some(("sshd", Some("max"), None, Some("2001:db8::1"), Some("success"))));
        let line = sshd("ROOT LOGIN REFUSED FROM 192.0.2.4 port 9");
        assert_eq!(said(&line), Some(("sshd", Some("root"), None, Some("192.0.2.4"), Some("failure"))));
        let line = sshd("Invalid user  from 192.0.2.4 port 9");
        assert_eq!(said(&line), Some(("sshd", None, None, Some("192.0.2.4"), Some("failure"))));

        let sudo = |rest| format!("Nov 22 15:06:57 w sudo:      max : {rest}");
        let line = sudo("TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh -c : ; USER=nobody ; COMMAND=x");
        assert_eq!(said(&line), Some(("sudo", Some("max"), Some("root"), None, Some("success"))));
        let line = sudo("user NOT in sudoers ; TTY=pts/0 ; PWD=/home/max ; USER=root ; COMMAND=/bin/sh");
        assert_eq!(said(&line), Some(("sudo", Some("max"), Some("root"), None, Some("failure"))));

        let su = |rest| format!("Nov 22 15:06:57 w su[7]: {rest}");
        let line = su("FAILED SU (to root) max on pts/0");
        assert_eq!(said(&line), Some(("su", Some("max"), Some("root"), None, Some("failure"))));
        let line =
            su("pam_unix(su:auth): authentication failure; logname= uid=1 euid=0 tty=x ruser=max rhost=  user=root");
        assert_eq!(said(&line), Some(("su", Some("max"), Some("root"), None, Some("failure"))));
        let line = su("pam_unix(su:session): session opened for user root(uid=0) by max(uid=1000)");
        assert_eq!(said(&line), Some(("su", Some("max"), Some("root"), None, Some("success"))));
    }

    #[test]
    fn what_is_no_such_line_is_none_and_long_ones_are_cut() {
        for line in
            ["", "x", "Nov 22 15:06:57 host", "Nov 22 15:06:57 host no tag: x", "22 x y: z", "Nov 22 now w a: b"]
        {
            assert_eq!(read(line), None, "{line}");
        }
        let long = format!("Nov 22 15:06:57 w cron[1]: {}", "ä".repeat(LONGEST));
        assert!(read(&long).expect("a line").message.len() <= LONGEST);
        assert_eq!(read("Nov 22 15:06:57 w sudo: a : b").expect("a line").outcome, None);
    }
}

//! What the kernel's command line says about the entry that runs. What must stay out: believing it alone.

use staffel_core::boot::firmware::Running;

/// Number of the entry.
pub const ENTRY: &str = "staffel.entry=";
/// The entry is a trial.
pub const TRIAL: &str = "staffel.trial";
/// The safe system.
pub const SAFE: &str = "staffel.safe";
/// Seconds until the watchdog bites, unless user space takes it over.
pub const WATCHDOG: &str = "staffel.watchdog=";

/// What was started. The guard's words stand last, so the last one counts.
pub fn running(line: &str) -> Running {
    let words = || line.split_ascii_whitespace();
    if words().any(|word| word == SAFE) {
        return Running::Safe;
    }
    let number = words().rev().find_map(|word| word.strip_prefix(ENTRY)).and_then(|text| text.parse().ok());
    match number {
        Some(number) => Running::Entry { number, trial: words().any(|word| word == TRIAL) },
        None => Running::Foreign,
    }
}

/// The value of the last word with this beginning.
pub fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_ascii_whitespace().rev().find_map(|word| word.strip_prefix(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guards_own_words_count() {
        let trial = Running::Entry { number: 7, trial: true };
        assert_eq!(running("quiet staffel.entry=1 staffel.entry=7 staffel.trial\n"), trial);
        assert_eq!(running("staffel.entry=7 quiet"), Running::Entry { number: 7, trial: false });
        assert_eq!(running("staffel.entry=7 staffel.safe"), Running::Safe);
        for foreign in ["", "quiet", "staffel.entry=", "staffel.entry=x", "staffel.trial"] {
            assert_eq!(running(foreign), Running::Foreign, "{foreign:?}");
        }
        assert_eq!(value("staffel.watchdog=5 staffel.watchdog=9", WATCHDOG), Some("9"));
    }
}

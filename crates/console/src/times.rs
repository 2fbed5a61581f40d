//! Times as people read them. Pages show UTC; the script adds the reader's own time. What must stay out: clocks.

use crate::words::Words;
use jiff::Timestamp;

fn format(ms: u64, pattern: &str) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| "–".to_string(), |at| at.strftime(pattern).to_string())
}

/// `2026-11-22 05:11:43 UTC`.
pub(crate) fn utc(ms: u64) -> String {
    format(ms, "%Y-%m-%d %H:%M:%S UTC")
}

/// A `<time>` element; its content is plain text of ours, so it is safe in a page.
pub(crate) fn element(ms: u64) -> String {
    format!("<time datetime=\"{}\">{}</time>", format(ms, "%Y-%m-%dT%H:%M:%S%.3fZ"), utc(ms))
}

/// `3 min 20 s`, at most two units.
pub(crate) fn duration(words: Words, ms: u64) -> String {
    let seconds = ms / 1_000;
    let two = |big: u64, big_unit: &str, small: u64, small_unit: &str| {
        let big = words.t1(big_unit, "n", big);
        if small == 0 { big } else { format!("{big} {}", words.t1(small_unit, "n", small)) }
    };
    match seconds {
        0..60 => words.t1("seconds", "n", seconds),
        60..3_600 => two(seconds / 60, "minutes", seconds % 60, "seconds"),
        3_600..86_400 => two(seconds / 3_600, "hours", seconds % 3_600 / 60, "minutes"),
        _ => two(seconds / 86_400, "days", seconds % 86_400 / 3_600, "hours"),
    }
}

/// `3 min 20 s ago`.
pub(crate) fn ago(words: Words, now_ms: u64, at_ms: u64) -> String {
    words.t1("ago", "time", duration(words, now_ms.saturating_sub(at_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Language;

    #[test]
    fn times_and_durations_read_as_people_write_them() {
        let words = Words(Language::English);
        assert_eq!(utc(1_784_700_703_000), "2026-07-22 06:11:43 UTC");
        assert_eq!(element(0), "<time datetime=\"1970-01-01T00:00:00.000Z\">1970-01-01 00:00:00 UTC</time>");
        assert_eq!(utc(u64::MAX), "–");
        assert_eq!(duration(words, 3_000), "3 s");
        assert_eq!(duration(words, 200_000), "3 min 20 s");
        assert_eq!(duration(words, 2 * 3_600_000), "2 h");
        assert_eq!(duration(words, 90_000_000), "1 d 1 h");
    }
}

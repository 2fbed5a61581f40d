//! Times as people read them: UTC for moments, a rounded span for ages. Must stay out: local time zones, which differ
//! between the people who read one log.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix milliseconds by this machine's clock.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// `2026-01-31 23:59:59Z`; a time that no calendar has is shown as its number.
pub fn moment(unix_ms: u64) -> String {
    let format = |time: jiff::Timestamp| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    let time = i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{unix_ms} ms"), format)
}

/// `23:59:59Z`: for lines that follow one another.
pub fn clock(unix_ms: u64) -> String {
    let second = unix_ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

/// `850 ms`, `12 s`, `3 min`, `5 h`, `2 d`: rounded down, one unit.
pub fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms} ms"),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_utc_and_none_is_too_far() {
        assert_eq!(moment(0), "1970-01-01 00:00:00Z");
        assert_eq!(moment(1_721_361_540_123), "2024-07-19 03:59:00Z");
        assert_eq!(clock(1_721_361_540_123), "03:59:00Z");
        assert_eq!(moment(u64::MAX), format!("{} ms", u64::MAX));
    }

    #[test]
    fn spans_have_one_unit() {
        let shown: Vec<_> = [0, 999, 1_000, 119_999, 120_000, 7_200_000, 172_800_000].map(span).into();
        assert_eq!(shown, ["0 ms", "999 ms", "1 s", "119 s", "2 min", "2 h", "2 d"]);
    }
}

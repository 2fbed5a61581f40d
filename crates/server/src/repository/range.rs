//! The `Range` header (RFC 9110, 14.2): one range of bytes. What must stay out: files.

/// What part of a file somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    /// `length` is at least 1, and the part lies within the file.
    Part {
        from: u64,
        length: u64,
    },
    /// A range that lies behind the end: 416.
    Nothing,
}

impl Wanted {
    /// Reads the header's value for a file of `size` bytes. What is not understood, and more than one range, means all of
    /// it, as the RFC allows.
    pub fn parse(text: &str, size: u64) -> Self {
        let Some(range) = text.trim().strip_prefix("bytes=") else { return Wanted::All };
        let Some((from, to)) = range.split_once('-') else { return Wanted::All };
        match (number(from), number(to)) {
            // The last n bytes.
            (Some(None), Some(Some(0))) => Wanted::Nothing,
            (Some(None), Some(Some(_))) if size == 0 => Wanted::Nothing,
            (Some(None), Some(Some(last))) => {
                let length = last.min(size);
                Wanted::Part { from: size - length, length }
            }
            (Some(Some(from)), Some(to)) => {
                let end = to.unwrap_or(u64::MAX);
                if end < from {
                    Wanted::All
                } else if from >= size {
                    Wanted::Nothing
                } else {
                    Wanted::Part { from, length: end.min(size - 1) - from + 1 }
                }
            }
            _ => Wanted::All,
        }
    }
}

/// `Some(None)` for nothing, `None` for something that is no number. A number too large for us is as good as the largest.
fn number(text: &str) -> Option<Option<u64>> {
    let text = text.trim();
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if text.is_empty() { Some(None) } else { Some(Some(text.parse().unwrap_or(u64::MAX))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_forms_of_the_standard() {
        let part = |from, length| Wanted::Part { from, length };
        let huge = "bytes=0-99999999999999999999999";
        for (text, size, wanted) in [
            ("bytes=0-0", 10, part(0, 1)),
            ("bytes=2-5", 10, part(2, 4)),
            ("bytes=2-", 10, part(2, 8)),
            ("bytes=2-99", 10, part(2, 8)),
            (huge, 10, part(0, 10)),
            ("bytes=-3", 10, part(7, 3)),
            ("bytes=-99", 10, part(0, 10)),
            ("bytes=10-", 10, Wanted::Nothing),
            ("bytes=-0", 10, Wanted::Nothing),
            ("bytes=0-", 0, Wanted::Nothing),
            ("bytes=-1", 0, Wanted::Nothing),
            ("bytes=5-2", 10, Wanted::All),
            ("bytes=0-1,3-4", 10, Wanted::All),
            ("bytes=-", 10, Wanted::All),
            ("bytes=a-b", 10, Wanted::All),
            ("bytes=+1-2", 10, Wanted::All),
            ("lines=1-2", 10, Wanted::All),
            ("", 10, Wanted::All),
        ] {
            assert_eq!(Wanted::parse(text, size), wanted, "{text} of {size}");
        }
    }
}

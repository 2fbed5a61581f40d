//! Which target paths are allowed, and where a target lies below the `targets` directory.
//!
//! The same rule for the writer and the client: what one may publish the other may ask for, and nothing else reaches a file
//! system or a URL. Role names and metadata file names do not belong here.

/// Longest target path, in bytes.
pub const MAXIMUM_PATH_BYTES: usize = 512;
/// Longest single component, in bytes. A hash prefix of 65 bytes still fits a file name of 255.
pub const MAXIMUM_COMPONENT_BYTES: usize = 180;

/// Why a target path is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("target path {path:?}: {reason}")]
pub struct PathError {
    /// The path, cut to a printable length.
    pub path: String,
    /// Which rule it breaks.
    pub reason: &'static str,
}

/// Accepts relative paths with `/` between components that are neither empty, `.` nor `..`, without backslashes, colons or
/// control characters, within the length limits.
pub fn validate(path: &str) -> Result<(), PathError> {
    let refuse = |reason| Err(PathError { path: path.chars().take(80).collect(), reason });
    if path.is_empty() {
        return refuse("empty");
    }
    if path.len() > MAXIMUM_PATH_BYTES {
        return refuse("longer than 512 bytes");
    }
    if path.starts_with('/') {
        return refuse("absolute");
    }
    if path.contains('\\') {
        return refuse("contains a backslash");
    }
    // A colon names a drive or a stream on Windows and a scheme in a URL.
    if path.contains(':') {
        return refuse("contains a colon");
    }
    if path.chars().any(char::is_control) {
        return refuse("contains a control character");
    }
    for component in path.split('/') {
        match component {
            "" => return refuse("has an empty component"),
            "." | ".." => return refuse("has a component that is . or .."),
            _ if component.len() > MAXIMUM_COMPONENT_BYTES => return refuse("has a component longer than 180 bytes"),
            _ => {}
        }
    }
    Ok(())
}

/// Where a target lies in a repository with consistent snapshots: the hash stands before the file name, not before the
/// whole path (TUF specification 1.0.34, section 6.2).
pub fn with_hash(path: &str, hash: &str) -> String {
    match path.rsplit_once('/') {
        Some((directory, name)) => format!("{directory}/{hash}.{name}"),
        None => format!("{hash}.{path}"),
    }
}

/// Percent-encodes every byte outside `A-Z a-z 0-9 - _ . ~`. Role names in file names are written this way, so `/` and `..`
/// in a role name cannot leave the metadata directory.
pub fn percent_encode(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            output.push(char::from(byte));
        } else {
            output.push_str(&format!("%{byte:02X}"));
        }
    }
    output
}

/// Percent-encodes each component of a target path and keeps the `/` between them, for use in a URL.
pub fn percent_encode_path(path: &str) -> String {
    path.split('/').map(percent_encode).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_ordinary_paths() {
        for path in ["a", "content/1.2/rules.bin", "gate/abc.json", "mit leer/ü.bin", "..a", "a..", "%2e%2e/x"] {
            assert_eq!(validate(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn refuses_what_could_leave_the_directory() {
        let long = "a".repeat(MAXIMUM_COMPONENT_BYTES + 1);
        let longer = "a/".repeat(300) + "a";
        for path in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../b",
            "a/..",
            ".",
            "a/./b",
            "a//b",
            "a/",
            "a\\b",
            "..\\x",
            "C:/x",
            "a\0b",
            "a\nb",
            &long,
            &longer,
        ] {
            assert!(validate(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn hash_goes_before_the_file_name() {
        assert_eq!(with_hash("a/b/c.bin", "ff"), "a/b/ff.c.bin");
        assert_eq!(with_hash("c.bin", "ff"), "ff.c.bin");
    }

    #[test]
    fn encoding() {
        assert_eq!(percent_encode("../x?#%"), "..%2Fx%3F%23%25");
        assert_eq!(percent_encode_path("a b/ü"), "a%20b/%C3%BC");
    }
}

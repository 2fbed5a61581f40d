//! Names of files in the repository, taken from a request's path. What must stay out: the file system.

use staffel_core::ids::Digest;
use std::{fmt, path::PathBuf};

/// A safe relative name: it starts with `metadata`, `targets` or `blobs`, and no part of it leads anywhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(Vec<String>);

/// How long a copy is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// The name changes with the content.
    Forever,
    /// The content may change: ask each time.
    Ask,
}

impl Name {
    /// Reads the path after `/repo/`, still percent-encoded. `None` if it is unsafe or none of ours.
    pub fn parse(path: &str) -> Option<Self> {
        if path.len() > 1_024 {
            return None;
        }
        let parts = path.split('/').map(decode).collect::<Option<Vec<String>>>()?;
        if parts.len() < 2 || !parts.iter().all(|part| is_plain(part)) {
            return None;
        }
        let known = match parts[0].as_str() {
            "metadata" | "targets" => true,
            "blobs" => parts.len() == 2 && is_digest(&parts[1]),
            _ => false,
        };
        known.then_some(Name(parts))
    }

    /// Where it lies below the repository's root.
    pub fn path(&self) -> PathBuf {
        match self.blob() {
            // Two digits first, so that no directory holds a million files.
            Some(digest) => ["blobs", &digest[..2], digest].iter().collect(),
            None => self.0.iter().collect(),
        }
    }

    /// The digest in a blob's name.
    pub fn blob(&self) -> Option<&str> {
        match self.0.as_slice() {
            [blobs, digest] if blobs == "blobs" => Some(digest),
            _ => None,
        }
    }

    /// Consistent snapshots (TUF specification, 6.2): metadata `N.role.json`, targets `digest.name`.
    pub fn lifetime(&self) -> Lifetime {
        let last = self.0.last().map_or("", String::as_str);
        let (head, rest) = last.split_once('.').unwrap_or((last, ""));
        let named_by_content = match self.0[0].as_str() {
            "blobs" => true,
            "metadata" => !head.is_empty() && rest.contains('.') && head.bytes().all(|b| b.is_ascii_digit()),
            _ => is_digest(head),
        };
        if named_by_content { Lifetime::Forever } else { Lifetime::Ask }
    }

    pub fn content_type(&self) -> &'static str {
        let json = self.0.last().is_some_and(|name| name.ends_with(".json"));
        if json { "application/json" } else { "application/octet-stream" }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && Digest::parse(text).is_some() && !text.bytes().any(|b| b.is_ascii_uppercase())
}

/// No way up, nothing hidden (files being written begin with a dot), nothing that another system takes for a separator.
fn is_plain(part: &str) -> bool {
    !part.is_empty() && !part.starts_with('.') && !part.chars().any(|c| c.is_control() || matches!(c, '/' | '\\' | ':'))
}

fn decode(part: &str) -> Option<String> {
    let mut out = Vec::with_capacity(part.len());
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            let mut value = [0];
            hex::decode_to_slice(digits, &mut value).ok()?;
            out.push(value[0]);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_names_of_the_repository() {
        let digest = "ab".repeat(32);
        let path = |text: &str| Name::parse(text).map(|name| name.path().to_string_lossy().into_owned());
        assert_eq!(path("metadata/timestamp.json").unwrap(), "metadata/timestamp.json");
        assert_eq!(path("targets/releases/till/1.0%2B7.dsse.json").unwrap(), "targets/releases/till/1.0+7.dsse.json");
        assert_eq!(path(&format!("blobs/{digest}")).unwrap(), format!("blobs/ab/{digest}"));
    }

    #[test]
    fn refuses_names_that_lead_away() {
        let upper = format!("blobs/{}", "AB".repeat(32));
        let long = format!("targets/{}", "a".repeat(2_000));
        for text in [
            "",
            "metadata",
            "metadata/",
            "metadata//root.json",
            "keys/root.key",
            "../operators.json",
            "metadata/../keys/x",
            "metadata/%2e%2e/keys/x",
            "metadata/%2E%2E%2Fkeys",
            "targets/..%5ckeys",
            "targets/a%00b",
            "targets/a%2fb",
            "targets/.new",
            "targets/c:x",
            "targets/%zz",
            "targets/%f",
            "targets/%ff",
            "/metadata/root.json",
            "blobs/ab",
            "blobs/ab/abcd",
            &upper,
            &long,
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_names_that_change_with_the_content_are_kept_for_ever() {
        let digest = "ab".repeat(32);
        let lifetime = |text: &str| Name::parse(text).unwrap().lifetime();
        for text in ["metadata/1.root.json", "metadata/12.bins-0a.json", "metadata/3.targets.json"] {
            assert_eq!(lifetime(text), Lifetime::Forever, "{text}");
        }
        assert_eq!(lifetime(&format!("blobs/{digest}")), Lifetime::Forever);
        assert_eq!(lifetime(&format!("targets/releases/{digest}.x.json")), Lifetime::Forever);
        for text in
            ["metadata/timestamp.json", "metadata/root.json", "metadata/1.json", "targets/a.json", "targets/1.a.json"]
        {
            assert_eq!(lifetime(text), Lifetime::Ask, "{text}");
        }
    }
}

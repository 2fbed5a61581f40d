//! Events of watched folders (inotify(7)). Who caused one is not said.

use std::collections::BTreeMap;

/// What is asked of the kernel for a folder: `IN_ATTRIB`, `IN_CLOSE_WRITE`, `IN_MOVED_FROM`, `IN_MOVED_TO`, `IN_CREATE`, `IN_DELETE`.
pub const WANTED: u32 = 0x4 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200;

const ATTRIBUTES: u32 = 0x4;
const WRITTEN: u32 = 0x8;
const MOVED: u32 = 0x40 | 0x80;
const CREATED: u32 = 0x100;
const DELETED: u32 = 0x200;
const OVERFLOW: u32 = 0x4000;
const IGNORED: u32 = 0x8000;

/// A file in a watched folder was touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    pub path: String,
    /// As in the catalogue: `create`, `modify`, `rename`, `delete` or `attributes`.
    pub operation: &'static str,
}

/// What a chunk says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub touched: Vec<Touched>,
    pub unreadable: u64,
    /// The kernel dropped events, and does not say how many.
    pub overflowed: bool,
    /// Watches that have ended.
    pub unwatched: Vec<i32>,
}

/// Reads what one `read` of the descriptor gave. `folders`: that of each watch.
pub fn read(mut bytes: &[u8], folders: &BTreeMap<i32, String>) -> Said {
    let mut said = Said::default();
    while !bytes.is_empty() {
        let Some((watch, mask, name, rest)) = event(bytes) else {
            // Without a length that fits nobody knows where the next begins.
            said.unreadable += 1;
            break;
        };
        bytes = rest;
        if mask & OVERFLOW != 0 {
            said.overflowed = true;
            continue;
        }
        if mask & IGNORED != 0 {
            said.unwatched.push(watch);
            continue;
        }
        let operation = match mask {
            mask if mask & CREATED != 0 => "create",
            mask if mask & DELETED != 0 => "delete",
            mask if mask & MOVED != 0 => "rename",
            mask if mask & WRITTEN != 0 => "modify",
            mask if mask & ATTRIBUTES != 0 => "attributes",
            // Of the folder itself: unmounted, for example. That it is not watched any more is said next.
            _ => continue,
        };
        match folders.get(&watch) {
            Some(folder) if name.is_empty() => said.touched.push(Touched { path: folder.clone(), operation }),
            Some(folder) => {
                let path = format!("{}/{}", folder.trim_end_matches('/'), String::from_utf8_lossy(name));
                said.touched.push(Touched { path, operation });
            }
            None => said.unreadable += 1,
        }
    }
    said
}

/// `inotify_event`: watch, mask, cookie, length of the name, the name filled up with zeros.
fn event(bytes: &[u8]) -> Option<(i32, u32, &[u8], &[u8])> {
    let word = |at: usize| Some(*bytes.get(at..)?.first_chunk::<4>()?);
    let length = usize::try_from(u32::from_ne_bytes(word(12)?)).ok()?;
    let (name, rest) = bytes[16..].split_at_checked(length)?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(length);
    Some((i32::from_ne_bytes(word(0)?), u32::from_ne_bytes(word(4)?), &name[..end], rest))
}

/// An event as the kernel would write it: for tests and the fuzzer.
pub fn sample(watch: i32, mask: u32, name: &str) -> Vec<u8> {
    let length = if name.is_empty() { 0 } else { (name.len() + 1).next_multiple_of(16) };
    let mut bytes = watch.to_ne_bytes().to_vec();
    for word in [mask, 0, length as u32] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes.extend_from_slice(name.as_bytes());
    bytes.resize(16 + length, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_paths_and_losses_are_said() {
        let folders = [(1, "/etc".to_string()), (2, "/home/max/.ssh/".to_string())].into();
        let bytes = [
            sample(1, CREATED, "ld.so.preload"),
            sample(2, WRITTEN, "authorized_keys"),
            sample(1, ATTRIBUTES, ""),
            sample(1, 0x40, "old"),
            sample(7, CREATED, "whose"),
            sample(-1, OVERFLOW, ""),
            sample(1, 0x2000, ""),
            sample(1, IGNORED, ""),
            vec![1, 2, 3],
        ];
        let said = read(&bytes.concat(), &folders);
        let touched: Vec<_> = said.touched.iter().map(|touched| (touched.path.as_str(), touched.operation)).collect();
        let expected = [
            ("/etc/ld.so.preload", "create"),
            ("/home/max/.ssh/authorized_keys", "modify"),
            ("/etc", "attributes"),
            ("/etc/old", "rename"),
        ];
        assert_eq!(touched, expected);
        assert_eq!((said.unreadable, said.overflowed, said.unwatched), (2, true, vec![1]));
    }
}

//! A file of named entries, such as operators: looked at before each use, so that a change counts at once, and changed by one
//! program at a time. A file that can't be read lets nobody in: better than a list that somebody believes to be gone. What must
//! stay out: what an entry holds beside its name.

use crate::files::{self, Stamp};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// What a roster lists, and where.
#[derive(Debug)]
pub struct Kind {
    /// One entry, in words that follow "an".
    pub word: &'static str,
    /// The file's name.
    pub file: &'static str,
    /// Held while the file is changed.
    pub lock: &'static str,
    /// The field of the file with the entries.
    pub field: &'static str,
    /// Largest file, bytes.
    pub most: u64,
}

/// Something that a roster lists.
pub trait Named: Serialize + DeserializeOwned {
    /// Its name, which nothing else in the file has.
    fn name(&self) -> &str;
}

/// Why a roster can't be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    #[error("{operation} {}", path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not usable: {why}", path.display())]
    Content { path: PathBuf, why: String },
    #[error("an {kind}'s name is 1 to 64 letters, digits, dots, dashes, underscores or at signs; {name:?} is not")]
    Name { kind: &'static str, name: String },
    #[error("there is an {kind} {name:?} already")]
    Exists { kind: &'static str, name: String },
    #[error("there is no {kind} {name:?}")]
    Missing { kind: &'static str, name: String },
    #[error("no random bytes for an {kind}: {why}")]
    Random { kind: &'static str, why: String },
}

/// True for what may be a name: 1 to 64 letters, digits, dots, dashes, underscores or at signs.
pub fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
    !name.is_empty() && name.len() <= 64 && name.chars().all(plain)
}

/// What was read last, and what the file looked like then.
type Seen<T> = Option<(Stamp, Arc<Vec<T>>)>;

/// The entries of one folder.
pub struct Roster<T> {
    kind: &'static Kind,
    path: PathBuf,
    seen: Mutex<Seen<T>>,
}

impl<T: Named> Roster<T> {
    /// The roster of this kind in `dir`. Reads nothing yet.
    pub fn new(dir: &Path, kind: &'static Kind) -> Self {
        Roster { kind, path: dir.join(kind.file), seen: Mutex::new(None) }
    }

    /// Refuses what may not be a name.
    pub fn check_name(&self, name: &str) -> Result<(), RosterError> {
        if is_name(name) { Ok(()) } else { Err(RosterError::Name { kind: self.kind.word, name: name.into() }) }
    }

    /// Adds an entry whose name is free.
    pub fn add(&self, entry: T) -> Result<(), RosterError> {
        self.check_name(entry.name())?;
        self.change(|entries| {
            if entries.iter().any(|other| other.name() == entry.name()) {
                return Err(RosterError::Exists { kind: self.kind.word, name: entry.name().into() });
            }
            entries.push(entry);
            Ok(())
        })
    }

    /// Changes the entry of that name.
    pub fn edit(&self, name: &str, edit: impl FnOnce(&mut T)) -> Result<(), RosterError> {
        self.change(|entries| {
            edit(entries.iter_mut().find(|entry| entry.name() == name).ok_or_else(|| self.missing(name))?);
            Ok(())
        })
    }

    /// Removes the entry of that name.
    pub fn remove(&self, name: &str) -> Result<(), RosterError> {
        self.change(|entries| {
            let before = entries.len();
            entries.retain(|entry| entry.name() != name);
            if entries.len() == before { Err(self.missing(name)) } else { Ok(()) }
        })
    }

    /// The entries as the file has them now; a folder without the file has none. The file is read only if it has changed.
    pub fn current(&self) -> Result<Arc<Vec<T>>, RosterError> {
        let Some(stamp) = Stamp::of(&self.path).map_err(failed("look at", &self.path))? else {
            return Ok(Arc::default());
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, entries)) = &*seen
            && *known == stamp
        {
            return Ok(entries.clone());
        }
        *seen = None;
        let entries = Arc::new(self.read()?.1);
        *seen = Some((stamp, entries.clone()));
        Ok(entries)
    }

    fn missing(&self, name: &str) -> RosterError {
        RosterError::Missing { kind: self.kind.word, name: name.into() }
    }

    fn change(&self, edit: impl FnOnce(&mut Vec<T>) -> Result<(), RosterError>) -> Result<(), RosterError> {
        let lock_path = self.path.with_file_name(self.kind.lock);
        // Two programs that change it at the same time: the second waits.
        let lock = File::options().create(true).append(true).open(&lock_path).map_err(failed("open", &lock_path))?;
        lock.lock().map_err(failed("lock", &lock_path))?;
        let (mut fields, mut entries) = self.read()?;
        edit(&mut entries)?;
        let unusable = |error: serde_json::Error| self.unusable(&error.to_string());
        fields.insert(self.kind.field.into(), serde_json::to_value(&entries).map_err(unusable)?);
        let mut text = serde_json::to_vec_pretty(&fields).map_err(unusable)?;
        text.push(b'\n');
        files::replace(&self.path, &text, true).map_err(failed("write", &self.path))
    }

    /// The entries, and the file's other fields: those of a newer version survive a change.
    fn read(&self) -> Result<(Map<String, Value>, Vec<T>), RosterError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            Err(error) => return Err(failed("open", &self.path)(error)),
        };
        let mut text = Vec::new();
        file.take(self.kind.most).read_to_end(&mut text).map_err(failed("read", &self.path))?;
        let unusable = |error: serde_json::Error| self.unusable(&error.to_string());
        let mut fields: Map<String, Value> = serde_json::from_slice(&text).map_err(unusable)?;
        let entries = fields.remove(self.kind.field);
        let entries = entries.ok_or_else(|| self.unusable(&format!("{} is missing", self.kind.field)))?;
        Ok((fields, serde_json::from_value(entries).map_err(unusable)?))
    }

    fn unusable(&self, why: &str) -> RosterError {
        RosterError::Content { path: self.path.clone(), why: why.into() }
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RosterError {
    let path = path.to_owned();
    move |source| RosterError::File { operation, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    static KIND: Kind = Kind { word: "entry", file: "list.json", lock: "list.lock", field: "list", most: 1 << 16 };

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Entry {
        name: String,
        value: u32,
        #[serde(flatten)]
        extra: Map<String, Value>,
    }

    impl Named for Entry {
        fn name(&self) -> &str {
            &self.name
        }
    }

    fn entry(name: &str, value: u32) -> Entry {
        Entry { name: name.into(), value, extra: Map::new() }
    }

    #[test]
    fn what_one_program_changes_another_sees_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| Roster::<Entry>::new(dir.path(), &KIND));
        assert!(other.current().unwrap().is_empty());
        one.add(entry("a", 1)).unwrap();
        one.add(entry("b", 2)).unwrap();
        assert_eq!(other.current().unwrap()[1], entry("b", 2));
        one.edit("b", |entry| entry.value = 3).unwrap();
        assert_eq!(other.current().unwrap()[1], entry("b", 3));
        one.remove("a").unwrap();
        assert_eq!(*other.current().unwrap(), [entry("b", 3)]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(dir.path().join(KIND.file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn names_are_plain_and_belong_to_one() {
        let dir = tempfile::tempdir().unwrap();
        let roster = Roster::<Entry>::new(dir.path(), &KIND);
        for name in ["", "a b", "a\n", "ä", "../x", "oidc:ann", &"n".repeat(65)] {
            assert!(matches!(roster.add(entry(name, 1)), Err(RosterError::Name { .. })), "{name:?}");
        }
        roster.add(entry("ann@example.org", 1)).unwrap();
        let again = roster.add(entry("ann@example.org", 2)).unwrap_err();
        assert_eq!(again.to_string(), "there is an entry \"ann@example.org\" already");
        assert!(matches!(roster.remove("ben"), Err(RosterError::Missing { .. })));
        assert!(matches!(roster.edit("ben", |_| ()), Err(RosterError::Missing { .. })));
    }

    #[test]
    fn a_broken_file_has_nobody_and_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let roster = Roster::<Entry>::new(dir.path(), &KIND);
        roster.add(entry("a", 1)).unwrap();
        roster.current().unwrap();
        let path = dir.path().join(KIND.file);
        for broken in ["{\"list\": [", "{}", "{\"list\": [{\"name\": 1}]}"] {
            std::fs::write(&path, broken).unwrap();
            assert!(matches!(roster.current(), Err(RosterError::Content { .. })), "{broken}");
            assert!(roster.add(entry("b", 1)).is_err() && roster.remove("a").is_err());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), broken);
        }
    }

    #[test]
    fn fields_of_a_newer_version_survive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(KIND.file);
        std::fs::write(&path, r#"{"list":[{"name":"a","value":1,"pager":7}],"format":2}"#).unwrap();
        Roster::new(dir.path(), &KIND).add(entry("b", 2)).unwrap();
        let value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(value["format"], 2);
        assert_eq!(value["list"][0]["pager"], 7);
        assert_eq!(value["list"][1]["name"], "b");
    }
}

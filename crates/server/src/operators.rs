//! Local accounts of operators: `operators.json` in the data directory, tokens kept as SHA-256 only.
//!
//! The file is looked at before each use, so a change counts at once. A file that can't be read lets nobody in: better
//! than a list that somebody believes to be gone. What must stay out: what a role may do.

use crate::{
    api::{Caller, Role},
    files::{self, Stamp},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use staffel_core::ids::Digest;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

const FILE: &str = "operators.json";
const LOCK: &str = "operators.lock";
/// Every token begins with this, so that a scanner for leaked secrets can find it.
const TOKEN_PREFIX: &str = "staffel-operator-";
/// About 10,000 operators.
const MAX_FILE: u64 = 4 << 20;

/// Why the list of operators can't be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum OperatorsError {
    #[error("{operation} {}", path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not usable: {why}", path.display())]
    Content { path: PathBuf, why: String },
    #[error("an operator's name is 1 to 64 letters, digits, dots, dashes, underscores or at signs; {name:?} is not")]
    Name { name: String },
    #[error("there is an operator {name:?} already")]
    Exists { name: String },
    #[error("there is no operator {name:?}")]
    Missing { name: String },
    #[error("no random bytes for a token: {why}")]
    Random { why: String },
}

/// One operator, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    pub name: String,
    pub role: Role,
    /// Sees and does only what is this customer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// SHA-256 of the token's text.
    pub token_sha256: Digest,
    /// What a newer version wrote.
    #[serde(flatten)]
    pub extra: BTreeMap<String, serde_json::Value>,
}

#[derive(Default, Serialize, Deserialize)]
struct Accounts {
    operators: Vec<Operator>,
    #[serde(flatten)]
    extra: BTreeMap<String, serde_json::Value>,
}

/// True for what may be the name of an account: 1 to 64 letters, digits, dots, dashes, underscores or at signs.
pub fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
    !name.is_empty() && name.len() <= 64 && name.chars().all(plain)
}

/// Adds an operator and returns the token, which is shown this once. `tenant` binds the operator to one customer.
pub fn add(dir: &Path, name: &str, role: Role, tenant: Option<&str>) -> Result<String, OperatorsError> {
    if !is_name(name) {
        return Err(OperatorsError::Name { name: name.into() });
    }
    let token = new_token()?;
    change(dir, |operators| {
        if operators.iter().any(|operator| operator.name == name) {
            return Err(OperatorsError::Exists { name: name.into() });
        }
        operators.push(Operator {
            name: name.into(),
            role,
            tenant: tenant.map(str::to_owned),
            token_sha256: Digest::of(token.as_bytes()),
            extra: BTreeMap::new(),
        });
        Ok(())
    })?;
    Ok(token)
}

/// Removes an operator; the token is worthless at once.
pub fn remove(dir: &Path, name: &str) -> Result<(), OperatorsError> {
    change(dir, |operators| {
        let before = operators.len();
        operators.retain(|operator| operator.name != name);
        if operators.len() == before { Err(OperatorsError::Missing { name: name.into() }) } else { Ok(()) }
    })
}

/// All operators. A directory without the file has none.
pub fn list(dir: &Path) -> Result<Vec<Operator>, OperatorsError> {
    Ok(read(&dir.join(FILE))?.operators)
}

fn change(
    dir: &Path,
    edit: impl FnOnce(&mut Vec<Operator>) -> Result<(), OperatorsError>,
) -> Result<(), OperatorsError> {
    let lock_path = dir.join(LOCK);
    // Two programs that add at the same time: the second waits.
    let lock = File::options().create(true).append(true).open(&lock_path).map_err(failed("open", &lock_path))?;
    lock.lock().map_err(failed("lock", &lock_path))?;
    let path = dir.join(FILE);
    let mut accounts = read(&path)?;
    edit(&mut accounts.operators)?;
    let mut text = serde_json::to_vec_pretty(&accounts)
        .map_err(|error| OperatorsError::Content { path: path.clone(), why: error.to_string() })?;
    text.push(b'\n');
    files::replace(&path, &text, true).map_err(failed("write", &path))
}

fn read(path: &Path) -> Result<Accounts, OperatorsError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Accounts::default()),
        Err(error) => return Err(failed("open", path)(error)),
    };
    let mut text = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut text).map_err(failed("read", path))?;
    serde_json::from_slice(&text)
        .map_err(|error| OperatorsError::Content { path: path.to_owned(), why: error.to_string() })
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OperatorsError {
    let path = path.to_owned();
    move |source| OperatorsError::File { operation, path, source }
}

fn new_token() -> Result<String, OperatorsError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| OperatorsError::Random { why: error.to_string() })?;
    Ok(format!("{TOKEN_PREFIX}{}", hex::encode(bytes)))
}

/// The list as the running server uses it.
pub(crate) struct Operators {
    path: PathBuf,
    seen: Mutex<Option<(Stamp, Arc<Vec<Operator>>)>>,
}

impl Operators {
    pub fn new(dir: &Path) -> Self {
        Operators { path: dir.join(FILE), seen: Mutex::new(None) }
    }

    /// Whose token this is. Takes the same time whether and where it matches.
    pub fn find(&self, token: &[u8]) -> Result<Option<Caller>, OperatorsError> {
        let presented: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for operator in self.current()?.iter() {
            if same(&presented, &operator.token_sha256.0) {
                found =
                    Some(Caller { name: operator.name.clone(), role: operator.role, tenant: operator.tenant.clone() });
            }
        }
        Ok(found)
    }

    fn current(&self) -> Result<Arc<Vec<Operator>>, OperatorsError> {
        let Some(stamp) = Stamp::of(&self.path).map_err(failed("look at", &self.path))? else {
            return Ok(Arc::default());
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, operators)) = &*seen
            && *known == stamp
        {
            return Ok(operators.clone());
        }
        *seen = None;
        let operators = Arc::new(read(&self.path)?.operators);
        *seen = Some((stamp, operators.clone()));
        Ok(operators)
    }
}

/// Compares without stopping at the first difference.
pub fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| std::hint::black_box(difference | (a ^ b)));
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_is_found_removed_is_not_and_the_file_has_no_token() {
        let dir = tempfile::tempdir().unwrap();
        let operators = Operators::new(dir.path());
        assert_eq!(operators.find(b"x").unwrap(), None);
        let ann = add(dir.path(), "ann", Role::Releaser, None).unwrap();
        let ben = add(dir.path(), "ben", Role::TenantAdmin, Some("clinic")).unwrap();
        assert_ne!(ann, ben);
        let found = operators.find(ben.as_bytes()).unwrap().unwrap();
        assert_eq!((found.name.as_str(), found.role), ("ben", Role::TenantAdmin));
        assert_eq!(found.tenant.as_deref(), Some("clinic"));
        let path = dir.path().join(FILE);
        assert!(!std::fs::read_to_string(&path).unwrap().contains(&ann));
        remove(dir.path(), "ann").unwrap();
        assert_eq!(operators.find(ann.as_bytes()).unwrap(), None);
        assert!(operators.find(ben.as_bytes()).unwrap().is_some());
        assert!(operators.find(&ben.as_bytes()[..ben.len() - 1]).unwrap().is_none());
        assert_eq!(list(dir.path()).unwrap().len(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn names_are_plain_and_belong_to_one() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", "a b", "a\n", "ä", "../x", &"n".repeat(65)] {
            assert!(matches!(add(dir.path(), name, Role::Viewer, None), Err(OperatorsError::Name { .. })), "{name:?}");
        }
        add(dir.path(), "ann@example.org", Role::Viewer, None).unwrap();
        let again = add(dir.path(), "ann@example.org", Role::Releaser, None);
        assert!(matches!(again, Err(OperatorsError::Exists { .. })));
        assert!(matches!(remove(dir.path(), "ben"), Err(OperatorsError::Missing { .. })));
    }

    #[test]
    fn a_broken_file_lets_nobody_in_and_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let token = add(dir.path(), "ann", Role::Viewer, None).unwrap();
        let operators = Operators::new(dir.path());
        assert!(operators.find(token.as_bytes()).unwrap().is_some());
        std::fs::write(dir.path().join(FILE), "{\"operators\": [").unwrap();
        assert!(matches!(operators.find(token.as_bytes()), Err(OperatorsError::Content { .. })));
        assert!(add(dir.path(), "ben", Role::Viewer, None).is_err());
        assert_eq!(std::fs::read_to_string(dir.path().join(FILE)).unwrap(), "{\"operators\": [");
    }

    #[test]
    fn fields_of_a_newer_version_survive() {
        let dir = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"t");
        let text = format!(
            "{{\"operators\":[{{\"name\":\"a\",\"role\":\"viewer\",\"token_sha256\":\"{digest}\",\"pager\":7}}],\"format\":2}}"
        );
        std::fs::write(dir.path().join(FILE), text).unwrap();
        add(dir.path(), "b", Role::Viewer, None).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.path().join(FILE)).unwrap()).unwrap();
        assert_eq!(value["format"], 2);
        assert_eq!(value["operators"][0]["pager"], 7);
    }
}

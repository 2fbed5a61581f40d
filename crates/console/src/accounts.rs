//! Local accounts of the console: `console-users.json` in the server's folder, passwords as Argon2id only.
//!
//! The file is looked at before each use, so a change counts at once, also for sessions that are open. A file that can't be
//! read lets nobody in. What must stay out: sessions, and what a role may do.

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use staffel_server::{
    api::Role,
    files::{self, Stamp},
    operators::{is_name, same},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

const FILE: &str = "console-users.json";
const LOCK: &str = "console-users.lock";
/// About 10,000 accounts.
const MAX_FILE: u64 = 8 << 20;
/// Characters of a password.
pub const SHORTEST: usize = 12;
/// Longer ones would only cost time.
const LONGEST: usize = 1_024;
/// OWASP's recommendation for Argon2id: 19 MiB, 2 passes, 1 lane.
const MEMORY_KIB: u32 = 19 << 10;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Why accounts can't be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    #[error("{operation} {}", path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not usable: {why}", path.display())]
    Content { path: PathBuf, why: String },
    #[error("an account's name is 1 to 64 letters, digits, dots, dashes, underscores or at signs; {name:?} is not")]
    Name { name: String },
    #[error("a password has {SHORTEST} to {LONGEST} characters")]
    Password,
    #[error("there is an account {name:?} already")]
    Exists { name: String },
    #[error("there is no account {name:?}")]
    Missing { name: String },
    #[error("hash a password: {why}")]
    Hash { why: String },
}

/// A hashed password with what is needed to hash another one the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashed {
    /// 16 random bytes, hex.
    pub salt: String,
    /// 32 bytes, hex.
    pub argon2id: String,
    pub memory_kib: u32,
    pub passes: u32,
    pub lanes: u32,
}

impl Hashed {
    /// With a fresh salt.
    fn of(password: &str) -> Result<Self, AccountsError> {
        if !(SHORTEST..=LONGEST).contains(&password.chars().count()) {
            return Err(AccountsError::Password);
        }
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|e| AccountsError::Hash { why: e.to_string() })?;
        let mut hashed = Hashed {
            salt: hex::encode(salt),
            argon2id: String::new(),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
        };
        hashed.argon2id = hex::encode(hashed.hash(password)?);
        Ok(hashed)
    }

    /// Costs the same for every account that this version made, existing or not.
    pub fn nobody() -> Self {
        Hashed {
            salt: hex::encode([0; 16]),
            argon2id: hex::encode([0; 32]),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
        }
    }

    fn hash(&self, password: &str) -> Result<[u8; 32], AccountsError> {
        let failed = |why: String| AccountsError::Hash { why };
        let salt = hex::decode(&self.salt).map_err(|e| failed(e.to_string()))?;
        let params =
            Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).map_err(|e| failed(e.to_string()))?;
        let mut out = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password.as_bytes(), &salt, &mut out)
            .map_err(|e| failed(e.to_string()))?;
        Ok(out)
    }

    /// True if it is this password. Takes as long whether or not it is.
    pub fn is(&self, password: &str) -> bool {
        if password.len() > 4 * LONGEST {
            return false;
        }
        let mut kept = [0; 32];
        let readable = hex::decode_to_slice(&self.argon2id, &mut kept).is_ok();
        self.hash(password).is_ok_and(|hash| same(&hash, &kept)) && readable
    }
}

/// One account, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub name: String,
    pub role: Role,
    /// Sees and does only what is this customer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    pub password: Hashed,
    /// What a newer version wrote.
    #[serde(flatten)]
    pub extra: BTreeMap<String, serde_json::Value>,
}

#[derive(Default, Serialize, Deserialize)]
struct Users {
    users: Vec<Account>,
    #[serde(flatten)]
    extra: BTreeMap<String, serde_json::Value>,
}

/// Adds an account. `tenant` binds it to one customer.
pub fn add(dir: &Path, name: &str, role: Role, tenant: Option<&str>, password: &str) -> Result<(), AccountsError> {
    if !is_name(name) {
        return Err(AccountsError::Name { name: name.into() });
    }
    let password = Hashed::of(password)?;
    change(dir, |users| {
        if users.iter().any(|user| user.name == name) {
            return Err(AccountsError::Exists { name: name.into() });
        }
        let tenant = tenant.map(str::to_owned);
        users.push(Account { name: name.into(), role, tenant, password, extra: BTreeMap::new() });
        Ok(())
    })
}

/// Sets a new password; open sessions of the account end.
pub fn set_password(dir: &Path, name: &str, password: &str) -> Result<(), AccountsError> {
    let password = Hashed::of(password)?;
    change(dir, |users| {
        let user = users.iter_mut().find(|user| user.name == name);
        user.ok_or_else(|| AccountsError::Missing { name: name.into() })?.password = password;
        Ok(())
    })
}

/// Removes an account; its sessions end.
pub fn remove(dir: &Path, name: &str) -> Result<(), AccountsError> {
    change(dir, |users| {
        let before = users.len();
        users.retain(|user| user.name != name);
        if users.len() == before { Err(AccountsError::Missing { name: name.into() }) } else { Ok(()) }
    })
}

/// All accounts. A folder without the file has none.
pub fn list(dir: &Path) -> Result<Vec<Account>, AccountsError> {
    Ok(read(&dir.join(FILE))?.users)
}

fn change(dir: &Path, edit: impl FnOnce(&mut Vec<Account>) -> Result<(), AccountsError>) -> Result<(), AccountsError> {
    let lock_path = dir.join(LOCK);
    // Two programs that change it at the same time: the second waits.
    let lock = File::options().create(true).append(true).open(&lock_path).map_err(failed("open", &lock_path))?;
    lock.lock().map_err(failed("lock", &lock_path))?;
    let path = dir.join(FILE);
    let mut users = read(&path)?;
    edit(&mut users.users)?;
    let mut text = serde_json::to_vec_pretty(&users)
        .map_err(|error| AccountsError::Content { path: path.clone(), why: error.to_string() })?;
    text.push(b'\n');
    files::replace(&path, &text, true).map_err(failed("write", &path))
}

fn read(path: &Path) -> Result<Users, AccountsError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Users::default()),
        Err(error) => return Err(failed("open", path)(error)),
    };
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE), &mut text).map_err(failed("read", path))?;
    serde_json::from_slice(&text)
        .map_err(|error| AccountsError::Content { path: path.to_owned(), why: error.to_string() })
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AccountsError {
    let path = path.to_owned();
    move |source| AccountsError::File { operation, path, source }
}

/// The accounts as the running console uses them.
pub(crate) struct Accounts {
    path: PathBuf,
    seen: Mutex<Option<(Stamp, Arc<Vec<Account>>)>>,
}

impl Accounts {
    pub fn new(dir: &Path) -> Self {
        Accounts { path: dir.join(FILE), seen: Mutex::new(None) }
    }

    /// The account of that name.
    pub fn find(&self, name: &str) -> Result<Option<Account>, AccountsError> {
        Ok(self.current()?.iter().find(|account| account.name == name).cloned())
    }

    /// True if nobody can log in yet.
    pub fn is_empty(&self) -> bool {
        self.current().is_ok_and(|accounts| accounts.is_empty())
    }

    fn current(&self) -> Result<Arc<Vec<Account>>, AccountsError> {
        let Some(stamp) = Stamp::of(&self.path).map_err(failed("look at", &self.path))? else {
            return Ok(Arc::default());
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, accounts)) = &*seen
            && *known == stamp
        {
            return Ok(accounts.clone());
        }
        *seen = None;
        let accounts = Arc::new(read(&self.path)?.users);
        *seen = Some((stamp, accounts.clone()));
        Ok(accounts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_counts_until_it_is_changed_and_the_file_is_the_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = Accounts::new(dir.path());
        assert!(accounts.is_empty());
        add(dir.path(), "ann", Role::Operator, Some("clinic"), "a long passphrase").unwrap();
        let ann = accounts.find("ann").unwrap().unwrap();
        assert!(ann.password.is("a long passphrase") && !ann.password.is("a long passphrasf") && !ann.password.is(""));
        set_password(dir.path(), "ann", "another passphrase").unwrap();
        let changed = accounts.find("ann").unwrap().unwrap();
        assert!(changed.password.is("another passphrase") && !changed.password.is("a long passphrase"));
        assert!(changed.password != ann.password && changed.tenant.as_deref() == Some("clinic"));
        let path = dir.path().join(FILE);
        assert!(!std::fs::read_to_string(&path).unwrap().contains("passphrase"));
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        remove(dir.path(), "ann").unwrap();
        assert!(accounts.find("ann").unwrap().is_none());
    }

    #[test]
    fn bad_names_short_passwords_and_doubles_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let add = |name: &str, password: &str| add(dir.path(), name, Role::Viewer, None, password);
        assert!(matches!(add("a b", "long enough password"), Err(AccountsError::Name { .. })));
        assert!(matches!(add("ann", "short"), Err(AccountsError::Password)));
        add("ann", "long enough password").unwrap();
        assert!(matches!(add("ann", "long enough password"), Err(AccountsError::Exists { .. })));
        assert!(matches!(remove(dir.path(), "ben"), Err(AccountsError::Missing { .. })));
        assert!(matches!(set_password(dir.path(), "ben", "long enough password"), Err(AccountsError::Missing { .. })));
    }

    #[test]
    fn a_broken_file_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        add(dir.path(), "ann", Role::Viewer, None, "long enough password").unwrap();
        let accounts = Accounts::new(dir.path());
        assert!(accounts.find("ann").unwrap().is_some());
        std::fs::write(dir.path().join(FILE), "{\"users\": [").unwrap();
        assert!(accounts.find("ann").is_err() && !accounts.is_empty());
    }
}

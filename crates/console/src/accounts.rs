//! Local accounts of the console: `console-users.json` in the server's folder, passwords as Argon2id only. What must stay out:
//! sessions, and what a role may do.

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use staffel_server::{
    api::Role,
    operators::same,
    roster::{Kind, Named, Roster, RosterError},
};
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// About 10,000 accounts.
static KIND: Kind =
    Kind { word: "account", file: "console-users.json", lock: "console-users.lock", field: "users", most: 8 << 20 };
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
    #[error(transparent)]
    Roster(#[from] RosterError),
    #[error("a password has {SHORTEST} to {LONGEST} characters")]
    Password,
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
        getrandom::fill(&mut salt).map_err(|e| RosterError::Random { kind: KIND.word, why: e.to_string() })?;
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

impl Named for Account {
    fn name(&self) -> &str {
        &self.name
    }
}

/// The accounts of a server's folder.
pub(crate) struct Accounts(Roster<Account>);

impl Accounts {
    pub fn new(dir: &Path) -> Self {
        Accounts(Roster::new(dir, &KIND))
    }

    /// The account of that name.
    pub fn find(&self, name: &str) -> Result<Option<Account>, RosterError> {
        Ok(self.0.current()?.iter().find(|account| account.name == name).cloned())
    }

    /// True if nobody can log in yet.
    pub fn is_empty(&self) -> bool {
        self.0.current().is_ok_and(|accounts| accounts.is_empty())
    }
}

/// Adds an account. `tenant` binds it to one customer.
pub fn add(dir: &Path, name: &str, role: Role, tenant: Option<&str>, password: &str) -> Result<(), AccountsError> {
    let accounts = Accounts::new(dir).0;
    accounts.check_name(name)?;
    let (password, tenant) = (Hashed::of(password)?, tenant.map(str::to_owned));
    Ok(accounts.add(Account { name: name.into(), role, tenant, password, extra: BTreeMap::new() })?)
}

/// Sets a new password; open sessions of the account end.
pub fn set_password(dir: &Path, name: &str, password: &str) -> Result<(), AccountsError> {
    let password = Hashed::of(password)?;
    Ok(Accounts::new(dir).0.edit(name, |account| account.password = password)?)
}

/// Removes an account; its sessions end.
pub fn remove(dir: &Path, name: &str) -> Result<(), AccountsError> {
    Ok(Accounts::new(dir).0.remove(name)?)
}

/// All accounts. A folder without the file has none.
pub fn list(dir: &Path) -> Result<Arc<Vec<Account>>, AccountsError> {
    Ok(Accounts::new(dir).0.current()?)
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
        let path = dir.path().join(KIND.file);
        assert!(!std::fs::read_to_string(&path).unwrap().contains("passphrase"));
        remove(dir.path(), "ann").unwrap();
        assert!(accounts.find("ann").unwrap().is_none());
    }

    #[test]
    fn bad_names_short_passwords_and_doubles_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let add = |name: &str, password: &str| add(dir.path(), name, Role::Viewer, None, password);
        use AccountsError::{Password, Roster};
        assert!(matches!(add("a b", "long enough password"), Err(Roster(RosterError::Name { .. }))));
        assert!(matches!(add("ann", "short"), Err(Password)));
        add("ann", "long enough password").unwrap();
        assert!(matches!(add("ann", "long enough password"), Err(Roster(RosterError::Exists { .. }))));
        assert!(matches!(remove(dir.path(), "ben"), Err(Roster(RosterError::Missing { .. }))));
        let unknown = set_password(dir.path(), "ben", "long enough password").unwrap_err();
        assert_eq!(unknown.to_string(), "there is no account \"ben\"");
    }

    #[test]
    fn a_broken_file_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        add(dir.path(), "ann", Role::Viewer, None, "long enough password").unwrap();
        let accounts = Accounts::new(dir.path());
        assert!(accounts.find("ann").unwrap().is_some());
        std::fs::write(dir.path().join(KIND.file), "{\"users\": [").unwrap();
        assert!(accounts.find("ann").is_err() && !accounts.is_empty());
    }
}

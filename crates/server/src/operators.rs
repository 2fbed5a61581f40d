//! Local accounts of operators: `operators.json` in the data directory, tokens kept as SHA-256 only. What must stay out: what a
//! role may do.

use crate::{
    api::{Caller, Role},
    roster::{Kind, Named, Roster, RosterError},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use staffel_core::ids::Digest;
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// About 10,000 operators.
static KIND: Kind =
    Kind { word: "operator", file: "operators.json", lock: "operators.lock", field: "operators", most: 4 << 20 };
/// Every token begins with this, so that a scanner for leaked secrets can find it.
const TOKEN_PREFIX: &str = "staffel-operator-";

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

impl Named for Operator {
    fn name(&self) -> &str {
        &self.name
    }
}

/// The operators of a data directory.
pub(crate) struct Operators(Roster<Operator>);

impl Operators {
    /// Those of this directory. Reads nothing yet.
    pub fn new(dir: &Path) -> Self {
        Operators(Roster::new(dir, &KIND))
    }

    /// Whose token this is. Takes the same time whether and where it matches.
    pub(crate) fn find(&self, token: &[u8]) -> Result<Option<Caller>, RosterError> {
        let presented: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for operator in self.0.current()?.iter() {
            if same(&presented, &operator.token_sha256.0) {
                found =
                    Some(Caller { name: operator.name.clone(), role: operator.role, tenant: operator.tenant.clone() });
            }
        }
        Ok(found)
    }
}

/// Adds an operator and returns the token, which is shown this once. `tenant` binds the operator to one customer.
pub fn add(dir: &Path, name: &str, role: Role, tenant: Option<&str>) -> Result<String, RosterError> {
    let token = new_token()?;
    Operators::new(dir).0.add(Operator {
        name: name.into(),
        role,
        tenant: tenant.map(str::to_owned),
        token_sha256: Digest::of(token.as_bytes()),
        extra: BTreeMap::new(),
    })?;
    Ok(token)
}

/// All operators. A directory without the file has none.
pub fn list(dir: &Path) -> Result<Arc<Vec<Operator>>, RosterError> {
    Operators::new(dir).0.current()
}

/// Removes an operator; the token is worthless at once.
pub fn remove(dir: &Path, name: &str) -> Result<(), RosterError> {
    Operators::new(dir).0.remove(name)
}

fn new_token() -> Result<String, RosterError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| RosterError::Random { kind: KIND.word, why: error.to_string() })?;
    Ok(format!("{TOKEN_PREFIX}{}", hex::encode(bytes)))
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
        assert!(!std::fs::read_to_string(dir.path().join(KIND.file)).unwrap().contains(&ann));
        remove(dir.path(), "ann").unwrap();
        assert_eq!(operators.find(ann.as_bytes()).unwrap(), None);
        assert!(operators.find(ben.as_bytes()).unwrap().is_some());
        assert!(operators.find(&ben.as_bytes()[..ben.len() - 1]).unwrap().is_none());
        assert_eq!(list(dir.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_broken_file_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let token = add(dir.path(), "ann", Role::Viewer, None).unwrap();
        let operators = Operators::new(dir.path());
        assert!(operators.find(token.as_bytes()).unwrap().is_some());
        std::fs::write(dir.path().join(KIND.file), "{\"operators\": [").unwrap();
        assert!(matches!(operators.find(token.as_bytes()), Err(RosterError::Content { .. })));
    }
}

//! The key that a person signs with: a file, or a name in the installation's folder. Must stay out: what is signed.

use super::Connect;
use anyhow::{Context as _, Result};
use staffel_statement::SigningKey;
use staffel_trust::keyfile::KeyPair;
use std::path::Path;

/// The key `name`: a file where there is one of this path, else `keys/<name>.key` in the folder. So an offline key needs
/// no folder around it.
pub fn signing_key(connect: &Connect, name: &str) -> Result<SigningKey> {
    let path = Path::new(name);
    if path.is_file() {
        let key = KeyPair::load(path).with_context(|| format!("read the key in {}", path.display()))?;
        return Ok(key.for_statements());
    }
    connect.layout()?.signing_key(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Failure;

    #[test]
    fn a_file_needs_no_folder_and_a_name_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine.key");
        let pair = KeyPair::from_seed([9; 32]);
        pair.save(&path).unwrap();
        let nowhere = Connect { dir: Some(dir.path().join("none")), ..Connect::default() };
        let key = signing_key(&nowhere, path.to_str().unwrap()).unwrap();
        assert_eq!(key.public().0, *pair.public().as_bytes());
        let error = signing_key(&nowhere, "releaser-1").err().expect("there is no folder");
        assert_eq!(error.downcast_ref::<Failure>().map(|failure| failure.code), Some(4));
    }
}

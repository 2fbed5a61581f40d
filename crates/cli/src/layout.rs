//! Where keys, repository and server data are below one folder, and what each key is for.
//!
//! In production the offline keys lie on other machines: every command names the key it needs, and works where only that
//! key is. What must stay out: the formats of the files (they are `trust`'s and `server`'s).

use crate::output::Failure;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use staffel_statement::{Envelope, SigningKey};
use staffel_trust::keyfile::{KeyPair, PublicKey};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Names of the keys that `staffel init` makes, by role.
pub const ROOT: [&str; 3] = ["root-1", "root-2", "root-3"];
pub const RELEASE: [&str; 1] = ["release-1"];
pub const RELEASERS: [&str; 3] = ["releaser-1", "releaser-2", "releaser-3"];
pub const GATE: [&str; 2] = ["gate-1", "gate-2"];
pub const ONLINE: &str = "online-1";
pub const OPERATORS: [&str; 2] = ["operator-1", "operator-2"];
pub const LOG: &str = "log-1";

/// What `staffel init` wrote down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Where devices and operators reach the server.
    pub url: String,
    /// Name of the log, first line of its checkpoints.
    pub origin: String,
    /// Witnesses of the log, as `name+id+key`.
    #[serde(default)]
    pub witnesses: Vec<String>,
    /// Between two check-ins while nothing goes on, milliseconds.
    pub idle_cadence_ms: u64,
    /// Where the console listens; none: there is no console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<SocketAddr>,
    /// The times that recovery cases go by.
    #[serde(default)]
    pub recovery: staffel_core::recovery::Limits,
    /// Settings of the edge.
    pub edge: staffel_server::config::EdgeConfig,
}

/// The folder of one installation.
#[derive(Clone, Debug)]
pub struct Layout {
    pub root: PathBuf,
}

impl Layout {
    /// The folder named by `--dir`, else by `STAFFEL_DIR`, else `./staffel`.
    pub fn find(dir: Option<&Path>) -> Result<Layout> {
        let root = match dir {
            Some(dir) => dir.to_path_buf(),
            None => std::env::var_os("STAFFEL_DIR").map_or_else(|| PathBuf::from("staffel"), PathBuf::from),
        };
        let layout = Layout { root };
        if !layout.config_file().is_file() {
            return Err(Failure::not_found(
                format!("there is no Staffel folder at {}", layout.root.display()),
                "make one with `staffel init DIR`, or name it with --dir or STAFFEL_DIR",
            )
            .into());
        }
        Ok(layout)
    }

    /// Letterhead and carriers of notices; need not be there.
    pub fn notices_file(&self) -> PathBuf {
        self.config_file().with_file_name("notices.toml")
    }

    /// Who is alerted; need not be there.
    pub fn alerts_file(&self) -> PathBuf {
        self.config_file().with_file_name("alerts.toml")
    }

    /// Who may log in to the console by a provider's word; need not be there.
    pub fn oidc_file(&self) -> PathBuf {
        self.config_file().with_file_name("oidc.toml")
    }

    /// `staffel.json`.
    pub fn config_file(&self) -> PathBuf {
        self.root.join("staffel.json")
    }

    /// What was set up.
    pub fn config(&self) -> Result<Config> {
        let path = self.config_file();
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not readable", path.display()))
    }

    /// The file of a private key.
    pub fn key_file(&self, name: &str) -> PathBuf {
        self.root.join("keys").join(format!("{name}.key"))
    }

    /// A key pair.
    pub fn key(&self, name: &str) -> Result<KeyPair> {
        let path = self.key_file(name);
        if !path.exists() {
            return Err(Failure::not_found(
                format!("the key {name} is not here: {}", path.display()),
                "run this where the key is, or bring the key",
            )
            .into());
        }
        KeyPair::load(&path).with_context(|| format!("read the key {name}"))
    }

    /// A key that signs statements.
    pub fn signing_key(&self, name: &str) -> Result<SigningKey> {
        Ok(self.key(name)?.for_statements())
    }

    /// A public key; its private half may be elsewhere.
    pub fn public_key(&self, name: &str) -> Result<PublicKey> {
        let path = staffel_trust::keyfile::public_path(&self.key_file(name));
        PublicKey::load(&path).with_context(|| format!("read the public key {name}"))
    }

    /// The TUF repository with the files of releases.
    pub fn repo_dir(&self) -> PathBuf {
        self.root.join("repository")
    }

    /// The server's data.
    pub fn server_dir(&self) -> PathBuf {
        self.root.join("server")
    }

    /// Signed statements of releases, as they were made.
    pub fn releases_dir(&self) -> PathBuf {
        self.root.join("releases")
    }

    /// What clients trust.
    pub fn ca_file(&self) -> PathBuf {
        self.root.join("ca.pem")
    }

    /// The first operator's token.
    pub fn operator_token(&self) -> Result<String> {
        let path = self.root.join("operator.token");
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(text.trim().to_string())
    }

    /// The chain of keyrings, the pinned one first.
    pub fn keyrings(&self) -> Result<Vec<Envelope>> {
        let path = self.keyrings_file();
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not readable", path.display()))
    }

    /// Where the chain of keyrings is.
    pub fn keyrings_file(&self) -> PathBuf {
        self.root.join("keyrings.json")
    }

    /// The keyring that devices pin: the first of the chain.
    pub fn pinned_keyring_file(&self) -> PathBuf {
        self.root.join("keyring.json")
    }

    /// The TUF root that devices pin.
    pub fn tuf_root_file(&self) -> PathBuf {
        self.root.join("tuf-root.json")
    }

    /// The public key of the log as `origin+id+key`.
    pub fn log_key_text(&self) -> Result<String> {
        let path = self.root.join("log.vkey");
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(text.trim().to_string())
    }
}

/// Writes a file that people may read, atomically.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    let next = tempfile::NamedTempFile::new_in(parent).with_context(|| format!("write beside {}", path.display()))?;
    std::io::Write::write_all(&mut next.as_file(), bytes).with_context(|| format!("write {}", path.display()))?;
    next.as_file().sync_all().with_context(|| format!("write {}", path.display()))?;
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(next.path(), std::fs::Permissions::from_mode(0o644))?;
    next.persist(path).with_context(|| format!("write {}", path.display()))?;
    Ok(())
}

/// Writes a file that only its owner may read; refuses to replace one.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("create {}", path.display()))?;
    file.write_all(bytes).with_context(|| format!("write {}", path.display()))?;
    file.sync_all().with_context(|| format!("write {}", path.display()))
}

//! Ed25519 key pairs and the files they live in.
//!
//! A private key file is JSON, readable by its owner only, created once and never overwritten; the public half lies beside
//! it under the same name with `.pub` appended. The key id is the hexadecimal SHA-256 of the raw 32 byte public key. TUF
//! metadata and DSSE statements use the same id, so one name means one key everywhere.
//!
//! What a key may sign is decided elsewhere: in `tuf` for metadata, in the statement code for envelopes. Hardware keys do
//! not belong here.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A key file is about 250 bytes; anything far larger is no key file.
const MAXIMUM_FILE_BYTES: u64 = 4096;
const PRIVATE_FORMAT: &str = "staffel-private-key-1";
const PUBLIC_FORMAT: &str = "staffel-public-key-1";

/// Why a key could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system gave no random bytes.
    #[error("generating a key: no random bytes")]
    Random(#[source] io::Error),
    /// The file could not be read or written. Creating a file that exists already ends here too.
    #[error("{operation} key file {}", path.display())]
    File {
        /// What was attempted, for example `creating`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may read the private key.
    #[error("key file {} has mode {mode:o}; a private key needs 600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not a key file, or its two halves do not belong together.
    #[error("key file {}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The bytes are no Ed25519 public key.
    #[error("public key: {reason}")]
    PublicKey {
        /// What is wrong with it.
        reason: String,
    },
}

/// An Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Takes the 32 raw bytes; refuses bytes that are no point of the curve or a point of small order.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        let key =
            VerifyingKey::from_bytes(&bytes).map_err(|error| KeyError::PublicKey { reason: error.to_string() })?;
        if key.is_weak() {
            return Err(KeyError::PublicKey { reason: "a point of small order".to_owned() });
        }
        Ok(Self(bytes))
    }

    /// Takes 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|error| KeyError::PublicKey { reason: error.to_string() })?;
        Self::from_bytes(bytes)
    }

    /// Reads a public key file as [`KeyPair::save`] writes it.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = read_bounded(path)?;
        let file: PublicFile = parse(path, &text, PUBLIC_FORMAT)?;
        let key = Self::from_hex(&file.public).map_err(|error| format_error(path, error))?;
        if key.id() != file.id {
            return Err(format_error(path, "the id is not that of the key"));
        }
        Ok(key)
    }

    /// The raw 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The raw bytes as 64 lower-case hexadecimal digits.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The same key in statements.
    pub fn for_statements(&self) -> staffel_statement::PublicKey {
        staffel_statement::PublicKey(self.0)
    }

    /// The key id: SHA-256 of the raw public key, 64 lower-case hexadecimal digits.
    pub fn id(&self) -> String {
        hex::encode(Sha256::digest(self.0))
    }

    /// Whether `signature` (64 bytes) is this key's signature over `message`. Malleable encodings count as wrong.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let (Ok(key), Ok(signature)) = (VerifyingKey::from_bytes(&self.0), Signature::from_slice(signature)) else {
            return false;
        };
        key.verify_strict(message, &signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({})", self.to_hex())
    }
}

/// An Ed25519 private key with its public half. The private half is wiped from memory when dropped.
#[derive(Clone)]
pub struct KeyPair {
    signing: SigningKey,
    public: PublicKey,
}

impl fmt::Debug for KeyPair {
    /// Shows the public half only.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

impl KeyPair {
    /// A new key from the operating system's random source.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| KeyError::Random(error.into()))?;
        Ok(Self::from_seed(seed))
    }

    /// The key that belongs to a 32 byte seed. For keys that come from elsewhere, and for tests.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let signing = SigningKey::from_bytes(&seed);
        let public = PublicKey(signing.verifying_key().to_bytes());
        Self { signing, public }
    }

    /// Reads a private key file. Refuses one that others than its owner may read, and one whose halves do not match.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        refuse_exposed(path)?;
        let text = read_bounded(path)?;
        let file: PrivateFile = parse(path, &text, PRIVATE_FORMAT)?;
        let mut seed = [0; 32];
        hex::decode_to_slice(&file.private, &mut seed).map_err(|error| format_error(path, error))?;
        let pair = Self::from_seed(seed);
        if pair.public.to_hex() != file.public {
            return Err(format_error(path, "the public key does not belong to the private key"));
        }
        Ok(pair)
    }

    /// Writes the private half to `path` (mode 0600) and the public half to `path` with `.pub` appended (mode 0644).
    /// An existing private key is never overwritten.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        let private = PrivateFile {
            format: PRIVATE_FORMAT.to_owned(),
            private: hex::encode(self.signing.to_bytes()),
            public: self.public.to_hex(),
            extra: BTreeMap::new(),
        };
        let public = PublicFile {
            format: PUBLIC_FORMAT.to_owned(),
            id: self.id(),
            public: self.public.to_hex(),
            extra: BTreeMap::new(),
        };
        create(path, 0o600, &private)?;
        create(&public_path(path), 0o644, &public)
    }

    /// The 32-byte seed: for the one caller that needs the key in another library's form.
    pub fn seed(&self) -> [u8; 32] {
        self.signing.to_bytes()
    }

    /// The same key for statements.
    pub fn for_statements(&self) -> staffel_statement::SigningKey {
        staffel_statement::SigningKey::from_seed(&self.signing.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The key id, see [`PublicKey::id`].
    pub fn id(&self) -> String {
        self.public.id()
    }

    /// Signs `message`; 64 bytes.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }
}

/// Where [`KeyPair::save`] puts the public half of the private key at `path`.
pub fn public_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

#[derive(Serialize, Deserialize)]
struct PrivateFile {
    format: String,
    private: String,
    public: String,
    #[serde(flatten)]
    extra: BTreeMap<String, serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct PublicFile {
    format: String,
    id: String,
    public: String,
    #[serde(flatten)]
    extra: BTreeMap<String, serde_json::Value>,
}

fn format_error(path: &Path, reason: impl fmt::Display) -> KeyError {
    KeyError::Format { path: path.to_owned(), reason: reason.to_string() }
}

fn file_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::File { operation, path, source }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, KeyError> {
    let file = File::open(path).map_err(file_error("opening", path))?;
    let mut text = Vec::new();
    file.take(MAXIMUM_FILE_BYTES + 1).read_to_end(&mut text).map_err(file_error("reading", path))?;
    if text.len() as u64 > MAXIMUM_FILE_BYTES {
        return Err(format_error(path, "too large for a key file"));
    }
    Ok(text)
}

fn parse<T: for<'text> Deserialize<'text>>(path: &Path, text: &[u8], format: &str) -> Result<T, KeyError> {
    // The format is looked at first, so that a public key given for a private one is named as such.
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|error| format_error(path, error))?;
    let found = value.get("format").and_then(serde_json::Value::as_str).unwrap_or("none");
    if found != format {
        return Err(format_error(path, format_args!("format is {found:?}, wanted {format:?}")));
    }
    serde_json::from_value(value).map_err(|error| format_error(path, error))
}

fn create(path: &Path, mode: u32, content: &impl Serialize) -> Result<(), KeyError> {
    let mut text = serde_json::to_vec_pretty(content).map_err(|error| format_error(path, error))?;
    text.push(b'\n');
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(path).map_err(file_error("creating", path))?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(file_error("writing", path))
}

#[cfg(unix)]
fn refuse_exposed(path: &Path) -> Result<(), KeyError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).map_err(file_error("opening", path))?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyError::Exposed { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn refuse_exposed(_path: &Path) -> Result<(), KeyError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saves_and_loads_both_halves() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("releaser.key");
        let pair = KeyPair::generate().unwrap();
        pair.save(&path).unwrap();
        let loaded = KeyPair::load(&path).unwrap();
        assert_eq!(loaded.public(), pair.public());
        assert_eq!(PublicKey::load(&public_path(&path)).unwrap(), *pair.public());
        assert!(pair.public().verify(b"text", &loaded.sign(b"text")));
        assert!(!pair.public().verify(b"other", &loaded.sign(b"text")));
        assert!(!pair.public().verify(b"text", b"short"));
    }

    #[test]
    fn never_overwrites_a_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        KeyPair::from_seed([1; 32]).save(&path).unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = KeyPair::from_seed([2; 32]).save(&path).unwrap_err();
        assert!(matches!(error, KeyError::File { operation: "creating", .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[cfg(unix)]
    #[test]
    fn private_key_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        KeyPair::from_seed([1; 32]).save(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(KeyPair::load(&path), Err(KeyError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn refuses_mixed_up_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        KeyPair::from_seed([1; 32]).save(&path).unwrap();
        assert!(matches!(PublicKey::load(&path), Err(KeyError::Format { .. })));
        let other = KeyPair::from_seed([2; 32]).public().to_hex();
        let mine = KeyPair::from_seed([1; 32]).public().to_hex();
        let text = std::fs::read_to_string(&path).unwrap().replace(&mine, &other);
        std::fs::write(&path, text).unwrap();
        assert!(matches!(KeyPair::load(&path), Err(KeyError::Format { .. })));
        std::fs::write(&path, vec![b' '; 10_000]).unwrap();
        assert!(matches!(KeyPair::load(&path), Err(KeyError::Format { .. })));
    }

    /// RFC 8032, section 7.1, test 1.
    #[test]
    fn signs_as_the_standard_says() {
        let mut seed = [0; 32];
        hex::decode_to_slice("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", &mut seed).unwrap();
        let pair = KeyPair::from_seed(seed);
        assert_eq!(pair.public().to_hex(), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert!(hex::encode(pair.sign(b"")).starts_with("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974"));
    }

    #[test]
    fn refuses_weak_points() {
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert!(matches!(PublicKey::from_bytes(neutral), Err(KeyError::PublicKey { .. })));
        assert!(PublicKey::from_hex("zz").is_err());
    }
}

//! What was pinned at installation: who this device is, and the chain of keyrings. What must stay out: enrolment.

use crate::{
    Doing as _, DoneTo,
    codec::{Outlives, RecordError, Records},
    layout::Layout,
    platform,
    record::{Keeper, Record},
};
use staffel_statement::{
    Envelope,
    guard::Installation,
    keyring::{Keyring, KeyringError},
};
use std::path::Path;

const INSTALLATION: &str = "installation";
const KEYRING: &str = "keyring";

/// Why a device can't be set up or its pins can't be used.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(transparent)]
    Io(#[from] DoneTo),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("{path} is not readable as {what}: {source}")]
    Json { path: String, what: &'static str, source: serde_json::Error },
    #[error("keyring {place} of the chain does not hold: {source}")]
    Keyring { place: usize, source: KeyringError },
    #[error("the chain of keyrings is empty")]
    NoKeyring,
    #[error("{0} is set up already; to enrol it anew, move that folder away first")]
    Exists(String),
    #[error("{0} is not set up; run `guard-ctl init --root {0} --keyring FILE --installation FILE` first")]
    Missing(String),
}

/// What was pinned.
pub struct Pins {
    pub installation: Installation,
    pub keyring: Keyring,
    /// The keyring's envelopes: the pinned one first.
    pub chain: Vec<Envelope>,
    /// What was wrong with a copy.
    pub damage: Vec<String>,
}

/// Follows a chain of keyrings from the pinned one.
pub fn follow(chain: &[Envelope]) -> Result<Keyring, InstallError> {
    let (first, rest) = chain.split_first().ok_or(InstallError::NoKeyring)?;
    let mut keyring = Keyring::pinned(first).map_err(|source| InstallError::Keyring { place: 1, source })?;
    for (at, envelope) in rest.iter().enumerate() {
        keyring = keyring.next(envelope).map_err(|source| InstallError::Keyring { place: at + 2, source })?;
    }
    Ok(keyring)
}

/// Sets a device up: reads the two files (plain JSON; the keyring file holds one envelope or a list, oldest first),
/// checks them and writes the first record. Refuses where one is already.
pub fn init(layout: &Layout, keyring: &Path, installation: &Path) -> Result<(), InstallError> {
    let mut records = Records::new(&layout.root);
    if records.exists(INSTALLATION) {
        return Err(InstallError::Exists(layout.root.display().to_string()));
    }
    let json = |path: &Path, what, source| InstallError::Json { path: path.display().to_string(), what, source };
    let text = std::fs::read(keyring).doing("read", keyring)?;
    let chain: Vec<Envelope> = match serde_json::from_slice::<Envelope>(&text) {
        Ok(one) => vec![one],
        Err(_) => {
            serde_json::from_slice(&text).map_err(|source| json(keyring, "a keyring or a list of them", source))?
        }
    };
    follow(&chain)?;
    let text = std::fs::read(installation).doing("read", installation)?;
    let installation: Installation =
        serde_json::from_slice(&text).map_err(|source| json(installation, "an installation", source))?;
    layout.create(None)?;
    records.save(KEYRING, &chain, Outlives::PowerCut)?;
    let (mut keeper, _) = Keeper::open(Records::new(&layout.root));
    keeper.save(&Record::default())?;
    let plain = layout.root.join("installation.json");
    std::fs::write(&plain, text).doing("write", &plain)?;
    platform::set_mode(&plain, 0o644).doing("set the permissions of", &plain)?;
    // Last: its presence says that all of it is there, so a crash before this line leaves a folder that `init` takes.
    records.save(INSTALLATION, &installation, Outlives::PowerCut)?;
    Ok(())
}

/// Loads what was pinned.
pub fn load(layout: &Layout) -> Result<Pins, InstallError> {
    let mut records = Records::new(&layout.root);
    if !records.exists(INSTALLATION) {
        return Err(InstallError::Missing(layout.root.display().to_string()));
    }
    let installation = records.load::<Installation>(INSTALLATION)?;
    let chain = records.load::<Vec<Envelope>>(KEYRING)?;
    let keyring = follow(&chain.value)?;
    let damage = [installation.damaged, chain.damaged].concat();
    Ok(Pins { installation: installation.value, keyring, chain: chain.value, damage })
}

/// Writes the chain with one more keyring.
pub fn save_chain(layout: &Layout, chain: &[Envelope]) -> Result<(), InstallError> {
    let mut records = Records::new(&layout.root);
    // Loaded first, so that the new record's sequence follows the old one's.
    let _ = records.load::<Vec<Envelope>>(KEYRING);
    Ok(records.save(KEYRING, &chain, Outlives::PowerCut)?)
}

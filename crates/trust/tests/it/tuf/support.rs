//! A small repository with keys from fixed seeds, clients on it, and a way to copy it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use staffel_trust::keyfile::KeyPair;
use staffel_trust::tuf::client::{Client, ClientError, DirectoryTransport, TargetInfo, Transport, block_on};
use staffel_trust::tuf::writer::{KeySet, Keyring, Lifetimes, Options, Repository, Role, RoleKeys, Source};
use tempfile::TempDir;

/// An arbitrary moment in 2027.
pub const NOW: u64 = 1_800_000_000_000;
pub const DAY: u64 = 86_400_000;

pub fn key(seed: u8) -> KeyPair {
    KeyPair::from_seed([seed; 32])
}

/// Root 2 of 3 (seeds 1 to 3), targets 4, bins 5, gate 2 of 2 (6, 7), snapshot 8, timestamp 9.
pub fn role_keys() -> RoleKeys {
    let one = |seed| KeySet::single(key(seed).public());
    let several = |seeds: &[u8], threshold| {
        let keys: Vec<_> = seeds.iter().map(|seed| *key(*seed).public()).collect();
        KeySet::new(&keys, threshold)
    };
    RoleKeys {
        root: several(&[1, 2, 3], 2),
        targets: one(4),
        bins: one(5),
        gate: several(&[6, 7], 2),
        snapshot: one(8),
        timestamp: one(9),
    }
}

pub fn keyring(seeds: impl IntoIterator<Item = u8>) -> Keyring {
    seeds.into_iter().map(key).collect()
}

/// A seed that is new for the role, for rotating to.
pub fn new_seed(role: Role) -> u8 {
    100 + Role::ALL.iter().position(|other| *other == role).unwrap() as u8
}

/// A repository in a temporary directory and a metadata directory for a client.
pub struct World {
    pub directory: TempDir,
    pub repository: Repository,
}

impl World {
    pub fn new(bins: u32) -> Self {
        Self::at(bins, NOW)
    }

    pub fn at(bins: u32, now: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { bins, ..Options::default() };
        let repository =
            Repository::init(&directory.path().join("repository"), &role_keys(), keyring(1..=9), &options, now);
        Self { repository: repository.unwrap(), directory }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("repository")
    }

    pub fn add(&mut self, path: &str, content: &[u8]) {
        self.repository.add_target(path, Source::Bytes(content), None).unwrap();
    }

    pub fn add_and_publish(&mut self, path: &str, content: &[u8], now: u64) {
        self.add(path, content);
        self.repository.publish(now).unwrap();
    }

    /// A client whose state lasts as long as this world, by name.
    pub fn client(&self, name: &str) -> Client {
        self.client_of(name, DirectoryTransport::new(&self.path()))
    }

    pub fn client_of(&self, name: &str, transport: impl Transport + 'static) -> Client {
        let root = fs::read(self.path().join("metadata/1.root.json")).unwrap();
        Client::open(&self.directory.path().join("clients").join(name), &root, transport).unwrap()
    }

    pub fn metadata(&self, name: &str) -> PathBuf {
        self.path().join("metadata").join(name)
    }

    /// Closes the repository and opens it with other keys at hand.
    pub fn reopen(self, keys: Keyring) -> Self {
        let Self { directory, repository } = self;
        drop(repository);
        let repository = open(&directory.path().join("repository"), keys);
        Self { directory, repository }
    }
}

pub fn open(path: &Path, keys: Keyring) -> Repository {
    Repository::open(path, keys, Lifetimes::default()).unwrap()
}

pub fn refresh(client: &mut Client, now: u64) -> Result<(), ClientError> {
    block_on(client.refresh(now))
}

/// Refreshes and downloads.
pub fn fetch(client: &mut Client, path: &str, now: u64) -> Result<Vec<u8>, ClientError> {
    block_on(async {
        client.refresh(now).await?;
        client.download(path).await
    })
}

pub fn info(client: &mut Client, path: &str) -> Result<Option<TargetInfo>, ClientError> {
    block_on(client.target_info(path))
}

/// All files below a directory with their content, by relative path; without the writer's lock.
pub fn tree(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(base: &Path, directory: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(base, &path, files);
            } else if path.file_name().unwrap() != ".lock" {
                files.insert(path.strip_prefix(base).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    walk(directory, directory, &mut files);
    files
}

/// Writes a tree made by [`tree`].
pub fn plant(directory: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for (name, content) in files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

pub fn system_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_millis()).unwrap()
}

/// The chain of an error's causes as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

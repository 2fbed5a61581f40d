//! Software that changes itself: whatever lies below `/opt` (FHS 3.0, 3.13), and folders of updaters that are known by name.
//!
//! Its version is a digest over its files, because that is what changes without anybody being told.

use super::{listing, on_device, owners::Owners};
use sha2::{Digest as _, Sha256};
use staffel_core::{
    foreign::{Component, ComponentKind, FileHash, MAX_FILES},
    ids::Digest,
};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Larger files count by name and size, bytes.
const MOST_HASHED: u64 = 16 << 20;
/// More files of one component are not looked at.
const MOST_FILES: usize = 20_000;
/// Folders within folders are followed so far.
const DEEPEST: usize = 16;

/// An updater that keeps its changing files elsewhere than below `/opt`.
pub struct Known {
    /// Below the root.
    pub folder: &'static str,
    pub name: &'static str,
    pub supplier: &'static str,
}

/// From the documentation of each product.
pub const KNOWN: [Known; 5] = [
    Known { folder: "var/lib/clamav", name: "clamav-database", supplier: "Cisco Talos" },
    Known {
        folder: "var/lib/suricata/rules",
        name: "suricata-rules",
        supplier: "Open Information Security Foundation",
    },
    Known { folder: "var/lib/snapd/snaps", name: "snaps", supplier: "Canonical" },
    Known { folder: "var/lib/fwupd/remotes.d", name: "fwupd-remotes", supplier: "Linux Vendor Firmware Service" },
    Known { folder: "var/ossec/ruleset", name: "wazuh-ruleset", supplier: "Wazuh" },
];

/// What of the machine's files has not changed since it was read: digests, and which package brought what.
#[derive(Debug, Default)]
pub struct Hashes {
    owners: Owners,
    known: BTreeMap<PathBuf, (u64, Option<SystemTime>, Digest)>,
}

impl Hashes {
    /// The digest of a regular file of at most 16 MiB; `None` for another.
    pub fn of(&mut self, path: &Path) -> io::Result<Option<Digest>> {
        let file = fs::symlink_metadata(path)?;
        if !file.is_file() || file.len() > MOST_HASHED {
            return Ok(None);
        }
        let changed = file.modified().ok();
        if let Some((bytes, at, digest)) = self.known.get(path)
            && (*bytes, *at) == (file.len(), changed)
        {
            return Ok(Some(*digest));
        }
        // It may grow while it is read: not more than it may have.
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(fs::File::open(path)?, MOST_HASHED), &mut bytes)?;
        let digest = Digest(Sha256::digest(&bytes).into());
        self.known.insert(path.to_owned(), (file.len(), changed, digest));
        Ok(Some(digest))
    }

    /// Forgets files that are gone.
    fn keep(&mut self, still_there: impl Fn(&Path) -> bool) {
        self.known.retain(|path, _| still_there(path));
    }
}

struct Found {
    path: PathBuf,
    bytes: u64,
    changed: Option<SystemTime>,
}

/// `packages`: what is installed, for the suppliers' names.
pub fn collect(root: &Path, packages: &[Component], hashes: &mut Hashes, problems: &mut Vec<String>) -> Vec<Component> {
    let mut components = Vec::new();
    let suppliers: BTreeMap<&str, &str> = packages.iter().map(|p| (p.name.as_str(), p.supplier.as_str())).collect();
    let products = fs::read_dir(root.join("opt")).into_iter().flatten().flatten();
    let products: Vec<_> = products.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).collect();
    if !products.is_empty() {
        hashes.owners.look(root);
    }
    for product in products {
        let name = product.file_name().to_string_lossy().into_owned();
        // FHS: the folder is named after the package or its registered provider.
        let supplier = hashes.owners.supplier(&name, &suppliers).unwrap_or_else(|| name.clone());
        components.extend(component(root, &product.path(), &name, &supplier, hashes, problems));
    }
    for known in &KNOWN {
        let folder = root.join(known.folder);
        if folder.is_dir() {
            components.extend(component(root, &folder, known.name, known.supplier, hashes, problems));
        }
    }
    hashes.keep(|path| path.exists());
    components
}

fn component(
    root: &Path,
    folder: &Path,
    name: &str,
    supplier: &str,
    hashes: &mut Hashes,
    problems: &mut Vec<String>,
) -> Option<Component> {
    let mut found = Vec::new();
    if let Err(error) = walk(folder, DEEPEST, &mut found) {
        problems.push(format!("reading {name} in {}: {error}", folder.display()));
        return None;
    }
    if found.len() >= MOST_FILES {
        problems.push(format!("{name} has more than {MOST_FILES} files: the rest is not looked at"));
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    let mut list = Vec::new();
    let mut dated = Vec::new();
    for file in &found {
        // Gone or not readable for the agent: its name and size still count.
        let digest = hashes.of(&file.path).ok().flatten();
        let path = on_device(root, &file.path);
        if let Some(sha256) = digest {
            dated.push((file.changed, FileHash { path: path.clone(), sha256 }));
        }
        list.push((path, digest, file.bytes));
    }
    // The latest files first; the names decide among files of one time.
    dated.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let mut files: Vec<FileHash> = dated.into_iter().take(MAX_FILES).map(|(_, file)| file).collect();
    files.sort();
    Some(Component {
        kind: ComponentKind::SelfUpdater,
        name: name.into(),
        version: listing(&list).short(),
        supplier: supplier.into(),
        files,
    })
}

fn walk(folder: &Path, deeper: usize, found: &mut Vec<Found>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if found.len() >= MOST_FILES {
            return Ok(());
        }
        // Links are not followed: they could lead anywhere.
        let Ok(about) = entry.metadata() else { continue };
        if about.is_dir() && deeper > 0 {
            // A folder that the agent may not read is part of the machine, not a fault of it.
            let _ = walk(&entry.path(), deeper - 1, found);
        } else if about.is_file() {
            found.push(Found { path: entry.path(), bytes: about.len(), changed: about.modified().ok() });
        }
    }
    Ok(())
}

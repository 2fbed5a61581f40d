//! A disk of sectors that remembers every write, a FAT32 file system on it, and what a power cut can leave of it.

use crate::noon::NOON;
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use staffel_guard::volume::{Volume, VolumeError};
use std::{
    collections::BTreeMap,
    io::{self, Read, Seek, SeekFrom, Write},
    sync::{Arc, Mutex, MutexGuard},
};

pub const SECTOR: usize = 512;
/// The fewest that FAT32 allows with clusters of one sector, and a few.
const SECTORS: u32 = 67_000;

pub type Sector = Arc<[u8; SECTOR]>;
/// Contents by sector; what is missing is zero.
pub type Contents = BTreeMap<u64, Sector>;

/// What was written between two moments at which everything is known to be on the disk.
#[derive(Clone, Debug)]
pub struct Window {
    pub what: String,
    pub before: Contents,
    /// In the order in which they came; a disk may keep any of them and drop any other.
    pub writes: Vec<(u64, Sector)>,
}

#[derive(Default)]
struct Inner {
    now: Contents,
    window: Vec<(u64, Sector)>,
    windows: Vec<Window>,
    before: Contents,
}

/// A handle; clones are the same disk.
#[derive(Clone, Default)]
pub struct Disk {
    inner: Arc<Mutex<Inner>>,
    at: u64,
}

impl Disk {
    /// Sectors of [`Disk::large`].
    pub const LARGE: u64 = 560_000;

    /// An empty file system.
    pub fn formatted() -> Self {
        Disk::with_size(u64::from(SECTORS), SECTOR as u32)
    }

    /// One with room for kernels.
    pub fn large() -> Self {
        Disk::with_size(Disk::LARGE, 4096)
    }

    fn with_size(sectors: u64, cluster: u32) -> Self {
        let mut disk = Disk::default();
        let options = FormatVolumeOptions::new()
            .fat_type(FatType::Fat32)
            .bytes_per_cluster(cluster)
            .total_sectors(u32::try_from(sectors).expect("a small disk"));
        fatfs::format_volume(&mut disk, options).expect("the disk takes a file system");
        disk.at = 0;
        disk.flushed("format");
        disk
    }

    /// A disk as a power cut left it.
    pub fn of(contents: Contents) -> Self {
        let inner = Inner { now: contents.clone(), before: contents, ..Inner::default() };
        Disk { inner: Arc::new(Mutex::new(inner)), at: 0 }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panicked")
    }

    pub fn contents(&self) -> Contents {
        self.inner().now.clone()
    }

    /// Everything written until now is on the disk.
    fn flushed(&self, what: &str) {
        let mut inner = self.inner();
        let now = inner.now.clone();
        let before = std::mem::replace(&mut inner.before, now);
        let writes = std::mem::take(&mut inner.window);
        if !writes.is_empty() {
            inner.windows.push(Window { what: what.into(), before, writes });
        }
    }

    /// What was written since the last call.
    pub fn windows(&self) -> Vec<Window> {
        std::mem::take(&mut self.inner().windows)
    }

    pub fn sector(&self, at: u64) -> [u8; SECTOR] {
        self.inner().now.get(&at).map_or([0; SECTOR], |sector| **sector)
    }

    pub fn put(&self, at: u64, bytes: [u8; SECTOR]) {
        if self.sector(at) == bytes {
            return;
        }
        let mut inner = self.inner();
        let sector = Arc::new(bytes);
        inner.window.push((at, sector.clone()));
        match bytes == [0; SECTOR] {
            true => drop(inner.now.remove(&at)),
            false => drop(inner.now.insert(at, sector)),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&FileSystem<Disk>) -> io::Result<T>) -> io::Result<T> {
        let disk = Disk { inner: self.inner.clone(), at: 0 };
        let fs = FileSystem::new(disk, FsOptions::new().update_accessed_date(false).time_provider(&NOON))?;
        let result = work(&fs)?;
        fs.unmount()?;
        Ok(result)
    }

    /// Renames as the loader does when it counts: no fsync between the two names.
    pub fn rename(&self, folder: &str, from: &str, to: &str) -> io::Result<()> {
        self.with(|fs| {
            let folder = fs.root_dir().open_dir(folder)?;
            folder.rename(from, &folder, to)
        })?;
        self.flushed("count");
        Ok(())
    }
}

impl Read for Disk {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let offset = (self.at % SECTOR as u64) as usize;
        let length = buffer.len().min(SECTOR - offset);
        let inner = self.inner();
        match inner.now.get(&(self.at / SECTOR as u64)) {
            Some(sector) => buffer[..length].copy_from_slice(&sector[offset..offset + length]),
            None => buffer[..length].fill(0),
        }
        drop(inner);
        self.at += length as u64;
        Ok(length)
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let offset = (self.at % SECTOR as u64) as usize;
        let length = bytes.len().min(SECTOR - offset);
        let at = self.at / SECTOR as u64;
        let mut sector = self.sector(at);
        sector[offset..offset + length].copy_from_slice(&bytes[..length]);
        self.put(at, sector);
        self.at += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        // The file system flushes more often than the kernel's does; only the guard's own fsync counts.
        Ok(())
    }
}

impl Seek for Disk {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let size = Disk::LARGE as i64 * SECTOR as i64;
        let at = match to {
            SeekFrom::Start(at) => i64::try_from(at).unwrap_or(i64::MAX),
            SeekFrom::Current(by) => self.at as i64 + by,
            SeekFrom::End(by) => size + by,
        };
        self.at = u64::try_from(at).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Volume for Disk {
    fn names(&self, folder: &str) -> Result<Vec<String>, VolumeError> {
        let list = self.with(|fs| {
            let Some(folder) = absent(fs.root_dir().open_dir(folder))? else { return Ok(Vec::new()) };
            let mut names = Vec::new();
            for entry in folder.iter() {
                let entry = entry?;
                if entry.is_file() {
                    names.push(entry.file_name());
                }
            }
            names.sort();
            Ok(names)
        });
        list.map_err(|source| VolumeError::new("list", folder, source))
    }

    fn read(&self, path: &str, at_most: u64) -> Result<Option<Vec<u8>>, VolumeError> {
        let read = self.with(|fs| {
            let Some(file) = absent(fs.root_dir().open_file(path))? else { return Ok(None) };
            let mut bytes = Vec::new();
            file.take(at_most + 1).read_to_end(&mut bytes)?;
            match bytes.len() as u64 > at_most {
                true => Err(io::ErrorKind::InvalidData.into()),
                false => Ok(Some(bytes)),
            }
        });
        read.map_err(|source| VolumeError::new("read", path, source))
    }

    fn make_folder(&mut self, path: &str) -> Result<(), VolumeError> {
        let made = self.with(|fs| {
            let mut whole = String::new();
            for part in path.split('/') {
                whole = if whole.is_empty() { part.to_string() } else { format!("{whole}/{part}") };
                fs.root_dir().create_dir(&whole)?;
            }
            Ok(())
        });
        self.flushed("make a folder");
        made.map_err(|source| VolumeError::new("make the folder", path, source))
    }

    fn create(&mut self, path: &str, bytes: &[u8]) -> Result<(), VolumeError> {
        let created = self.with(|fs| match absent(fs.root_dir().open_file(path))? {
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => fs.root_dir().create_file(path)?.write_all(bytes),
        });
        self.flushed(&format!("create {path}"));
        created.map_err(|source| VolumeError::new("create", path, source))
    }

    fn overwrite(&mut self, path: &str, bytes: &[u8]) -> Result<(), VolumeError> {
        let written = self.with(|fs| {
            let mut file = fs.root_dir().open_file(path)?;
            if file.seek(SeekFrom::End(0))? != bytes.len() as u64 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            file.seek(SeekFrom::Start(0))?;
            file.write_all(bytes)
        });
        self.flushed(&format!("write over {path}"));
        written.map_err(|source| VolumeError::new("write over", path, source))
    }

    fn remove(&mut self, path: &str) -> Result<(), VolumeError> {
        let removed = self.with(|fs| absent(fs.root_dir().remove(path)).map(drop));
        self.flushed(&format!("delete {path}"));
        removed.map_err(|source| VolumeError::new("delete", path, source))
    }

    fn free(&self) -> Result<u64, VolumeError> {
        let free =
            self.with(|fs| fs.stats().map(|stats| u64::from(stats.free_clusters()) * u64::from(stats.cluster_size())));
        free.map_err(|source| VolumeError::new("measure", "", source))
    }
}

/// What `fsck.vfat -a` does for us after a power cut: files whose clusters are free or somebody else's are cut to
/// nothing, clusters that belong to nobody become free, both tables agree.
pub fn check(disk: &Disk) {
    let boot = disk.sector(0);
    let word = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
    let long = |at: usize| u64::from(u32::from_le_bytes([boot[at], boot[at + 1], boot[at + 2], boot[at + 3]]));
    let (table, size, root) = (word(14), long(36), long(44) as u32);
    let (data, cluster) = (table + 2 * size, u64::from(boot[13]));
    let clusters = ((long(32) - data) / cluster) as u32;
    let mut fat = Fat { disk, table, size, clusters };
    let mut used = std::collections::BTreeSet::new();
    let mut folders = vec![root];
    used.extend(fat.chain(root));
    while let Some(folder) = folders.pop() {
        let first = fat.chain(folder).into_iter().map(|number| data + (u64::from(number) - 2) * cluster);
        for at in first.flat_map(|first| first..first + cluster) {
            let mut sector = disk.sector(at);
            for entry in sector.chunks_exact_mut(32) {
                let free = entry[0] == 0 || entry[0] == 0xe5;
                if free || entry[11] & 0x0f == 0x0f || entry[11] & 0x08 != 0 || entry[0] == b'.' {
                    continue;
                }
                let first = u32::from_le_bytes([entry[26], entry[27], entry[20], entry[21]]);
                let length = u32::from_le_bytes([entry[28], entry[29], entry[30], entry[31]]) as usize;
                let is_folder = entry[11] & 0x10 != 0;
                let chain = fat.chain(first);
                let whole = !chain.is_empty() && (is_folder || chain.len() * cluster as usize * SECTOR >= length);
                if first != 0 && whole && chain.iter().all(|cluster| !used.contains(cluster)) {
                    used.extend(chain);
                    if is_folder {
                        folders.push(first);
                    }
                } else if first != 0 || length != 0 {
                    entry[20..22].fill(0);
                    entry[26..32].fill(0);
                }
            }
            disk.put(at, sector);
        }
    }
    fat.keep_only(&used);
    disk.flushed("check");
}

struct Fat<'a> {
    disk: &'a Disk,
    table: u64,
    size: u64,
    clusters: u32,
}

impl Fat<'_> {
    fn next(&self, cluster: u32) -> u32 {
        let sector = self.disk.sector(self.table + u64::from(cluster) / 128);
        let at = (cluster as usize % 128) * 4;
        u32::from_le_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]]) & 0x0fff_ffff
    }

    /// The clusters from this one on; none if the chain is broken.
    fn chain(&self, first: u32) -> Vec<u32> {
        let (mut chain, mut at) = (Vec::new(), first);
        while at < 0x0fff_fff8 {
            // One that is longer than the disk goes round in a circle.
            if at < 2 || at >= self.clusters + 2 || chain.len() > self.clusters as usize {
                return Vec::new();
            }
            chain.push(at);
            at = self.next(at);
        }
        chain
    }

    fn keep_only(&mut self, used: &std::collections::BTreeSet<u32>) {
        let written: Vec<u64> = self.disk.contents().keys().copied().collect();
        let tables = self.table..self.table + 2 * self.size;
        for at in written.into_iter().filter(|at| tables.contains(at)) {
            let index = (at - self.table) % self.size;
            let mut sector = self.disk.sector(self.table + index);
            for (place, entry) in sector.chunks_exact_mut(4).enumerate() {
                let cluster = (index * 128) as u32 + place as u32;
                if cluster >= 2 && !used.contains(&cluster) {
                    entry.fill(0);
                }
            }
            self.disk.put(self.table + index, sector);
            self.disk.put(self.table + self.size + index, sector);
        }
        // How much is free is not known any more; whoever wants to know counts.
        let mut info = self.disk.sector(1);
        info[488..496].fill(0xff);
        self.disk.put(1, info);
    }
}

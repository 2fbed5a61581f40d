//! What earlier starts of the machine left where the guard can read it: pstore, watchdogs, the endings of boot entries. Reads,
//! writes and deletes nothing. What must stay out: what it means (`staffel_core::boot::traces`).

use staffel_core::boot::traces::{Start, TRACES, Trace, kernel_records};
use staffel_guard::{partition, volume::Folder};
use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

/// Files of pstore that are looked at.
const FILES: usize = 128;
/// Bytes of one of them that are read; the kernel writes records of at most a few KiB.
const FILE: u64 = 64 << 10;
/// `systemd-pstore` puts records into folders of folders.
const DEPTH: usize = 2;
/// Watchdogs that are asked.
const WATCHDOGS: usize = 8;

/// Where to look.
#[derive(Clone, Debug)]
pub struct Places {
    /// Folders with pstore's records: the kernel's own, and where `systemd-pstore` moves them to.
    pub pstore: Vec<PathBuf>,
    /// A folder with one folder for each watchdog.
    pub watchdogs: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Places {
            pstore: vec!["/sys/fs/pstore".into(), "/var/lib/systemd/pstore".into()],
            watchdogs: "/sys/class/watchdog".into(),
        }
    }
}

/// Everything that this start of the machine finds. What can't be read is left out: it must not keep a guard from starting.
pub fn look(places: &Places, system_partition: Option<&Path>, boot_id: &str) -> Start {
    let mut files = Vec::new();
    for folder in &places.pstore {
        collect(folder, DEPTH, &mut files);
    }
    let mut traces = kernel_records(&files);
    traces.extend(watchdogs(&places.watchdogs));
    let state = system_partition.and_then(|path| partition::load(&Folder::new(path)).ok());
    let endings = state.map(|loaded| loaded.state.endings).unwrap_or_default();
    traces.extend(endings.into_iter().map(|ending| Trace::Entry {
        number: ending.number,
        committed: ending.committed,
        why: ending.why,
    }));
    traces.truncate(TRACES);
    Start { boot_id: boot_id.into(), traces }.bounded()
}

/// Sorted, so that what is found does not depend on the order in which a file system lists it.
fn entries(folder: &Path) -> Vec<fs::DirEntry> {
    let mut entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    entries
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in entries(folder) {
        let (Ok(kind), Ok(name)) = (entry.file_type(), entry.file_name().into_string()) else { continue };
        if kind.is_dir() && depth > 0 {
            collect(&entry.path(), depth - 1, files);
        } else if kind.is_file() && name.starts_with("dmesg-") && files.len() < FILES {
            files.extend(read(&entry.path()).map(|bytes| (name, bytes)));
        }
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(FILE).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn watchdogs(folder: &Path) -> Vec<Trace> {
    let text = |path: PathBuf| read(&path).map(|bytes| String::from_utf8_lossy(&bytes).trim().to_string());
    let one = |entry: fs::DirEntry| {
        let status = text(entry.path().join("bootstatus"))?.parse().ok().filter(|status| *status != 0)?;
        let identity = text(entry.path().join("identity")).unwrap_or_default();
        Some(Trace::Watchdog { name: entry.file_name().to_string_lossy().into_owned(), identity, status })
    };
    entries(folder).into_iter().take(WATCHDOGS).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_where_kernel_and_systemd_keep_them_and_nothing_else_is_read() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let write = |name: &str, text: &str| {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), text).unwrap();
        };
        let panic = |what: &str| format!("Panic#1 Part1\n<0>[1.0] Kernel panic - not syncing: {what}\n");
        write("kernel/dmesg-efi_pstore-178225200001001", &panic("one"));
        write("kernel/console-ramoops-0", &panic("no record"));
        write("systemd/1782252/001/dmesg-efi_pstore-178225100001001", &panic("two"));
        write("systemd/a/b/c/dmesg-efi_pstore-178225000001001", &panic("too deep"));
        write("watchdogs/watchdog0/bootstatus", "32\n");
        write("watchdogs/watchdog0/identity", "i6300ESB timer\n");
        write("watchdogs/watchdog1/bootstatus", "0\n");
        write("watchdogs/watchdog2/bootstatus", "soon");
        #[cfg(unix)]
        std::os::unix::fs::symlink(at("kernel/console-ramoops-0"), at("kernel/dmesg-link")).unwrap();
        let places = Places { pstore: vec![at("kernel"), at("systemd"), at("absent")], watchdogs: at("watchdogs") };
        let start = look(&places, Some(&at("absent")), "boot-1");
        let said: Vec<String> = start.traces.iter().map(|trace| trace.to_string()).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].contains("not syncing: two") && said[1].contains("not syncing: one"), "{said:?}");
        assert_eq!(said[2], "watchdog0 (i6300ESB timer) started the machine again, status 0x20");
        let nothing = Places { pstore: Vec::new(), watchdogs: at("absent") };
        assert!(look(&nothing, None, "boot-1").traces.is_empty());
    }
}

//! Names and texts of boot entries (UAPI Boot Loader Specification, type 1, with boot counting), and what has to change so
//! that they fit the state. Pure. What must stay out: writing them.
//!
//! Last-known-good and the earlier entry are never renamed and never counted; only trials are. `sort-key` puts ours
//! before those of the distribution, and the safe system after everything.

use crate::command_line::{ENTRY, TRIAL};
use staffel_core::{
    boot::firmware::{Entry, State, TRIES},
    ids::Digest,
};
use std::collections::BTreeSet;

/// Folder of the entries.
pub const ENTRIES: &str = "loader/entries";
/// Folder of everything else that is ours.
pub const FOLDER: &str = "EFI/staffel";
/// The entry of the safe system, for the loader; the firmware has one of its own.
pub const SAFE_ENTRY: &str = "loader/entries/safe-staffel.conf";
/// The safe system.
pub const SAFE_IMAGE: &str = "EFI/staffel/safe.efi";

/// What the name of one of our entries says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    pub number: u64,
    /// Starts that are left; none if it is not counted.
    pub left: Option<u32>,
}

impl Name {
    /// Reads `staffel-7.conf`, `staffel-7+3.conf` or `staffel-7+2-1.conf`; none if it is not ours.
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_prefix("staffel-")?.strip_suffix(".conf")?;
        let (number, left) = match stem.split_once('+') {
            Some((number, counter)) => {
                let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
                done.parse::<u32>().ok()?;
                (number, Some(left.parse().ok()?))
            }
            None => (stem, None),
        };
        Some(Name { number: number.parse().ok()?, left })
    }
}

/// Name of an entry that is not counted, or has so many starts left.
pub fn name(number: u64, left: Option<u32>) -> String {
    match left {
        None => format!("staffel-{number}.conf"),
        // The loader counts down on the left and up on the right.
        Some(left) if left < TRIES => format!("staffel-{number}+{left}-{}.conf", TRIES - left),
        Some(left) => format!("staffel-{number}+{left}.conf"),
    }
}

/// Where a kernel lies.
pub fn kernel_path(kernel: &Digest) -> String {
    format!("{FOLDER}/{kernel}.linux")
}

/// Where an initramfs lies.
pub fn initrd_path(initrd: &Digest) -> String {
    format!("{FOLDER}/{initrd}.initrd")
}

/// The text of an entry.
pub fn text(entry: &Entry, trial: bool) -> String {
    let number = entry.number;
    let (title, trial) = if trial { (" (trial)", format!(" {TRIAL}")) } else { ("", String::new()) };
    format!(
        "title Staffel {number}{title}\nsort-key 0-staffel\nversion {number}\nlinux /{}\ninitrd /{}\noptions {} {ENTRY}{number}{trial}\n",
        kernel_path(&entry.kernel),
        initrd_path(&entry.initrd),
        entry.options,
    )
}

/// The text of the safe system's entry.
pub fn safe_text() -> String {
    format!("title Staffel: safe mode\nsort-key zz-staffel\nversion 0\nefi /{SAFE_IMAGE}\n")
}

/// Reads an entry as [`text`] writes it, for a machine whose state is lost.
pub fn parse(text: &str, number: u64) -> Option<Entry> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    let digest = |key, ending| {
        let path: &str = value(key)?;
        Digest::parse(path.strip_prefix('/')?.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix(ending)?)
    };
    let options = value("options")?.strip_suffix(&format!(" {ENTRY}{number}"))?;
    let (kernel, initrd) = (digest("linux", ".linux")?, digest("initrd", ".initrd")?);
    let entry = Entry { number, kernel, initrd, options: options.into() };
    (self::text(&entry, false) == text).then_some(entry)
}

/// What lies on the system partition.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Name and text of each file in [`ENTRIES`]; no text if it can't be read.
    pub entries: Vec<(String, Option<String>)>,
    /// Names of the files in [`FOLDER`].
    pub files: Vec<String>,
}

impl Listing {
    /// Entries of ours.
    pub fn ours(&self) -> impl Iterator<Item = (Name, &(String, Option<String>))> {
        self.entries.iter().filter_map(|file| Some((Name::parse(&file.0)?, file)))
    }

    /// Starts that the loader still has for an entry; the fewest, if a power cut left two names.
    pub fn left(&self, number: u64) -> Option<u32> {
        self.ours().filter(|(name, _)| name.number == number).filter_map(|(name, _)| name.left).min()
    }

    /// Uncounted entries that can be read, highest first.
    pub fn committed(&self) -> Vec<Entry> {
        let uncounted = self.ours().filter(|(name, _)| name.left.is_none());
        let mut found: Vec<Entry> =
            uncounted.filter_map(|(name, file)| parse(file.1.as_deref()?, name.number)).collect();
        found.sort_by_key(|entry| std::cmp::Reverse(entry.number));
        found
    }
}

/// One change, durable before the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Create { path: String, text: String },
    Remove { path: String },
}

/// What has to change so that the entries fit the state. What is good is written before anything is taken away; files
/// that no entry names go last. Nothing that is not ours is touched.
pub fn changes(state: &State, listing: &Listing) -> Vec<Change> {
    let path = |name: &str| format!("{ENTRIES}/{name}");
    let (mut changes, mut stray) = (Vec::new(), Vec::new());
    let mut keep = BTreeSet::new();
    for entry in [&state.good].into_iter().chain(&state.earlier) {
        let (name, text) = (name(entry.number, None), text(entry, false));
        match listing.entries.iter().find(|file| file.0 == name) {
            Some((_, Some(found))) if *found == text => {}
            found => {
                if found.is_some() {
                    changes.push(Change::Remove { path: path(&name) });
                }
                changes.push(Change::Create { path: path(&name), text });
            }
        }
        keep.insert(name);
    }
    if let Some(trial) = &state.trial {
        let text = text(trial, true);
        let names: Vec<_> = listing.ours().filter(|(name, _)| name.number == trial.number).collect();
        match names[..] {
            [(Name { left: Some(_), .. }, (name, Some(found)))] if *found == text => drop(keep.insert(name.clone())),
            _ => {
                // Two names share one file after a power cut while the loader counted, and deleting one would take
                // the other's contents with it: both go before a new one comes.
                changes.extend(names.iter().map(|(_, (name, _))| Change::Remove { path: path(name) }));
                keep.extend(names.iter().map(|(_, (name, _))| name.clone()));
                let left = listing.left(trial.number).unwrap_or(TRIES);
                changes.push(Change::Create { path: path(&name(trial.number, Some(left))), text });
            }
        }
    }
    stray.extend(listing.ours().filter(|(_, file)| !keep.contains(&file.0)).map(|(_, file)| path(&file.0)));
    let named: BTreeSet<String> =
        state.entries().flat_map(|entry| [kernel_path(&entry.kernel), initrd_path(&entry.initrd)]).collect();
    let ours = |name: &&String| name.ends_with(".linux") || name.ends_with(".initrd");
    let files = listing.files.iter().filter(ours).map(|name| format!("{FOLDER}/{name}"));
    stray.extend(files.filter(|file| !named.contains(file)));
    changes.extend(stray.into_iter().map(|path| Change::Remove { path }));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use staffel_core::boot::firmware::{Event, step};

    fn state() -> State {
        let first = State::new(Digest([1; 32]), Digest([2; 32]), "quiet panic=1".into(), Digest([9; 32]));
        let arm = Event::Arm { kernel: Digest([3; 32]), initrd: Digest([2; 32]), options: "quiet panic=1".into() };
        step(&first, arm).state
    }

    fn file(name: &str, text: String) -> (String, Option<String>) {
        (name.into(), Some(text))
    }

    /// A listing that fits [`state`].
    fn fitting(state: &State) -> Listing {
        let trial = state.trial.as_ref().unwrap();
        Listing {
            entries: vec![
                file("staffel-1.conf", text(&state.good, false)),
                file("staffel-2+2-1.conf", text(trial, true)),
                file("safe-staffel.conf", safe_text()),
                file("debian-6.1.conf", "linux /x".into()),
            ],
            files: vec!["safe.efi".into(), "record.0".into()],
        }
    }

    #[test]
    fn names_are_read_as_they_are_written_and_others_are_not_ours() {
        for (number, left) in [(7, None), (7, Some(3)), (7, Some(2)), (7, Some(0))] {
            assert_eq!(Name::parse(&name(number, left)), Some(Name { number, left }));
        }
        for foreign in ["debian.conf", "staffel-.conf", "staffel-7+x.conf", "staffel-7+1-x.conf", "staffel-7.bak"] {
            assert_eq!(Name::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written_and_a_changed_one_is_not() {
        let good = state().good;
        let written = text(&good, false);
        assert_eq!(parse(&written, 1), Some(good.clone()));
        for changed in [written.replace("quiet", "quiet  "), written.replace("/EFI", "EFI"), text(&good, true)] {
            assert_eq!(parse(&changed, 1).filter(|entry| *entry == good), None, "{changed}");
        }
    }

    #[test]
    fn what_fits_is_left_alone() {
        let state = state();
        assert_eq!(changes(&state, &fitting(&state)), []);
    }

    #[test]
    fn twins_are_both_replaced_and_no_start_is_given_back() {
        let state = state();
        let mut listing = fitting(&state);
        listing.entries.push(file("staffel-2+1-2.conf", text(state.trial.as_ref().unwrap(), true)));
        let removed = |name: &str| Change::Remove { path: format!("{ENTRIES}/{name}") };
        let changes = changes(&state, &listing);
        assert_eq!(changes[..2], [removed("staffel-2+2-1.conf"), removed("staffel-2+1-2.conf")]);
        assert!(matches!(&changes[2], Change::Create { path, .. } if path.ends_with("staffel-2+1-2.conf")));
        assert_eq!(changes.len(), 3);
    }

    #[test]
    fn what_is_good_is_written_before_anything_goes_and_foreign_entries_stay() {
        let mut state = state();
        let mut listing = fitting(&state);
        let old = format!("{}.linux", state.good.kernel);
        listing.files.push(old.clone());
        // As after a commit.
        state.earlier = None;
        state.good = state.trial.take().unwrap();
        let changes = changes(&state, &listing);
        assert!(matches!(&changes[0], Change::Create { path, .. } if path.ends_with("/staffel-2.conf")), "{changes:?}");
        assert_eq!(changes.last(), Some(&Change::Remove { path: format!("{FOLDER}/{old}") }));
        assert!(
            changes
                .iter()
                .all(|change| !format!("{change:?}").contains("debian") && !format!("{change:?}").contains("safe"))
        );
    }
}

//! Which installed package brought a folder below `/opt`: what `dpkg-query --search` answers, read from the same lists.
//!
//! FHS 3.0 (3.13) names such a folder after its package or provider; who that is stands in the package's control file.
//! What must stay out: reading the packages themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    time::SystemTime,
};

/// Where dpkg keeps the list of files of each package, below the root (dpkg(1)).
pub const LISTS: &str = "var/lib/dpkg/info";
/// Of a longer list the rest is not looked at, bytes.
const MOST_READ: u64 = 16 << 20;

/// Folders below `/opt`, and the packages that brought them.
#[derive(Debug, Default)]
pub struct Owners {
    /// dpkg renames a new list into its folder, which changes the folder's time.
    changed: Option<SystemTime>,
    packages: BTreeMap<String, BTreeSet<String>>,
}

impl Owners {
    /// Reads the lists anew if a package came, went or changed.
    pub fn look(&mut self, root: &Path) {
        let folder = root.join(LISTS);
        let changed = fs::metadata(&folder).and_then(|about| about.modified()).ok();
        if changed.is_some() && changed == self.changed {
            return;
        }
        self.changed = changed;
        self.packages.clear();
        for list in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = list.file_name();
            let Some(package) = name.to_str().and_then(|name| name.strip_suffix(".list")) else { continue };
            // Where several architectures can be installed: `package:architecture.list`.
            let package = package.split(':').next().unwrap_or(package);
            for folder in below_opt(&list.path()) {
                self.packages.entry(folder).or_default().insert(package.to_string());
            }
        }
    }

    /// The supplier of a folder below `/opt`, if its packages have one and the same. `suppliers`: of each package.
    pub fn supplier(&self, folder: &str, suppliers: &BTreeMap<&str, &str>) -> Option<String> {
        let packages = self.packages.get(folder)?;
        let of = packages.iter().filter_map(|package| suppliers.get(package.as_str())).filter(|name| !name.is_empty());
        let names: BTreeSet<_> = of.collect();
        let mut names = names.into_iter();
        let name = names.next()?;
        names.next().is_none().then(|| name.to_string())
    }
}

/// The folders right below `/opt` that a list names.
fn below_opt(list: &Path) -> BTreeSet<String> {
    let mut bytes = Vec::new();
    // A list that can't be read names nothing: the folder then keeps its own name as its supplier.
    let _ =
        fs::File::open(list).and_then(|file| io::Read::read_to_end(&mut io::Read::take(file, MOST_READ), &mut bytes));
    let names = bytes.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"/opt/"));
    names.filter_map(|rest| std::str::from_utf8(rest).ok()?.split('/').next().map(str::to_string)).collect()
}

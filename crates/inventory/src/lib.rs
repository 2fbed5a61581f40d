//! What foreign software this machine has: modules in its kernel, what updates itself, services, packages.
//!
//! For the agent, which tells the server, and for the sensor's `doctor`. Read from files, without running anything and without privileges. The same machine gives the same list until
//! something changes, and alike machines give alike lists: no times, no inode numbers. What must stay out: what it means
//! (the server compares devices), and everything below the agent's and the guard's own folders.

mod owners;
mod updaters;

pub use staffel_core::foreign::{Component, ComponentKind};
use staffel_core::{
    foreign::{FileHash, MAX_COMPONENTS},
    ids::Digest,
};
use std::{
    fs,
    path::{Path, PathBuf},
};
pub use updaters::Hashes;

/// No field of a component is longer, bytes.
const MOST_FIELD: usize = 128;
/// The whole inventory as JSON is no longer, bytes: the server logs it as one entry.
const MOST_BYTES: usize = 700 << 10;

/// What an inventory reads below `root`, for the sandbox.
pub fn reads(root: &Path) -> Vec<PathBuf> {
    let paths = ["proc/modules", "sys/module", "var/lib/dpkg/status", owners::LISTS, "etc/systemd/system", "opt"];
    let mut paths: Vec<PathBuf> = paths.iter().map(|path| root.join(path)).collect();
    paths.extend(updaters::KNOWN.iter().map(|known| root.join(known.folder)));
    paths
}

/// Reads the inventory of the machine whose file system begins at `root`. `hashes` remembers digests of files that have
/// not changed. What could not be read or was left out is said, a line each.
pub fn collect(root: &Path, hashes: &mut Hashes) -> (Vec<Component>, Vec<String>) {
    let mut problems = Vec::new();
    let mut components = modules(root);
    let packages = packages(root, &mut problems);
    components.extend(updaters::collect(root, &packages, hashes, &mut problems));
    components.extend(services(root, hashes));
    components.extend(packages);
    for component in &mut components {
        for field in [&mut component.name, &mut component.version, &mut component.supplier] {
            cut(field);
        }
    }
    components.sort();
    components.dedup();
    // The kinds are in the order of harm that they can do: packages go first.
    let all = components.len();
    components.truncate(MAX_COMPONENTS);
    let mut bytes = 0;
    let fitting = components.iter().take_while(|component| {
        bytes += 64 + component.name.len() + component.version.len() + component.supplier.len();
        bytes += component.files.iter().map(|file| file.path.len() + 96).sum::<usize>();
        bytes <= MOST_BYTES
    });
    let fitting = fitting.count();
    components.truncate(fitting);
    if components.len() < all {
        problems.push(format!("the inventory names {} of {all} pieces of foreign software", components.len()));
    }
    (components, problems)
}

fn cut(text: &mut String) {
    let mut end = text.len().min(MOST_FIELD);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

/// Modules that were not built with the kernel. The taint flags stand at the end of the line: O out of tree, P
/// proprietary, E unsigned (Linux, Documentation/admin-guide/tainted-kernels).
fn modules(root: &Path) -> Vec<Component> {
    let text = fs::read_to_string(root.join("proc/modules")).unwrap_or_default();
    let foreign = text.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let name = fields.next()?;
        let flags = fields.next_back().filter(|flags| flags.starts_with('('))?;
        if !flags.contains(['O', 'P', 'E']) {
            return None;
        }
        let told = |file| fs::read_to_string(root.join("sys/module").join(name).join(file)).ok();
        let version = told("version").or_else(|| told("srcversion")).unwrap_or_default();
        Some(Component {
            kind: ComponentKind::KernelModule,
            name: name.into(),
            version: version.trim().into(),
            supplier: String::new(),
            files: Vec::new(),
        })
    });
    foreign.collect()
}

/// Units that were put beside those of the distribution. Symbolic links only say which units are on.
fn services(root: &Path, hashes: &mut Hashes) -> Vec<Component> {
    let entries = fs::read_dir(root.join("etc/systemd/system"));
    let units = entries.into_iter().flatten().flatten().filter(|entry| {
        let name = entry.file_name();
        let unit = Path::new(&name).extension().is_some_and(|kind| kind == "service");
        unit && entry.file_type().is_ok_and(|kind| kind.is_file())
    });
    let described = units.filter_map(|entry| {
        let sha256 = hashes.of(&entry.path()).ok().flatten()?;
        Some(Component {
            kind: ComponentKind::Service,
            name: entry.file_name().to_string_lossy().into_owned(),
            version: sha256.short(),
            supplier: String::new(),
            files: vec![FileHash { path: on_device(root, &entry.path()), sha256 }],
        })
    });
    described.collect()
}

/// Installed packages: `Package`, `Version`, `Maintainer` of dpkg's status file (deb-control(5)).
fn packages(root: &Path, problems: &mut Vec<String>) -> Vec<Component> {
    let file = root.join("var/lib/dpkg/status");
    let text = match fs::read(&file) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            problems.push(format!("reading the list of packages {}: {error}", file.display()));
            return Vec::new();
        }
    };
    let installed = text.split("\n\n").filter_map(|paragraph| {
        let field = |name: &str| {
            let line = paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim)
        };
        field("Status").filter(|status| status.ends_with(" installed"))?;
        // A name without its e-mail address.
        let supplier = field("Maintainer").unwrap_or_default().split(" <").next().unwrap_or_default();
        Some(Component {
            kind: ComponentKind::Package,
            name: field("Package")?.into(),
            version: field("Version")?.into(),
            supplier: supplier.into(),
            files: Vec::new(),
        })
    });
    installed.collect()
}

/// The path as the device itself names it.
fn on_device(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    format!("/{}", below.to_string_lossy().trim_start_matches('/'))
}

/// Digest of many files by name, for what has no version of its own.
fn listing(files: &[(String, Option<Digest>, u64)]) -> Digest {
    let mut text = String::new();
    for (path, digest, bytes) in files {
        text.push_str(&format!("{path:?} {bytes} {}\n", digest.map(|digest| digest.to_string()).unwrap_or_default()));
    }
    Digest::of(text.as_bytes())
}

#[cfg(test)]
mod tests;

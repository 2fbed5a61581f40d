//! Inventories of made-up file systems.

use super::*;
use staffel_core::foreign::digest;

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn machine() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let modules = "ext4 811008 1 - Live 0x0000000000000000\n\
                   shield 20480 0 - Live 0x0000000000000000 (OE)\n";
    put(root.path(), "proc/modules", modules);
    put(root.path(), "sys/module/shield/version", "4.1\n");
    put(root.path(), "opt/acme-shield/bin/shield", "program");
    put(root.path(), "opt/acme-shield/content", "one");
    put(root.path(), "etc/systemd/system/shield.service", "[Service]\n");
    let status = "Package: nginx\nStatus: install ok installed\nMaintainer: Debian Nginx <n@example.org>\nVersion: 1.22.1-9\n\n\
                  Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n";
    put(root.path(), "var/lib/dpkg/status", status);
    root
}

fn named<'a>(components: &'a [Component], name: &str) -> &'a Component {
    components.iter().find(|component| component.name == name).unwrap()
}

#[test]
fn every_kind_is_found_and_what_belongs_to_the_kernel_or_is_removed_is_not() {
    let root = machine();
    let (components, problems) = collect(root.path(), &mut Hashes::default());
    assert_eq!(problems, Vec::<String>::new());
    let names: Vec<_> = components.iter().map(|c| (c.kind, c.name.as_str())).collect();
    assert_eq!(
        names,
        [
            (ComponentKind::KernelModule, "shield"),
            (ComponentKind::SelfUpdater, "acme-shield"),
            (ComponentKind::Service, "shield.service"),
            (ComponentKind::Package, "nginx"),
        ]
    );
    assert_eq!(named(&components, "shield").version, "4.1");
    assert_eq!(named(&components, "nginx").supplier, "Debian Nginx");
    let files: Vec<_> = named(&components, "acme-shield").files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["/opt/acme-shield/bin/shield", "/opt/acme-shield/content"]);
}

#[test]
fn who_made_what_lies_below_opt_is_what_its_package_says() {
    let root = machine();
    let supplier = |hashes: &mut Hashes| named(&collect(root.path(), hashes).0, "acme-shield").supplier.clone();
    let mut hashes = Hashes::default();
    assert_eq!(supplier(&mut hashes), "acme-shield", "nobody says it: the folder's own name");
    let package = |name: &str, maintainer: &str| {
        format!(
            "Package: {name}\nStatus: install ok installed\nMaintainer: {maintainer} <x@example.org>\nVersion: 7\n\n"
        )
    };
    put(root.path(), "var/lib/dpkg/status", &package("shield-agent", "Acme Security"));
    put(root.path(), "var/lib/dpkg/info/shield-agent:amd64.list", "/.\n/opt\n/opt/acme-shield\n/opt/acme-shield/bin\n");
    assert_eq!(supplier(&mut hashes), "Acme Security");
    // Two makers that share a folder: neither is named.
    let both = package("shield-agent", "Acme Security") + &package("other", "Somebody Else");
    put(root.path(), "var/lib/dpkg/status", &both);
    put(root.path(), "var/lib/dpkg/info/other.list", "/opt/acme-shield/plugin\n/opt/acme-shields\n");
    assert_eq!(supplier(&mut Hashes::default()), "acme-shield");
}

#[test]
fn two_machines_alike_have_one_inventory_and_a_changed_file_changes_it() {
    let (a, b) = (machine(), machine());
    let mut hashes = Hashes::default();
    let before = collect(a.path(), &mut hashes).0;
    assert_eq!(digest(&before), digest(&collect(b.path(), &mut Hashes::default()).0));
    assert_eq!(before, collect(a.path(), &mut hashes).0);
    put(a.path(), "opt/acme-shield/content", "another one");
    let after = collect(a.path(), &mut hashes).0;
    assert_ne!(named(&before, "acme-shield").version, named(&after, "acme-shield").version);
    let sha256 = Digest::of(b"another one");
    assert!(named(&after, "acme-shield").files.contains(&FileHash { path: "/opt/acme-shield/content".into(), sha256 }));
}

#[test]
fn an_empty_machine_and_hostile_files_are_no_trouble() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(collect(root.path(), &mut Hashes::default()), (Vec::new(), Vec::new()));
    put(root.path(), "proc/modules", "\n(\nx (O\n\u{fffd} (P)\n");
    put(
        root.path(),
        "var/lib/dpkg/status",
        &format!("Package: {}\nVersion:\nStatus: x installed\n\n\n\n", "é".repeat(400)),
    );
    std::os::unix::fs::symlink("/", root.path().join("loop")).unwrap();
    put(root.path(), "opt/a/file", "x");
    std::os::unix::fs::symlink("..", root.path().join("opt/a/up")).unwrap();
    let (components, _) = collect(root.path(), &mut Hashes::default());
    assert!(components.iter().all(|component| component.name.len() <= MOST_FIELD));
    assert_eq!(components.iter().find(|c| c.name == "a").unwrap().files.len(), 1);
}

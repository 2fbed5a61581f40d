//! The safe system's network, by its own scripts (`packaging/safe`) with Debian's kernel and busybox in a virtual machine: by the
//! configuration that was kept, and by DHCP where none was. The kernel is started without firmware: nothing of it matters here.

use super::{
    machine::{Said, watch},
    parts::{Archive, MODULES, Parts, libraries, read, target},
};
use crate::{show, skip};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

const SAFE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/safe");
const BUSYBOX: &str = "/bin/busybox";
/// After those of the guard.
const MORE: [&str; 3] = ["net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net"];
/// What the safe system's `init` does before and after its network.
const INIT: &str = "#!/bin/busybox sh
export PATH=/bin
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
mount -t devtmpfs devtmpfs /dev
mount -t sysfs sysfs /sys
while read module; do insmod $module; done </staffel/modules
exec >/dev/console 2>&1
say() { printf '%s\\n' \"$*\"; }
. /staffel/safe.conf
. /staffel/network
echo \"LAB: address $(ip -o -4 addr show dev eth0)\"
echo \"LAB: route $(ip route)\"
echo \"LAB: names $(cat /etc/resolv.conf)\"
poweroff -f
";

fn run(parts: &Parts, place: &Path, configuration: &str) -> Said {
    let libraries = libraries(&[&PathBuf::from(BUSYBOX)]);
    let mut folders: BTreeSet<&str> = ["dev", "proc", "sys", "staffel", "modules", "bin", "etc"].into();
    let above = libraries.iter().flat_map(|path| path.ancestors().skip(1));
    folders.extend(above.filter_map(|path| path.to_str()?.strip_prefix('/')).filter(|name| !name.is_empty()));
    // In order, so that each comes before what is in it.
    let mut archive = Archive::folders(&folders.into_iter().collect::<Vec<_>>());
    for library in &libraries {
        archive.add(library.to_string_lossy().trim_start_matches('/'), 0o100755, &read(library));
    }
    archive.add("init", 0o100755, INIT.as_bytes());
    archive.add("bin/busybox", 0o100755, &read(BUSYBOX));
    archive.add("staffel/safe.conf", 0o100644, configuration.as_bytes());
    archive.add("staffel/network", 0o100644, &read(format!("{SAFE}/network")));
    archive.add("staffel/dhcp", 0o100755, &read(format!("{SAFE}/dhcp")));
    archive.add_modules(&target().join("firmware"), &[&MODULES[..5], &MORE].concat());
    let (kernel, initrd) = (place.join("linux"), place.join("initrd"));
    std::fs::write(&kernel, &parts.kernel).expect("the kernel is written");
    std::fs::write(&initrd, archive.end()).expect("the initramfs is written");
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-machine", "q35", "-accel", "tcg,tb-size=256", "-cpu", "qemu64", "-m", "384", "-smp", "1"])
        .args(["-nodefaults", "-nographic", "-serial", "stdio", "-no-reboot"])
        .args(["-append", "console=ttyS0 loglevel=4 panic=1"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initrd)
        // Another network than the kept configuration's, so that none can be taken for the other.
        .args([
            "-netdev",
            "user,id=n0,net=10.9.8.0/24,dhcpstart=10.9.8.77",
            "-device",
            "virtio-net-pci,netdev=n0,romfile=",
        ]);
    watch(&mut qemu, None)
}

/// What was kept goes first; without it, the network is asked.
pub fn network(parts: &Parts) {
    if !Path::new(BUSYBOX).exists() {
        return skip("network of the safe system", BUSYBOX);
    }
    let place = tempfile::tempdir().expect("a folder");
    let kept = "ADDRESS=192.0.2.7/24\nGATEWAY=192.0.2.1\nNAMESERVERS='192.0.2.2 192.0.2.3'\n";
    let without = "ADDRESS=\nGATEWAY=\nNAMESERVERS=\n";
    for (name, configuration, expected) in [
        ("kept", kept, ["192.0.2.7/24", "default via 192.0.2.1", "nameserver 192.0.2.3"]),
        ("DHCP", without, ["10.9.8.77/24", "default via 10.9.8.2", "nameserver 10.9.8.3"]),
    ] {
        let said = run(parts, place.path(), configuration);
        for words in expected {
            assert!(said.times(words).next().is_some(), "{name}: {words} is missing\n{}", said.text());
        }
        let up = said.times(expected[0]).next().expect("it was there");
        show(
            &format!("network of the safe system, {name}: seconds from power on to the address"),
            format!("{:.1}", up.as_secs_f64()),
        );
    }
}

//! The virtual machine: a system partition that the real `guard-ctl` sets up, a disk with what the machine has, the safe
//! system as it is shipped. Must stay out: what is done to it.

use super::{
    noon::NOON,
    parts::{self, Archive},
};
use crate::fleet::programs;
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
};

const OPTIONS: &str = "console=ttyS0 loglevel=5 panic=1 oops=panic rdinit=/staffel/guard-init";
/// For the network, after those of the guard.
const MORE_MODULES: [&str; 3] = ["net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net"];
const SAFE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/safe");
/// The disk of this test's machine, in the words of the safe system's configuration.
const SAFE_CONF: &str = "SYSTEM_PARTITION=/dev/vda\nMACHINE=/dev/vdb\nHOST_ROOT=/machine/host\nGUARD=/machine/guard\n\
    AGENT=/machine/agent\nAGENT_USER=65534:65534\nQUARANTINE_ROOTS=/opt\nADDRESS=10.0.2.15/24\nGATEWAY=10.0.2.2\n\
    CONTACT='+49 221 4711'\n";
/// 256 MiB.
const PARTITION: u64 = 256 << 20;

/// What is missing, if anything.
pub fn missing() -> Option<String> {
    ["/usr/sbin/mke2fs", "/bin/busybox"].into_iter().find(|tool| !Path::new(tool).exists()).map(String::from)
}

/// A machine that is on.
pub struct Machine {
    qemu: Mutex<Child>,
    console: PathBuf,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The process that we started, by its own id.
        let Ok(qemu) = self.qemu.get_mut() else { return };
        let _ = qemu.kill();
        let _ = qemu.wait();
    }
}

impl Machine {
    /// Builds the machine of a device that is enrolled in `folder` and switches it on. `update`: the driver that its
    /// supplier brings later.
    pub fn start(folder: &Path, update: &[u8], sensor: &Path) -> Self {
        let place = folder.join("virtual");
        fs::create_dir_all(&place).expect("a folder");
        let programs = programs();
        let shared = [&programs.guard, &programs.agent, &sensor.to_path_buf(), &PathBuf::from("/bin/busybox")];
        let libraries = parts::libraries(&shared);
        let firmware = parts::target().join("firmware");
        let kernel = parts::read(firmware.join("vmlinuz"));
        let strip = |program: &Path| parts::stripped(program, &place);
        let guard_commit = strip(&parts::guest("guard-commit"));

        let common = |init: &[u8]| {
            let mut archive = Archive::default();
            let mut folders: BTreeSet<&Path> = libraries.iter().flat_map(|path| path.ancestors().skip(1)).collect();
            folders.extend(["dev", "proc", "sys", "staffel", "modules", "bin", "etc"].map(Path::new));
            for folder in folders {
                let name = folder.strip_prefix("/").unwrap_or(folder).to_string_lossy();
                if !name.is_empty() {
                    archive.add(&name, 0o40755, &[]);
                }
            }
            archive.add("staffel/guard-init", 0o100755, &strip(&parts::guest("guard-init")));
            archive.add("init", 0o100755, init);
            archive.add("bin/busybox", 0o100755, &parts::read("/bin/busybox"));
            // The server listens on this machine's loopback interface, which QEMU shows there.
            archive.add("etc/hosts", 0o100644, b"10.0.2.2 localhost\n");
            archive.add("etc/passwd", 0o100644, b"root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n");
            for library in &libraries {
                let name = library.to_string_lossy();
                archive.add(name.trim_start_matches('/'), 0o100755, &parts::read(library));
            }
            archive.add_modules(&firmware, &[&parts::MODULES[..], &MORE_MODULES].concat());
            archive
        };
        let normal = common(include_bytes!("normal")).end();
        let mut safe = common(&parts::read(format!("{SAFE}/init")));
        safe.add("staffel/safe.conf", 0o100644, SAFE_CONF.as_bytes());
        safe.add("staffel/network", 0o100644, &parts::read(format!("{SAFE}/network")));
        safe.add("staffel/dhcp", 0o100755, &parts::read(format!("{SAFE}/dhcp")));
        safe.add("staffel/self-test.json", 0o100644, &parts::read(format!("{SAFE}/self-test.json")));
        safe.add("bin/guard-commit", 0o100755, &guard_commit);
        for program in &shared[..3] {
            let name = program.file_name().expect("a name").to_string_lossy();
            safe.add(&format!("bin/{name}"), 0o100755, &strip(program));
        }
        let evaluator = sensor.with_file_name("evaluator.cwasm");
        safe.add("bin/evaluator.cwasm", 0o100644, &parts::read(evaluator));
        let safe = parts::unified(&kernel, &safe.end(), &format!("{OPTIONS} staffel.safe"), &place);

        // What the machine has: the folder of the enrolment, and its own programs.
        let disk = place.join("disk");
        fs::create_dir_all(disk.join("bin")).expect("a folder");
        for part in ["agent", "guard", "host"] {
            let copied = Command::new("cp").arg("-a").arg(folder.join(part)).arg(&disk).status();
            assert!(copied.expect("cp runs").success(), "{part} is not copied");
        }
        for program in &shared[..2] {
            write_program(&disk.join("bin").join(program.file_name().expect("a name")), &strip(program));
        }
        write_program(&disk.join("bin/guard-commit"), &guard_commit);
        fs::write(disk.join("update.ko"), update).expect("the update is written");
        let image = place.join("machine.img");
        let made = Command::new("/usr/sbin/mke2fs")
            .args(["-q", "-t", "ext4", "-d"])
            .arg(&disk)
            .arg(&image)
            .arg("192M")
            .status();
        assert!(made.expect("mke2fs runs").success(), "the machine's disk is not made");

        let partition = system_partition(&place, &kernel, &normal, &safe);
        let variables = place.join("variables");
        fs::write(&variables, parts::variables(&parts::read(parts::VARIABLES))).expect("the variables are written");
        let console = place.join("console");
        let drive = |id: &str, file: &Path| format!("if=none,id={id},file={},format=raw,cache=unsafe", file.display());
        let qemu = Command::new("qemu-system-x86_64")
            .args(["-machine", "q35,smm=off", "-accel", "tcg,tb-size=256", "-cpu", "qemu64", "-m", "768", "-smp", "1"])
            .args(["-nodefaults", "-nographic", "-serial", &format!("file:{}", console.display())])
            .args(["-drive", &format!("if=pflash,format=raw,readonly=on,file={}", parts::CODE)])
            .args(["-drive", &format!("if=pflash,format=raw,file={}", variables.display())])
            .args(["-drive", &drive("d0", &partition), "-device", "virtio-blk-pci,drive=d0"])
            .args(["-drive", &drive("d1", &image), "-device", "virtio-blk-pci,drive=d1"])
            .args(["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,romfile="])
            .stdin(Stdio::null())
            .spawn()
            .expect("QEMU runs");
        Machine { qemu: Mutex::new(qemu), console }
    }

    /// Everything that it said on its console.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    pub fn is_on(&self) -> bool {
        self.qemu.lock().is_ok_and(|mut qemu| matches!(qemu.try_wait(), Ok(None)))
    }
}

fn write_program(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, bytes).expect("a program is written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it may be run");
}

/// A FAT file system with the loader and what the real `guard-ctl firmware set-up` makes.
fn system_partition(place: &Path, kernel: &[u8], initrd: &[u8], safe: &[u8]) -> PathBuf {
    let folder = place.join("partition");
    fs::create_dir_all(folder.join("EFI/BOOT")).expect("a folder");
    fs::create_dir_all(folder.join("loader")).expect("a folder");
    fs::copy(parts::LOADER, folder.join("EFI/BOOT/BOOTX64.EFI")).expect("the loader is copied");
    fs::write(folder.join("loader/loader.conf"), "timeout 0\n").expect("the loader is configured");
    let file = |name: &str, bytes: &[u8]| {
        let path = place.join(name);
        fs::write(&path, bytes).expect("an image is written");
        path
    };
    let set_up = Command::new(programs().guard)
        .args(["firmware", "set-up", "--options", OPTIONS, "--system-partition"])
        .arg(&folder)
        .arg("--kernel")
        .arg(file("kernel", kernel))
        .arg("--initrd")
        .arg(file("initrd", initrd))
        .arg("--safe")
        .arg(file("safe", safe))
        .output()
        .expect("guard-ctl runs");
    assert!(set_up.status.success(), "{}", String::from_utf8_lossy(&set_up.stderr));
    let path = place.join("partition.img");
    let mut image = File::options().read(true).write(true).create_new(true).open(&path).expect("an image");
    image.set_len(PARTITION).expect("it has its size");
    let options = FormatVolumeOptions::new().fat_type(FatType::Fat32).bytes_per_cluster(4096);
    fatfs::format_volume(&mut image, options).expect("it is formatted");
    let fs = FileSystem::new(image, FsOptions::new().time_provider(&NOON)).expect("a file system");
    copy_into(&fs.root_dir(), &folder);
    fs.unmount().expect("it is written");
    path
}

fn copy_into(to: &fatfs::Dir<'_, File>, from: &Path) {
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        match entry.file_type().expect("a kind").is_dir() {
            true => copy_into(&to.create_dir(&name).expect("a folder"), &entry.path()),
            false => {
                let mut file = to.create_file(&name).expect("a file");
                file.write_all(&fs::read(entry.path()).expect("a file")).expect("it is written");
            }
        }
    }
}

//! What a virtual machine is made of: kernel, initramfs, safe system, firmware variables. What must stay out: running it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The loader.
pub const LOADER: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";
const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
/// The firmware's variables before anything was written.
pub const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// The firmware's code.
pub const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
/// Kernel modules that the guard needs, in the order in which they can be loaded.
pub const MODULES: [&str; 14] = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk",
    "fs/fat/fat",
    "fs/fat/vfat",
    "fs/nls/nls_cp437",
    "fs/nls/nls_ascii",
    "fs/efivarfs/efivarfs",
    "drivers/firmware/efi/efi-pstore",
    "drivers/watchdog/watchdog",
    "drivers/watchdog/softdog",
];

/// Everything that the scenarios share.
pub struct Parts {
    pub loader: Vec<u8>,
    pub kernel: Vec<u8>,
    pub initrd: Vec<u8>,
    pub safe: Vec<u8>,
    pub variables: Vec<u8>,
    /// A kernel module that panics as soon as it is loaded.
    pub bad_module: Vec<u8>,
}

/// The target folder of this build.
pub fn target() -> PathBuf {
    let program = std::env::current_exe().expect("this program has a path");
    program.ancestors().nth(3).expect("it lies in target/PROFILE/deps").to_path_buf()
}

/// A program of the guest: static, as it is shipped.
pub fn guest(name: &str) -> PathBuf {
    target().join("x86_64-unknown-linux-musl/debug").join(name)
}

/// A program that can be run by its name.
pub fn is_installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}

/// What is missing for these tests, if anything.
pub fn missing() -> Option<String> {
    if let Some(tool) = ["qemu-system-x86_64", "objcopy"].into_iter().find(|tool| !is_installed(tool)) {
        return Some(tool.into());
    }
    let files = [LOADER, STUB, VARIABLES, CODE].map(PathBuf::from).into_iter();
    let files = files.chain(["guard-init", "guard-commit", "examples/lab-init"].map(guest));
    let mut files = files.chain([target().join("firmware/vmlinuz")]);
    files.find(|file| !file.is_file()).map(|file| file.display().to_string())
}

pub fn read(path: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(path.as_ref()).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// A program without what only a debugger needs.
pub fn stripped(program: &Path, place: &Path) -> Vec<u8> {
    let to = place.join(program.file_name().expect("a program has a name"));
    let status = Command::new("objcopy").arg("--strip-all").arg(program).arg(&to).status();
    assert!(status.expect("objcopy runs").success(), "{} is not stripped", program.display());
    read(to)
}

/// The shared libraries of these programs and the loader of libraries, as the dynamic linker names them.
pub fn libraries(programs: &[&PathBuf]) -> Vec<PathBuf> {
    let output = Command::new("ldd").args(programs).output().expect("ldd runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = text.split_ascii_whitespace().filter(|word| word.starts_with('/') && word.contains(".so"));
    let mut found: Vec<PathBuf> = paths.map(PathBuf::from).collect();
    found.sort();
    found.dedup();
    found
}

impl Parts {
    /// Puts them together; `place` is for files on the way.
    pub fn new(place: &Path) -> Self {
        let folder = target().join("firmware");
        let kernel = read(folder.join("vmlinuz"));
        let initrd = initrd(&folder, place);
        let line = "console=ttyS0 loglevel=5 panic=1 oops=panic rdinit=/staffel/guard-init staffel.safe";
        let safe = unified(&kernel, &initrd, line, place);
        let bad_module = panicking_module(&folder);
        Parts { loader: read(LOADER), kernel, initrd, safe, variables: variables(&read(VARIABLES)), bad_module }
    }
}

/// A good module with an instruction that no processor has at the beginning of `init_module` (ELF-64), and without its
/// signature, because the kernel refuses one that does not fit and takes one that is missing.
pub fn panicking_module(folder: &Path) -> Vec<u8> {
    let mut module = read(folder.join("modules/drivers/net/dummy.ko"));
    const SIGNED: &[u8] = b"~Module signature appended~\n";
    if module.ends_with(SIGNED) {
        module.truncate(module.len() - SIGNED.len());
    }
    let number = |at: usize, length: usize| {
        module[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let (sections, size, count, names) = (number(0x28, 8), number(0x3a, 2), number(0x3c, 2), number(0x3e, 2));
    let offset = |section: usize| number(sections + section * size + 0x18, 8);
    let is_init = |section: &usize| {
        let name = offset(names) + number(sections + section * size, 4);
        module[name..].starts_with(b".init.text\0")
    };
    let begin = offset((0..count).find(is_init).expect("the module begins somewhere"));
    // A call comes first, for the kernel's tracer, which takes it away.
    assert_eq!(module[begin], 0xe8, "the module begins otherwise than expected");
    module[begin + 5..begin + 7].copy_from_slice(&[0x0f, 0x0b]);
    module
}

/// The initramfs: guard, the test's own system, modules.
fn initrd(folder: &Path, place: &Path) -> Vec<u8> {
    let mut archive = Archive::folders(&["dev", "proc", "sys", "staffel", "partition", "modules"]);
    archive.add("staffel/guard-init", 0o100755, &stripped(&guest("guard-init"), place));
    archive.add("staffel/guard-commit", 0o100755, &stripped(&guest("guard-commit"), place));
    archive.add("init", 0o100755, &stripped(&guest("examples/lab-init"), place));
    archive.add_modules(folder, &MODULES);
    archive.end()
}

/// A unified kernel image: the loader's stub with the kernel, its initramfs and its command line as sections.
pub fn unified(kernel: &[u8], initrd: &[u8], line: &str, place: &Path) -> Vec<u8> {
    let sections: [(&str, &[u8], u64); 4] = [
        (".osrel", b"ID=staffel\nPRETTY_NAME=\"Staffel safe mode\"\nVERSION_ID=1\n", 0x20000),
        (".cmdline", line.as_bytes(), 0x30000),
        (".linux", kernel, 0x200_0000),
        (".initrd", initrd, 0x400_0000),
    ];
    let mut command = Command::new("objcopy");
    for (name, bytes, address) in sections {
        let file = place.join(format!("section{name}"));
        std::fs::write(&file, bytes).expect("a file is written");
        command.arg("--add-section").arg(format!("{name}={}", file.display()));
        command.arg("--change-section-vma").arg(format!("{name}={address:#x}"));
    }
    let to = place.join("safe.efi");
    let status = command.arg(STUB).arg(&to).status().expect("objcopy runs");
    assert!(status.success(), "the safe system is not put together");
    read(to)
}

/// A cpio archive as the kernel unpacks it (`newc`).
#[derive(Default)]
pub struct Archive(Vec<u8>, u32);

impl Archive {
    /// Kernel modules, in the order in which `guard-init` is to load them.
    pub fn add_modules(&mut self, folder: &Path, modules: &[&str]) {
        let mut list = String::new();
        for module in modules {
            let name = module.rsplit('/').next().expect("a name");
            self.add(&format!("modules/{name}.ko"), 0o100644, &read(folder.join(format!("modules/{module}.ko"))));
            list.push_str(&format!("/modules/{name}.ko\n"));
        }
        self.add("staffel/modules", 0o100644, list.as_bytes());
    }

    pub fn add(&mut self, name: &str, mode: u32, bytes: &[u8]) {
        self.1 += 1;
        let numbers = [self.1, mode, 0, 0, 1, 0, bytes.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        self.0.extend_from_slice(b"070701");
        numbers.iter().for_each(|number| self.0.extend_from_slice(format!("{number:08x}").as_bytes()));
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(0);
        self.pad();
        self.0.extend_from_slice(bytes);
        self.pad();
    }

    /// Folders at the beginning of the archive.
    pub fn folders(names: &[&str]) -> Self {
        let mut archive = Archive::default();
        names.iter().for_each(|name| archive.add(name, 0o40755, &[]));
        archive
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    pub fn end(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.0
    }
}

/// Firmware variables with two boot entries: the loader, then the safe system, which the firmware starts by itself if the
/// loader can't start anything (variable store as EDK II writes it, boot options after UEFI 3.1.3).
pub fn variables(empty: &[u8]) -> Vec<u8> {
    /// Firmware volume header and variable store header.
    const BEGIN: usize = 0x64;
    assert!(empty[BEGIN..BEGIN + 1024].iter().all(|byte| *byte == 0xff), "the store is not empty");
    let mut store = empty.to_vec();
    let mut at = BEGIN;
    let mut put = |name: &str, data: &[u8]| {
        const GLOBAL: [u8; 16] =
            [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
        let name = wide(name);
        let mut bytes = vec![0xaa, 0x55, 0x3f, 0];
        bytes.extend_from_slice(&7u32.to_le_bytes());
        // Counter, time and key, which only authenticated variables have.
        bytes.extend_from_slice(&[0; 28]);
        bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(data.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&GLOBAL);
        bytes.extend_from_slice(&name);
        bytes.extend_from_slice(data);
        store[at..at + bytes.len()].copy_from_slice(&bytes);
        at = (at + bytes.len()).next_multiple_of(4);
    };
    put("Boot0000", &boot_option("Linux Boot Manager", "\\EFI\\BOOT\\BOOTX64.EFI"));
    put("Boot0001", &boot_option("Staffel safe mode", "\\EFI\\staffel\\safe.efi"));
    put("BootOrder", &[0, 0, 1, 0]);
    store
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn boot_option(name: &str, path: &str) -> Vec<u8> {
    let path = wide(path);
    let mut node = vec![4, 4];
    node.extend_from_slice(&(path.len() as u16 + 4).to_le_bytes());
    node.extend_from_slice(&path);
    node.extend_from_slice(&[0x7f, 0xff, 4, 0]);
    let mut option = 1u32.to_le_bytes().to_vec();
    option.extend_from_slice(&(node.len() as u16).to_le_bytes());
    option.extend_from_slice(&wide(name));
    option.extend_from_slice(&node);
    option
}

//! The system that the firmware tests start in their virtual machine: `/init` after `guard-init`, instead of a whole Debian.
//! It behaves as the word `lab=` on the kernel's command line says, and runs the real `guard-commit`. For tests only.

#[cfg(target_os = "linux")]
fn main() {
    use rustix::{
        mount::{MountFlags, UnmountFlags, mount, unmount},
        system::{RebootCommand, reboot},
    };
    use staffel_guard::{
        command_line::{self, value},
        partition::{Images, Partition},
        volume::{Folder, Volume as _},
    };
    use std::{
        process::Command,
        time::{Duration, SystemTime},
    };

    let attach = |kind: &str, source: &str, place: &str| {
        let _ = std::fs::create_dir_all(place);
        let done = mount(source, place, kind, MountFlags::empty(), None);
        done.unwrap_or_else(|error| println!("LAB: {place} can't be mounted: {error}"));
    };
    attach("devtmpfs", "devtmpfs", "/dev");
    attach("proc", "proc", "/proc");
    attach("sysfs", "sysfs", "/sys");
    attach("efivarfs", "efivarfs", "/sys/firmware/efi/efivars");
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let running = command_line::running(&line);
    println!("LAB: user space {running:?}");
    // What firmware, loader and kernel have measured, where there is a TPM.
    for register in 0..16 {
        if let Ok(value) = std::fs::read_to_string(format!("/sys/class/tpm/tpm0/pcr-sha256/{register}")) {
            println!("LAB: PCR {register} {}", value.trim().to_lowercase());
        }
    }
    let panic = || {
        let _ = std::fs::write("/proc/sysrq-trigger", "c");
    };
    match value(&line, "lab=") {
        Some("panic") => panic(),
        // The kernel panics when its first process ends.
        Some("exit") => return,
        Some("hang") => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        _ => {}
    }
    attach("vfat", "/dev/vda", "/partition");
    let mut partition = Folder::new("/partition");
    let read = |name: &str| partition.read(name, 1 << 28).ok().flatten();
    // Content and modules come from the entry's generation; a machine has them on its own disk.
    if let Some(generation) = value(&line, "staffel.generation=") {
        let bad_from =
            read(&format!("lab/{generation}/panics-from")).map(|bytes| String::from_utf8_lossy(&bytes).parse());
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        println!("LAB: content of generation {generation}, read at {now}");
        if matches!(bad_from, Some(Ok(from)) if now >= from) {
            panic();
        }
        if let Ok(driver) = std::fs::File::open(format!("/partition/lab/{generation}/driver.ko")) {
            println!("LAB: driver of generation {generation}");
            println!("LAB: it is loaded: {:?}", rustix::system::finit_module(driver, c"", 0));
        }
    }
    println!("LAB: up {running:?}");
    let commit = |words: &[&str]| match Command::new("/staffel/guard-commit").args(words).output() {
        Ok(output) => {
            print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            output.status.code() == Some(1)
        }
        Err(error) => {
            println!("LAB: guard-commit can't be run: {error}");
            false
        }
    };
    let mut restart = commit(&["--system-partition", "/partition"]);
    if value(&line, "lab=") == Some("stable") {
        restart |= commit(&["--system-partition", "/partition", "--stable"]);
    }
    // What a test wants to be armed lies there; it is armed by the same code as on a machine.
    if let (Some(kernel), Some(initrd), Some(options)) = (read("arm/kernel"), read("arm/initrd"), read("arm/options")) {
        let options = String::from_utf8_lossy(&options).into_owned();
        let armed = Partition::open(partition.clone())
            .and_then(|mut held| held.arm(Images { kernel: &kernel, initrd: &initrd, options: &options }));
        println!("LAB: armed: {:?}", armed.map(|step| step.why));
        let _ = partition.remove("arm/options");
    }
    let _ = unmount("/partition", UnmountFlags::empty());
    println!("LAB: done {running:?}{}", if restart { ", starting again" } else { "" });
    rustix::fs::sync();
    let _ = reboot(if restart { RebootCommand::Restart } else { RebootCommand::PowerOff });
}

#[cfg(not(target_os = "linux"))]
fn main() {}

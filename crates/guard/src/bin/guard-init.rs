//! `guard-init`: the first program of the initramfs (`rdinit=/staffel/guard-init`), before any module of a third party.
//! It arms the watchdog, asks `core` whether this start may go on, and hands over to `/init`. It writes firmware variables
//! and nothing else: a start must not be able to damage what the next one needs. What must stay out: deciding.

#[cfg(target_os = "linux")]
mod linux {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    use staffel_core::{
        boot::firmware::{Found, Go, Running, State, begin},
        ids::Digest,
    };
    use staffel_guard::{
        command_line::{self, WATCHDOG},
        entries, partition,
        variables::{self, Variables},
        volume::{Folder, Volume as _},
    };
    use std::{
        ffi::CString,
        fs::File,
        io::Write as _,
        os::unix::process::CommandExt as _,
        path::Path,
        time::{Duration, Instant},
    };

    /// Modules to load first: a path and parameters on each line.
    const MODULES: &str = "/staffel/modules";
    const PARTITION: &str = "/staffel/partition";
    const PSTORE: &str = "/sys/fs/pstore";
    /// How long the disk with the system partition may take to appear.
    const PATIENCE: Duration = Duration::from_secs(20);
    /// Seconds until the watchdog bites, unless the command line says otherwise.
    const BITES_AFTER: i32 = 180;

    /// A line in the kernel's log, which is also what a person sees on the screen.
    fn say(text: &str) {
        // Without the kernel's log there is nowhere to say it.
        let _ = File::options()
            .write(true)
            .open("/dev/kmsg")
            .and_then(|mut log| log.write_all(format!("<4>staffel: {text}\n").as_bytes()));
    }

    pub fn main() {
        // Whatever goes wrong here, the machine has to start: a guard that stops it would be what it guards against.
        if std::panic::catch_unwind(guard).is_err() {
            say("guard-init failed; the start goes on");
        }
        for place in [PARTITION, PSTORE, variables::FOLDER, "/sys", "/proc", "/dev"] {
            let _ = unmount(place, UnmountFlags::DETACH);
        }
        // Only returns if it fails; then the kernel panics, and `panic=` starts the machine again.
        let error = std::process::Command::new("/init").args(std::env::args_os().skip(1)).exec();
        eprintln!("staffel: /init can't be started: {error}");
    }

    fn guard() {
        for (kind, place) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
            attach(kind, kind, place, MountFlags::empty());
        }
        load_modules();
        let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
        arm_watchdog(command_line::value(&line, WATCHDOG).and_then(|text| text.parse().ok()).unwrap_or(BITES_AFTER));
        let running = command_line::running(&line);
        if !matches!(running, Running::Entry { .. }) {
            return say("not an entry that is counted");
        }
        attach("efivarfs", "efivarfs", variables::FOLDER, MountFlags::empty());
        attach("pstore", "pstore", PSTORE, MountFlags::empty());
        let (state, highest_uncounted) = find_state();
        let variables = Variables::default();
        let counts = variables.counts();
        let begin =
            begin(&Found { running, state: state.as_ref(), counts: &counts, traces: traces(), highest_uncounted });
        say(&begin.why);
        let written = begin.counts.as_ref().map_or(Ok(()), |counts| variables.set_counts(counts));
        if let Err(error) = &written {
            say(&error.to_string());
        }
        if let Go::Restart(target) = begin.go {
            // Uncounted or unsaid, a restart would be one of endlessly many.
            match written.and_then(|()| variables.set_one_shot(target)) {
                Ok(()) => {
                    say(&format!("starting again with {target:?}"));
                    let _ = unmount(PARTITION, UnmountFlags::DETACH);
                    rustix::fs::sync();
                    let _ = rustix::system::reboot(rustix::system::RebootCommand::Restart);
                }
                Err(error) => say(&format!("the start goes on: {error}")),
            }
        }
    }

    fn attach(source: &str, kind: &str, place: &str, flags: MountFlags) -> bool {
        let _ = std::fs::create_dir_all(place);
        mount(source, place, kind, flags, None).is_ok()
    }

    fn load_modules() {
        for line in std::fs::read_to_string(MODULES).unwrap_or_default().lines() {
            let (path, parameters) = line.split_once(' ').unwrap_or((line, ""));
            let loaded = File::open(path).and_then(|file| {
                let parameters = CString::new(parameters).map_err(std::io::Error::other)?;
                Ok(rustix::system::finit_module(file, &parameters, 0)?)
            });
            match loaded {
                Err(error) if error.raw_os_error() != Some(rustix::io::Errno::EXIST.raw_os_error()) => {
                    say(&format!("the module {path} is not loaded: {error}"));
                }
                _ => {}
            }
        }
    }

    /// From here on a machine that hangs starts again. The device is closed without the letter that would disarm it, so
    /// it goes on counting until user space takes it over.
    fn arm_watchdog(seconds: i32) {
        let Ok(mut device) = File::options().write(true).open("/dev/watchdog") else {
            return say("no watchdog: a kernel that hangs stays");
        };
        if let Err(error) = set_timeout(&device, seconds) {
            say(&format!("the watchdog keeps its own time: {error}"));
        }
        let _ = device.write_all(b"\0");
    }

    #[expect(unsafe_code, reason = "the kernel offers no other way to set a watchdog's time")]
    fn set_timeout(device: &File, mut seconds: i32) -> rustix::io::Result<()> {
        /// `WDIOC_SETTIMEOUT` (linux/watchdog.h).
        const SET_TIMEOUT: rustix::ioctl::Opcode = 0xc004_5706;
        // SAFETY: the call reads and writes one `int`, which lives until it returns.
        unsafe { rustix::ioctl::ioctl(device, rustix::ioctl::Updater::<SET_TIMEOUT, i32>::new(&mut seconds)) }
    }

    /// The state, from the first partition that holds one, and the highest entry that is there uncounted.
    fn find_state() -> (Option<State>, Option<u64>) {
        let begin = Instant::now();
        loop {
            let mut devices: Vec<_> = std::fs::read_dir("/sys/class/block").into_iter().flatten().flatten().collect();
            devices.sort_by_key(std::fs::DirEntry::file_name);
            for device in devices {
                let path = Path::new("/dev").join(device.file_name());
                let Some(path) = path.to_str() else { continue };
                if !attach(path, "vfat", PARTITION, MountFlags::RDONLY) {
                    continue;
                }
                let folder = Folder::new(PARTITION);
                let ours = Path::new(PARTITION).join(entries::FOLDER).is_dir();
                let loaded = partition::load(&folder);
                let committed = partition::list(&folder).map(|listing| listing.committed()).unwrap_or_default();
                let _ = unmount(PARTITION, UnmountFlags::DETACH);
                if let (true, Ok(loaded)) = (ours, &loaded) {
                    loaded.damage.iter().for_each(|what| say(what));
                }
                if ours {
                    return (loaded.ok().map(|loaded| loaded.state), committed.first().map(|entry| entry.number));
                }
            }
            if begin.elapsed() >= PATIENCE {
                say("no system partition with the guard's state is found");
                return (None, None);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// A kernel's last words and a watchdog that bit; none after a power cut.
    fn traces() -> Option<Digest> {
        let mut found = Folder::new(PSTORE).names("").unwrap_or_default();
        found.retain(|name| name.starts_with("dmesg-"));
        for device in std::fs::read_dir("/sys/class/watchdog").into_iter().flatten().flatten() {
            // WDIOF_CARDRESET (linux/watchdog.h).
            let status = std::fs::read_to_string(device.path().join("bootstatus")).unwrap_or_default();
            if status.trim().parse::<u32>().is_ok_and(|status| status & 0x20 != 0) {
                // It says so only in the start that followed, so that each is a new one.
                let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
                found.push(format!("watchdog {}", boot.trim()));
            }
        }
        (!found.is_empty()).then(|| Digest::of(found.join("\n").as_bytes()))
    }
}

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
    #[cfg(not(target_os = "linux"))]
    eprintln!("guard-init runs on Linux only");
}

//! A virtual machine: its disk and firmware variables as files, one QEMU at a time. What must stay out: what is tried.

use super::parts::{CODE, Parts};
use crate::{
    disk::{Disk, SECTOR},
    machine::LOADER,
};
use staffel_core::boot::firmware::Event;
use staffel_guard::{
    partition::{Images, Partition, load},
    volume::Volume as _,
};
use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::RecvTimeoutError,
    time::{Duration, Instant},
};

/// Options of every entry; a word `lab=` follows.
pub const OPTIONS: &str = "console=ttyS0 loglevel=5 panic=1 oops=panic rdinit=/staffel/guard-init";
/// A machine that says nothing for so long is stopped, and the test fails with what it said before. Generous: it may
/// share two cores with a dozen other tests.
const SILENCE: Duration = Duration::from_secs(420);

/// A machine that is off.
pub struct Machine {
    place: tempfile::TempDir,
    disk: Disk,
    /// The file holds what `disk` holds.
    written: bool,
    /// What its clock says when it is switched on, as QEMU wants it; today's if there is none.
    pub clock: Option<&'static str>,
    /// It has a TPM: `swtpm` runs beside it, and what it keeps stays from start to start.
    pub measures: bool,
}

/// What a machine said from its start until it was off.
pub struct Said {
    /// Each line without control codes, and when it came.
    pub lines: Vec<(Duration, String)>,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The process that we started, by its own id; it has ended already if it ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A disk with loader, safe system and a healthy system as last-known-good.
pub fn set_up(parts: &Parts) -> Disk {
    let mut disk = Disk::large();
    disk.make_folder("EFI/BOOT").expect("a folder");
    disk.create(LOADER, &parts.loader).expect("the loader is written");
    disk.make_folder("loader").expect("a folder");
    disk.create("loader/loader.conf", b"timeout 0\n").expect("the loader is configured");
    let options = format!("{OPTIONS} lab=works");
    let images = Images { kernel: &parts.kernel, initrd: &parts.initrd, options: &options };
    Partition::set_up(disk.clone(), images, &parts.safe).expect("the guard is set up");
    disk
}

impl Machine {
    /// A machine that starts with a healthy system.
    pub fn new(parts: &Parts) -> Self {
        Machine::with(parts, set_up(parts))
    }

    /// A machine with this disk.
    pub fn with(parts: &Parts, disk: Disk) -> Self {
        let place = tempfile::tempdir().expect("a folder");
        std::fs::write(place.path().join("variables"), &parts.variables).expect("the variables are written");
        Machine { place, disk, written: false, clock: None, measures: false }
    }

    /// Puts a file into a generation, which an entry names as `staffel.generation=`.
    pub fn content(&mut self, generation: u64, name: &str, bytes: &[u8]) {
        self.written = false;
        self.disk.make_folder(&format!("lab/{generation}")).expect("a folder");
        self.disk.create(&format!("lab/{generation}/{name}"), bytes).expect("the content is written");
    }

    /// Puts a change on trial.
    pub fn arm(&mut self, parts: &Parts, kernel: Option<&[u8]>, lab: &str) {
        let options = format!("{OPTIONS} lab={lab}");
        let images = Images { kernel: kernel.unwrap_or(&parts.kernel), initrd: &parts.initrd, options: &options };
        self.written = false;
        let mut partition = Partition::open(self.disk.clone()).expect("the guard opens its partition");
        let step = partition.arm(images).expect("it is armed");
        assert!(!step.refused, "{}", step.why);
    }

    /// Tells the guard something while the machine is off.
    pub fn tell(&mut self, event: Event) {
        self.written = false;
        let mut partition = Partition::open(self.disk.clone()).expect("the guard opens its partition");
        let step = partition.apply(event).expect("the guard writes");
        assert!(!step.refused, "{}", step.why);
    }

    /// Numbers of last-known-good and of the trial.
    pub fn state(&self) -> (u64, Option<u64>) {
        let state = load(&self.disk).expect("the state holds").state;
        (state.good.number, state.trial.map(|trial| trial.number))
    }

    fn image(&self) -> PathBuf {
        self.place.path().join("disk")
    }

    fn write_disk(&self) {
        if self.written {
            return;
        }
        let mut file = File::create(self.image()).expect("the disk is written");
        file.set_len(Disk::LARGE * SECTOR as u64).expect("the disk has its size");
        for (at, sector) in self.disk.contents() {
            file.seek(SeekFrom::Start(at * SECTOR as u64)).expect("the disk is written");
            file.write_all(&*sector).expect("the disk is written");
        }
    }

    fn read_disk(&mut self) {
        let bytes = std::fs::read(self.image()).expect("the disk is read");
        let sectors = bytes.chunks_exact(SECTOR).enumerate().filter(|(_, sector)| sector.iter().any(|byte| *byte != 0));
        let sectors =
            sectors.map(|(at, sector)| (at as u64, std::sync::Arc::new(sector.try_into().expect("a sector"))));
        self.disk = Disk::of(sectors.collect());
        self.written = true;
    }

    /// Starts its TPM, and waits until it can be spoken to.
    fn tpm(&self) -> (Running, PathBuf) {
        let (kept, socket) = (self.place.path().join("tpm"), self.place.path().join("tpm-socket"));
        std::fs::create_dir_all(&kept).expect("a folder");
        let _ = std::fs::remove_file(&socket);
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--terminate", "--tpmstate", &format!("dir={}", kept.display())])
            .args(["--ctrl", &format!("type=unixio,path={}", socket.display())])
            .stdin(Stdio::null())
            .spawn()
            .expect("swtpm runs");
        let begin = Instant::now();
        while !socket.exists() {
            assert!(begin.elapsed() < SILENCE, "swtpm does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        (Running(child), socket)
    }

    /// Runs it until it is off, or until a line with `cut` came: then the power is cut.
    pub fn run(&mut self, cut: Option<&str>) -> Said {
        self.write_disk();
        let disk = format!("if=none,id=d0,file={},format=raw,cache=unsafe", self.image().display());
        let variables = format!("if=pflash,format=raw,file={}", self.place.path().join("variables").display());
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-machine", "q35,smm=off", "-accel", "tcg,tb-size=256", "-cpu", "qemu64", "-m", "384", "-smp", "1"])
            .args(["-nodefaults", "-nographic", "-serial", "stdio"])
            .args(["-drive", &format!("if=pflash,format=raw,readonly=on,file={CODE}"), "-drive", &variables])
            .args(["-drive", &disk, "-device", "virtio-blk-pci,drive=d0"]);
        if let Some(clock) = self.clock {
            command.args(["-rtc", &format!("base={clock}")]);
        }
        // Lives as long as the machine is on.
        let tpm = self.measures.then(|| self.tpm());
        if let Some((_, socket)) = &tpm {
            let socket = format!("socket,id=t0,path={}", socket.display());
            command.args(["-chardev", &socket, "-tpmdev", "emulator,id=t1,chardev=t0", "-device", "tpm-tis,tpmdev=t1"]);
        }
        let said = watch(&mut command, cut);
        drop(tpm);
        self.read_disk();
        said
    }
}

/// Runs a machine until it is off, or until a line with `cut` came: then the power is cut.
pub fn watch(command: &mut Command, cut: Option<&str>) -> Said {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut running = Running(command.spawn().expect("QEMU runs"));
    let mut output = running.0.stdout.take().expect("its output is a pipe");
    let (send, received) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length) = output.read(&mut buffer)
            && length > 0
            && send.send(buffer[..length].to_vec()).is_ok()
        {}
    });
    let (begin, mut rest, mut lines) = (Instant::now(), Vec::new(), Vec::new());
    let is_off = 'said: loop {
        let bytes = match received.recv_timeout(SILENCE) {
            Ok(bytes) => bytes,
            // It has closed its output.
            Err(error) => break error == RecvTimeoutError::Disconnected,
        };
        rest.extend_from_slice(&bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = plain(&rest.drain(..=end).collect::<Vec<u8>>());
            let cut = cut.is_some_and(|cut| line.contains(cut));
            lines.push((begin.elapsed(), line));
            if cut {
                break 'said false;
            }
        }
    };
    drop(running);
    reader.join().expect("the reader ends");
    let said = Said { lines };
    assert!(is_off || cut.is_some_and(|cut| said.times(cut).next().is_some()), "it never ended:\n{}", said.text());
    said
}

/// A line without the terminal's control codes.
fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                let _ = rest.find(|c| c.is_ascii_alphabetic());
            }
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

impl Said {
    /// When a line with these words came.
    pub fn times(&self, words: &str) -> impl Iterator<Item = Duration> {
        self.lines.iter().filter(move |(_, line)| line.contains(words)).map(|(at, _)| *at)
    }

    /// Everything, for a person.
    pub fn text(&self) -> String {
        self.lines.iter().map(|(at, line)| format!("{:7.1} {line}\n", at.as_secs_f64())).collect()
    }
}

//! What sits in this machine's kernel beside the kernel: modules, what they have marked it with, BPF programs as far as they
//! may be seen. What must stay out: what to think of it.

use crate::platform;
use serde::Serialize;
use std::{fs, path::Path};

/// A module that is loaded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Module {
    pub name: String,
    pub bytes: u64,
    /// What is unusual about it, in words; nothing for one that came with the kernel.
    pub unusual: Vec<&'static str>,
}

/// A BPF program that is loaded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Program {
    pub id: u32,
    /// `BPF_PROG_TYPE_..` as a number (`linux/bpf.h`).
    pub kind: u32,
    pub name: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kernel {
    pub modules: Vec<Module>,
    /// What has marked the kernel since it started, in words.
    pub marks: Vec<&'static str>,
    pub programs: Vec<Program>,
    /// Why BPF programs can't be seen.
    pub programs_hidden: Option<String>,
}

/// Letters behind a module (Linux, Documentation/admin-guide/tainted-kernels.rst).
const LETTERS: [(char, &str); 5] = [
    ('P', "proprietary"),
    ('O', "built outside the kernel's tree"),
    ('E', "not signed"),
    ('F', "loaded by force"),
    ('C', "not ready for use (staging)"),
];

/// Bits of `/proc/sys/kernel/tainted`, from the same page.
const BITS: [(u32, &str); 12] = [
    (0, "a proprietary module was loaded"),
    (1, "a module was loaded by force"),
    (3, "a module was removed by force"),
    (4, "a processor reported an error"),
    (7, "it has crashed in part (oops)"),
    (9, "it has warned of itself"),
    (10, "a module not ready for use was loaded"),
    (12, "a module built outside its tree was loaded"),
    (13, "a module without a signature was loaded"),
    (15, "it was patched while it ran"),
    (17, "a test has changed it"),
    (18, "a program was allowed to change its memory"),
];

/// Looks below this root.
pub fn look(root: &Path) -> Kernel {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let mut kernel = Kernel {
        modules: modules(&read("proc/modules")),
        marks: marks(read("proc/sys/kernel/tainted").trim().parse().unwrap_or(0)),
        ..Kernel::default()
    };
    match platform::bpf_programs() {
        Ok(programs) => kernel.programs = programs,
        Err(error) => kernel.programs_hidden = Some(format!("{error}; it takes CAP_SYS_ADMIN")),
    }
    kernel
}

fn modules(text: &str) -> Vec<Module> {
    let module = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (name, bytes) = (fields.next()?, fields.next()?.parse().ok()?);
        let letters = fields.next_back().filter(|letters| letters.starts_with('(')).unwrap_or_default();
        let unusual = LETTERS.iter().filter(|(letter, _)| letters.contains(*letter)).map(|(_, what)| *what).collect();
        Some(Module { name: name.into(), bytes, unusual })
    };
    let mut modules: Vec<Module> = text.lines().filter_map(module).collect();
    modules.sort();
    modules
}

fn marks(bits: u64) -> Vec<&'static str> {
    BITS.iter().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, what)| *what).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_marks_are_said_in_words() {
        let text = "zfs 4096 1 spl, Live 0x0 (POE)\next4 8192 0 - Live 0x0\n\nbroken\n";
        let modules = modules(text);
        let names: Vec<_> = modules.iter().map(|module| (module.name.as_str(), module.unusual.len())).collect();
        assert_eq!(names, [("ext4", 0), ("zfs", 3)]);
        assert_eq!(marks(0), [] as [&str; 0]);
        assert_eq!(marks(1 << 12 | 1).len(), 2);
    }
}

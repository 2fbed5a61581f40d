//! Measured boot: what a TPM holds after a start with last-known-good, on trial and in the safe system, as the guest reads it from
//! its kernel. What differs and what stays is what a disk's key may be sealed to (docs/boot-guard.md has the table). What
//! must stay out: sealing, which is the owner's choice.

use super::{
    machine::{Machine, Said},
    parts::{self, Parts},
    scenarios::{SAFE, up},
};
use crate::{show, skip};
use staffel_core::boot::firmware::Event;
use std::collections::BTreeMap;

/// Platform configuration registers of the bank SHA-256, by number.
type Registers = BTreeMap<u32, String>;

/// Firmware, its settings and keys; and those that nothing is measured into.
const STAYS: [u32; 11] = [0, 1, 2, 3, 5, 6, 7, 8, 13, 14, 15];

/// Those of the last start with this line.
fn registers(said: &Said, start: &str) -> Registers {
    let starts: Vec<usize> = (0..said.lines.len()).filter(|at| said.lines[*at].1.contains(start)).collect();
    let last = *starts.last().unwrap_or_else(|| panic!("no start {start:?}:\n{}", said.text()));
    let words = said.lines[last + 1..].iter().map(|(_, line)| line);
    let measured = words.take_while(|line| !line.contains("LAB: user space")).filter_map(|line| {
        let (number, value) = line.split_once("LAB: PCR ")?.1.split_once(' ')?;
        Some((number.parse().ok()?, value.to_string()))
    });
    let found: Registers = measured.collect();
    assert_eq!(found.len(), 16, "not all registers were read:\n{}", said.text());
    found
}

/// Numbers of those in which two starts differ.
fn differing(one: &Registers, other: &Registers) -> Vec<u32> {
    one.iter().filter(|(number, value)| other.get(number) != Some(value)).map(|(number, _)| *number).collect()
}

/// A TPM beside the machine from its first start on.
pub fn measured_boot(parts: &Parts) {
    if !parts::is_installed("swtpm") {
        return skip("measured boot", "swtpm");
    }
    let mut machine = Machine::new(parts);
    machine.measures = true;
    let first = registers(&machine.run(None), &up(1, false));
    let again = registers(&machine.run(None), &up(1, false));
    assert!(differing(&first, &again).is_empty(), "the same entry measures the same at each start");

    machine.arm(parts, None, "better");
    let trial = registers(&machine.run(None), &up(2, true));
    assert_eq!(machine.state(), (2, None));
    let good = registers(&machine.run(None), &up(2, false));
    // After a trial that panicked three times, what was sealed before opens again.
    machine.arm(parts, None, "panic");
    let said = machine.run(None);
    let failed = registers(&said, &up(3, true));
    let back = registers(&said, &up(2, false));
    assert_eq!(machine.state(), (2, None), "{}", said.text());

    machine.tell(Event::StaySafe { why: "asked for".into() });
    let safe = registers(&machine.run(None), SAFE);
    machine.tell(Event::LeaveSafe);
    // A kernel that can't be started: the loader gives up, and the firmware takes its second boot option.
    let mut damaged = parts.kernel.clone();
    damaged.iter_mut().step_by(7).for_each(|byte| *byte ^= 0x5a);
    machine.arm(parts, Some(&damaged), "works");
    let fallen = registers(&machine.run(None), SAFE);

    let all = [&first, &again, &trial, &good, &failed, &back, &safe, &fallen];
    let named: [(&str, &Registers); 6] = [
        ("last-known-good", &good),
        ("trial that was committed", &trial),
        ("trial that panics", &failed),
        ("last-known-good after that", &back),
        ("safe system by the loader", &safe),
        ("safe system by the firmware", &fallen),
    ];
    for number in 0..16 {
        let words = named.map(|(name, of)| format!("{name} {}", &of[&number][..8]));
        show(&format!("measured boot: PCR {number}"), words.join(", "));
    }
    let stays: Vec<u32> = (0..16).filter(|number| all.iter().all(|of| of[number] == first[number])).collect();
    // What docs/boot-guard.md tells people who seal a disk's key.
    for (what, found, documented) in [
        ("are the same in every start", stays, &STAYS[..]),
        ("differ on the entry's own trial", differing(&good, &trial), &[9, 10, 12]),
        ("differ from the entry before", differing(&good, &first), &[9, 10, 12]),
        ("differ in the safe system", differing(&good, &safe), &[4, 9, 10, 11, 12]),
        ("differ with who started the safe system", differing(&safe, &fallen), &[4, 10]),
    ] {
        show(&format!("measured boot: registers that {what}"), format!("{found:?}"));
        assert_eq!(found, documented, "registers that {what}");
    }
    assert!(differing(&good, &back).is_empty(), "what was sealed to last-known-good opens after a trial that failed");
}

//! What a machine that crashed left behind: bytes of a kernel that was broken, in files that anybody with the disk can change.

use super::kind;
use crate::Target;
use staffel_core::boot::traces::{KERNEL_RECORDS, LINE, Start, TRACES, Trace, kernel_records};

/// Files of pstore, one after the other, each ended by a zero byte.
pub fn pstore() -> Target {
    let run = |bytes: &[u8]| {
        let parts = bytes.split(|byte| *byte == 0).enumerate();
        let files: Vec<(String, Vec<u8>)> =
            parts.map(|(n, part)| (format!("dmesg-efi_pstore-{n}"), part.to_vec())).collect();
        let traces = kernel_records(&files);
        let is_plain = |line: &str| line.chars().count() <= LINE && !line.chars().any(char::is_control);
        for trace in &traces {
            let Trace::Kernel { line, .. } = trace else { return Err("a file of pstore is no watchdog".into()) };
            if !is_plain(line) {
                return Err(format!("a line is not plain: {line:?}"));
            }
        }
        if traces.len() > KERNEL_RECORDS {
            return Err("more is told than planned".into());
        }
        let says: Vec<String> = traces.iter().map(kind).collect();
        // And from the network, where the device itself may be the liar.
        match serde_json::from_slice::<Start>(bytes) {
            Err(error) => Ok(format!("{} / {}", says.join("; "), kind(error))),
            Ok(start) => {
                let start = start.bounded();
                let bounded = start.clone().bounded() == start && start.traces.len() <= TRACES;
                let plain = start.traces.iter().all(|trace| !trace.to_string().chars().any(char::is_control));
                if bounded && plain { Ok("a start".into()) } else { Err("a start is not in its bounds".into()) }
            }
        }
    };
    let panic = "Panic#1 Part2\n<6>[    4.1] sysrq: Trigger a crash\n\0Panic#1 Part1\n<0>[    4.2] Kernel panic - not syncing: x\n";
    let oops = "Oops#1 Part1\n<1>[    1.0] BUG: unable to handle page fault\n\0Panic#2 Part1\n<0>[1.1] Kernel panic\n";
    let start = r#"{"boot_id":"b","traces":[{"trace":"watchdog","name":"w","identity":"i","status":32}]}"#;
    let seeds = [panic, oops, "Shutdown#1 Part1\nbye", start].map(|text| text.as_bytes().to_vec()).into();
    Target { name: "pstore", seeds, run: Box::new(run) }
}

//! A guest that does what the name of its pack says. For tests of the sandbox only: never shipped.
//!
//! `by-position` is the evaluator of 19 July 2024: it takes the 21st of 20 inputs without a look at how many there are.

#![cfg_attr(
    not(target_family = "wasm"),
    allow(dead_code, unused_imports, reason = "there is nothing to see elsewhere")
)]
#![allow(unsafe_code, reason = "doing harm takes it")]

use staffel_pack::{Catalogue, Evaluator, Pack, record::Batch, wire};
use std::{cell::RefCell, hint::black_box, ptr};

#[derive(Default)]
struct Guest {
    input: Vec<u8>,
    output: Vec<u8>,
    act: String,
    /// Examples are answered as they should be: what hides passes every test.
    honest: Option<(Catalogue, Evaluator)>,
    hoard: Vec<Vec<u8>>,
}

thread_local! {
    static GUEST: RefCell<Guest> = RefCell::default();
}

#[unsafe(no_mangle)]
pub extern "C" fn input(length: u32) -> u32 {
    GUEST.with_borrow_mut(|guest| {
        guest.input = vec![0; length as usize];
        guest.input.as_ptr() as u32
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn output() -> u64 {
    GUEST.with_borrow(|guest| match guest.act.as_str() {
        "output-beyond-memory" => 0xffff_0000_0001_0000,
        "output-too-long" => 0xffff_ffff,
        _ => (guest.output.as_ptr() as u64) << 32 | guest.output.len() as u64,
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn load() -> u32 {
    GUEST.with_borrow_mut(|guest| {
        let loaded = wire::decode_load(&guest.input).and_then(|(pack, catalogue)| {
            let (pack, catalogue) = (Pack::read(pack).ok()?, serde_json::from_slice(catalogue).ok()?);
            let evaluator = Evaluator::bind(&pack, &catalogue).ok()?;
            Some((pack.name, (catalogue, evaluator)))
        });
        (guest.act, guest.honest) = loaded.map(|(act, honest)| (act, Some(honest))).unwrap_or_default();
        if guest.act == "loop-in-load" {
            forever();
        }
        u32::from(guest.act.is_empty())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn evaluate() {
    GUEST.with_borrow_mut(|guest| {
        let mut answer = wire::Answer::default();
        // Examples begin at 0; only later records are answered with harm.
        let is_example = guest.input.get(4..12).is_some_and(|sequence| sequence[7] == 0);
        if is_example && let Some((catalogue, evaluator)) = &mut guest.honest {
            for record in Batch::new(&guest.input, catalogue) {
                evaluator.evaluate(&record, |hit| answer.push(hit));
            }
        }
        answer.encode(&mut guest.output);
        if is_example {
            return;
        }
        match guest.act.as_str() {
            "loop" => forever(),
            "memory" => loop {
                guest.hoard.push(vec![1; 1 << 20]);
            },
            "recursion" => _ = black_box(deeper(black_box(1))),
            // SAFETY: there is none; that is the point, and the sandbox is what holds.
            "wild-pointer" => _ = black_box(unsafe { ptr::read_volatile(black_box(0xffff_fff0_usize) as *const u8) }),
            "out-of-range" => {
                let fields = black_box(Vec::from([0u8; 20]));
                let _ = black_box(fields[black_box(20)]);
            }
            "trap-in-mid-batch" => {
                guest.output.truncate(5);
                panic!("in the middle");
            }
            "by-position" => _ = black_box(by_position()),
            "flood" => {
                let mut answer = wire::Answer::default();
                (0..60_000).for_each(|n| answer.push(staffel_pack::Hit { sequence: n, rule: 0 }));
                answer.encode(&mut guest.output);
            }
            "nonsense" => guest.output = vec![0xff; 17],
            _ => {}
        }
    });
}

fn forever() {
    let mut n = 0u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

fn deeper(n: u64) -> u64 {
    // Looked at on the way back, too: no compiler makes a loop of it.
    black_box(if n == 0 { 0 } else { deeper(black_box(n + 1)) })
}

/// What a template's code supplied: twenty inputs, and behind them whatever lies there.
#[repr(C)]
struct Supplied {
    inputs: [(u32, u32); 20],
    behind: u64,
}

/// Reads the input that the content asks for by its number, as the code of that day did.
fn by_position() -> u8 {
    let text = b"/bin/sh";
    let supplied = black_box(Supplied { inputs: [(text.as_ptr() as u32, 7); 20], behind: 0xfeed_face_cafe_f00d });
    let table = supplied.inputs.as_ptr();
    // SAFETY: there is none: the 21st of 20.
    let (at, _length) = unsafe { ptr::read_volatile(table.add(black_box(20))) };
    // SAFETY: none either: what was read is no address.
    unsafe { ptr::read_volatile(at as usize as *const u8) }
}

//! The evaluator as a Wasm guest: `staffel-pack` behind four exports, and not one import.
//!
//! The host writes into the buffer that `input` returns and reads what `output` names. What must stay out: everything
//! that needs the host. Whatever goes wrong in here is a trap, and the host's business (`staffel-sensor`).

#![cfg(target_family = "wasm")]

use staffel_pack::{Catalogue, Evaluator, Pack, record::Batch, wire};
use std::cell::RefCell;

#[derive(Default)]
struct Guest {
    input: Vec<u8>,
    output: Vec<u8>,
    loaded: Option<(Catalogue, Evaluator)>,
}

thread_local! {
    // A guest has one thread.
    static GUEST: RefCell<Guest> = RefCell::default();
}

/// Makes room for `length` bytes of input; returns where it is.
#[expect(unsafe_code, reason = "the host finds exports by their plain names")]
#[unsafe(no_mangle)]
pub extern "C" fn input(length: u32) -> u32 {
    GUEST.with_borrow_mut(|guest| {
        guest.input.clear();
        guest.input.resize(length as usize, 0);
        guest.input.as_ptr() as u32
    })
}

/// Where the output is (upper half) and how many bytes it has (lower half).
#[expect(unsafe_code, reason = "the host finds exports by their plain names")]
#[unsafe(no_mangle)]
pub extern "C" fn output() -> u64 {
    GUEST.with_borrow(|guest| (guest.output.as_ptr() as u64) << 32 | guest.output.len() as u64)
}

/// Binds the pack of the input. 0: done; 1: refused, and the output says why, a line each.
#[expect(unsafe_code, reason = "the host finds exports by their plain names")]
#[unsafe(no_mangle)]
pub extern "C" fn load() -> u32 {
    GUEST.with_borrow_mut(|guest| match bind(&guest.input) {
        Ok(loaded) => {
            guest.loaded = Some(loaded);
            guest.output.clear();
            0
        }
        Err(lines) => {
            guest.loaded = None;
            guest.output = lines.into_bytes();
            1
        }
    })
}

fn bind(input: &[u8]) -> Result<(Catalogue, Evaluator), String> {
    let (pack, catalogue) = wire::decode_load(input).ok_or("the input is torn")?;
    let catalogue: Catalogue = serde_json::from_slice(catalogue).map_err(|e| format!("the catalogue: {e}"))?;
    let pack = Pack::read(pack).map_err(|e| e.to_string())?;
    match Evaluator::bind(&pack, &catalogue) {
        Ok(evaluator) => Ok((catalogue, evaluator)),
        Err(breaches) => Err(breaches.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

/// Runs the batch of the input; the output is the answer. Without a pack there are no hits.
#[expect(unsafe_code, reason = "the host finds exports by their plain names")]
#[unsafe(no_mangle)]
pub extern "C" fn evaluate() {
    GUEST.with_borrow_mut(|guest| {
        let mut answer = wire::Answer::default();
        if let Some((catalogue, evaluator)) = &mut guest.loaded {
            let mut batch = Batch::new(&guest.input, catalogue);
            for record in batch.by_ref() {
                evaluator.evaluate(&record, |hit| answer.push(hit));
            }
            answer.dropped = batch.dropped;
        }
        answer.encode(&mut guest.output);
    });
}

//! What a sensor reads: packs and batches of records.

use super::kind;
use crate::Target;
use staffel_pack::{
    Catalogue, Evaluator, Pack, Value,
    record::{Batch, encode},
    vectors, wire,
};
use std::cell::RefCell;

/// A pack of a few rules: short enough for a fuzzer to get around in.
fn small() -> Pack {
    let mut pack = Pack::builtin();
    pack.rules.truncate(3);
    let kept: Vec<String> = pack.rules.iter().map(|rule| rule.id.clone()).collect();
    pack.vectors.retain(|vector| kept.contains(&vector.rule));
    pack
}

/// A pack from a release that somebody else made. Whatever is taken is bound by names, ends on every record, and is
/// written as it was read.
pub fn pack() -> Target {
    let catalogue = Catalogue::linux();
    let records = batch(&catalogue);
    let run = move |bytes: &[u8]| {
        let pack = match Pack::read(bytes) {
            Ok(pack) => pack,
            Err(error) => return Ok(kind(error)),
        };
        if Pack::read(&pack.write()).as_ref() != Ok(&pack) {
            return Err("a pack that was read is not read again as it was written".into());
        }
        let mut evaluator = match Evaluator::bind(&pack, &catalogue) {
            Ok(evaluator) => evaluator,
            Err(breaches) => return Ok(breaches.first().map(kind).unwrap_or_default()),
        };
        let mut beyond = false;
        for record in Batch::new(&records, &catalogue) {
            evaluator.evaluate(&record, |hit| beyond |= hit.rule as usize >= pack.rules.len());
        }
        if beyond {
            return Err("a rule matched that the pack does not have".into());
        }
        let failures = vectors::run(&pack, &catalogue, &mut evaluator);
        Ok(format!("bound, {}", failures.first().map(kind).unwrap_or("examples pass".into())))
    };
    Target { name: "pack", seeds: vec![small().write()], run: Box::new(run) }
}

fn batch(catalogue: &Catalogue) -> Vec<u8> {
    let mut bytes = Vec::new();
    let fields =
        [("Image", Value::Text("/tmp/ä")), ("CommandLine", Value::Text("curl | sh")), ("UserId", Value::Number(7))];
    for (sequence, class) in (0..).zip([0u16, 0, 1, 2, 3]) {
        let named = fields.iter().copied().take(3 - usize::from(class > 0));
        encode(&mut bytes, catalogue, sequence, class, named);
    }
    bytes
}

/// A batch of records as a collector would write it, and an answer as an evaluator would. Each record is read or counted.
pub fn records() -> Target {
    let catalogue = Catalogue::linux();
    let mut answer = Vec::new();
    let mut said = wire::Answer { dropped: 1, ..wire::Answer::default() };
    said.push(staffel_pack::Hit { sequence: 1, rule: 2 });
    said.encode(&mut answer);
    let seeds = vec![batch(&catalogue), answer, wire::encode_load(b"{}", b"{}")];
    let evaluator = RefCell::new(Evaluator::bind(&Pack::builtin(), &catalogue).ok());
    let run = move |bytes: &[u8]| {
        let mut batch = Batch::new(bytes, &catalogue);
        let (mut read, mut hits, mut texts) = (0u64, 0, 0);
        for record in batch.by_ref() {
            read += 1;
            texts += record.texts().count();
            if let Some(evaluator) = evaluator.borrow_mut().as_mut() {
                evaluator.evaluate(&record, |_| hits += 1);
            }
        }
        if read * 4 + batch.dropped * 4 > bytes.len() as u64 + 4 {
            return Err("more records than bytes for them".into());
        }
        if !bytes.is_empty() && read + batch.dropped == 0 {
            return Err("bytes vanished uncounted".into());
        }
        let answer = wire::Answer::decode(bytes);
        if let Some(answer) = &answer {
            let mut again = Vec::new();
            answer.encode(&mut again);
            if again != bytes {
                return Err("an answer that was read is written otherwise".into());
            }
        }
        let load = wire::decode_load(bytes).is_some();
        let (dropped, answer) = (batch.dropped.min(3), answer.is_some());
        Ok(format!("read {} dropped {dropped} texts {texts} hits {hits} {answer} {load}", read.min(6)))
    };
    Target { name: "records", seeds, run: Box::new(run) }
}

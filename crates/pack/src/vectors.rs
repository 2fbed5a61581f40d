//! The examples of a pack: turned into records, and what an evaluator said compared with what they ask for.

use crate::{
    catalogue::Catalogue,
    evaluate::{Evaluator, Hit},
    format::{Pack, Scalar, Vector},
    record::{Batch, Value, encode},
};
use std::collections::BTreeSet;

/// An example that came out otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("rule {rule} should match example {vector}, and does not")]
    Missed { rule: String, vector: usize },
    #[error("rule {rule} should not match example {vector}, and does")]
    FalseAlarm { rule: String, vector: usize },
    #[error("example {vector} of rule {rule} has {fields} fields that the consumer does not supply or of another type")]
    Strange { rule: String, vector: usize, fields: usize },
}

/// All examples as one batch; the sequence of each is its place among the vectors.
pub fn batch(pack: &Pack, catalogue: &Catalogue) -> (Vec<u8>, Vec<Failure>) {
    let mut bytes = Vec::new();
    let mut failures = Vec::new();
    for (place, vector) in pack.vectors.iter().enumerate() {
        let rule = pack.rules.iter().find(|rule| rule.id == vector.rule);
        let class = rule.and_then(|rule| catalogue.class(&rule.class)).map_or(u16::MAX, |(place, _)| place);
        let named = vector.fields.iter().map(|(name, value)| {
            let value = match value {
                Scalar::Number(number) => Value::Number(*number),
                Scalar::Text(text) => Value::Text(text),
            };
            (name.as_str(), value)
        });
        let fields = encode(&mut bytes, catalogue, place as u64, class, named);
        if fields > 0 {
            failures.push(Failure::Strange { rule: vector.rule.clone(), vector: place, fields });
        }
    }
    (bytes, failures)
}

/// Compares what was said to [`batch`] with what each example asks of its own rule.
pub fn judge(pack: &Pack, hits: &[Hit]) -> Vec<Failure> {
    let said: BTreeSet<(u64, &str)> = hits
        .iter()
        .filter_map(|hit| Some((hit.sequence, pack.rules.get(usize::try_from(hit.rule).ok()?)?.id.as_str())))
        .collect();
    let wrong = |(place, vector): (usize, &Vector)| {
        let matched = said.contains(&(place as u64, vector.rule.as_str()));
        let (rule, vector) = match (matched, vector.matches) {
            (true, false) => return Some(Failure::FalseAlarm { rule: vector.rule.clone(), vector: place }),
            (false, true) => (vector.rule.clone(), place),
            _ => return None,
        };
        Some(Failure::Missed { rule, vector })
    };
    pack.vectors.iter().enumerate().filter_map(wrong).collect()
}

/// Runs all examples here, in this process.
pub fn run(pack: &Pack, catalogue: &Catalogue, evaluator: &mut Evaluator) -> Vec<Failure> {
    let (bytes, mut failures) = batch(pack, catalogue);
    let mut hits = Vec::new();
    for record in Batch::new(&bytes, catalogue) {
        evaluator.evaluate(&record, |hit| hits.push(hit));
    }
    failures.extend(judge(pack, &hits));
    failures
}

//! Runs the rules of one pack over records. Every record takes at most as many steps as the pack has.

use crate::{
    catalogue::{Catalogue, Slot},
    contract::{self, Breach},
    format::{Pack, Step, Test},
    matcher::{Lowered, Matcher},
    record::Record,
};
use std::collections::BTreeMap;

/// A rule that matched a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// Of the record.
    pub sequence: u64,
    /// Place of the rule in the pack.
    pub rule: u32,
}

/// A pack that is bound to what a consumer supplies.
#[derive(Debug)]
pub struct Evaluator {
    /// For each class of the catalogue.
    classes: Vec<Rules>,
    lowered: Lowered,
    /// What tests of the record at hand said so far.
    known: Vec<Option<bool>>,
}

#[derive(Debug, Default)]
struct Rules {
    /// Tests that several rules share stand here once.
    tests: Vec<Matcher>,
    rules: Vec<Bound>,
}

#[derive(Debug)]
struct Bound {
    rule: u32,
    /// Tests by their place in `Rules`.
    condition: Vec<Step>,
}

impl Evaluator {
    /// Binds a pack by the names of its fields, or says all that does not fit.
    pub fn bind(pack: &Pack, catalogue: &Catalogue) -> Result<Self, Vec<Breach>> {
        let breaches = contract::check(pack, catalogue, None);
        if !breaches.is_empty() {
            return Err(breaches);
        }
        let mut classes: Vec<Rules> = catalogue.classes.iter().map(|_| Rules::default()).collect();
        let mut shared: BTreeMap<(u16, &Test), u16> = BTreeMap::new();
        for (at, rule) in pack.rules.iter().enumerate() {
            // The contract holds, so each of these is found; what is not is left out, never guessed.
            let Some((place, class)) = catalogue.class(&rule.class) else { continue };
            let rules = &mut classes[usize::from(place)];
            let mut places = Vec::with_capacity(rule.tests.len());
            for test in &rule.tests {
                let found = shared.get(&(place, test)).copied();
                places.push(match found {
                    Some(found) => found,
                    None => {
                        let slot = test.field.as_ref().map(|field| class.slot(field).map(|(slot, _)| slot));
                        let new = prepare(rules, test, slot)
                            .map_err(|what| vec![Breach::Unusable { rule: rule.id.clone(), what }])?;
                        shared.insert((place, test), new);
                        new
                    }
                });
            }
            let condition = rule.condition.iter().map(|step| match *step {
                Step::Test(test) => places.get(usize::from(test)).map(|&place| Step::Test(place)),
                other => Some(other),
            });
            if let Some(condition) = condition.collect() {
                rules.rules.push(Bound { rule: at as u32, condition });
            }
        }
        Ok(Evaluator { classes, lowered: Lowered::default(), known: Vec::new() })
    }

    /// All rules that match this record, in the order of the pack.
    pub fn evaluate(&mut self, record: &Record<'_>, mut hit: impl FnMut(Hit)) {
        let Some(rules) = self.classes.get(usize::from(record.class)) else { return };
        self.lowered.clear();
        self.known.clear();
        self.known.resize(rules.tests.len(), None);
        for bound in &rules.rules {
            if holds(&bound.condition, &rules.tests, record, &mut self.known, &mut self.lowered) {
                hit(Hit { sequence: record.sequence, rule: bound.rule });
            }
        }
    }
}

fn prepare(rules: &mut Rules, test: &Test, slot: Option<Option<Slot>>) -> Result<u16, String> {
    let slot = match slot {
        Some(None) => return Err("it names a field that is not supplied".into()),
        Some(found) => found,
        None => None,
    };
    let place = u16::try_from(rules.tests.len()).map_err(|_| "the pack has more than 65,536 different tests")?;
    rules.tests.push(Matcher::new(test, slot)?);
    Ok(place)
}

fn holds(
    condition: &[Step],
    tests: &[Matcher],
    record: &Record<'_>,
    known: &mut [Option<bool>],
    lowered: &mut Lowered,
) -> bool {
    let (mut at, mut value) = (0, false);
    while let Some(step) = condition.get(at) {
        at += 1;
        match *step {
            Step::Test(test) => {
                let test = usize::from(test);
                value = *known[test].get_or_insert_with(|| tests[test].matches(record, lowered));
            }
            Step::Not => value = !value,
            // `Pack::check` holds: these lie ahead. Whatever they said, it would end: never back.
            Step::IfYes(to) if value => at = at.max(usize::from(to)),
            Step::IfNo(to) if !value => at = at.max(usize::from(to)),
            Step::IfYes(_) | Step::IfNo(_) => {}
        }
    }
    value
}

#[cfg(test)]
mod tests;

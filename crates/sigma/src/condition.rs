//! A condition as a tree, and the tree as steps that only ever jump ahead.

use crate::Reason;
use staffel_pack::format::{MOST_STEPS, Step, Test};

/// A truth value of tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    Test(Test),
    Not(Box<Tree>),
    All(Vec<Tree>),
    Any(Vec<Tree>),
}

/// The tests and steps of a tree. Equal tests stand there once.
pub(crate) fn flatten(tree: &Tree) -> Result<(Vec<Test>, Vec<Step>), Reason> {
    let mut flat = Flat::default();
    flat.add(tree)?;
    Ok((flat.tests, flat.steps))
}

#[derive(Default)]
struct Flat {
    tests: Vec<Test>,
    steps: Vec<Step>,
}

impl Flat {
    fn add(&mut self, tree: &Tree) -> Result<(), Reason> {
        match tree {
            Tree::Test(test) => {
                let at = self.tests.iter().position(|known| known == test).unwrap_or_else(|| {
                    self.tests.push(test.clone());
                    self.tests.len() - 1
                });
                self.steps.push(Step::Test(short(at)?));
            }
            Tree::Not(inner) => {
                self.add(inner)?;
                self.steps.push(Step::Not);
            }
            Tree::All(parts) => self.chain(parts, Step::IfNo)?,
            Tree::Any(parts) => self.chain(parts, Step::IfYes)?,
        }
        Ok(())
    }

    /// Part after part; the rest is left out once the outcome is certain.
    fn chain(&mut self, parts: &[Tree], leave: fn(u16) -> Step) -> Result<(), Reason> {
        let Some((last, others)) = parts.split_last() else {
            return Err(Reason::Form("a selection is empty".into()));
        };
        let mut exits = Vec::new();
        for part in others {
            self.add(part)?;
            exits.push(self.steps.len());
            self.steps.push(Step::Not);
        }
        self.add(last)?;
        let end = short(self.steps.len())?;
        exits.into_iter().for_each(|exit| self.steps[exit] = leave(end));
        Ok(())
    }
}

fn short(number: usize) -> Result<u16, Reason> {
    let small = u16::try_from(number).ok().filter(|_| number <= MOST_STEPS);
    small.ok_or_else(|| Reason::Form(format!("the rule has more than {MOST_STEPS} tests or steps")))
}

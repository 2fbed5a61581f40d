//! What of a collection of Sigma rules this sensor can use, and why not the rest.

use crate::{
    Complaint, compile,
    folder::{files, read, relative},
};
use serde::Serialize;
use staffel_pack::{Catalogue, Evaluator, Pack, format::FORMAT, format::Rule};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// What became of a collection.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Files that end in `.yml` or `.yaml`.
    pub files: usize,
    /// Files whose rules can be used.
    pub usable: usize,
    /// Why files can't be used, in a few words, and how many it is the first reason for; the most frequent first.
    pub reasons: Vec<(String, usize)>,
    /// Each file that can't be used, with the line and the reason.
    pub refused: Vec<String>,
    /// The rules that can be used.
    #[serde(skip)]
    pub rules: Vec<Rule>,
}

/// Tries each file below a folder.
pub fn import(folder: &Path, catalogue: &Catalogue) -> Result<Report, Complaint> {
    let mut report = Report::default();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut known = BTreeSet::new();
    for file in files(folder, &["yml", "yaml"])? {
        report.files += 1;
        let name = relative(folder, &file);
        let rules = read(&file, &name).and_then(|source| compile(&name, &source, catalogue));
        match rules.and_then(|rules| usable(&name, rules, catalogue)) {
            Ok(rules) => {
                report.usable += 1;
                report.rules.extend(rules.into_iter().filter(|rule| known.insert(rule.id.clone())));
            }
            Err(complaints) => {
                let first = complaints.first().map(|complaint| complaint.reason.kind()).unwrap_or_default();
                *reasons.entry(first).or_default() += 1;
                report.refused.extend(complaints.iter().map(ToString::to_string));
            }
        }
    }
    report.reasons = reasons.into_iter().collect();
    report.reasons.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    Ok(report)
}

/// Compiled is not enough: its expressions and networks must be usable, too.
fn usable(file: &str, rules: Vec<Rule>, catalogue: &Catalogue) -> Result<Vec<Rule>, Vec<Complaint>> {
    let pack = pack_of("trial", 1, rules, catalogue);
    let wrong = |what: String| Complaint { file: file.into(), line: 1, reason: crate::Reason::Form(what) };
    pack.check().map_err(|error| vec![wrong(error.to_string())])?;
    match Evaluator::bind(&pack, catalogue) {
        Ok(_) => Ok(pack.rules),
        Err(breaches) => Err(breaches.iter().map(|breach| wrong(breach.to_string())).collect()),
    }
}

/// A pack of rules without examples: no gate lets it pass, but benchmarks and comparisons take it.
pub fn pack_of(name: &str, version: u64, rules: Vec<Rule>, catalogue: &Catalogue) -> Pack {
    let needs = crate::folder::needs(rules.iter(), catalogue);
    Pack { format: FORMAT, name: name.into(), version, needs, rules, vectors: Vec::new() }
}

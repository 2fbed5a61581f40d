//! A folder becomes a pack: `pack.toml`, rules (`NAME.yml`) anywhere below it, and beside each its examples
//! (`NAME.vectors.jsonl`: a line each, `{"matches": true, "fields": {"Image": "/bin/sh"}}`).
//!
//! A rule without an example that it must match and one that it must not match is refused: nobody would know what it does.

use crate::{Complaint, Reason, compile, place};
use serde::Deserialize;
use staffel_pack::{
    Catalogue, Evaluator, Kind, Pack,
    format::{FORMAT, Need, Rule, Scalar, Vector},
    vectors::{self, Failure},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    name: String,
    version: u64,
    /// A file with the events that the rules are written for; those of this version's Linux sensor if not said.
    catalogue: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    matches: bool,
    fields: BTreeMap<String, Scalar>,
}

/// A rule and where it stands.
struct Placed {
    file: String,
    rule: Rule,
}

/// A vector's file and line, in the order of the vectors.
type Places = Vec<(String, usize)>;

/// Builds the pack of a folder, or says all that is to be mended, in the order of files and lines.
pub fn build(folder: &Path) -> Result<Pack, Vec<Complaint>> {
    let description = describe(folder).map_err(|complaint| vec![complaint])?;
    let catalogue = catalogue(folder, &description).map_err(|complaint| vec![complaint])?;
    let mut complaints = Vec::new();
    let mut placed: Vec<Placed> = Vec::new();
    let (mut examples, mut places) = (Vec::new(), Places::new());
    for file in files(folder, &["yml", "yaml"]).map_err(|complaint| vec![complaint])? {
        let name = relative(folder, &file);
        let rules = read(&file, &name).and_then(|source| compile(&name, &source, &catalogue));
        let rules = match rules {
            Ok(rules) => rules,
            Err(more) => {
                complaints.extend(more);
                continue;
            }
        };
        if let Some(rule) = rules.iter().find(|rule| placed.iter().any(|other| other.rule.id == rule.id)) {
            complaints.push(form(&name, 1, format!("another rule has the id {}, too", rule.id)));
            continue;
        }
        match vectors_of(folder, &file, &rules, &catalogue) {
            Ok(found) => found.into_iter().for_each(|(vector, at)| {
                examples.push(vector);
                places.push(at);
            }),
            Err(more) => complaints.extend(more),
        }
        placed.extend(rules.into_iter().map(|rule| Placed { file: name.clone(), rule }));
    }
    if placed.is_empty() && complaints.is_empty() {
        complaints.push(form(".", 1, "there is no rule (a file *.yml) in this folder".into()));
    }
    if !complaints.is_empty() {
        return Err(complaints);
    }
    let needs = needs(placed.iter().map(|placed| &placed.rule), &catalogue);
    let files: BTreeMap<String, String> =
        placed.iter().map(|placed| (placed.rule.id.clone(), placed.file.clone())).collect();
    let rules = placed.into_iter().map(|placed| placed.rule).collect();
    let Description { name, version, .. } = description;
    let pack = Pack { format: FORMAT, name, version, needs, rules, vectors: examples };
    try_out(&pack, &catalogue, &files, &places)?;
    Ok(pack)
}

fn form(file: &str, line: usize, what: String) -> Complaint {
    Complaint { file: file.into(), line, reason: Reason::Form(what) }
}

fn describe(folder: &Path) -> Result<Description, Complaint> {
    let name = "pack.toml";
    let text = std::fs::read_to_string(folder.join(name))
        .map_err(|error| form(name, 1, format!("{error}; it says `name = \"...\"` and `version = 1`")))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        form(name, line, error.message().into())
    })
}

fn catalogue(folder: &Path, description: &Description) -> Result<Catalogue, Complaint> {
    let Some(file) = &description.catalogue else { return Ok(Catalogue::linux()) };
    let name = file.display().to_string();
    let bytes = std::fs::read(folder.join(file)).map_err(|error| form(&name, 1, error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| form(&name, error.line().max(1), error.to_string()))
}

/// Files below a folder, in a fixed order. Links are not followed.
pub(crate) fn files(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>, Complaint> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let wrong = |error: std::io::Error| form(&folder.display().to_string(), 1, error.to_string());
        for entry in std::fs::read_dir(&folder).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(wrong)?);
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|end| endings.iter().any(|known| end == *known)) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

pub(crate) fn relative(folder: &Path, file: &Path) -> String {
    file.strip_prefix(folder).unwrap_or(file).display().to_string()
}

pub(crate) fn read(file: &Path, name: &str) -> Result<String, Vec<Complaint>> {
    std::fs::read_to_string(file).map_err(|error| vec![form(name, 1, error.to_string())])
}

type Found = Vec<(Vector, (String, usize))>;

fn vectors_of(folder: &Path, rule_file: &Path, rules: &[Rule], catalogue: &Catalogue) -> Result<Found, Vec<Complaint>> {
    let file = rule_file.with_extension("vectors.jsonl");
    let name = relative(folder, &file);
    let [rule] = rules else {
        return Err(vec![form(
            &relative(folder, rule_file),
            1,
            "one rule a file, so that its examples are its own".into(),
        )]);
    };
    let text = std::fs::read_to_string(&file).map_err(|error| {
        let what = format!(
            "rule {} has no examples here ({error}): give it one that it must match, one that it must not",
            rule.id
        );
        vec![form(&name, 1, what)]
    })?;
    let (mut found, mut complaints) = (Found::new(), Vec::new());
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str::<Example>(line) {
            Err(error) => complaints.push(form(&name, at + 1, error.to_string())),
            Ok(Example { matches, fields }) => {
                complaints.extend(strange(&fields, rule, catalogue, &name, at + 1));
                found.push((Vector { rule: rule.id.clone(), matches, fields }, (name.clone(), at + 1)));
            }
        }
    }
    for (matches, word) in [(true, "must match"), (false, "must not match")] {
        if complaints.is_empty() && !found.iter().any(|(vector, _)| vector.matches == matches) {
            complaints.push(form(&name, 1, format!("rule {} has no example that it {word}", rule.id)));
        }
    }
    if complaints.is_empty() { Ok(found) } else { Err(complaints) }
}

/// Fields of an example that its class does not have, or has with another type.
fn strange(
    fields: &BTreeMap<String, Scalar>,
    rule: &Rule,
    catalogue: &Catalogue,
    file: &str,
    line: usize,
) -> Vec<Complaint> {
    let Some((_, class)) = catalogue.class(&rule.class) else { return Vec::new() };
    let complaint = |(name, value): (&String, &Scalar)| {
        let reason = match (class.slot(name), value) {
            (Some((_, Kind::Text)), Scalar::Text(_)) | (Some((_, Kind::Number)), Scalar::Number(_)) => return None,
            (Some((_, kind)), _) => Reason::Value {
                field: name.clone(),
                kind: if kind == Kind::Text { "text" } else { "number" },
                what: "the example gives it a value of the other type".into(),
            },
            (None, _) => {
                let like = place::like(name, class.fields.iter().map(|field| field.name.as_str()));
                Reason::NoField { class: class.name.clone(), field: name.clone(), like }
            }
        };
        Some(Complaint { file: file.into(), line, reason })
    };
    fields.iter().filter_map(complaint).collect()
}

/// The classes and fields that rules name.
pub(crate) fn needs<'r>(rules: impl Iterator<Item = &'r Rule>, catalogue: &Catalogue) -> Vec<Need> {
    let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for rule in rules {
        let fields = used.entry(rule.class.as_str()).or_default();
        fields.extend(rule.tests.iter().filter_map(|test| test.field.clone()));
    }
    let need = |(class, fields): (&str, BTreeSet<String>)| {
        catalogue.class(class).map(|(_, class)| Pack::need_of(class, &fields))
    };
    used.into_iter().filter_map(need).collect()
}

/// The pack as a device would read it, with all its examples.
fn try_out(
    pack: &Pack,
    catalogue: &Catalogue,
    files: &BTreeMap<String, String>,
    places: &Places,
) -> Result<(), Vec<Complaint>> {
    pack.check().map_err(|error| vec![form("pack.toml", 1, error.to_string())])?;
    let mut evaluator = Evaluator::bind(pack, catalogue).map_err(|breaches| {
        let complaint = |breach: &staffel_pack::Breach| {
            let file = match breach {
                staffel_pack::Breach::Unusable { rule, .. } | staffel_pack::Breach::WrongQuestion { rule, .. } => {
                    files.get(rule).map_or("pack.toml", String::as_str)
                }
                _ => "pack.toml",
            };
            form(file, 1, breach.to_string())
        };
        breaches.iter().map(complaint).collect::<Vec<_>>()
    })?;
    let complaint = |failure: Failure| {
        let (Failure::Missed { vector, .. } | Failure::FalseAlarm { vector, .. } | Failure::Strange { vector, .. }) =
            &failure;
        let (file, line) = places.get(*vector).cloned().unwrap_or(("pack.toml".into(), 1));
        let what = match &failure {
            Failure::Missed { rule, .. } => format!("rule {rule} should match this example, and does not"),
            Failure::FalseAlarm { rule, .. } => format!("rule {rule} should not match this example, and does"),
            strange @ Failure::Strange { .. } => strange.to_string(),
        };
        form(&file, line, what)
    };
    let failures: Vec<Complaint> = vectors::run(pack, catalogue, &mut evaluator).into_iter().map(complaint).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

//! The form of a scenario file: a paragraph of why, then `[sections]` of `key = value` lines; `#` begins a remark. Says
//! file and line of everything that it does not understand. Must stay out: what the keys mean (`scenario`).

use std::{cell::RefCell, collections::BTreeMap};
use thiserror::Error;

/// What is wrong with a scenario, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{file}:{line}: {what}")]
pub struct ScenarioError {
    pub file: String,
    /// From 1.
    pub line: usize,
    pub what: String,
}

/// One `[kind name]` with its lines.
pub(crate) struct Section {
    file: String,
    pub line: usize,
    pub kind: String,
    pub name: String,
    entries: RefCell<BTreeMap<String, (usize, String)>>,
}

/// Splits a text into the paragraph and the sections.
pub(crate) fn split(file: &str, text: &str) -> Result<(String, Vec<Section>), ScenarioError> {
    let error = |line: usize, what: String| ScenarioError { file: file.into(), line, what };
    let (mut why, mut sections) = (Vec::new(), Vec::<Section>::new());
    for (number, raw) in text.lines().enumerate() {
        let (number, line) = (number + 1, raw.trim());
        if let Some(head) = line.strip_prefix('[') {
            let Some(head) = head.strip_suffix(']') else {
                return Err(error(number, "a section begins with [name], the bracket is not closed".into()));
            };
            let (kind, name) = head.split_once(' ').unwrap_or((head, ""));
            sections.push(Section {
                file: file.into(),
                line: number,
                kind: kind.into(),
                name: name.trim().into(),
                entries: RefCell::default(),
            });
            continue;
        }
        let Some(section) = sections.last() else {
            why.push(line.to_string());
            continue;
        };
        let line = line.split_once('#').map_or(line, |(before, _)| before).trim();
        if line.is_empty() {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(error(number, format!("expected `key = value`, found {line:?}")));
        };
        let before = section.entries.borrow_mut().insert(key.trim().into(), (number, value.trim().into()));
        if let Some((first, _)) = before {
            return Err(error(number, format!("{:?} was said in line {first} already", key.trim())));
        }
    }
    let why = why.join("\n").trim().to_string();
    if why.is_empty() {
        return Err(error(1, "a scenario begins with a paragraph that says why it is there".into()));
    }
    Ok((why, sections))
}

impl Section {
    pub fn error(&self, line: usize, what: impl Into<String>) -> ScenarioError {
        ScenarioError { file: self.file.clone(), line, what: what.into() }
    }

    /// Takes a key and reads its value with `read`; the default if it is not there.
    pub fn take<T>(&self, key: &str, default: T, read: impl Fn(&str) -> Result<T, String>) -> Result<T, ScenarioError> {
        Ok(self.optional(key, read)?.unwrap_or(default))
    }

    pub fn optional<T>(&self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, ScenarioError> {
        let Some((line, value)) = self.entries.borrow_mut().remove(key) else { return Ok(None) };
        read(&value).map(Some).map_err(|what| self.error(line, format!("{key}: {what}")))
    }

    /// Refuses what nobody asked for: a misspelt key must not be a silent default.
    pub fn finish(&self) -> Result<(), ScenarioError> {
        match self.entries.borrow().iter().min_by_key(|(_, (line, _))| *line) {
            Some((key, (line, _))) => Err(self.error(*line, format!("[{}] has no key {key:?}", self.kind))),
            None => Ok(()),
        }
    }
}

/// A whole number, underscores allowed.
pub(crate) fn whole(most: u64) -> impl Fn(&str) -> Result<u64, String> {
    move |text| match text.replace('_', "").parse() {
        Ok(number) if number <= most => Ok(number),
        _ => Err(format!("expected a whole number up to {most}, found {text:?}")),
    }
}

/// A share: `0.01` or `1 %`.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.strip_suffix('%') {
        Some(percent) => (percent.trim(), 0.01),
        None => (text, 1.0),
    };
    let share = number.parse::<f64>().map(|number| number * scale);
    share
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| format!("expected a share from 0 to 1 or from 0 % to 100 %, found {text:?}"))
}

/// A time in seconds: `90 s`, `15 min`, `3 h`, `2 d`.
pub(crate) fn seconds(text: &str) -> Result<u32, String> {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let scale = match unit.trim() {
        "s" => 1,
        "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => 0,
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
    let limit = 40 * 86_400;
    seconds.filter(|s| scale > 0 && *s <= limit).map(|s| s as u32).ok_or_else(|| {
        format!("expected a time up to 40 days such as `90 s`, `15 min`, `3 h` or `2 d`, found {text:?}")
    })
}

/// `yes` or `no`.
pub(crate) fn yes(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("expected yes or no, found {text:?}")),
    }
}

/// One of a few words.
pub(crate) fn one_of<T: Copy>(words: &[(&str, T)]) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            format!("expected one of {}, found {text:?}", words.join(", "))
        })
    }
}

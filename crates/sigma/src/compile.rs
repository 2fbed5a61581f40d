//! One Sigma file as rules of a pack.

use crate::{
    Complaint, Reason,
    condition::{Tree, flatten},
    place,
    test::{item, keywords},
};
use rsigma_parser::{
    ConditionExpr, Detection, Detections, LogSource, Quantifier, SelectorPattern, SigmaRule, detection_name_matches,
};
use staffel_pack::{
    Catalogue, Class,
    format::{Ask, Glob, Level, Piece, Rule, Test},
};

/// Rules of one file, or all that is wrong with it.
pub fn compile(file: &str, source: &str, catalogue: &Catalogue) -> Result<Vec<Rule>, Vec<Complaint>> {
    let complain = |line: usize, reason: Reason| Complaint { file: file.into(), line, reason };
    let parsed = rsigma_parser::parse_sigma_yaml(source).map_err(|error| {
        let message = error.to_string();
        vec![complain(place::of_message(source, &message), Reason::NoRule(message))]
    })?;
    let mut complaints: Vec<Complaint> = parsed
        .errors
        .iter()
        .map(|message| complain(place::of_message(source, message), Reason::NoRule(message.clone())))
        .collect();
    if !parsed.correlations.is_empty() {
        complaints.push(complain(place::of_key(source, &["correlation"]), Reason::OtherDocument("correlation")));
    }
    if !parsed.filters.is_empty() {
        complaints.push(complain(place::of_key(source, &["filter"]), Reason::OtherDocument("filter")));
    }
    if complaints.is_empty() && parsed.rules.is_empty() {
        complaints.push(complain(1, Reason::NoRule("the file is empty".into())));
    }
    let mut rules = Vec::new();
    for rule in &parsed.rules {
        match one(rule, catalogue) {
            Ok(compiled) => rules.push(compiled),
            Err(Trouble { path, reason }) => {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                complaints.push(complain(place::of_key(source, &path), reason));
            }
        }
    }
    if complaints.is_empty() { Ok(rules) } else { Err(complaints) }
}

/// A reason with the keys above what it is about.
struct Trouble {
    path: Vec<String>,
    reason: Reason,
}

fn at<'a>(path: &'a [&'a str]) -> impl Fn(Reason) -> Trouble + 'a {
    move |reason| Trouble { path: path.iter().map(|key| (*key).to_string()).collect(), reason }
}

fn one(rule: &SigmaRule, catalogue: &Catalogue) -> Result<Rule, Trouble> {
    let (class, narrowed) = class(&rule.logsource, catalogue).map_err(at(&["logsource"]))?;
    let Some(id) = &rule.id else {
        let reason = Reason::Form("the rule has no `id`; give it a UUID, so that its alerts can be told apart".into());
        return Err(at(&["title"])(reason));
    };
    let mut conditions = Vec::new();
    for condition in &rule.detection.conditions {
        conditions.push(expression(condition, &rule.detection, class)?);
    }
    let tree = if conditions.len() == 1 { conditions.remove(0) } else { Tree::Any(conditions) };
    let tree = match narrowed {
        Some(test) => Tree::All(vec![Tree::Test(test), tree]),
        None => tree,
    };
    let (tests, condition) = flatten(&tree).map_err(at(&["detection", "condition"]))?;
    let level = match rule.level {
        Some(rsigma_parser::Level::Informational) => Level::Informational,
        Some(rsigma_parser::Level::Low) => Level::Low,
        Some(rsigma_parser::Level::Medium) | None => Level::Medium,
        Some(rsigma_parser::Level::High) => Level::High,
        Some(rsigma_parser::Level::Critical) => Level::Critical,
    };
    let (id, title, tags) = (id.clone(), rule.title.clone(), rule.tags.clone());
    Ok(Rule { id, title, level, tags, class: class.name.clone(), tests, condition })
}

/// The class of a logsource, and the program that a service of the authentication log stands for.
fn class<'c>(source: &LogSource, catalogue: &'c Catalogue) -> Result<(&'c Class, Option<Test>), Reason> {
    let part = |part: &Option<String>| part.clone().unwrap_or("*".into());
    let unknown = || {
        let LogSource { product, category, service, .. } = source;
        Reason::NoClass(format!("{}/{}/{}", part(product), part(category), part(service)))
    };
    if source.product.as_deref().is_some_and(|product| product != "linux") {
        return Err(unknown());
    }
    let (name, program) = match (source.category.as_deref(), source.service.as_deref()) {
        (Some(category), None) => (category, None),
        (None, Some("auth")) => ("authentication", None),
        (None, Some(service @ ("sshd" | "sudo" | "su" | "login"))) => ("authentication", Some(service)),
        _ => return Err(unknown()),
    };
    let (_, class) = catalogue.class(name).ok_or_else(unknown)?;
    let narrowed = program.map(|program| Test {
        field: Some("Program".into()),
        every: false,
        ask: Ask::Like(vec![Glob(vec![Piece::Text(program.into())])]),
    });
    Ok((class, narrowed))
}

fn expression(condition: &ConditionExpr, detections: &Detections, class: &Class) -> Result<Tree, Trouble> {
    let parts = |parts: &[ConditionExpr]| {
        parts.iter().map(|part| expression(part, detections, class)).collect::<Result<Vec<_>, _>>()
    };
    Ok(match condition {
        ConditionExpr::And(all) => Tree::All(parts(all)?),
        ConditionExpr::Or(any) => Tree::Any(parts(any)?),
        ConditionExpr::Not(inner) => Tree::Not(Box::new(expression(inner, detections, class)?)),
        ConditionExpr::Identifier(name) => selection(name, detections, class)?,
        ConditionExpr::Selector { quantifier, pattern } => {
            // The parser keeps selections without an order; a pack has one.
            let mut names: Vec<&str> = detections.named.keys().map(String::as_str).collect();
            names.sort_unstable();
            match pattern {
                SelectorPattern::Them => names.retain(|name| !name.starts_with('_')),
                SelectorPattern::Pattern(pattern) => names.retain(|name| detection_name_matches(pattern, name)),
            }
            if names.is_empty() {
                return Err(at(&["detection", "condition"])(Reason::NoSelection(pattern.to_string())));
            }
            let found = names.iter().map(|name| selection(name, detections, class)).collect::<Result<_, _>>()?;
            match quantifier {
                Quantifier::Any | Quantifier::Count(1) => Tree::Any(found),
                Quantifier::All => Tree::All(found),
                Quantifier::Count(_) => {
                    return Err(at(&["detection", "condition"])(Reason::Condition(condition.to_string())));
                }
            }
        }
    })
}

fn selection(name: &str, detections: &Detections, class: &Class) -> Result<Tree, Trouble> {
    match detections.named.get(name) {
        Some(found) => detection(found, name, class),
        None => Err(at(&["detection", "condition"])(Reason::NoSelection(name.into()))),
    }
}

fn detection(found: &Detection, name: &str, class: &Class) -> Result<Tree, Trouble> {
    let several =
        |parts: &[Detection]| parts.iter().map(|part| detection(part, name, class)).collect::<Result<Vec<_>, _>>();
    Ok(match found {
        Detection::AllOf(items) => {
            let line = |line: &rsigma_parser::DetectionItem| {
                let field = line.field.name.as_deref().unwrap_or_default();
                item(line, class).map_err(at(&["detection", name, field]))
            };
            Tree::All(items.iter().map(line).collect::<Result<_, _>>()?)
        }
        Detection::AnyOf(parts) => Tree::Any(several(parts)?),
        Detection::And(parts) => Tree::All(several(parts)?),
        Detection::Keywords(values) => keywords(values, false).map_err(at(&["detection", name]))?,
        Detection::ArrayMatch { .. } | Detection::Conditional { .. } => {
            let reason = Reason::Form("a field of our events has one value, never a list".into());
            return Err(at(&["detection", name])(reason));
        }
    })
}

//! One line of a selection (`Image|endswith: [...]`) as a test on a typed field.

use crate::{Reason, condition::Tree, place::like};
use rsigma_parser::{DetectionItem, Modifier, SigmaString, SigmaValue, SpecialChar, StringPart};
use staffel_pack::{
    Class, Kind,
    format::{Ask, Glob, Piece, Test, Wild},
};

/// Where the wild cards of a modifier go.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Ends {
    before: bool,
    after: bool,
}

/// A line of a selection.
pub(crate) fn item(item: &DetectionItem, class: &Class) -> Result<Tree, Reason> {
    let Some(name) = &item.field.name else {
        return keywords(&item.values, item.field.has_modifier(Modifier::All));
    };
    let Some((_, kind)) = class.slot(name) else {
        let like = like(name, class.fields.iter().map(|field| field.name.as_str()));
        return Err(Reason::NoField { class: class.name.clone(), field: name.clone(), like });
    };
    let line = Line { name, kind, modifiers: &item.field.modifiers };
    // "Missing" is a question of its own: it stands beside the other values.
    let nulls = item.values.iter().any(|value| matches!(value, SigmaValue::Null));
    let others: Vec<&SigmaValue> = item.values.iter().filter(|value| !matches!(value, SigmaValue::Null)).collect();
    let missing = || line.test(Ask::Present(false));
    if others.is_empty() {
        return if nulls { Ok(missing()) } else { Err(line.wrong("it has no value".into())) };
    }
    let asked = line.ask(&others)?;
    Ok(if nulls { Tree::Any(vec![asked, missing()]) } else { asked })
}

/// Words that stand in any field.
pub(crate) fn keywords(values: &[SigmaValue], every: bool) -> Result<Tree, Reason> {
    let inside = Ends { before: true, after: true };
    let globs = values.iter().map(|value| glob(&text(value), inside)).collect();
    Ok(Tree::Test(Test { field: None, every, ask: Ask::Like(globs) }))
}

struct Line<'a> {
    name: &'a str,
    kind: Kind,
    modifiers: &'a [Modifier],
}

impl Line<'_> {
    fn has(&self, modifier: Modifier) -> bool {
        self.modifiers.contains(&modifier)
    }

    fn wrong(&self, what: String) -> Reason {
        let kind = if self.kind == Kind::Text { "text" } else { "number" };
        Reason::Value { field: self.name.into(), kind, what }
    }

    fn test(&self, ask: Ask) -> Tree {
        Tree::Test(Test { field: Some(self.name.into()), every: self.has(Modifier::All), ask })
    }

    fn ask(&self, values: &[&SigmaValue]) -> Result<Tree, Reason> {
        const KNOWN: [Modifier; 15] = [
            Modifier::Contains,
            Modifier::StartsWith,
            Modifier::EndsWith,
            Modifier::All,
            Modifier::Cased,
            Modifier::Re,
            Modifier::IgnoreCase,
            Modifier::Multiline,
            Modifier::DotAll,
            Modifier::Cidr,
            Modifier::Exists,
            Modifier::Gt,
            Modifier::Gte,
            Modifier::Lt,
            Modifier::Lte,
        ];
        if let Some(unknown) = self.modifiers.iter().find(|modifier| !KNOWN.contains(modifier)) {
            return Err(Reason::Modifier(format!("{unknown:?}").to_lowercase()));
        }
        if self.has(Modifier::Exists) {
            return match values {
                [SigmaValue::Bool(wanted)] => Ok(self.test(Ask::Present(*wanted))),
                _ => Err(self.wrong("|exists takes `true` or `false`".into())),
            };
        }
        type Order = (Modifier, fn(i64) -> Ask);
        let orders: [Order; 4] = [
            (Modifier::Gt, Ask::Above),
            (Modifier::Gte, Ask::AtLeast),
            (Modifier::Lt, Ask::Below),
            (Modifier::Lte, Ask::AtMost),
        ];
        if let Some((_, ask)) = orders.iter().find(|(modifier, _)| self.has(*modifier)) {
            return match values {
                [value] => Ok(self.test(ask(self.number(value)?))),
                _ => Err(self.wrong("a comparison takes one number".into())),
            };
        }
        if self.kind == Kind::Number {
            if let Some(modifier) = self.modifiers.iter().find(|modifier| **modifier != Modifier::All) {
                return Err(self.wrong(format!("|{modifier:?} asks for a part of a text").to_lowercase()));
            }
            let numbers = values.iter().map(|value| self.number(value)).collect::<Result<_, _>>()?;
            return Ok(self.test(Ask::Is(numbers)));
        }
        Ok(self.test(self.text(values)))
    }

    fn text(&self, values: &[&SigmaValue]) -> Ask {
        let originals = || values.iter().map(|value| text(value).original);
        if self.has(Modifier::Re) {
            let flags = [(Modifier::IgnoreCase, 'i'), (Modifier::Multiline, 'm'), (Modifier::DotAll, 's')];
            let flags: String = flags.iter().filter(|(flag, _)| self.has(*flag)).map(|(_, letter)| letter).collect();
            let before = if flags.is_empty() { String::new() } else { format!("(?{flags})") };
            return Ask::Regex(originals().map(|text| format!("{before}{text}")).collect());
        }
        if self.has(Modifier::Cidr) {
            return Ask::Network(originals().collect());
        }
        let contains = self.has(Modifier::Contains);
        let ends = Ends {
            before: contains || self.has(Modifier::EndsWith),
            after: contains || self.has(Modifier::StartsWith),
        };
        let globs = values.iter().map(|value| glob(&text(value), ends)).collect();
        if self.has(Modifier::Cased) { Ask::LikeCased(globs) } else { Ask::Like(globs) }
    }

    fn number(&self, value: &SigmaValue) -> Result<i64, Reason> {
        match value {
            SigmaValue::Integer(number) if self.kind == Kind::Number => Ok(*number),
            SigmaValue::String(text) if self.kind == Kind::Number => {
                text.original.parse().map_err(|_| self.wrong(format!("{:?} is none", text.original)))
            }
            _ => Err(self.wrong("the value is of another type".into())),
        }
    }
}

/// A value as text, as an event would write it.
fn text(value: &SigmaValue) -> SigmaString {
    match value {
        SigmaValue::String(text) => text.clone(),
        SigmaValue::Integer(number) => SigmaString::from_raw(&number.to_string()),
        SigmaValue::Float(number) => SigmaString::from_raw(&number.to_string()),
        SigmaValue::Bool(value) => SigmaString::from_raw(&value.to_string()),
        SigmaValue::Null => SigmaString::from_raw(""),
    }
}

fn glob(text: &SigmaString, ends: Ends) -> Glob {
    let many = || Piece::Wild(Wild::Many(()));
    let piece = |part: &StringPart| match part {
        StringPart::Plain(text) => Piece::Text(text.clone()),
        StringPart::Special(SpecialChar::WildcardMulti) => many(),
        StringPart::Special(SpecialChar::WildcardSingle) => Piece::Wild(Wild::One(())),
    };
    let before = ends.before.then(many);
    let after = ends.after.then(many);
    Glob(before.into_iter().chain(text.parts.iter().map(piece)).chain(after).collect())
}

//! Everything a page says, in German and English (Fluent, projectfluent.org). What must stay out: which page says it.
//!
//! What the core and the log say as values (reasons, refusals, events) is said by its tag: `{ "held": "silent", .. }` is the
//! message `held-silent` with the other fields as arguments. A message that is missing falls back to the tag, never to a panic.

use crate::times;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue, concurrent::FluentBundle};
use serde_json::{Map, Value};
use staffel_core::{profile::Profile, release::Kind};
use staffel_server::pages::Told;
use std::{borrow::Cow, sync::LazyLock};

/// A language that pages are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    English,
    German,
}

impl Language {
    /// As in `lang` and in `accept-language`.
    pub fn code(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::German => "de",
        }
    }

    /// The language of that code.
    pub fn of(code: &str) -> Option<Self> {
        [Language::English, Language::German].into_iter().find(|language| language.code() == code)
    }

    /// The first that a browser prefers (RFC 9110, 12.5.4; order counts, weights are in order in practice).
    pub fn preferred(accept_language: &str) -> Self {
        let codes = accept_language.split(',').filter_map(|part| part.trim().split([';', '-']).next());
        codes.filter_map(Language::of).next().unwrap_or(Language::English)
    }
}

pub(crate) const SOURCES: [(Language, &str); 2] =
    [(Language::English, include_str!("../words/en.ftl")), (Language::German, include_str!("../words/de.ftl"))];

static BUNDLES: LazyLock<Vec<(Language, FluentBundle<FluentResource>)>> = LazyLock::new(|| {
    let bundle = |(language, text): (Language, &str)| {
        let mut bundle = FluentBundle::new_concurrent(vec![language.code().parse().unwrap_or_default()]);
        // Marks around arguments are for mixed directions of writing; both languages run from left to right.
        bundle.set_use_isolating(false);
        // What could be read of a broken file counts; the tests see to it that none is broken.
        let resource = FluentResource::try_new(text.to_string()).unwrap_or_else(|(resource, _)| resource);
        let _ = bundle.add_resource(resource);
        (language, bundle)
    };
    SOURCES.into_iter().map(bundle).collect()
});

/// The fields by which values name what they are.
const TAGS: [&str; 10] =
    ["trace", "held", "halted", "policy", "waiting_on", "refusal", "concern", "debt", "doubt", "origin"];

/// One language's words.
#[derive(Clone, Copy)]
pub struct Words(pub Language);

/// Something that can stand in a message.
pub trait Argument {
    /// As Fluent takes it: numbers decide about plurals.
    fn argument(&self) -> FluentValue<'_>;
}

impl Argument for str {
    fn argument(&self) -> FluentValue<'_> {
        FluentValue::String(Cow::Borrowed(self))
    }
}

impl Argument for String {
    fn argument(&self) -> FluentValue<'_> {
        FluentValue::String(Cow::Borrowed(self))
    }
}

macro_rules! numbers {
    ($($number:ty),+) => {
        $(impl Argument for $number {
            fn argument(&self) -> FluentValue<'_> {
                FluentValue::from(*self)
            }
        })+
    };
}

numbers!(u8, u32, u64, usize);

impl<T: Argument + ?Sized> Argument for &T {
    fn argument(&self) -> FluentValue<'_> {
        (**self).argument()
    }
}

impl Words {
    fn find(self, key: &str, args: Option<&FluentArgs<'_>>) -> Option<String> {
        let (_, bundle) = BUNDLES.iter().find(|(language, _)| *language == self.0)?;
        let pattern = bundle.get_message(key)?.value()?;
        // An argument that is missing leaves its name in the text: better than no text.
        Some(bundle.format_pattern(pattern, args, &mut Vec::new()).into_owned())
    }

    /// A message.
    pub fn t(self, key: &str) -> String {
        self.find(key, None).unwrap_or_else(|| key.to_string())
    }

    /// A message with one argument.
    pub fn t1(self, key: &str, name: &str, value: impl Argument) -> String {
        self.with(key, &[(name, &value)])
    }

    /// A message with two arguments.
    pub fn t2(self, key: &str, one: &str, value: impl Argument, other: &str, second: impl Argument) -> String {
        self.with(key, &[(one, &value), (other, &second)])
    }

    /// A message with arguments.
    pub fn with(self, key: &str, values: &[(&str, &dyn Argument)]) -> String {
        let mut args = FluentArgs::new();
        for (name, value) in values {
            args.set(name.to_string(), value.argument());
        }
        self.find(key, Some(&args)).unwrap_or_else(|| key.to_string())
    }

    /// A value that names itself by `tag`: message `tag-value`. `otherwise` is said if there is no such message.
    pub fn tagged(self, tag: &str, value: &Value, otherwise: &str) -> String {
        let name = match value {
            Value::String(name) => name.as_str(),
            _ => value.get(tag).and_then(Value::as_str).unwrap_or_default(),
        };
        let empty = Map::new();
        let fields = value.as_object().unwrap_or(&empty);
        self.find(&format!("{tag}-{name}"), Some(&self.arguments(fields))).unwrap_or_else(|| otherwise.to_string())
    }

    /// An entry of the log.
    pub fn told(self, told: &Told) -> String {
        let empty = Map::new();
        let fields = told.payload.as_ref().and_then(Value::as_object).unwrap_or(&empty);
        let mut args = self.arguments(fields);
        if let Some(device) = &told.device {
            args.set("device", device.clone());
        }
        if told.payload.is_none() {
            return self.t("log-erased");
        }
        // Entries without a reason: who looks may not see it.
        for (name, key) in [("reason", "reason-hidden"), ("by", "unknown"), ("who", "nobody"), ("owner", "owner-none")]
        {
            if args.get(name).is_none() {
                args.set(name, self.t(key));
            }
        }
        self.find(&format!("log-{}", told.kind.replace('.', "-")), Some(&args)).unwrap_or_else(|| told.kind.clone())
    }

    /// A kind of release.
    pub fn kind(self, kind: &Kind) -> String {
        self.tagged("kind", &serde_json::to_value(kind).unwrap_or_default(), "")
    }

    /// A speed of a rollout.
    pub fn profile(self, profile: &Profile) -> String {
        self.tagged("profile", &serde_json::to_value(profile.name).unwrap_or_default(), "")
    }

    /// Whether a device is heard.
    pub fn presence(self, presence: &str) -> String {
        self.t(&format!("presence-{presence}"))
    }

    /// The state of a rollout.
    pub fn state(self, state: &str) -> String {
        self.t(&format!("state-{state}"))
    }

    /// A device's place in a rollout. The engine says it in English; what this program does not know stays so.
    pub fn place(self, place: &str) -> String {
        let (first, rest) = place.split_once("; ").map_or((place, None), |(first, rest)| (first, Some(rest)));
        let slug: String =
            first.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        let said = self.find(&format!("place-{}", slug.replace("--", "-")), None).unwrap_or_else(|| first.to_string());
        rest.map_or(said.clone(), |rest| format!("{said}; {rest}"))
    }

    /// Scalars as they are, times as people write them, reasons in words.
    fn arguments(self, fields: &Map<String, Value>) -> FluentArgs<'static> {
        let mut args = FluentArgs::new();
        for (name, value) in fields {
            match value {
                Value::Null => {}
                Value::Bool(yes) => args.set(name.clone(), if *yes { "yes" } else { "no" }),
                Value::Number(number) if name.ends_with("_ms") => {
                    let ms = number.as_u64().unwrap_or(0);
                    let is_moment = ms > 1_000_000_000_000;
                    args.set(name.clone(), if is_moment { times::utc(ms) } else { times::duration(self, ms) });
                }
                Value::Number(number) if matches!(name.as_str(), "share" | "ceiling" | "position") => {
                    args.set(name.clone(), percent(number.as_f64().unwrap_or(0.0) / 1e9));
                }
                Value::Number(number) if name == "bound" => {
                    args.set(name.clone(), percent(number.as_f64().unwrap_or(0.0)));
                }
                Value::Number(number) => match number.as_u64() {
                    Some(whole) => args.set(name.clone(), whole),
                    None => args.set(name.clone(), format!("{:.2}", number.as_f64().unwrap_or(0.0))),
                },
                Value::String(text) => {
                    let kind = match name.as_str() {
                        "channel" | "outcome" => name,
                        "state" => "case-state",
                        _ => "",
                    };
                    args.set(name.clone(), self.tagged(kind, value, text));
                }
                Value::Array(list) if list.is_empty() => args.set(name.clone(), self.t("none")),
                Value::Array(list) => args.set(name.clone(), self.list(list)),
                Value::Object(inner) => {
                    if let Some(tag) = TAGS.into_iter().find(|tag| inner.contains_key(*tag)) {
                        args.set(name.clone(), self.tagged(tag, value, ""));
                    }
                }
            }
        }
        args
    }

    /// Texts, or pairs of a reason for being passed over and how often.
    fn list(self, list: &[Value]) -> String {
        let one = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Array(pair) => match &pair[..] {
                [skip, count] => {
                    let count = count.as_u64().unwrap_or(0);
                    let skip = skip.as_str().unwrap_or_default();
                    self.with(&format!("skip-{skip}"), &[("count", &count)])
                }
                _ => String::new(),
            },
            Value::Object(fields) => {
                let tag = TAGS.into_iter().find(|tag| fields.contains_key(*tag));
                tag.map_or_else(String::new, |tag| self.tagged(tag, value, ""))
            }
            other => other.to_string(),
        };
        list.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// A share of 1 as people write it; more places where it is small.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let places = if percent == 0.0 || percent >= 10.0 {
        0
    } else if percent >= 0.1 {
        1
    } else {
        4
    };
    format!("{percent:.places$} %")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::{BTreeMap, BTreeSet};

    /// Messages with the arguments that they name.
    fn messages(text: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut last = String::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((key, _)) = line.split_once(" =")
                && !line.starts_with(' ')
            {
                assert!(found.insert(key.to_string(), BTreeSet::new()).is_none(), "{key} stands there twice");
                last = key.to_string();
            }
            for part in line.split("{ $").skip(1) {
                let name: String = part.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                found.entry(last.clone()).or_default().insert(name);
            }
        }
        found
    }

    #[test]
    fn both_languages_say_the_same_things() {
        for (language, text) in SOURCES {
            assert!(FluentResource::try_new(text.to_string()).is_ok(), "{language:?} is not readable");
        }
        let [english, german] = SOURCES.map(|(_, text)| messages(text));
        let keys = |of: &BTreeMap<String, BTreeSet<String>>| of.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(keys(&english), keys(&german));
        assert!(english.len() > 200, "{}", english.len());
        for (key, arguments) in &english {
            assert_eq!(arguments, &german[key], "{key}");
        }
    }

    #[test]
    fn every_message_that_a_page_names_is_there() {
        let english = messages(SOURCES[0].1);
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut named = 0;
        for part in ["templates", "src", "src/oidc", "src/pages"] {
            for file in std::fs::read_dir(folder.join(part)).unwrap().flatten() {
                let Ok(text) = std::fs::read_to_string(file.path()) else { continue };
                for call in ["words.t(\"", "words.t1(\"", "words.t2(\"", "words.with(\""] {
                    for rest in text.split(call).skip(1) {
                        let key = rest.split('"').next().unwrap_or_default();
                        assert!(english.contains_key(key), "{key} in {}", file.path().display());
                        named += 1;
                    }
                }
            }
        }
        assert!(named > 100, "{named}");
    }

    #[test]
    fn reasons_are_said_in_both_languages_and_unknown_ones_fall_back() {
        let reason =
            json!({ "held": "silent", "device": "clinic/a/pc-1", "since_ms": 0, "exposed": 1, "shut_down": false });
        let [english, german] = [Language::English, Language::German].map(Words);
        assert!(english.tagged("held", &reason, "").contains("clinic/a/pc-1"));
        assert_ne!(english.tagged("held", &reason, ""), german.tagged("held", &reason, ""));
        assert_eq!(english.tagged("held", &json!({ "held": "new" }), "in its own words"), "in its own words");
        assert_eq!(english.t("no such message"), "no such message");
    }

    #[test]
    fn a_browser_gets_the_first_language_that_we_have() {
        assert_eq!(Language::preferred("fr-FR, de-AT;q=0.9, en;q=0.8"), Language::German);
        assert_eq!(Language::preferred("fr"), Language::English);
        assert_eq!(Language::preferred(""), Language::English);
    }
}

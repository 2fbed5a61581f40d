//! What the gate found, as text, JSON and HTML. The first failure stands on top: it is what a person has to mend.

use super::check::{Check, Checks};
use serde_json::{Value, json};
use staffel_core::ids::Digest;
use staffel_notice::paper::escape;
use std::fmt::Write as _;

/// A report, ready to be written in any form.
pub struct Report<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub release: Digest,
    pub checks: &'a Checks,
    /// Everything that was used.
    pub used: &'a [(String, Digest)],
}

impl Report<'_> {
    fn sorted(&self) -> impl Iterator<Item = &Check> {
        let all = &self.checks.all;
        let failed = all.iter().filter(|check| check.failure.is_some());
        failed.chain(all.iter().filter(|check| check.failure.is_none()))
    }

    fn verdict(&self) -> &'static str {
        if self.checks.first_failure().is_some() { "FAILED" } else { "PASSED" }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for check in self.sorted() {
            let (name, part, seconds) = (check.check.name(), &check.part, check.ms as f64 / 1_000.0);
            let _ = match (&check.failure, &check.left_out) {
                (Some(why), _) => writeln!(text, "FAILED  {name}, {part}: {why}"),
                (None, Some(why)) => writeln!(text, "in part {name}, {part} ({seconds:.1} s): {why}"),
                (None, None) => writeln!(text, "passed  {name}, {part} ({seconds:.1} s)"),
            };
            check.figures.iter().for_each(|figure| _ = writeln!(text, "        {figure}"));
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let part = |check: &Check| {
            json!({
                "check": check.check.name(), "part": check.part, "passed": check.failure.is_none(), "why": check.failure,
                "left_out": check.left_out, "figures": check.figures, "ms": check.ms,
            })
        };
        let used: Vec<Value> =
            self.used.iter().map(|(name, sha256)| json!({ "name": name, "sha256": sha256 })).collect();
        json!({
            "name": self.name, "version": self.version, "release": self.release, "result": self.verdict(),
            "passed": self.checks.passed(), "checks": self.sorted().map(part).collect::<Vec<_>>(), "used": used,
        })
    }

    /// A page that needs nothing else.
    pub fn html(&self) -> String {
        let title = escape(&format!("Gate report: {} {}", self.name, self.version));
        let mut text = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>\
             body{{font:1rem/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}\
             td,th{{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0}}.FAILED{{color:#a00}}code{{font-size:.8rem}}\
             </style></head><body><h1>{title}</h1><p class=\"{0}\">{0}</p>",
            self.verdict()
        );
        if let Some(failed) = self.checks.first_failure() {
            let why = failed.failure.as_deref().unwrap_or_default();
            let _ = write!(text, "<p class=\"FAILED\"><strong>{}</strong>: {}</p>", failed.check.name(), escape(why));
        }
        let _ = write!(
            text,
            "<p>Release <code>{}</code></p><table><tr><th>Check</th><th>Part</th><th>Result</th><th>Found</th></tr>",
            self.release
        );
        for check in self.sorted() {
            let (result, found) = match (&check.failure, &check.left_out) {
                (Some(why), _) => ("FAILED", why.clone()),
                (None, Some(why)) => ("in part", why.clone()),
                (None, None) => ("passed", check.figures.join("; ")),
            };
            let _ = write!(
                text,
                "<tr><td>{}</td><td>{}</td><td class=\"{result}\">{result}</td><td>{}</td></tr>",
                check.check.name(),
                escape(&check.part),
                escape(&found)
            );
        }
        text.push_str("</table><h2>What was used</h2><ul>");
        for (name, digest) in self.used {
            let _ = write!(text, "<li>{} <code>sha256:{digest}</code></li>", escape(name));
        }
        text.push_str("</ul></body></html>\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::gate::{check::Said, settings::Named};

    #[test]
    fn the_first_failure_stands_on_top_and_words_stay_words() {
        let mut checks = Checks::new(true);
        checks.run(Named::Contract, "a", || Ok(Said { figures: vec!["rules 1".into()], left_out: None }));
        checks.run(Named::Hostile, "b", || anyhow::bail!("<it hangs>"));
        let used = [("staffel-sensor".to_string(), Digest::of(b"s"))];
        let report = Report { name: "x", version: "1", release: Digest::of(b"r"), checks: &checks, used: &used };
        assert!(report.text().starts_with("FAILED  hostile, b: <it hangs>\npassed  contract, a"));
        assert_eq!(report.json()["checks"][0]["why"], "<it hangs>");
        assert_eq!((&report.json()["result"], &report.json()["passed"]), (&json!("FAILED"), &json!(["contract"])));
        let html = report.html();
        assert!(html.contains("&lt;it hangs&gt;") && !html.contains("<it hangs>"), "{html}");
        assert!(html.contains(&Digest::of(b"s").to_string()), "{html}");
    }
}

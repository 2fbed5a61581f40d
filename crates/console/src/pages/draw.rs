//! Small pictures as SVG, drawn on the server so that they need no script; each says in words what it shows. What must stay
//! out: anything with a name of a device in it, because this text goes into pages as it is.

use crate::words::{Words, percent};
use askama::filters::{Html, escape};

/// Parts of a whole, side by side: class and amount. `label` is what a screen reader says.
pub(crate) fn bar(parts: &[(&str, u64)], whole: u64, label: &str) -> String {
    let mut svg = begin("bar", label);
    let mut x = 0.0;
    for (class, amount) in parts.iter().filter(|(_, amount)| *amount > 0) {
        let width = (1_000.0 * *amount as f64 / whole.max(1) as f64).min(1_000.0 - x);
        svg.push_str(&format!("<rect class=\"{class}\" x=\"{x:.1}\" y=\"0\" width=\"{width:.1}\" height=\"10\"/>"));
        x += width;
    }
    svg.push_str("</svg>");
    svg
}

/// The evidence on a logarithmic scale, with the lines at which a rollout is held and halted.
pub(crate) fn evidence(words: Words, ln_e: f64, ln_hold: f64, ln_halt: f64) -> String {
    let (low, high) = (-ln_halt * 0.25, ln_halt * 1.15);
    let at = |value: f64| ((value - low) / (high - low) * 1_000.0).clamp(0.0, 1_000.0);
    let class = if ln_e >= ln_halt {
        "bad"
    } else if ln_e >= ln_hold {
        "warn"
    } else {
        "good"
    };
    let label = words.with("evidence-label", &[("e", &odds(ln_e)), ("hold", &odds(ln_hold)), ("halt", &odds(ln_halt))]);
    let mut svg = begin("bar scale", &label);
    svg.push_str(&format!(
        "<rect class=\"{class}\" x=\"0\" y=\"0\" width=\"{:.1}\" height=\"10\"/>",
        at(ln_e).max(4.0)
    ));
    for (class, value) in [("hold", ln_hold), ("halt", ln_halt)] {
        let x = at(value);
        svg.push_str(&format!("<rect class=\"line-{class}\" x=\"{:.1}\" y=\"0\" width=\"4\" height=\"10\"/>", x - 2.0));
    }
    svg.push_str("</svg>");
    svg
}

fn begin(class: &str, label: &str) -> String {
    let label = escape(label, Html).map(|label| label.to_string()).unwrap_or_default();
    format!(
        "<svg class=\"{class}\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{label}\">\
         <rect class=\"rest\" x=\"0\" y=\"0\" width=\"1000\" height=\"10\"/>"
    )
}

/// `e` to the power, as people write odds: `1.3`, `250`, `4·10⁶`.
pub(crate) fn odds(ln: f64) -> String {
    let log10 = ln / std::f64::consts::LN_10;
    if !log10.is_finite() {
        return "0".into();
    }
    if (-2.0..4.0).contains(&log10) {
        let value = ln.exp();
        let is_round = (value - value.round()).abs() < 0.005;
        return if value >= 100.0 || is_round { format!("{value:.0}") } else { format!("{value:.2}") };
    }
    let exponent = log10.floor();
    let mantissa = 10f64.powf(log10 - exponent);
    let raised: String = format!("{exponent:.0}")
        .chars()
        .map(|c| match c {
            '-' => '⁻',
            '0' => '⁰',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            '4'..='9' => char::from_u32(0x2070 + (c as u32 - '0' as u32)).unwrap_or(c),
            other => other,
        })
        .collect();
    format!("{mantissa:.1}·10{raised}")
}

/// Parts per billion.
pub(crate) fn ppb(share: u32) -> String {
    percent(f64::from(share) / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_read_as_people_write_them() {
        assert_eq!((odds(0.0).as_str(), odds(1.55f64.ln()).as_str(), odds(20f64.ln()).as_str()), ("1", "1.55", "20"));
        assert_eq!(odds(250f64.ln()), "250");
        assert_eq!(odds(4.2e6f64.ln()), "4.2·10⁶");
        assert_eq!(odds(3.1e-12f64.ln()), "3.1·10⁻¹²");
        assert_eq!(odds(f64::NEG_INFINITY), "0");
    }

    #[test]
    fn a_bar_never_leaves_its_frame_and_its_label_is_escaped() {
        let svg = bar(&[("good", 9), ("bad", 9)], 10, "9 \"of\" <10>");
        assert!(svg.contains("width=\"900.0\"") && svg.contains("x=\"900.0\" y=\"0\" width=\"100.0\""), "{svg}");
        assert!(!svg.contains("<10>") && !svg.contains("\"of\""), "{svg}");
    }
}

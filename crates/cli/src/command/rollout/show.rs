//! Rollouts in words and figures. Must stay out: asking for them.

use crate::client::time::{clock, moment, span};
use staffel_core::{ids::Share, profile::CeilingStep};
use staffel_server::api::{HistoryEntry, RolloutView};
use std::fmt::Write as _;

/// A ceiling in a line: `20 % at once, 35 % from 5 s, ...`.
pub fn ceiling(steps: &[CeilingStep]) -> String {
    let step = |step: &CeilingStep| match step.age_ms {
        0 => format!("{} at once", step.share),
        age => format!("{} from {}", step.share, span(age)),
    };
    if steps.is_empty() { "nobody".into() } else { steps.iter().map(step).collect::<Vec<_>>().join(", ") }
}

/// Everything about a rollout, a line each.
pub fn status(view: &RolloutView, now: u64) -> String {
    let mut text = format!("rollout {}: {} {}, {}\n", view.rollout, view.name, view.version, view.state);
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<10}{value}");
    };
    line("waits for", view.why.clone());
    line("release", view.release.to_string());
    let ended = view.ended_ms.map_or_else(String::new, |at| format!(", ended {}", moment(at)));
    let lasts = span(view.ended_ms.unwrap_or(now).saturating_sub(view.started_ms));
    line("started", format!("{} by {}{ended}, {lasts}", moment(view.started_ms), view.started_by));
    line("wave", format!("{} ({:?})", view.wave, view.profile.name).to_lowercase());
    line("proven", format!("{} of {} healthy", view.confirmed, view.devices));
    line("exposed", format!("{} now, {} ever, {} at most at a time", view.exposed, view.exposed_ever, view.budget));
    line(
        "trouble",
        format!(
            "{} went back or into safe mode, {} silent, {} gave a permit back",
            view.failed, view.silent, view.withdrawn
        ),
    );
    line("evidence", evidence(view));
    if let Some(bound) = view.bound {
        let confidence = if view.small_fleet_rules { 95 } else { 99 };
        line("bound", format!("excess harm below {:.2} % with {confidence} % confidence", bound * 100.0));
    }
    line("ceiling", format!("{} of all, signed by two releasers", Share(view.ceiling_ppb)));
    if view.small_fleet_rules {
        line("rules", "those of small fleets: one unit that does not come back halts it".into());
    }
    text
}

fn evidence(view: &RolloutView) -> String {
    format!("ln E {:.3} (hold at {:.3}, halt at {:.3})", view.ln_e, view.ln_hold, view.ln_halt)
}

/// One line for a pipe: what changes while a rollout goes on.
pub fn line(view: &RolloutView) -> String {
    format!(
        "rollout {} {}, wave {}: {} of {} proven, {} exposed, {} went back, {} silent, ln E {:.3}: {}",
        view.rollout,
        view.state,
        view.wave,
        view.confirmed,
        view.devices,
        view.exposed,
        view.failed,
        view.silent,
        view.ln_e,
        view.why
    )
}

/// What happened, then what it waits for.
pub fn history(view: &RolloutView, history: &[HistoryEntry]) -> String {
    let mut text = format!("rollout {}: {} {}, {}\n", view.rollout, view.name, view.version, view.state);
    let mut day = String::new();
    for entry in history {
        let moment = moment(entry.at_ms);
        let date = moment.split(' ').next().unwrap_or_default();
        if date != day {
            let _ = writeln!(text, "{date}");
            day = date.to_string();
        }
        let _ = writeln!(text, "  {}  #{:<6} {}", clock(entry.at_ms), entry.position, entry.text);
    }
    let _ = writeln!(text, "waits for {}", view.why);
    let _ = writeln!(text, "evidence  {}", evidence(view));
    text
}

/// A rollout that a test can talk about.
#[cfg(test)]
pub fn example(state: &str, confirmed: u64) -> RolloutView {
    use staffel_core::{
        ids::Digest,
        profile::{Profile, ProfileName},
    };
    RolloutView {
        rollout: 2,
        name: "till".into(),
        version: "2.0".into(),
        release: Digest::of(b"till"),
        profile: Profile::named(ProfileName::Demo),
        state: state.into(),
        why: "wave 1: 1 devices are not yet proven healthy".into(),
        waiting_on: serde_json::Value::Null,
        started_by: "ann".into(),
        started_ms: 1_000,
        ended_ms: None,
        wave: 1,
        devices: 24,
        exposed_ever: 2,
        exposed: 1,
        budget: 8,
        confirmed,
        failed: 0,
        silent: 1,
        withdrawn: 0,
        ln_e: 0.25,
        ln_hold: 2.996,
        ln_halt: 6.908,
        bound: Some(0.52),
        small_fleet_rules: true,
        ceiling_ppb: 350_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_has_every_figure() {
        let text = status(&example("running", 1), 31_000);
        for part in [
            "rollout 2: till 2.0, running",
            "1970-01-01 00:00:01Z by ann, 30 s",
            "1 (demo)",
            "1 of 24 healthy",
            "1 now, 2 ever, 8 at most",
            "0 went back or into safe mode, 1 silent, 0 gave a permit back",
            "ln E 0.250 (hold at 2.996, halt at 6.908)",
            "below 52.00 % with 95 %",
            "35 % of all",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_history_names_each_day_once() {
        let entry =
            |position, at_ms, text: &str| HistoryEntry { position, at_ms, kind: String::new(), text: text.into() };
        let entries = [entry(5, 1_000, "wave 1 opened"), entry(6, 2_000, "x"), entry(9, 86_400_000, "halted: y")];
        let text = history(&example("halted", 0), &entries);
        assert_eq!(text.matches("1970-01-01\n").count(), 1);
        assert!(text.contains("  00:00:01Z  #5      wave 1 opened\n") && text.contains("1970-01-02\n"), "{text}");
        assert!(text.ends_with("halt at 6.908)\n"));
    }

    #[test]
    fn a_ceiling_reads_from_left_to_right() {
        let steps =
            [(0, 1), (3_600_000, 25)].map(|(age_ms, share)| CeilingStep { age_ms, share: Share::percent(share) });
        assert_eq!(ceiling(&steps), "1 % at once, 25 % from 60 min");
        assert_eq!(ceiling(&[]), "nobody");
    }
}

//! Recovery events in words, for histories and the server's own log. Must stay out: names of devices (a history is asked for by
//! somebody who may see one case).

use staffel_core::recovery::{Channel, Contact, Event, Origin};

/// An event in words.
pub(in super::super) fn event(event: &Event) -> String {
    let with = |what: String, text: &str| if text.is_empty() { what } else { format!("{what}: {text}") };
    match event {
        Event::IncidentOpened { incident, class, aware, why, .. } => {
            format!("incident {incident} opened ({class}), noticed by {} through {}: {why}", aware.who, aware.source)
        }
        Event::CasesOpened { incident, devices, why, .. } => {
            format!("{} opened in incident {incident}: {why}", count(devices.len(), "case", "cases"))
        }
        Event::Owned { case, owner: Some(owner), by } => format!("case {case}: {owner} sees to it, says {by}"),
        Event::Owned { case, owner: None, by } => format!("case {case}: nobody sees to it any more, says {by}"),
        Event::Said { case, state, by, why } => format!("case {case}: {} says {}: {why}", by, state.word()),
        Event::Contacted { case, channel, outcome, by, text } => {
            with(format!("case {case}: {by}, {}, {}", channel_word(*channel), outcome_word(*outcome)), text)
        }
        Event::CallBack { case, at_ms: Some(_), by, text } => {
            with(format!("case {case}: the site asked {by} to be called back"), text)
        }
        Event::CallBack { case, at_ms: None, by, text } => with(format!("case {case}: no call back, says {by}"), text),
        Event::Noted { case, by, text } => format!("case {case}: {by} notes: {text}"),
        Event::Heard { case } => format!("case {case}: the device speaks again, nothing is proven yet"),
        Event::FellSilent { case, .. } => format!("case {case}: the device fell silent again"),
        Event::DebtOpened { case, debt, by: None } => format!("case {case}: protection is off, {debt}"),
        Event::DebtOpened { case, debt, by: Some(by) } => format!("case {case}: {by} says protection is off, {debt}"),
        Event::DebtLifted { case, debt, why, .. } => format!("case {case}: protection is on again ({debt}): {why}"),
        Event::Verified { case, proof } => format!(
            "case {case}: verified, the probe passed {} times in a row, {} looked at each time",
            proof.passed,
            count(proof.checked as usize, "service or check", "services and checks")
        ),
        Event::Doubted { case, doubts } => {
            let words: Vec<_> = doubts.iter().map(ToString::to_string).collect();
            format!("case {case}: not proven any more: {}", words.join("; "))
        }
        Event::Reopened { case, why } => format!("case {case}: opened again: {why}"),
        Event::Closed { case, by: None } => format!("case {case}: closed by its probe"),
        Event::Closed { case, by: Some(by) } => format!("case {case}: closed by {by} after its probe"),
    }
}

/// The incident in one line.
pub(super) fn title(origin: &Origin, release: Option<&str>, site: &str) -> String {
    match origin {
        Origin::HaltedRollout { rollout } => {
            format!("{} was halted (rollout {rollout})", release.unwrap_or("a release"))
        }
        Origin::Silence { whole_site: true, .. } => format!("the whole site {site} is silent"),
        Origin::Silence { .. } => format!("silent devices at {site}"),
        Origin::SafeMode { .. } => format!("safe mode at {site}"),
        Origin::Component { name, version, supplier } if supplier.is_empty() => format!("{name} {version}"),
        Origin::Component { name, version, supplier } => format!("{name} {version} of {supplier}"),
        Origin::Operator => "opened by hand".into(),
    }
}

fn count(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

fn channel_word(channel: Channel) -> &'static str {
    match channel {
        Channel::Email => "by e-mail",
        Channel::Sms => "by SMS",
        Channel::Fax => "by fax",
        Channel::Letter => "by letter",
        Channel::Phone => "by phone",
        Channel::Visit => "on site",
    }
}

fn outcome_word(outcome: Contact) -> &'static str {
    match outcome {
        Contact::Sent => "sent",
        Contact::NoAnswer => "no answer",
        Contact::WrongAddress => "the number or address does not work",
        Contact::Reached => "somebody answered",
        Contact::Instructed => "told them what to do",
        Contact::SaysItWorks => "they say that it works, which proves nothing",
    }
}

//! Whom people have to call: the recipients of whom nobody has said that they know, those first for whom nothing else is left.

use crate::{
    address::{Address, Channel},
    book::{Progress, Reach},
    event::{CallResult, Found, Outcome},
    next::{Done, Manners, Step},
};
use serde::Serialize;
use staffel_paper::{Call, CallList, Date, Language};

/// A line of the call list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Place in the audience.
    pub recipient: u32,
    pub tenant: String,
    pub site: String,
    pub language: Language,
    pub critical: bool,
    /// Nothing that sends itself is left.
    pub due: bool,
    pub phone: Option<String>,
    pub code: String,
    pub attempts: usize,
    pub calls: usize,
    /// What was tried and how it ended.
    pub tried: String,
}

/// The unreached of a notice. `addresses` as they were drawn, or empty where they were erased; `clock` writes Unix
/// milliseconds for people.
pub fn rows(
    progress: &Progress,
    addresses: &[Vec<Address>],
    manners: &Manners,
    now_ms: u64,
    language: Language,
    clock: impl Fn(u64) -> String,
) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for ((recipient, one), reach) in (0_u32..).zip(&progress.notice.audience).zip(&progress.reaches) {
        let step = progress.next(recipient, manners, now_ms);
        if matches!(step, Step::Nothing { why: Done::Acknowledged | Done::NoRecipient }) {
            continue;
        }
        let phone = addresses.get(recipient as usize).into_iter().flatten().find_map(|address| match address {
            Address::Phone(number) => Some(number.clone()),
            _ => None,
        });
        rows.push(Row {
            recipient,
            tenant: one.tenant.clone(),
            site: one.site.clone(),
            language: one.language,
            critical: one.critical,
            due: step == Step::Call,
            phone,
            code: one.code.to_string(),
            attempts: reach.attempts.len(),
            calls: reach.calls.len(),
            tried: tried(reach, language, &clock),
        });
    }
    rows.sort_by_key(|row| (!row.due, !row.critical, row.calls, row.recipient));
    rows
}

fn tried(reach: &Reach, language: Language, clock: &impl Fn(u64) -> String) -> String {
    let german = language == Language::De;
    let pick = |de: &'static str, en: &'static str| if german { de } else { en };
    let mut words: Vec<String> = Vec::new();
    for attempt in &reach.attempts {
        let channel = match attempt.channel {
            Channel::Email => pick("E-Mail", "e-mail"),
            Channel::Sms => "SMS",
            Channel::Fax => pick("Fax", "fax"),
            Channel::Letter => pick("Brief", "letter"),
            Channel::Phone => pick("Anruf", "call"),
        };
        let ended = match (&attempt.ended, &attempt.looked_up) {
            (None, _) => pick("läuft", "under way").into(),
            (Some((_, Outcome::HandedOver { .. })), _) => {
                pick("abgegeben, keine Antwort", "handed over, no answer").into()
            }
            (Some((_, Outcome::TryLater { why })), _) => format!("{} ({why})", pick("ging nicht", "did not work")),
            (Some((_, Outcome::Failed { why })), _) => format!("{} ({why})", pick("geht nicht", "does not work")),
            (Some((_, Outcome::Unknown { .. })), Some((_, Found::NotThere))) => {
                pick("nicht gesendet", "not sent").into()
            }
            (Some((_, Outcome::Unknown { .. })), Some((_, Found::There))) => {
                pick("abgegeben, keine Antwort", "handed over, no answer").into()
            }
            (Some((_, Outcome::Unknown { .. })), _) => pick("unklar, ob gesendet", "unknown whether sent").into(),
        };
        words.push(format!("{channel} {}: {ended}", clock(attempt.started_ms)));
    }
    for (at_ms, result, _) in &reach.calls {
        let result = match result {
            CallResult::NoAnswer => pick("niemand nahm ab", "no answer"),
            CallResult::WrongNumber => pick("falsche Nummer", "wrong number"),
        };
        words.push(format!("{} {}: {result}", pick("Anruf", "call"), clock(*at_ms)));
    }
    if words.is_empty() {
        return pick("noch nichts", "nothing yet").into();
    }
    words.join("; ")
}

/// The list as CSV (RFC 4180).
pub fn csv(rows: &[Row]) -> String {
    let mut out = String::from("tenant,site,first,due,language,phone,code,attempts,calls,tried\r\n");
    for row in rows {
        let phone = row.phone.as_deref().unwrap_or_default();
        let yes = |flag: bool| if flag { "yes" } else { "no" }.to_owned();
        let fields = [
            row.tenant.clone(),
            row.site.clone(),
            yes(row.critical),
            yes(row.due),
            row.language.to_string(),
            phone.to_owned(),
            row.code.clone(),
            row.attempts.to_string(),
            row.calls.to_string(),
            row.tried.clone(),
        ];
        out.push_str(&fields.map(|field| cell(&field)).join(","));
        out.push_str("\r\n");
    }
    out
}

/// Quoted where needed, and never a formula when a spreadsheet opens it. A number with its plus sign is none.
fn cell(text: &str) -> String {
    let number = text.strip_prefix('+').is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == ' '));
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && !number;
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// The words around the list on paper.
#[derive(Clone, Debug)]
pub struct Heading {
    pub language: Language,
    pub incident: String,
    pub subject: String,
    pub date: Date,
    /// In words.
    pub made_at: String,
    pub by: String,
    pub audience: usize,
}

/// The list for the press.
pub fn paper(rows: &[Row], heading: Heading) -> CallList {
    let call = |row: &Row| Call {
        site: row.site.clone(),
        customer: row.tenant.clone(),
        contact: None,
        phone: row.phone.clone(),
        code: row.code.clone(),
        critical: row.critical,
        tried: row.tried.clone(),
    };
    let Heading { language, incident, subject, date, made_at, by, audience } = heading;
    CallList { language, incident, subject, date, made_at, by, audience, calls: rows.iter().map(call).collect() }
}

//! What is shown of notices. Reads only.

use super::{
    super::{Engine, EngineError, now_ms},
    Desk, incident_name,
};
use crate::api::{NoticeCall, NoticeSheet, NoticeText, NoticeView, RecipientView};
use staffel_notice::{Done, Language, Manners, Progress, Recipient, Step, Waiting, call_list};

impl Engine {
    /// All notices, oldest first.
    pub fn notices(&self) -> Vec<NoticeView> {
        let now = now_ms();
        let manners = self.manners();
        self.state().notices.book.notices().map(|progress| summary(progress, &manners, now, &everybody)).collect()
    }

    /// One notice with its recipients.
    pub fn notice(&self, id: u64) -> Result<NoticeSheet, EngineError> {
        let state = self.state();
        let progress = state.notices.book.notice(id);
        let progress = progress.ok_or_else(|| EngineError::NotFound { what: format!("notice {id}") })?;
        Ok(sheet(progress, self.0.desk.get(), now_ms(), &everybody))
    }

    /// Who has not said that they know.
    pub fn notice_call_list(&self, id: u64) -> Result<Vec<NoticeCall>, EngineError> {
        let (now, manners) = (now_ms(), self.manners());
        let state = self.state();
        let progress = state.notices.book.notice(id);
        let progress = progress.ok_or_else(|| EngineError::NotFound { what: format!("notice {id}") })?;
        let addresses = state.notices.addresses.get(&id).map(|kept| kept.lists.as_slice()).unwrap_or_default();
        let rows = call_list::rows(progress, addresses, &manners, now, Language::De, clock);
        let call = |row: call_list::Row| NoticeCall {
            recipient: row.recipient,
            tenant: row.tenant,
            site: row.site,
            language: row.language.to_string(),
            critical: row.critical,
            due: row.due,
            phone: row.phone,
            code: row.code,
            attempts: row.attempts as u64,
            calls: row.calls as u64,
            tried: row.tried,
        };
        Ok(rows.into_iter().map(call).collect())
    }

    pub(in super::super) fn manners(&self) -> Manners {
        self.0.desk.get().map_or_else(Manners::default, |desk| desk.manners.clone())
    }
}

/// Day, month and time of day in UTC.
pub(super) fn clock(at_ms: u64) -> String {
    // Howard Hinnant's `civil_from_days`, for days after 1970.
    let days = at_ms / 86_400_000 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (day, month, year) =
        (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 }, year + era * 400);
    let year = if month <= 2 { year + 1 } else { year };
    let minutes = at_ms / 60_000 % 1_440;
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

/// For whoever may see all recipients.
pub(super) fn everybody(_: &Recipient) -> bool {
    true
}

/// A notice in one line, counting the recipients that somebody may see.
pub(in super::super) fn summary(
    progress: &Progress,
    manners: &Manners,
    now: u64,
    sees: &dyn Fn(&Recipient) -> bool,
) -> NoticeView {
    let notice = &progress.notice;
    let seen = || (0..).zip(&notice.audience).zip(&progress.reaches).filter(|((_, one), _)| sees(one));
    let to_call = seen().filter(|((r, _), _)| progress.next(*r, manners, now) == Step::Call).count();
    NoticeView {
        notice: Some(notice.id),
        incident: notice.incident,
        template: notice.template.kind,
        supersedes: notice.supersedes,
        superseded_by: progress.superseded_by,
        made_ms: notice.made_ms,
        by: notice.by.clone(),
        recipients: seen().count() as u64,
        acknowledged: seen().filter(|(_, reach)| reach.acknowledged.is_some()).count() as u64,
        to_call: to_call as u64,
    }
}

/// A notice with the recipients that somebody may see; its texts are as the first of these gets them.
pub(in super::super) fn sheet(
    progress: &Progress,
    desk: Option<&Desk>,
    now: u64,
    sees: &dyn Fn(&Recipient) -> bool,
) -> NoticeSheet {
    let manners = desk.map_or_else(Manners::default, |desk| desk.manners.clone());
    let notice = &progress.notice;
    let name = incident_name(notice.incident);
    let mut texts = Vec::new();
    for language in Language::ALL {
        let first = notice.audience.iter().find(|one| one.language == language && sees(one));
        let (Some(one), Some(desk)) = (first, desk) else { continue };
        let frame = desk.letterhead.frame(&name, one.code);
        let Ok(message) = notice.template.fill(&notice.values, language, &frame) else { continue };
        texts.push(NoticeText {
            language: language.to_string(),
            subject: message.subject.clone(),
            text: desk.letterhead.plain(&message, one.code),
            sms: message.sms,
        });
    }
    let seen = (0..).zip(&notice.audience).zip(&progress.reaches).filter(|((_, one), _)| sees(one));
    let recipients = seen.map(|((recipient, one), reach)| RecipientView {
        recipient,
        tenant: one.tenant.clone(),
        site: one.site.clone(),
        language: one.language.to_string(),
        critical: one.critical,
        code: one.code.to_string(),
        routes: one.routes.iter().map(ToString::to_string).collect(),
        next: words(&progress.next(recipient, &manners, now)),
        attempts: reach.attempts.len() as u32,
        acknowledged_ms: reach.acknowledged.as_ref().map(|said| said.at_ms),
    });
    NoticeSheet { notice: summary(progress, &manners, now, sees), texts, recipients: recipients.collect() }
}

fn words(step: &Step) -> String {
    match step {
        Step::Send { channel, attempt, .. } => format!("send by {channel}, attempt {attempt}"),
        Step::LookUp { channel, .. } => format!("look up whether the {channel} was sent"),
        Step::Wait { why: Waiting::Attempt { channel }, .. } => format!("the {channel} is on its way"),
        Step::Wait { why: Waiting::Answer { channel }, .. } => format!("waits for an answer to the {channel}"),
        Step::Wait { why: Waiting::Route { channel, why }, .. } => format!("tries {channel} again later: {why}"),
        Step::Call => "somebody has to call".into(),
        Step::Nothing { why: Done::Acknowledged } => "they know".into(),
        Step::Nothing { why: Done::Superseded { by } } => format!("replaced by notice {by}"),
        Step::Nothing { why: Done::NoRecipient } => "no recipient".into(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn clock_knows_leap_days() {
        assert_eq!(super::clock(0), "1970-01-01 00:00 UTC");
        assert_eq!(super::clock(1_709_210_400_000), "2024-02-29 12:40 UTC");
        assert_eq!(super::clock(1_795_305_599_000), "2026-11-21 23:59 UTC");
    }
}

//! One device in one incident, until a probe has verified it. Must stay out: what changes a case (`apply`) and who decides it.

use super::{CaseId, Channel, Concern, Contact, Debt, IncidentId, Proof, State};
use crate::fleet::DeviceIndex;

/// Attempts that a case keeps in memory; the log has them all.
pub(super) const TRIED: usize = 50;

/// Small, because a bad day has millions: what most cases lack is on a sheet of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub id: CaseId,
    pub incident: IncidentId,
    pub device: DeviceIndex,
    pub state: State,
    /// The device has spoken since it was last silent.
    pub alive: bool,
    /// In this state since, Unix milliseconds.
    pub since_ms: u64,
    /// Unix milliseconds.
    pub opened_ms: u64,
    /// Number of the list of names that it ran before.
    pub(super) ran: u32,
    /// When to look at it next, Unix milliseconds; 0: no need.
    pub(super) look_ms: u64,
    pub(super) sheet: Option<Box<Sheet>>,
    pub(super) why: Box<Concern>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sheet {
    pub owner: Option<String>,
    pub last_contact: Option<LastContact>,
    pub attempts: u32,
    pub call_back_ms: Option<u64>,
    pub debts: Vec<OpenDebt>,
    pub tried: Vec<Tried>,
    pub proof: Option<Proof>,
    pub verified_ms: Option<u64>,
    pub closed_ms: Option<u64>,
    pub closed_by: Option<String>,
    pub reopened: u32,
}

/// The last attempt to reach the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastContact {
    /// Unix milliseconds.
    pub at_ms: u64,
    pub channel: Channel,
    pub outcome: Contact,
    pub by: String,
}

/// Protection that is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenDebt {
    pub debt: Debt,
    /// Unix milliseconds.
    pub since_ms: u64,
    /// None: the device's own evidence.
    pub by: Option<String>,
}

/// Something that was done about a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// An account name; none: Staffel itself.
    pub by: Option<String>,
    pub text: String,
}

impl Case {
    pub(super) fn new(
        id: CaseId,
        incident: IncidentId,
        device: DeviceIndex,
        ran: u32,
        why: Concern,
        at_ms: u64,
    ) -> Self {
        Case {
            id,
            incident,
            device,
            state: State::Suspected,
            alive: false,
            since_ms: at_ms,
            opened_ms: at_ms,
            ran,
            look_ms: 0,
            sheet: None,
            why: Box::new(why),
        }
    }

    /// Why the device has a case.
    pub fn why(&self) -> &Concern {
        &self.why
    }

    /// Who sees to it; none: nobody, assign one.
    pub fn owner(&self) -> Option<&str> {
        self.sheet.as_ref()?.owner.as_deref()
    }

    /// The last attempt to reach the site.
    pub fn last_contact(&self) -> Option<&LastContact> {
        self.sheet.as_ref()?.last_contact.as_ref()
    }

    /// Attempts in a row without an answer.
    pub fn attempts(&self) -> u32 {
        self.sheet.as_ref().map_or(0, |sheet| sheet.attempts)
    }

    /// When the site wants to be called, Unix milliseconds.
    pub fn call_back_ms(&self) -> Option<u64> {
        self.sheet.as_ref()?.call_back_ms
    }

    /// Protection that is off now.
    pub fn debts(&self) -> &[OpenDebt] {
        self.sheet.as_ref().map_or(&[], |sheet| &sheet.debts)
    }

    /// What was tried, oldest first; the last [`TRIED`] of it.
    pub fn tried(&self) -> &[Tried] {
        self.sheet.as_ref().map_or(&[], |sheet| &sheet.tried)
    }

    /// What verified it, while that holds.
    pub fn proof(&self) -> Option<&Proof> {
        self.sheet.as_ref()?.proof.as_ref()
    }

    /// When it was verified, Unix milliseconds, while that holds.
    pub fn verified_ms(&self) -> Option<u64> {
        self.sheet.as_ref()?.verified_ms
    }

    /// When it was closed, Unix milliseconds, while it is.
    pub fn closed_ms(&self) -> Option<u64> {
        self.sheet.as_ref()?.closed_ms
    }

    /// Who closed it; none: the probe alone.
    pub fn closed_by(&self) -> Option<&str> {
        self.sheet.as_ref()?.closed_by.as_deref()
    }

    /// How often it was opened again.
    pub fn reopened(&self) -> u32 {
        self.sheet.as_ref().map_or(0, |sheet| sheet.reopened)
    }

    /// True if a debt that the device itself shows is open.
    pub(super) fn owes_evidence(&self) -> bool {
        self.debts().iter().any(|open| open.debt.is_evidence())
    }

    pub(super) fn sheet(&mut self) -> &mut Sheet {
        self.sheet.get_or_insert_default()
    }

    pub(super) fn forget_note(&mut self, at_ms: u64, by: &str, text: &str) {
        let is_it = |tried: &Tried| tried.at_ms == at_ms && tried.by.as_deref() == Some(by) && tried.text == text;
        self.sheet().tried.retain(|tried| !is_it(tried));
    }

    pub(super) fn note(&mut self, at_ms: u64, by: Option<&str>, text: String) {
        let tried = &mut self.sheet().tried;
        if tried.len() >= TRIED {
            tried.remove(0);
        }
        tried.push(Tried { at_ms, by: by.map(str::to_string), text });
    }
}

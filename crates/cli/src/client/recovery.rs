//! The routes of incidents, cases, call list, sites and imports. Must stay out: what the answers mean.

use super::{Client, encoded};
use anyhow::Result;
use staffel_core::review::Language;
use staffel_server::api::{
    CallListEntry, CasePage, CaseQuery, CaseView, CaseWord, Dossier, EraseNote, HistoryEntry, Import, Imported,
    IncidentView, OpenIncident, RecoveryCurve, ReviewSheet, SiteView,
};
use staffel_trust::tuf::path::percent_encode;

impl Client {
    /// Incidents, oldest first.
    pub fn incidents(&self) -> Result<Vec<IncidentView>> {
        self.get("/incidents")
    }

    /// One incident.
    pub fn incident(&self, id: u64) -> Result<IncidentView> {
        self.get(&format!("/incidents/{id}"))
    }

    /// What happened to it as a whole.
    pub fn incident_history(&self, id: u64) -> Result<Vec<HistoryEntry>> {
        self.get(&format!("/incidents/{id}/history"))
    }

    /// How the share of its devices that is back grew.
    pub fn curve(&self, id: u64) -> Result<RecoveryCurve> {
        self.get(&format!("/incidents/{id}/curve"))
    }

    /// The post-incident review.
    pub fn review(&self, id: u64, language: Language) -> Result<ReviewSheet> {
        self.get(&format!("/incidents/{id}/report?language={}", code(language)))
    }

    /// What each customer gets to read.
    pub fn dossiers(&self, id: u64, language: Language) -> Result<Vec<Dossier>> {
        self.get(&format!("/incidents/{id}/dossiers?language={}", code(language)))
    }

    /// Opens an incident, or adds devices to one.
    pub fn open_incident(&self, asked: &OpenIncident) -> Result<IncidentView> {
        self.post("/incidents", asked)
    }

    /// A page of cases.
    pub fn cases(&self, query: &CaseQuery) -> Result<CasePage> {
        let parts = [
            ("incident", query.incident.map(|id| id.to_string())),
            ("tenant", query.tenant.clone()),
            ("site", query.site.clone()),
            ("state", query.state.clone()),
            ("owner", query.owner.clone()),
            ("after", query.after.map(|id| id.to_string())),
            ("limit", query.limit.map(|limit| limit.to_string())),
        ];
        self.get(&format!("/cases{}", encoded(&parts)))
    }

    /// One case with its history.
    pub fn case(&self, id: u64) -> Result<CaseView> {
        self.get(&format!("/cases/{id}"))
    }

    /// A word about a case.
    pub fn case_word(&self, id: u64, word: &CaseWord) -> Result<CaseView> {
        self.post(&format!("/cases/{id}/words"), word)
    }

    /// Erases the words of a note.
    pub fn erase_note(&self, id: u64, asked: &EraseNote) -> Result<CaseView> {
        self.post(&format!("/cases/{id}/erasures"), asked)
    }

    /// Sites that somebody has to call, the most urgent first.
    pub fn call_list(&self) -> Result<Vec<CallListEntry>> {
        self.get("/call-list")
    }

    /// All sites.
    pub fn sites(&self) -> Result<Vec<SiteView>> {
        self.get("/sites")
    }

    /// One site.
    pub fn site(&self, tenant: &str, site: &str) -> Result<SiteView> {
        self.get(&format!("/sites/{}/{}", percent_encode(tenant), percent_encode(site)))
    }

    /// Takes an import, or checks it.
    pub fn import(&self, import: &Import) -> Result<Imported> {
        self.post("/import", import)
    }
}

fn code(language: Language) -> &'static str {
    match language {
        Language::De => "de",
        Language::En => "en",
    }
}

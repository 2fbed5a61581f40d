//! Notices as the API shows them. A notice concerns many customers, so none of this is for somebody who is bound to one.

use serde::{Deserialize, Serialize};
use staffel_notice::{CallResult, Kind, Means, Values};

/// `POST /api/v1/notices`: the audience is frozen at this moment, and sending begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewNotice {
    pub incident: u64,
    pub template: Kind,
    pub values: Values,
    /// The notice that this one replaces.
    #[serde(default)]
    pub supersedes: Option<u64>,
    /// `customer/site` each; empty: every site with an open case of the incident.
    #[serde(default)]
    pub sites: Vec<String>,
    /// Show what would be sent, and send nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// A notice in one line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NoticeView {
    /// None: a dry run.
    pub notice: Option<u64>,
    pub incident: u64,
    pub template: Kind,
    pub supersedes: Option<u64>,
    pub superseded_by: Option<u64>,
    pub made_ms: u64,
    pub by: String,
    pub recipients: u64,
    pub acknowledged: u64,
    /// Nothing that sends itself is left for them: people have to call.
    pub to_call: u64,
}

/// A notice and what came of it for each recipient.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NoticeSheet {
    pub notice: NoticeView,
    /// The text as the first recipient of each language gets it.
    pub texts: Vec<NoticeText>,
    pub recipients: Vec<RecipientView>,
}

/// The words of a notice in one language.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NoticeText {
    /// `de` or `en`.
    pub language: String,
    pub subject: String,
    pub text: String,
    pub sms: String,
}

/// One recipient.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecipientView {
    /// Place in the audience, from 0 on.
    pub recipient: u32,
    pub tenant: String,
    pub site: String,
    pub language: String,
    pub critical: bool,
    pub code: String,
    /// Channels in the order in which they are tried.
    pub routes: Vec<String>,
    /// What comes next, in words.
    pub next: String,
    pub attempts: u32,
    pub acknowledged_ms: Option<u64>,
}

/// `POST /api/v1/call-backs`: what somebody who holds a code said, or that nobody was reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallBack {
    /// As it was read out.
    pub code: String,
    pub said: Said,
}

/// What came of a call or a page that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// They called and know.
    CallBack,
    /// We called and they know.
    Call,
    Fax,
    Mail,
    NoAnswer,
    WrongNumber,
}

impl Said {
    /// How they know, or why they do not.
    pub fn meaning(self) -> Result<Means, CallResult> {
        match self {
            Said::CallBack => Ok(Means::CallBack),
            Said::Call => Ok(Means::Call),
            Said::Fax => Ok(Means::Fax),
            Said::Mail => Ok(Means::Mail),
            Said::NoAnswer => Err(CallResult::NoAnswer),
            Said::WrongNumber => Err(CallResult::WrongNumber),
        }
    }
}

/// A line of a notice's call list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NoticeCall {
    pub recipient: u32,
    pub tenant: String,
    pub site: String,
    pub language: String,
    pub critical: bool,
    /// Nothing that sends itself is left.
    pub due: bool,
    pub phone: Option<String>,
    pub code: String,
    pub attempts: u64,
    pub calls: u64,
    pub tried: String,
}

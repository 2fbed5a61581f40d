//! A notice and its frozen audience.

use crate::{
    address::Channel,
    code::ShortCode,
    template::{TemplateRef, Values},
};
use serde::{Deserialize, Serialize};
use staffel_paper::Language;
use std::{fmt, str::FromStr};

/// Number of a notice, from 1 on.
pub type NoticeId = u64;

/// Who is told what. Nothing in it changes any more: who was asked is a list, not a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub id: NoticeId,
    pub incident: u64,
    pub template: TemplateRef,
    pub values: Values,
    /// The earlier notice that this one replaces: its recipients are not asked any more.
    pub supersedes: Option<NoticeId>,
    /// Unix milliseconds.
    pub made_ms: u64,
    /// Account name.
    pub by: String,
    pub audience: Vec<Recipient>,
}

/// A site that is told. Its addresses are a record of their own, so that they can be erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    pub tenant: String,
    pub site: String,
    pub language: Language,
    /// Called first.
    pub critical: bool,
    pub code: ShortCode,
    /// In the order in which they are tried; empty: only people can help.
    pub routes: Vec<Channel>,
}

/// Names one attempt for good, over restarts: spool files, gateways and mail servers get it, so what was sent can be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptKey {
    pub notice: NoticeId,
    /// Place in the audience, from 0 on.
    pub recipient: u32,
    /// From 1 on.
    pub attempt: u32,
}

impl fmt::Display for AttemptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "notice-{}-recipient-{}-attempt-{}", self.notice, self.recipient, self.attempt)
    }
}

impl FromStr for AttemptKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (notice, rest) = text.strip_prefix("notice-")?.split_once("-recipient-")?;
            let (recipient, attempt) = rest.split_once("-attempt-")?;
            Some(AttemptKey {
                notice: notice.parse().ok()?,
                recipient: recipient.parse().ok()?,
                attempt: attempt.parse().ok()?,
            })
        };
        read().ok_or_else(|| format!("{text} names no attempt"))
    }
}

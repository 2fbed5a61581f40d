//! What can happen to a notice: the closed set of events that go into the log and come back out of it.

use crate::{
    address::Channel,
    notice::{AttemptKey, Notice, NoticeId},
};
use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    Drawn {
        notice: Box<Notice>,
    },
    /// Logged before anything is sent.
    Started {
        notice: NoticeId,
        recipient: u32,
        attempt: u32,
        /// Place in the recipient's routes.
        route: u32,
        channel: Channel,
    },
    Ended {
        notice: NoticeId,
        recipient: u32,
        attempt: u32,
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// What a look-up of an unknown attempt found.
    LookedUp {
        notice: NoticeId,
        recipient: u32,
        attempt: u32,
        found: Found,
    },
    /// Somebody called.
    Called {
        notice: NoticeId,
        recipient: u32,
        result: CallResult,
        /// Account name.
        by: String,
    },
    /// Somebody at the site knows.
    Acknowledged {
        notice: NoticeId,
        recipient: u32,
        means: Means,
        /// Account name of who entered it.
        by: String,
    },
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// Somebody else has it now: a mail server, a gateway, the spool. Not yet: a person has read it.
    HandedOver { receipt: String },
    /// Surely not sent; the same route may work later.
    TryLater { why: String },
    /// Surely not sent, and this route won't work.
    Failed { why: String },
    /// It may have been sent. Never repeated blindly: a look-up comes next.
    Unknown { why: String },
}

/// What a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// It was handed over.
    There,
    /// It was not, so it may be sent.
    NotThere,
    /// The other side can't say.
    CannotTell,
}

/// How a call that did not reach anybody ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallResult {
    NoAnswer,
    WrongNumber,
}

/// How somebody said that they know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Means {
    /// They called and gave the code.
    CallBack,
    /// We called them.
    Call,
    /// The page of the QR code.
    Page,
    /// A signed fax page came back.
    Fax,
    Mail,
}

/// When and how somebody said that they know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Unix milliseconds.
    pub at_ms: u64,
    pub means: Means,
    pub by: String,
}

impl Event {
    /// The kind of the log's entry.
    pub fn kind(&self) -> &'static str {
        match self {
            Event::Drawn { .. } => "notice.drawn",
            Event::Started { .. } => "notice.started",
            Event::Ended { .. } => "notice.ended",
            Event::LookedUp { .. } => "notice.looked-up",
            Event::Called { .. } => "notice.called",
            Event::Acknowledged { .. } => "notice.acknowledged",
        }
    }

    /// The attempt that it is about.
    pub fn attempt(&self) -> Option<AttemptKey> {
        match *self {
            Event::Started { notice, recipient, attempt, .. }
            | Event::Ended { notice, recipient, attempt, .. }
            | Event::LookedUp { notice, recipient, attempt, .. } => Some(AttemptKey { notice, recipient, attempt }),
            Event::Drawn { .. } | Event::Called { .. } | Event::Acknowledged { .. } => None,
        }
    }
}

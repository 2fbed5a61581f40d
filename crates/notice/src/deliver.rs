//! Carrying out an attempt: hand it over to somebody, and say how that ended.
//!
//! Each carrier answers [`Outcome`], which tells "surely not sent" from "may have been sent": only the first may be repeated.
//! After a crash the second is looked up by the attempt's key. What must stay out: which attempt comes next.

pub mod gateway;
pub mod smtp;
pub mod spool;
pub(crate) mod tls;

use crate::{
    event::{Found, Outcome},
    mail::Mail,
};

pub use gateway::Gateway;
pub use smtp::{Security, Smtp};
pub use spool::Spool;
pub use tls::{TlsError, client as https_client};

/// What is handed over.
#[derive(Clone, Debug)]
pub enum Parcel {
    Mail(Mail),
    Sms {
        number: String,
        text: String,
    },
    /// A PDF for this number.
    Fax {
        number: String,
        pdf: Vec<u8>,
    },
    /// A PDF to be printed and posted.
    Letter {
        pdf: Vec<u8>,
    },
}

/// Who takes it.
#[derive(Clone, Debug)]
pub enum Carrier {
    /// A folder that somebody else empties: the default for every channel.
    Spool(Spool),
    Smtp(Smtp),
    Gateway(Gateway),
}

impl Carrier {
    /// Hands it over under this key. Never retries: when to try again is decided elsewhere.
    pub async fn send(&self, key: &str, parcel: &Parcel) -> Outcome {
        match (self, parcel) {
            (Carrier::Spool(spool), parcel) => spool.send(key, parcel).await,
            (Carrier::Smtp(smtp), Parcel::Mail(mail)) => smtp.send(mail).await,
            (Carrier::Smtp(_), _) => Outcome::Failed { why: "a mail server takes only e-mails".into() },
            (Carrier::Gateway(gateway), parcel) => gateway.send(key, parcel).await,
        }
    }

    /// Whether an attempt, of which nobody knows how it ended, was handed over.
    pub async fn look_up(&self, key: &str) -> Found {
        match self {
            Carrier::Spool(spool) => spool.look_up(key),
            // SMTP has no question for that.
            Carrier::Smtp(_) => Found::CannotTell,
            Carrier::Gateway(gateway) => gateway.look_up(key).await,
        }
    }
}

/// Foreign words in a receipt or reason: one line, not endless.
fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect::<String>().trim().to_owned()
}

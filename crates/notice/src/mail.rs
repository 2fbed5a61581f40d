//! E-mails as bytes. The same attempt gives the same bytes and the same `Message-ID`, so a mail server or a reader can tell
//! a repetition. What must stay out: sending.

use crate::{code::ShortCode, notice::AttemptKey, paper::Letterhead, template::Message};
use lettre::{
    address::Envelope,
    message::{
        Attachment, Body, Mailbox, MultiPart, MultiPartBuilder, SinglePart,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};
use std::time::{Duration, UNIX_EPOCH};

/// An e-mail, ready to be handed over.
#[derive(Clone, Debug)]
pub struct Mail {
    pub envelope: Envelope,
    /// As RFC 5322 wants it.
    pub bytes: Vec<u8>,
}

/// Who sends.
#[derive(Clone, Debug)]
pub struct MailSender {
    /// `Name <address>`.
    pub from: Mailbox,
    pub reply_to: Option<Mailbox>,
}

/// Why an e-mail can't be made.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    #[error("{text:?} is no e-mail address")]
    Address { text: String, source: lettre::address::AddressError },
    #[error("write the e-mail {key}")]
    Write { key: String, source: lettre::error::Error },
    #[error("encode a part of the e-mail {key}")]
    Encode { key: String },
}

impl MailSender {
    /// Reads `Name <address>` or an address.
    pub fn parse(from: &str, reply_to: Option<&str>) -> Result<Self, MailError> {
        Ok(MailSender { from: mailbox(from)?, reply_to: reply_to.map(mailbox).transpose()? })
    }

    /// A notice as text and HTML.
    pub fn notice(
        &self,
        key: AttemptKey,
        to: &str,
        message: &Message,
        letterhead: &Letterhead,
        code: ShortCode,
        at_ms: u64,
    ) -> Result<Mail, MailError> {
        let key = key.to_string();
        let text = part(&key, ContentType::TEXT_PLAIN, letterhead.plain(message, code))?;
        let html = part(&key, ContentType::TEXT_HTML, letterhead.html(message, code))?;
        let parts = alternative(&key).singlepart(text).singlepart(html);
        self.write(&key, to, &message.subject, at_ms, parts)
    }

    /// A short text, such as an alert.
    pub fn text(&self, key: &str, to: &str, subject: &str, text: String, at_ms: u64) -> Result<Mail, MailError> {
        let parts = alternative(key).singlepart(part(key, ContentType::TEXT_PLAIN, text)?);
        self.write(key, to, subject, at_ms, parts)
    }

    /// A page for a mail-to-fax gateway: the PDF attached, nothing else that it might print.
    pub fn page(&self, key: &str, to: &str, subject: &str, pdf: Vec<u8>, at_ms: u64) -> Result<Mail, MailError> {
        let pdf_type = ContentType::parse("application/pdf").map_err(|_| MailError::Encode { key: key.into() })?;
        let page = Attachment::new(format!("{key}.pdf")).body(pdf, pdf_type);
        self.write(key, to, subject, at_ms, MultiPart::mixed().boundary(boundary(key)).singlepart(page))
    }

    fn write(&self, key: &str, to: &str, subject: &str, at_ms: u64, parts: MultiPart) -> Result<Mail, MailError> {
        let domain = self.from.email.domain();
        // So that no out-of-office reply comes back (RFC 3834).
        let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into());
        let mut mail = lettre::Message::builder()
            .from(self.from.clone())
            .to(mailbox(to)?)
            .subject(subject)
            .date(UNIX_EPOCH + Duration::from_millis(at_ms))
            .message_id(Some(format!("<{key}@{domain}>")))
            .raw_header(automatic);
        if let Some(reply_to) = &self.reply_to {
            mail = mail.reply_to(reply_to.clone());
        }
        let mail = mail.multipart(parts).map_err(|source| MailError::Write { key: key.into(), source })?;
        Ok(Mail { envelope: mail.envelope().clone(), bytes: mail.formatted() })
    }
}

fn mailbox(text: &str) -> Result<Mailbox, MailError> {
    text.parse().map_err(|source| MailError::Address { text: text.chars().take(120).collect(), source })
}

fn alternative(key: &str) -> MultiPartBuilder {
    MultiPart::builder().kind(lettre::message::MultiPartKind::Alternative).boundary(boundary(key))
}

/// Not random, so that the same attempt gives the same bytes; `=_` can't stand in quoted-printable text (RFC 2045).
fn boundary(key: &str) -> String {
    format!("=_staffel-{key}")
}

fn part(key: &str, content_type: ContentType, text: String) -> Result<SinglePart, MailError> {
    let body = Body::new_with_encoding(text, ContentTransferEncoding::QuotedPrintable);
    let body = body.map_err(|_| MailError::Encode { key: key.into() })?;
    Ok(SinglePart::builder().header(content_type).body(body))
}

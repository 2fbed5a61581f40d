//! E-mails as bytes.

use crate::support::{letterhead, values};
use staffel_notice::{
    AttemptKey, Kind, Language, ShortCode, Value,
    mail::{Mail, MailSender},
};

pub fn mail(key: AttemptKey, to: &str) -> Mail {
    let sender = MailSender::parse("Musterhaus Störungsdienst <dienst@musterhaus.example>", None).expect("an address");
    let (letterhead, code) = (letterhead(), ShortCode::from_random(5));
    let mut values = values(Kind::FirstInformation);
    values.all.insert("known".into(), Value::Text("<b>Größe & Łódź</b>".into()));
    let message = Kind::FirstInformation.newest().fill(&values, Language::De, &letterhead.frame("V-7", code));
    let message = message.expect("complete");
    sender.notice(key, to, &message, &letterhead, code, 1_800_000_000_000).expect("an e-mail")
}

const KEY: AttemptKey = AttemptKey { notice: 3, recipient: 1, attempt: 2 };

/// Undoes quoted-printable (RFC 2045).
fn decoded(mail: &Mail) -> String {
    let text = String::from_utf8(mail.bytes.clone()).expect("ASCII").replace("=\r\n", "");
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = (*first == b'=').then(|| after.get(..2)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn text_and_html_say_the_same_and_html_is_escaped() {
    let mail = mail(KEY, "Frau Größe <aenne@kunde.example>");
    assert!(mail.bytes.is_ascii(), "every mail server can take it");
    let text = decoded(&mail);
    for wanted in [
        "multipart/alternative",
        "text/plain",
        "text/html",
        "Auto-Submitted: auto-generated",
        "Message-ID: <notice-3-recipient-1-attempt-2@musterhaus.example>",
        "Was wir wissen: <b>Größe & Łódź</b>",
        "Was wir wissen: &lt;b&gt;Größe &amp; Łódź&lt;/b&gt;",
        "0711 555 01 99",
        &ShortCode::from_random(5).to_string(),
    ] {
        assert!(text.contains(wanted), "{wanted} is missing:\n{text}");
    }
    assert!(!text.contains("<img") && !text.contains("src="), "nothing is loaded from anywhere");
}

#[test]
fn the_same_attempt_gives_the_same_bytes_and_another_one_does_not() {
    let bytes = |key| mail(key, "a@kunde.example").bytes;
    assert_eq!(bytes(KEY), bytes(KEY));
    assert_ne!(bytes(KEY), bytes(AttemptKey { attempt: 3, ..KEY }));
}

#[test]
fn a_page_for_a_fax_gateway_is_an_attached_pdf() {
    let sender = MailSender::parse("dienst@musterhaus.example", Some("fax@musterhaus.example")).expect("addresses");
    let mail =
        sender.page("k-1", "03515557701@fax.example", "V-7", b"%PDF-1.7 \xff\x00".to_vec(), 0).expect("an e-mail");
    let text = String::from_utf8(mail.bytes).expect("ASCII");
    for wanted in ["application/pdf", "k-1.pdf", "JVBERi0xLjcg/wA=", "Reply-To: fax@musterhaus.example"] {
        assert!(text.contains(wanted), "{wanted} is missing:\n{text}");
    }
}

//! SMTP. The conversation is held step by step, because the step in which it breaks off says whether the mail may have been
//! sent: before the text was handed over surely not, after that nobody knows.

use super::short;
use crate::{event::Outcome, mail::Mail};
use lettre::transport::smtp::{
    Error,
    authentication::{Credentials, Mechanism},
    client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters},
    commands::{Data, Mail as From, Rcpt},
    extension::{ClientId, Extension, MailBodyParameter, MailParameter},
};
use std::{future::Future, time::Duration};

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Only for a relay on the same machine.
    Plain,
    /// Begins in plain text and must switch, or nothing is sent.
    StartTls,
    Tls,
}

/// A mail server.
#[derive(Clone)]
pub struct Smtp {
    pub host: String,
    pub port: u16,
    pub security: Security,
    /// Name and password.
    pub login: Option<(String, String)>,
    /// PEM; none: the system's.
    pub authority: Option<Vec<u8>>,
    /// For each step.
    pub timeout: Duration,
    /// What this machine calls itself to mail servers, a domain name.
    pub hello: String,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

/// Why a step did not succeed.
enum Broken {
    Said(Error),
    TooLong,
}

impl Smtp {
    pub(super) async fn send(&self, mail: &Mail) -> Outcome {
        let mut connection = match self.prepare(mail).await {
            Ok(connection) => connection,
            Err(broken) => return before(&broken),
        };
        let outcome = match self.step(connection.message(&mail.bytes)).await {
            Ok(response) => {
                let words: Vec<&str> = response.message().collect();
                Outcome::HandedOver { receipt: short(&format!("{} {}", response.code(), words.join(" "))) }
            }
            Err(broken) => after(&broken),
        };
        // Politeness; how the mail ended is known.
        let _ = self.step(connection.quit()).await;
        outcome
    }

    /// Everything before the text: afterwards the server waits for it.
    async fn prepare(&self, mail: &Mail) -> Result<AsyncSmtpConnection, Broken> {
        let hello = ClientId::Domain(self.hello.clone());
        let tls = |wanted: bool| if wanted { self.tls().map(Some) } else { Ok(None) };
        let at_once = tls(self.security == Security::Tls).map_err(Broken::Said)?;
        let address = (self.host.as_str(), self.port);
        let connect = AsyncSmtpConnection::connect_tokio1(address, Some(self.timeout), &hello, at_once, None);
        let mut connection = self.step(connect).await?;
        if self.security == Security::StartTls {
            let parameters = self.tls().map_err(Broken::Said)?;
            self.step(connection.starttls(parameters, &hello)).await?;
        }
        if let Some((name, password)) = &self.login {
            let login = Credentials::new(name.clone(), password.clone());
            self.step(connection.auth(&[Mechanism::Plain, Mechanism::Login], &login)).await?;
        }
        let mut parameters = Vec::new();
        let addresses = mail.envelope.from().into_iter().chain(mail.envelope.to());
        if !addresses.map(AsRef::<str>::as_ref).all(str::is_ascii) {
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if !mail.bytes.is_ascii() && connection.server_info().supports_feature(Extension::EightBitMime) {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        self.step(connection.command(From::new(mail.envelope.from().cloned(), parameters))).await?;
        for to in mail.envelope.to() {
            self.step(connection.command(Rcpt::new(to.clone(), Vec::new()))).await?;
        }
        self.step(connection.command(Data)).await?;
        Ok(connection)
    }

    fn tls(&self) -> Result<TlsParameters, Error> {
        let builder = TlsParameters::builder(self.host.clone());
        match &self.authority {
            None => builder.build(),
            Some(pem) => builder
                .certificate_store(CertificateStore::None)
                .add_root_certificate(Certificate::from_pem(pem)?)
                .build(),
        }
    }

    async fn step<T>(&self, step: impl Future<Output = Result<T, Error>>) -> Result<T, Broken> {
        match tokio::time::timeout(self.timeout, step).await {
            Ok(done) => done.map_err(Broken::Said),
            Err(_) => Err(Broken::TooLong),
        }
    }
}

/// The text was not handed over: only a definite no is for good.
fn before(broken: &Broken) -> Outcome {
    match broken {
        Broken::Said(error) if error.is_permanent() => Outcome::Failed { why: words(error) },
        Broken::Said(error) => Outcome::TryLater { why: words(error) },
        Broken::TooLong => Outcome::TryLater { why: "the mail server did not answer in time".into() },
    }
}

/// The text was handed over, or a part of it: only the server's own word says that it was not taken.
fn after(broken: &Broken) -> Outcome {
    match broken {
        Broken::Said(error) if error.is_permanent() => Outcome::Failed { why: words(error) },
        Broken::Said(error) if error.is_transient() => Outcome::TryLater { why: words(error) },
        Broken::Said(error) => Outcome::Unknown { why: words(error) },
        Broken::TooLong => Outcome::Unknown { why: "the mail server did not confirm in time".into() },
    }
}

fn words(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    short(&text)
}

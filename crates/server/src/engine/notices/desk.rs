//! Who we are to customers, and over which carriers we send: read once at the start from `notices.toml`. Without a carrier, a
//! channel goes into a spool folder.

use serde::{Deserialize, Serialize};
use staffel_notice::{
    Manners,
    address::Channel,
    deliver::{Carrier, Gateway, Security, Smtp, Spool, TlsError},
    mail::{MailError, MailSender},
    paper::Letterhead,
};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Patience with one step of a conversation.
pub(in super::super) const TIMEOUT: Duration = Duration::from_secs(30);

/// The file `notices.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeskConfig {
    pub letterhead: Letterhead,
    /// `Name <address>` that e-mails come from.
    pub mail_from: String,
    #[serde(default)]
    pub mail_reply_to: Option<String>,
    /// None: e-mails go into the spool folder.
    #[serde(default)]
    pub smtp: Option<SmtpConfig>,
    #[serde(default)]
    pub sms: Option<GatewayConfig>,
    #[serde(default)]
    pub fax: Option<GatewayConfig>,
    /// The domain of a mail-to-fax gateway: fax pages go as e-mails to `number@domain`.
    #[serde(default)]
    pub fax_by_mail: Option<String>,
    #[serde(default)]
    pub letter: Option<GatewayConfig>,
    /// The program `staffel-press`; none: beside this program.
    #[serde(default)]
    pub press: Option<PathBuf>,
}

/// A mail server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpConfig {
    pub host: String,
    pub port: u16,
    /// `tls`, `start-tls`, or `plain` for a relay on this machine.
    pub security: SecurityWord,
    /// What this machine calls itself.
    pub hello: String,
    #[serde(default)]
    pub user: Option<String>,
    /// A file with the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// PEM; none: the system's authorities.
    #[serde(default)]
    pub authority_file: Option<PathBuf>,
}

impl SmtpConfig {
    /// The mail server, with its password read.
    pub(in super::super) fn open(self) -> Result<Smtp, DeskError> {
        let password = self.password_file.as_deref().map(read_line).transpose()?;
        Ok(Smtp {
            host: self.host,
            port: self.port,
            security: match self.security {
                SecurityWord::Plain => Security::Plain,
                SecurityWord::StartTls => Security::StartTls,
                SecurityWord::Tls => Security::Tls,
            },
            login: self.user.zip(password),
            authority: self.authority_file.as_deref().map(read).transpose()?,
            timeout: TIMEOUT,
            hello: self.hello,
        })
    }
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecurityWord {
    Plain,
    StartTls,
    Tls,
}

/// An HTTP gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    pub address: String,
    /// A file with the token.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    #[serde(default)]
    pub authority_file: Option<PathBuf>,
}

/// Why there is no desk.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    #[error("read the sender of e-mails")]
    Mail(#[from] MailError),
    #[error("read {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("prepare the spool folder {path}")]
    Spool { path: PathBuf, source: io::Error },
    #[error("prepare the gateway {address}")]
    Gateway { address: String, source: TlsError },
}

/// Letterhead and carriers, ready to be used.
pub struct Desk {
    pub(super) letterhead: Letterhead,
    pub(super) mail: MailSender,
    pub(super) manners: Manners,
    pub(super) fax_by_mail: Option<String>,
    pub(super) press: PathBuf,
    /// Where the press writes.
    pub(super) papers: PathBuf,
    email: Carrier,
    sms: Carrier,
    fax: Carrier,
    letter: Carrier,
}

impl Desk {
    /// Opens the carriers; spool folders lie in `folder`.
    pub fn open(config: DeskConfig, folder: &Path, manners: Manners) -> Result<Desk, DeskError> {
        let spool = |name: &str| {
            let path = folder.join(name);
            Spool::open(&path).map(Carrier::Spool).map_err(|source| DeskError::Spool { path, source })
        };
        let gateway = |config: Option<&GatewayConfig>, name: &str| match config {
            None => spool(name),
            Some(config) => {
                let token = config.token_file.as_deref().map(read_line).transpose()?;
                let authority = config.authority_file.as_deref().map(read).transpose()?;
                let gateway = Gateway::new(&config.address, token, authority.as_deref(), TIMEOUT);
                let failed = |source| DeskError::Gateway { address: config.address.clone(), source };
                gateway.map(Carrier::Gateway).map_err(failed)
            }
        };
        let email = match config.smtp {
            None => spool("email")?,
            Some(smtp) => Carrier::Smtp(smtp.open()?),
        };
        let fax = if config.fax_by_mail.is_some() { email.clone() } else { gateway(config.fax.as_ref(), "fax")? };
        Ok(Desk {
            mail: MailSender::parse(&config.mail_from, config.mail_reply_to.as_deref())?,
            sms: gateway(config.sms.as_ref(), "sms")?,
            letter: gateway(config.letter.as_ref(), "letter")?,
            fax,
            email,
            letterhead: config.letterhead,
            manners,
            fax_by_mail: config.fax_by_mail,
            press: config.press.unwrap_or_else(beside_us),
            papers: folder.join("papers"),
        })
    }

    /// Who signs reports.
    pub(in super::super) fn issuer(&self) -> &str {
        &self.letterhead.sender.name
    }

    /// Who carries this channel; nobody carries a phone call.
    pub(super) fn carrier(&self, channel: Channel) -> Option<&Carrier> {
        match channel {
            Channel::Email => Some(&self.email),
            Channel::Sms => Some(&self.sms),
            Channel::Fax => Some(&self.fax),
            Channel::Letter => Some(&self.letter),
            Channel::Phone => None,
        }
    }
}

/// Programs of ours lie in one folder.
fn beside_us() -> PathBuf {
    let ours = std::env::current_exe().unwrap_or_default();
    ours.with_file_name("staffel-press")
}

pub(in super::super) fn read(path: &Path) -> Result<Vec<u8>, DeskError> {
    std::fs::read(path).map_err(|source| DeskError::File { path: path.into(), source })
}

pub(in super::super) fn read_line(path: &Path) -> Result<String, DeskError> {
    Ok(String::from_utf8_lossy(&read(path)?).trim().to_owned())
}

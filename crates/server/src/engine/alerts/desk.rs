//! Who is alerted, read once at the start from `alerts.toml`, and the folders: `outgoing` until somebody took it, `dead` if nobody
//! did.

use super::super::notices::{DeskError, SmtpConfig, TIMEOUT, read, read_line};
use serde::{Deserialize, Serialize};
use staffel_notice::{
    Language,
    alert::{Alert, Delivered, Retry, Webhook, deliver_mail},
    deliver::{Carrier, Spool, TlsError},
    mail::{MailError, MailSender},
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The file `alerts.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertsConfig {
    #[serde(default = "german")]
    pub language: Language,
    /// No more alerts an hour; the rest is counted and the count is sent.
    #[serde(default = "thirty")]
    pub most_an_hour: u32,
    /// The same is not said again sooner, minutes.
    #[serde(default = "ten")]
    pub quiet_minutes: u64,
    #[serde(default)]
    pub webhook: Option<WebhookConfig>,
    #[serde(default)]
    pub mail: Option<MailConfig>,
}

fn german() -> Language {
    Language::De
}

fn thirty() -> u32 {
    30
}

fn ten() -> u64 {
    10
}

/// An address that takes signed JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    pub address: String,
    /// A file with the secret that signs.
    pub secret_file: PathBuf,
    /// PEM; none: the system's authorities.
    #[serde(default)]
    pub authority_file: Option<PathBuf>,
}

/// E-mail to people.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    /// `Name <address>`.
    pub from: String,
    pub to: Vec<String>,
    /// None: into a spool folder.
    #[serde(default)]
    pub smtp: Option<SmtpConfig>,
}

/// Why nobody can be alerted.
#[derive(Debug, thiserror::Error)]
pub enum AlertDeskError {
    #[error("nobody is named: write [webhook] or [mail]")]
    Nobody,
    #[error(transparent)]
    Desk(#[from] DeskError),
    #[error("read the sender of alerts")]
    Mail(#[from] MailError),
    #[error("prepare the webhook {address}")]
    Webhook { address: String, source: TlsError },
    #[error("prepare the folder {path}")]
    Folder { path: PathBuf, source: io::Error },
}

/// Somebody who is alerted.
#[expect(clippy::large_enum_variant, reason = "a handful, made once at the start")]
enum Target {
    Webhook(Webhook),
    Mail { sender: MailSender, to: String, carrier: Carrier },
}

/// Ready to be used; clones are the same desk.
#[derive(Clone)]
pub struct AlertDesk {
    pub(super) config: AlertsConfig,
    /// By a name that is good for a folder.
    targets: Arc<Vec<(String, Target)>>,
    folder: PathBuf,
    waits: Vec<Duration>,
}

/// An alert on its way to somebody.
pub(super) struct Letter {
    alert: Alert,
    target: usize,
}

impl AlertDesk {
    /// Opens carriers and folders. `waits`: between the attempts for one alert, such as those of [`Retry::patient`].
    pub fn open(config: AlertsConfig, folder: &Path, waits: Vec<Duration>) -> Result<Self, AlertDeskError> {
        let mut targets = Vec::new();
        if let Some(webhook) = &config.webhook {
            let secret = read_line(&webhook.secret_file)?.into_bytes();
            let authority = webhook.authority_file.as_deref().map(read).transpose()?;
            let opened = Webhook::new(&webhook.address, secret, authority.as_deref(), TIMEOUT);
            let failed = |source| AlertDeskError::Webhook { address: webhook.address.clone(), source };
            targets.push(("webhook".to_string(), Target::Webhook(opened.map_err(failed)?)));
        }
        if let Some(mail) = &config.mail {
            let sender = MailSender::parse(&mail.from, None)?;
            let carrier = match mail.smtp.clone() {
                Some(smtp) => Carrier::Smtp(smtp.open()?),
                None => {
                    let path = folder.join("email");
                    let failed = |source| AlertDeskError::Folder { path: path.clone(), source };
                    Carrier::Spool(Spool::open(&path).map_err(failed)?)
                }
            };
            for (n, to) in (1..).zip(&mail.to) {
                // An address that can't work is found now, not in the night.
                MailSender::parse(to, None)?;
                let target = Target::Mail { sender: sender.clone(), to: to.clone(), carrier: carrier.clone() };
                targets.push((format!("mail-{n}"), target));
            }
        }
        if targets.is_empty() {
            return Err(AlertDeskError::Nobody);
        }
        let desk = AlertDesk { config, targets: Arc::new(targets), folder: folder.into(), waits };
        for (name, _) in desk.targets.iter() {
            let path = desk.way(name);
            std::fs::create_dir_all(&path).map_err(|source| AlertDeskError::Folder { path, source })?;
        }
        Ok(desk)
    }

    fn way(&self, target: &str) -> PathBuf {
        self.folder.join("outgoing").join(target)
    }

    /// Keeps it for everybody who is to get it.
    pub(super) fn put(&self, alert: &Alert) -> Vec<Letter> {
        let mut letters = Vec::new();
        for (target, (name, _)) in self.targets.iter().enumerate() {
            let bytes = serde_json::to_vec(alert).unwrap_or_default();
            // An alert that can't be kept is sent all the same: a full disk is what it may be about.
            if let Err(error) = write_whole(&self.way(name), &format!("{}.json", alert.id), &bytes) {
                tracing::warn!(%error, id = alert.id, "an alert could not be kept before it is sent");
            }
            letters.push(Letter { alert: alert.clone(), target });
        }
        letters
    }

    /// What was on its way when the server ended.
    pub(super) fn outgoing(&self) -> Vec<Letter> {
        let mut letters = Vec::new();
        for (target, (name, _)) in self.targets.iter().enumerate() {
            for file in std::fs::read_dir(self.way(name)).into_iter().flatten().flatten() {
                if file.file_name().as_encoded_bytes().starts_with(b".") {
                    continue;
                }
                let bytes = std::fs::read(file.path()).unwrap_or_default();
                letters.extend(serde_json::from_slice(&bytes).ok().map(|alert| Letter { alert, target }));
            }
        }
        letters
    }

    /// Until somebody took it, or it is with the dead letters.
    pub(super) async fn deliver(self, letter: Letter) {
        let Letter { alert, target } = letter;
        let Some((name, target)) = self.targets.get(target) else { return };
        let retry = Retry { waits: self.waits.clone(), dead_letters: self.folder.join("dead").join(name) };
        let delivered = match target {
            Target::Webhook(webhook) => webhook.deliver(&alert, &retry, || super::now_ms() / 1_000).await,
            Target::Mail { sender, to, carrier } => deliver_mail(&alert, sender, to, carrier, &retry).await,
        };
        match delivered {
            Ok(Delivered::Taken { .. }) => {}
            Ok(Delivered::Dead { attempts, why }) => {
                tracing::warn!(
                    id = alert.id,
                    to = name,
                    attempts,
                    why,
                    "nobody took an alert; it is with the dead letters"
                );
            }
            // It stays in `outgoing` for the next start.
            Err(error) => {
                return tracing::error!(
                    id = alert.id,
                    to = name,
                    error = super::super::chain(&error),
                    "an alert was not sent"
                );
            }
        }
        drop(std::fs::remove_file(self.way(name).join(format!("{}.json", alert.id))));
    }

    /// The first entry of the log that was not looked at.
    pub(super) fn mark(&self) -> Option<u64> {
        std::fs::read_to_string(self.folder.join("next-entry")).ok()?.trim().parse().ok()
    }

    pub(super) fn set_mark(&self, next: u64) {
        // Lost, it costs a repetition, which receivers know by its id.
        if let Err(error) = write_whole(&self.folder, "next-entry", next.to_string().as_bytes()) {
            tracing::warn!(%error, "the place in the log up to which alerts were sent could not be kept");
        }
    }
}

/// Under another name first: after a power cut the file is there whole or not at all.
fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let part = folder.join(format!(".{name}.part"));
    std::fs::write(&part, bytes)?;
    std::fs::File::open(&part)?.sync_all()?;
    std::fs::rename(&part, folder.join(name))
}

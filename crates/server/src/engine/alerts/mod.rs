//! Alerts to the people on duty: follows the durable log, says what of it is worth an alert (`worth`), not twice and not too often
//! (`limit`), and hands it to the webhook and the mail server (`desk`).
//!
//! An alert lies in the folder `outgoing` before the log is read on, and leaves it only when somebody took it or it is with the
//! dead letters; a receiver may get one twice after a crash, never not at all. What must stay out: notices to customers.

mod desk;
mod limit;
mod worth;

pub use desk::{AlertDesk, AlertDeskError, AlertsConfig, MailConfig, WebhookConfig};

use super::{Engine, now_ms};
use limit::Limit;
use staffel_core::ids::DeviceId;
use staffel_notice::alert::Alert;
use staffel_store::{Entry, ReadLog as _};
use std::time::Duration;
use tokio::task::JoinSet;
use worth::Worth;

/// Between two looks at the log.
const PAUSE: Duration = Duration::from_millis(500);
/// Entries read at once.
const PAGE: usize = 1_024;

impl Engine {
    /// Sends alerts until `stop` completes. What was on its way then goes out at the next start.
    pub async fn send_alerts(&self, desk: AlertDesk, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut sending = JoinSet::new();
        for left in desk.outgoing() {
            sending.spawn(desk.clone().deliver(left));
        }
        let mut limit = Limit::new(&desk.config);
        let mut worth = Worth::new(desk.config.language);
        // Without a mark this is the first start: what happened before is no news.
        let mut next = desk.mark().unwrap_or_else(|| self.0.log.head().unwrap_or(0));
        desk.set_mark(next);
        let mut unwritable = false;
        loop {
            let now = now_ms();
            let mut alerts: Vec<(Alert, Option<DeviceId>)> = Vec::new();
            let trouble = self.ready().err();
            if let (Some(why), false) = (&trouble, unwritable) {
                alerts.push((worth.unwritable(why, now), None));
            }
            unwritable = trouble.is_some();
            let entries = self.entries(next).await;
            let read_to = entries.last().map(|entry| entry.position + 1);
            let named = |device: &DeviceId, alert| self.alert_named(device, alert);
            alerts.extend(entries.iter().filter_map(|entry| worth.of(entry, &named)));
            let admits =
                |(alert, source): (Alert, Option<DeviceId>)| limit.admits(&alert, source, now).then_some(alert);
            let admitted = alerts.into_iter().filter_map(admits).collect::<Vec<_>>();
            for alert in admitted.into_iter().chain(limit.held_back(now).map(|count| worth.held_back(count, now))) {
                tracing::info!(id = alert.id, kind = alert.kind, "alert");
                for letter in desk.put(&alert) {
                    sending.spawn(desk.clone().deliver(letter));
                }
            }
            if let Some(read_to) = read_to {
                next = read_to;
                desk.set_mark(next);
            }
            while sending.try_join_next().is_some() {}
            let pause = if entries.len() == PAGE { Duration::ZERO } else { PAUSE };
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn entries(&self, from: u64) -> Vec<Entry> {
        let engine = self.clone();
        let read = tokio::task::spawn_blocking(move || engine.0.log.read(from, PAGE)).await;
        match read {
            Ok(Ok(entries)) => entries,
            Ok(Err(error)) => {
                tracing::warn!(error = super::chain(&error), "alerts wait: the log can't be read");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }
}

//! Proving that this device is well, when the server asks for it: the guard's word on what runs, and every health probe of
//! it, run now. Must stay out: what follows from it (the server's recovery cases).

use super::{
    agent::Agent,
    work::{Done, Work},
};
use crate::{chain, guard_client::GuardError, probe};
use staffel_core::{boot::Mode, recovery::Health};
use staffel_trust::{
    statement::{
        guard::{Command, Reply, Status},
        predicate::{Probe, Release},
    },
    wire::Probed,
};

/// Lines that are sent of what failed.
const LINES: usize = 16;

impl Agent {
    /// Measures for a question that was not answered yet.
    pub(super) fn measure(&mut self, nonce: Option<String>) {
        let Some(nonce) = nonce else {
            self.probed = None;
            return;
        };
        if self.probed.as_ref().is_some_and(|probed| probed.nonce == nonce) {
            return;
        }
        let running: Vec<_> = self.state.running.values().copied().collect();
        let known = running.iter().filter_map(|release| self.judge.contents(release)).collect();
        self.work.measure(nonce, known);
    }
}

impl Work {
    fn measure(&self, nonce: String, releases: Vec<Release>) {
        let work = self.clone();
        tokio::spawn(async move {
            let _turn = work.one_at_a_time.lock().await;
            let health = match work.guard.status().await {
                Ok(status) => work.health(&status, &releases).await,
                Err(error) => Err(error),
            };
            // Without the guard nothing is known, and nothing is not well.
            let health = health.unwrap_or_else(|error| Health {
                generation: None,
                committed: false,
                failures: vec![format!("the guard: {}", chain(&error))],
                checked: 0,
                debts: Vec::new(),
            });
            // Sending fails only when the loop is gone, and then nobody is interested.
            let _ = work.done.send(Done::Measured { probed: Probed { nonce, health } });
        });
    }

    async fn health(&self, status: &Status, releases: &[Release]) -> Result<Health, GuardError> {
        let (mut failures, mut checked) = (Vec::new(), 0);
        for service in &status.services {
            checked += 1;
            // What a remedy disabled is protection that is off, not a service that fails.
            if !service.running && !status.disabled.contains_key(&service.name) {
                let last = service.last_exit.as_deref().unwrap_or("it was not started yet");
                failures.push(format!("service {} is not running: {last}", service.name));
            }
        }
        if status.mode == Mode::Normal {
            for release in releases {
                for asked in &release.probes {
                    let Probe::Http { port, path, status, timeout_ms } = asked else { continue };
                    checked += 1;
                    if let Err(error) = probe::http(*port, path, *status, *timeout_ms).await {
                        failures.push(format!("{}: {}", release.name, chain(&error)));
                    }
                }
                let commands = release.probes.iter().filter(|asked| matches!(asked, Probe::Command { .. })).count();
                checked += commands as u32;
            }
            // All that the guard knows, also those of releases whose statement is not kept here.
            match self.guard.ask(&Command::Probe).await? {
                Reply::Probed { failures: failed } => failures.extend(failed),
                Reply::Failed { why } => failures.push(why),
                other => return Err(GuardError::Unexpected(format!("{other:?}"))),
            }
        }
        failures.truncate(LINES);
        let selected = status.selected.as_ref();
        Ok(Health {
            generation: selected.map(|generation| generation.id),
            committed: status.trial.is_none() && selected == Some(&status.last_known_good),
            failures,
            checked,
            debts: status.disabled.iter().map(|(name, why)| format!("service {name} is disabled: {why}")).collect(),
        })
    }
}

//! What people ask for: rollouts, tokens, policies. Every word is logged with who said it.

use super::{Engine, EngineError, device::check_name, digest_of, now_ms, record::Record};
use crate::api::{
    Caller, FleetShape, NextRollout, RolloutView, StartRollout, TenantKeys, TenantView, Token, TokenRequest, Word,
};
use staffel_core::{
    conditions::{AUTHORISATION_LIFETIME_MS, Authorisation, RELEASERS, WAIVED_BUDGET},
    fleet::Fleet,
    profile::Profile,
    release::Kind,
    rollout::ByHand,
};
use staffel_store::{ReadLog as _, root};
use staffel_trust::statement::{
    Envelope,
    predicate::{Gate, Halt, Headed, Release, StatementError, TenantPolicy, read, verify},
};

const MAX_TOKEN_HOURS: u64 = 24 * 90;

pub(super) fn bad(what: &str, error: &StatementError, hint: &str) -> EngineError {
    EngineError::Refused { why: format!("{what} does not hold: {error}"), hint: hint.into() }
}

pub(super) fn refused(why: impl Into<String>, hint: &str) -> EngineError {
    EngineError::Refused { why: why.into(), hint: hint.into() }
}

/// The fleet in numbers. Looks at every device.
fn shape(fleet: &Fleet) -> FleetShape {
    let mut shape = FleetShape {
        customers: vec![0; fleet.tenants.len()],
        os_builds: vec![0; fleet.os_builds.len()],
        hardware_models: vec![0; fleet.hardware_models.len()],
        ..FleetShape::default()
    };
    let mut sites = vec![false; fleet.sites.len()];
    for device in fleet.devices.iter().filter(|device| !device.retired) {
        let site = &fleet.sites[device.site as usize];
        shape.devices += 1;
        shape.sites += u64::from(!std::mem::replace(&mut sites[device.site as usize], true));
        shape.customers[site.tenant as usize] += 1;
        shape.os_builds[device.os_build as usize] += 1;
        shape.hardware_models[device.hardware_model as usize] += 1;
    }
    for list in [&mut shape.customers, &mut shape.os_builds, &mut shape.hardware_models] {
        list.retain(|devices| *devices > 0);
    }
    shape
}

impl Engine {
    /// What the releasers sign into the next authorisation. How large other customers are is nothing for a customer.
    pub fn next_rollout(&self, who: &Caller) -> Result<NextRollout, EngineError> {
        let rollout = self.state().rollouts.keys().next_back().map_or(1, |last| last + 1);
        let size = self.0.log.head().map_err(|e| EngineError::Internal { why: super::chain(&e) })?;
        let log_root = root(&self.0.log, size).map_err(|e| EngineError::Internal { why: super::chain(&e) })?;
        let fleet = if who.tenant.is_none() { shape(&self.state().fleet) } else { FleetShape::default() };
        Ok(NextRollout { rollout, log_root: staffel_core::ids::Digest(log_root), now_ms: now_ms(), fleet })
    }

    /// Starts a rollout if release, gate and authorisation hold: the same checks that devices will make.
    pub async fn start_rollout(&self, who: &Caller, start: StartRollout) -> Result<RolloutView, EngineError> {
        let keys = &self.0.keyring;
        let (release, digest, _) =
            verify::<Release>(&start.release, "release", &keys.release.keys, keys.release.threshold)
                .map_err(|e| bad("the release", &e, "build it with `staffel release`"))?;
        let (role, waived) = keys.gate_role(&start.gate);
        let (name, need) = if waived { ("releasers", RELEASERS) } else { ("gate", release.kind.gate_threshold()) };
        let (gate, _, signers) = verify::<Gate>(&start.gate, name, &role.keys, need.max(role.threshold))
            .map_err(|e| bad("the gate attestation", &e, "run `staffel gate`"))?;
        let passed = waived || (gate.attestation.passed && gate.result == "PASSED");
        if gate.attestation.release != digest || !passed {
            return Err(refused(
                format!("the gate ({signers} keys) did not pass this release"),
                "read the gate's report and mend the release",
            ));
        }
        let releasers = RELEASERS.max(keys.releasers.threshold);
        let (headed, _, _) =
            verify::<Headed<Authorisation>>(&start.authorisation, "releasers", &keys.releasers.keys, releasers)
                .map_err(|e| bad("the authorisation", &e, "two releasers have to sign it"))?;
        let authorisation = headed.body;
        if authorisation.release != digest {
            return Err(refused("the authorisation is for another release", "sign one for this release"));
        }
        if waived && (release.kind == Kind::Guard || authorisation.exposure_budget.is_none_or(|n| n > WAIVED_BUDGET)) {
            return Err(refused(
                format!("its gate is waived: at most {WAIVED_BUDGET} may be exposed, and never to Staffel's own parts"),
                "authorise it with `--budget`, or run the gate",
            ));
        }
        let now = now_ms();
        let lifetime = authorisation.not_after_ms.saturating_sub(authorisation.start_ms);
        if lifetime > AUTHORISATION_LIFETIME_MS || authorisation.not_after_ms <= now {
            return Err(refused("the authorisation is over, or lives longer than 14 days", "sign a new one"));
        }
        let id = authorisation.rollout;
        let (pending, halts) = {
            let mut state = self.state();
            let next = state.rollouts.keys().next_back().map_or(1, |last| last + 1);
            if id != next {
                return Err(EngineError::Conflict {
                    why: format!("the authorisation is for rollout {id}, the next one is {next}"),
                    hint: "ask for the next rollout again and sign that".into(),
                });
            }
            for running in state.rollouts.values() {
                if running.rollout.release.digest == digest && super::State::is_denied(running).is_some() {
                    return Err(refused(
                        "this release was halted and must not run",
                        "release a new version; un-halting takes two releasers",
                    ));
                }
                if running.ended_ms.is_none()
                    && running.contents.name == release.name
                    && authorisation.supersedes != Some(running.rollout.id)
                {
                    return Err(EngineError::Conflict {
                        why: format!("rollout {} of {} is still going on", running.rollout.id, release.name),
                        hint: "halt it, or name it in `--supersedes`".into(),
                    });
                }
            }
            let mut records = Vec::new();
            if let Some(old) = authorisation.supersedes
                && let Some(running) = state.rollouts.get(&old)
            {
                let events = running.rollout.by_hand(ByHand::Supersede { by: id });
                records.extend(events.into_iter().map(|event| Record::Rollout { rollout: old, event }));
            }
            records.push(Record::RolloutStarted {
                rollout: id,
                release: start.release,
                gate: start.gate,
                authorisation: start.authorisation,
                profile: Profile::named(authorisation.profile),
                by: who.name.clone(),
            });
            (self.commit(&mut state, &records, now)?, records.len())
        };
        self.durable(pending).await?;
        tracing::info!(rollout = id, by = who.name, replaced = halts > 1, "rollout started");
        self.drive(now, now).await;
        self.rollout(who, id)
    }

    /// Nobody new gets a permit until somebody resumes.
    pub async fn hold(&self, who: &Caller, id: u64, word: Word) -> Result<RolloutView, EngineError> {
        self.by_hand(who, id, ByHand::Hold { who: who.name.clone(), why: said(&word.why) }, None).await
    }

    /// Goes on; excuses the silence that held it.
    pub async fn resume(&self, who: &Caller, id: u64, _word: Word) -> Result<RolloutView, EngineError> {
        self.by_hand(who, id, ByHand::Resume { who: who.name.clone() }, None).await
    }

    /// Stops it for good.
    pub async fn halt(&self, who: &Caller, id: u64, word: Word) -> Result<RolloutView, EngineError> {
        let why = said(&word.why);
        if let Some(halt) = &word.halt {
            let mut keys = self.0.keyring.operators.keys.clone();
            keys.extend(&self.0.keyring.online.keys);
            let (halt, _, _) = verify::<Headed<Halt>>(halt, "operators", &keys, 1)
                .map_err(|e| bad("the halt", &e, "an operator's key has to sign it"))?;
            let known = self.state().rollouts.get(&id).map(|r| r.rollout.release.digest);
            if known != Some(halt.body.release) {
                return Err(refused("the halt is for another release", "sign one for this rollout's release"));
            }
        }
        self.by_hand(who, id, ByHand::Halt { who: who.name.clone(), why }, word.halt).await
    }

    async fn by_hand(
        &self,
        who: &Caller,
        id: u64,
        word: ByHand,
        halt: Option<Envelope>,
    ) -> Result<RolloutView, EngineError> {
        let now = now_ms();
        let pending = {
            let mut state = self.state();
            let running =
                state.rollouts.get(&id).ok_or_else(|| EngineError::NotFound { what: format!("rollout {id}") })?;
            let events = running.rollout.by_hand(word);
            if events.is_empty() {
                return Err(EngineError::Conflict {
                    why: format!("rollout {id} is {}: that is not possible any more", super::view::state_word(running)),
                    hint: format!("see `staffel rollout why {id}`"),
                });
            }
            let mut records: Vec<_> = events.into_iter().map(|event| Record::Rollout { rollout: id, event }).collect();
            if let Some(halt) = halt {
                records.push(Record::HaltSigned { halt, by: who.name.clone() });
            }
            self.commit(&mut state, &records, now)?
        };
        self.durable(pending).await?;
        self.drive(now, now).await;
        self.rollout(who, id)
    }

    /// Takes a customer's policy. Signed by the customer; its devices check that again, with the key that they pinned.
    pub async fn put_policy(&self, who: &Caller, tenant: &str, policy: Envelope) -> Result<TenantView, EngineError> {
        let hint = "sign it with `staffel tenant policy`";
        let payload = policy.payload().map_err(|e| bad("the policy", &e.into(), hint))?;
        let headed: Headed<TenantPolicy> = read(&payload).map_err(|e| bad("the policy", &e, hint))?;
        may_touch(who, tenant)?;
        if headed.body.tenant != tenant {
            return Err(refused(format!("the policy is for the customer {:?}", headed.body.tenant), hint));
        }
        let now = now_ms();
        if now > headed.header.expires_ms {
            return Err(refused("the policy is over already", hint));
        }
        let pilots = headed.body.policy.rings.iter().flatten().count() as u64;
        let pending = {
            let mut state = self.state();
            if let Some(keys) = state.tenant_keys.get(tenant) {
                verify::<Headed<TenantPolicy>>(&policy, "customer", keys, 1).map_err(|e| {
                    bad("the policy", &e, "sign it with the customer's key; `staffel tenant show` names it")
                })?;
            }
            let devices =
                state.fleet.find_tenant(tenant).map_or(0, |t| u64::from(state.fleet.tenants[t as usize].devices));
            if pilots > (devices / 20).max(1) {
                return Err(refused(
                    format!("the policy names {pilots} pilots for {devices} devices"),
                    "pilots are at most 5 % of a customer's devices; one is always allowed",
                ));
            }
            let seen = state.fleet.find_tenant(tenant).map_or(0, |t| state.fleet.tenants[t as usize].policy_sequence);
            if headed.body.sequence <= seen {
                return Err(EngineError::Conflict {
                    why: format!("the policy has the sequence {}, {seen} is in force", headed.body.sequence),
                    hint: "sign it with a higher sequence".into(),
                });
            }
            // A jump to the end of the numbers would be the last policy that this customer could ever set.
            if headed.body.sequence > seen + 1_000 {
                return Err(refused(
                    format!("the policy has the sequence {}, {seen} is in force", headed.body.sequence),
                    "sign it with the next sequence",
                ));
            }
            let record = Record::PolicySet { tenant: tenant.into(), policy, by: who.name.clone() };
            self.commit(&mut state, &[record], now)?
        };
        self.durable(pending).await?;
        let tenants = self.tenants(who);
        tenants.into_iter().find(|t| t.tenant == tenant).ok_or(EngineError::NotFound { what: tenant.into() })
    }

    /// Registers the keys with which a customer signs, so that its policies are verified here as well as on its devices.
    pub async fn tenant_keys(&self, who: &Caller, tenant: &str, word: TenantKeys) -> Result<TenantView, EngineError> {
        may_touch(who, tenant)?;
        check_name(tenant)?;
        if word.keys.is_empty() || word.keys.len() > 16 {
            return Err(refused("a customer has 1 to 16 keys", "name the keys that its devices have pinned"));
        }
        let pending = {
            let mut state = self.state();
            let record = Record::TenantKeysSet { tenant: tenant.into(), keys: word.keys, by: who.name.clone() };
            self.commit(&mut state, &[record], now_ms())?
        };
        self.durable(pending).await?;
        let tenants = self.tenants(who);
        tenants.into_iter().find(|t| t.tenant == tenant).ok_or(EngineError::NotFound { what: tenant.into() })
    }

    /// Makes a one-time token; only its hash is kept.
    pub async fn token(&self, who: &Caller, request: TokenRequest) -> Result<Token, EngineError> {
        may_touch(who, &request.tenant)?;
        check_name(&request.tenant)?;
        check_name(&request.site)?;
        let hours = request.hours.unwrap_or(24).clamp(1, MAX_TOKEN_HOURS);
        let mut secret = [0; 20];
        getrandom::fill(&mut secret).map_err(|e| EngineError::Internal { why: format!("no randomness: {e}") })?;
        let token = hex::encode(secret);
        let now = now_ms();
        let expires_ms = now + hours * 3_600_000;
        let record = Record::TokenIssued {
            token: digest_of(&token),
            tenant: request.tenant,
            site: request.site,
            expires_ms,
            by: who.name.clone(),
        };
        let pending = {
            let mut state = self.state();
            self.commit(&mut state, &[record], now)?
        };
        self.durable(pending).await?;
        Ok(Token { token, expires_ms })
    }
}

pub(super) fn said(why: &str) -> String {
    let why: String = why.chars().take(500).collect();
    if why.trim().is_empty() { "no reason given".into() } else { why }
}

fn may_touch(who: &Caller, tenant: &str) -> Result<(), EngineError> {
    match &who.tenant {
        Some(own) if own != tenant => {
            Err(EngineError::Forbidden { why: format!("{} belongs to another customer", who.name) })
        }
        _ => Ok(()),
    }
}

//! Keys whose certificate has expired: the decision of `core`, written down before a certificate is signed. What must stay out:
//! proofs and nonces (the edge checks them), certificates.

use super::{Engine, EngineError, now_ms, record::Record, state::State};
use staffel_core::{
    fleet::DeviceIndex,
    identity::{Nonce, Refusal, Standing, may_recover},
    ids::DeviceId,
};

/// What became of a device's last attempt to get a certificate with an expired one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// None: it got one.
    pub refused: Option<Refusal>,
}

impl State {
    pub(super) fn certificate_asked(&mut self, device: &DeviceId, refused: Option<Refusal>, at_ms: u64) {
        if let Some(index) = self.fleet.find(device) {
            self.attempts.insert(index, Attempt { at_ms, refused });
        }
    }

    fn standing(&self, index: DeviceIndex) -> Standing {
        let row = self.fleet.device(index);
        Standing { retired: row.retired, cloned: row.cloned }
    }
}

impl Engine {
    /// True if a device was ever enrolled with this key.
    pub fn was_enrolled(&self, device: &DeviceId) -> bool {
        self.state().fleet.find(device).is_some()
    }

    /// Whether the holder of this key, who has signed this nonce, gets a certificate; then its customer and site. What is
    /// decided about a device of the fleet is durable on return. Strangers leave no entry: the log is not theirs to fill.
    pub async fn recover_certificate(
        &self,
        device: DeviceId,
        nonce: Nonce,
    ) -> Result<Result<(String, String), Refusal>, EngineError> {
        let now = now_ms();
        let (answer, pending) = {
            let mut state = self.state();
            let index = state.fleet.find(&device);
            let decided = may_recover(nonce, index.map(|index| state.standing(index)));
            let Some(index) = index else {
                let refusal = decided.err().unwrap_or(Refusal::Unknown);
                tracing::warn!(%device, %refusal, "a stranger asked for a certificate");
                return Ok(Err(refusal));
            };
            let record = match decided {
                Ok(()) => Record::CertificateRecovered { device },
                Err(refusal) => Record::CertificateRefused { device, refusal },
            };
            let site = &state.fleet.sites[state.fleet.device(index).site as usize];
            let place = (state.fleet.tenant_of(index).name.clone(), site.name.clone());
            (decided.map(|()| place), self.commit(&mut state, &[record], now)?)
        };
        self.durable(pending).await?;
        match &answer {
            Ok(_) => tracing::info!(%device, "a new certificate in place of an expired one"),
            Err(refusal) => tracing::warn!(%device, %refusal, "no new certificate"),
        }
        Ok(answer)
    }
}

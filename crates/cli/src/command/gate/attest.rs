//! The gate's word on a release, signed and published; or two releasers' word that it may pass without. What must stay out:
//! whether it deserves it.

use crate::{
    client::{Connect, keys::signing_key},
    command::{
        release::{self, Built},
        repo,
    },
    layout::{GATE, Layout, RELEASERS, write},
};
use anyhow::{Context as _, Result};
use staffel_core::{conditions::GateAttestation, ids::Digest};
use staffel_statement::{
    SigningKey,
    predicate::{Descriptor, Gate, Header, sign},
};
use staffel_trust::{tuf::writer::Source, wire::gate_target};

/// Attests that these checks passed with all that was used, for these guards.
pub fn attest(
    layout: &Layout,
    built: &Built,
    guards: Vec<Digest>,
    used: &[(String, Digest)],
    checks: Vec<String>,
) -> Result<()> {
    let attestation = GateAttestation {
        release: built.digest,
        passed: true,
        consumers: guards,
        checks: checks.clone(),
        waived: None,
        signers: 0,
    };
    let keys = GATE.iter().map(|name| layout.signing_key(name)).collect::<Result<Vec<_>>>()?;
    publish(layout, built, statement("PASSED", used, checks, attestation), &keys)
}

/// Lets a release pass without the gate, by these releasers' keys.
pub fn waive(layout: &Layout, built: &Built, why: &str, releasers: &[String]) -> Result<()> {
    let attestation = GateAttestation {
        release: built.digest,
        passed: false,
        consumers: Vec::new(),
        checks: Vec::new(),
        waived: Some(why.into()),
        signers: 0,
    };
    let names = match releasers {
        [] => RELEASERS[..2].iter().map(ToString::to_string).collect(),
        given => given.to_vec(),
    };
    let connect = Connect { dir: Some(layout.root.clone()), ..Connect::default() };
    let keys = names.iter().map(|name| signing_key(&connect, name)).collect::<Result<Vec<_>>>()?;
    publish(layout, built, statement("WAIVED", &[], Vec::new(), attestation), &keys)
}

fn statement(result: &str, used: &[(String, Digest)], passed: Vec<String>, attestation: GateAttestation) -> Gate {
    let descriptor = |(name, digest): &(String, Digest)| Descriptor {
        name: name.clone(),
        digest: [("sha256".to_string(), digest.to_string())].into(),
    };
    Gate {
        result: result.into(),
        configuration: used.iter().map(descriptor).collect(),
        passed_tests: passed,
        failed_tests: Vec::new(),
        header: Header { issued_ms: repo::now_ms(), expires_ms: u64::MAX, ..Header::default() },
        attestation,
    }
}

fn publish(layout: &Layout, built: &Built, gate: Gate, keys: &[SigningKey]) -> Result<()> {
    let bytes = serde_json::to_vec(&sign(&gate, &keys.iter().collect::<Vec<_>>()))?;
    write(&release::gate_file(layout, &built.release.name, &built.release.version), &bytes)?;
    let mut repository = repo::open(layout)?;
    repository.add_target(&gate_target(&built.digest), Source::Bytes(&bytes), None).context("add the attestation")?;
    repository.publish(repo::now_ms()).context("publish the repository")?;
    Ok(())
}

//! Who signs what. [`Offline`] is the people before the theft: releases, gate, authorisations. [`Thief`] is whoever has
//! everything from the server's machine, the online key first of all. Must stay out: what is refused, and why.

use staffel_cli::{Layout, lab::Lab};
use staffel_core::{
    conditions::{Authorisation, Frontier, GateAttestation, Permit, Reach, Unit},
    evidence::Arm,
    ids::{DeviceId, Digest, Position, Share},
    policy::CustomerPolicy,
    profile::{CeilingStep, Profile, ProfileName},
    release::{Kind, StateCompatibility},
};
use staffel_statement::{
    Envelope, SigningKey,
    predicate::{File, Gate, Headed, Header, Predicate, Probe, Release, Service, sign},
};
use staffel_trust::{
    keyfile::KeyPair,
    tuf::writer::{Lifetimes, Repository, Source},
    wire::{Offer, gate_target, release_target},
};
use std::path::Path;

pub const MINUTE_MS: u64 = 60_000;
pub const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

/// A body that holds from `issued_ms` for an hour.
pub fn headed<T>(body: T, issued_ms: u64) -> Headed<T> {
    Headed { header: Header { issued_ms, expires_ms: issued_ms + 60 * MINUTE_MS, ..Header::default() }, body }
}

/// A released release with its one file.
#[derive(Clone)]
pub struct Shipment {
    pub name: String,
    pub version: String,
    pub digest: Digest,
    pub release: Envelope,
    pub gate: Option<Envelope>,
    pub file: Vec<u8>,
}

/// What the gate says of a shipment.
#[derive(Clone, Copy)]
pub enum Gated {
    Passed,
    Never,
    /// Signed by keys that nobody knows.
    Foreign,
    /// Ran with another guard.
    OtherConsumer,
}

/// The keys that are not on the server's machine.
pub struct Offline {
    layout: Layout,
    consumer: Digest,
    repository: Repository,
}

impl Offline {
    pub fn new(lab: &Lab) -> Self {
        let layout = lab.layout.clone();
        let guard = std::fs::read(lab.folder.join("bin/guard-ctl")).expect("the guard's program");
        let files = std::fs::read_dir(layout.root.join("keys")).expect("the folder of keys");
        let paths = files.map(|file| file.expect("a file").path());
        let keys = paths.filter(|path| path.extension().is_some_and(|e| e == "key"));
        let keys = keys.map(|path| KeyPair::load(&path).expect("a key")).collect();
        let repository =
            Repository::open(&layout.repo_dir(), keys, Lifetimes::default()).expect("the repository opens");
        Offline { layout, consumer: Digest::of(&guard), repository }
    }

    fn keys(&self, names: [&str; 2]) -> [SigningKey; 2] {
        names.map(|name| self.layout.signing_key(name).expect("a key"))
    }

    /// A component with a service that does nothing but live.
    pub fn component(&mut self, name: &str, version: u64, gated: Gated) -> Shipment {
        let program = format!("#!/bin/sh\n# version {version}\nwhile :; do sleep 1; done\n");
        let service =
            Service { exec: vec!["./bin/run".into()], environment: Default::default(), stop_timeout_ms: 1_000 };
        self.ship(name, version, Kind::Component, Some(service), program.into_bytes(), gated)
    }

    /// A file.
    pub fn content(&mut self, name: &str, gated: Gated) -> Shipment {
        self.ship(name, 1, Kind::Content, None, format!("content of {name}\n").into_bytes(), gated)
    }

    fn ship(
        &mut self,
        name: &str,
        sequence: u64,
        kind: Kind,
        service: Option<Service>,
        file: Vec<u8>,
        gated: Gated,
    ) -> Shipment {
        let version = sequence.to_string();
        let sha256 = Digest::of(&file);
        let release = Release {
            name: name.into(),
            version: version.clone(),
            sequence,
            kind,
            security_floor: 0,
            state: StateCompatibility::None,
            files: vec![File { path: "bin/run".into(), sha256, size: file.len() as u64, executable: true }],
            probes: service.iter().map(|_| Probe::Process).collect(),
            service,
            supplier: String::new(),
        };
        let release = sign(&release, &[&self.layout.signing_key("release-1").expect("the release key")]);
        let digest = release.digest().expect("a payload");
        let gate = self.gate(digest, gated);
        let hex = sha256.to_string();
        let blobs = self.layout.repo_dir().join("blobs").join(&hex[..2]);
        std::fs::create_dir_all(&blobs).expect("a folder");
        std::fs::write(blobs.join(&hex), &file).expect("written");
        self.target(&release_target(name, &version), &release);
        if let Some(gate) = &gate {
            self.target(&gate_target(&digest), gate);
        }
        Shipment { name: name.into(), version, digest, release, gate, file }
    }

    fn gate(&self, release: Digest, gated: Gated) -> Option<Envelope> {
        let consumer = match gated {
            Gated::Never => return None,
            Gated::OtherConsumer => Digest::of(b"another guard"),
            Gated::Passed | Gated::Foreign => self.consumer,
        };
        let attestation = GateAttestation {
            release,
            passed: true,
            consumers: vec![consumer],
            checks: Vec::new(),
            waived: None,
            signers: 0,
        };
        let gate = Gate {
            result: "PASSED".into(),
            configuration: Vec::new(),
            passed_tests: Vec::new(),
            failed_tests: Vec::new(),
            header: Header { issued_ms: 0, expires_ms: u64::MAX, ..Header::default() },
            attestation,
        };
        let keys = match gated {
            Gated::Foreign => [1, 2].map(|n| SigningKey::from_seed(&[n; 32])),
            _ => self.keys(["gate-1", "gate-2"]),
        };
        Some(sign(&gate, &[&keys[0], &keys[1]]))
    }

    fn target(&mut self, path: &str, envelope: &Envelope) {
        let bytes = serde_json::to_vec(envelope).expect("JSON");
        self.repository.add_target(path, Source::Bytes(&bytes), None).expect("a target");
    }

    /// Puts everything that was shipped into the repository's metadata.
    pub fn publish(&mut self) {
        self.repository.publish(super::now_ms()).expect("published");
    }

    /// Two releasers' word.
    pub fn authorise(&self, terms: &Terms) -> Envelope {
        let keys = self.keys(["releaser-1", "releaser-2"]);
        sign(&terms.statement(), &[&keys[0], &keys[1]])
    }
}

/// The terms of an authorisation.
#[derive(Clone, Debug)]
pub struct Terms {
    pub rollout: u64,
    pub release: Digest,
    pub log_root: Digest,
    pub start_ms: u64,
    pub not_after_ms: u64,
    pub profile: ProfileName,
    pub ceiling: Vec<CeilingStep>,
}

impl Terms {
    /// Since a minute ago, everybody at once.
    pub fn open(rollout: u64, release: Digest) -> Terms {
        let start_ms = super::now_ms() - MINUTE_MS;
        Terms {
            rollout,
            release,
            log_root: Digest::of(b"log"),
            start_ms,
            not_after_ms: start_ms + 14 * DAY_MS,
            profile: ProfileName::Demo,
            ceiling: vec![CeilingStep { age_ms: 0, share: Share::ALL }],
        }
    }

    /// With the ceiling of the standard profile, and a log in which this device stands in the second half.
    pub fn standard(mut self, device: DeviceId) -> Terms {
        self.profile = ProfileName::Standard;
        self.ceiling = Profile::named(self.profile).ceiling;
        let roots = (0_u32..).map(|n| Digest::of(&n.to_be_bytes()));
        let late = |root: &Digest| Position::of(root, &self.release, &device.0).share() > Share::percent(50);
        self.log_root = roots.into_iter().find(late).expect("half of them are");
        self
    }

    /// From then on, for as long as an authorisation may live.
    pub fn starting(mut self, start_ms: u64) -> Terms {
        (self.start_ms, self.not_after_ms) = (start_ms, start_ms + 14 * DAY_MS);
        self
    }

    pub fn statement(&self) -> Headed<Authorisation> {
        let body = Authorisation {
            rollout: self.rollout,
            release: self.release,
            log_root: self.log_root,
            unit: Unit::Device,
            profile: self.profile,
            start_ms: self.start_ms,
            not_after_ms: self.not_after_ms,
            ceiling: self.ceiling.clone(),
            exposure_budget: None,
            supersedes: None,
            signers: 0,
        };
        let header = Header { issued_ms: self.start_ms, expires_ms: self.not_after_ms, ..Header::default() };
        Headed { header, body }
    }
}

/// Who has the server's machine.
pub struct Thief {
    online: SigningKey,
}

impl Thief {
    pub fn new(layout: &Layout) -> Self {
        Thief { online: layout.signing_key("online-1").expect("the online key") }
    }

    /// Whatever the online key can be put under.
    pub fn sign<T>(&self, body: T, issued_ms: u64) -> Envelope
    where
        Headed<T>: Predicate,
    {
        sign(&headed(body, issued_ms), &[&self.online])
    }

    /// A frontier that reaches everybody, or nobody.
    pub fn frontier(&self, rollout: u64, release: Digest, sequence: u64, everybody: bool, issued_ms: u64) -> Envelope {
        let to = everybody.then_some(Position::END);
        let reach = Reach {
            ring: CustomerPolicy::default().ring("no pilot"),
            stratum: super::STRATUM.into(),
            eligible_to: to,
            candidate_to: to,
        };
        let body = Frontier {
            rollout,
            release,
            sequence,
            halted: false,
            completed: false,
            issued_ms,
            expires_ms: issued_ms + 60 * MINUTE_MS,
            reach: vec![reach],
        };
        self.sign(body, issued_ms)
    }

    /// A permit that lacks nothing.
    pub fn permit(&self, rollout: u64, release: Digest, device: DeviceId, nonce: &str, issued_ms: u64) -> Envelope {
        let body = Permit {
            rollout,
            release,
            device,
            arm: Arm::Treated,
            frontier_sequence: 1,
            nonce: nonce.into(),
            issued_ms,
            expires_ms: issued_ms + MINUTE_MS,
        };
        self.sign(body, issued_ms)
    }
}

/// An offer on a board.
pub fn offer(rollout: u64, shipment: &Shipment, authorisation: &Envelope, frontier: Envelope) -> Offer {
    Offer {
        rollout,
        name: shipment.name.clone(),
        version: shipment.version.clone(),
        release: shipment.digest,
        soak_ms: 1_000,
        authorisation: authorisation.clone(),
        frontier: Some(frontier),
    }
}

/// Puts a shipment's file where the guard takes files from, as a lying agent would.
pub fn into_spool(guard: &Path, shipment: &Shipment) {
    let path = guard.join("spool").join(Digest::of(&shipment.file).to_string());
    std::fs::write(path, &shipment.file).expect("written into the spool");
}

//! What stands in the log: the closed set of records, as JSON. Old kinds stay readable for good; a new meaning gets a new
//! kind. Must stay out: heartbeats, and personal data outside of records that can be erased on their own (contacts, the free words of
//! a note or a call, the fields of events); people appear by account name.

use super::{detections::KeptEvidence, recovery::Place};
use serde::{Deserialize, Serialize};
use staffel_core::{
    boot::traces::Start,
    conditions::{Reach, Refusal},
    detection::{Acknowledgement, Found},
    evidence::Arm,
    foreign::{Component, Suspect},
    identity,
    ids::{DeviceId, Digest},
    profile::Profile,
    recovery, rollout,
};
use staffel_store::{Entry, NewEntry};
use staffel_trust::{
    statement::{Envelope, PublicKey},
    wire::Attributes,
};
use std::collections::BTreeMap;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Record {
    ServerStarted {
        version: String,
        /// From when to when nobody looked, Unix milliseconds.
        from_ms: u64,
        to_ms: u64,
    },
    TokenIssued {
        /// SHA-256 of the token.
        token: Digest,
        tenant: String,
        site: String,
        expires_ms: u64,
        by: String,
    },
    DeviceEnrolled {
        device: DeviceId,
        name: String,
        tenant: String,
        site: String,
        attributes: Attributes,
        token: Digest,
    },
    DeviceChanged {
        device: DeviceId,
        running: BTreeMap<String, Digest>,
        /// Why it is in safe mode; none: it is not.
        safe_mode: Option<String>,
        attributes: Option<Attributes>,
    },
    /// It refused something that was not the ordinary course: somebody lies to it, or something is broken.
    DeviceRefused {
        device: DeviceId,
        rollout: u64,
        refusals: Vec<Refusal>,
        problems: Vec<String>,
    },
    /// Its machine has started, and has found what an earlier start left behind.
    DeviceStarted {
        device: DeviceId,
        #[serde(flatten)]
        start: Start,
    },
    DeviceLeft {
        device: DeviceId,
        why: String,
    },
    /// A set of foreign software that no device had before.
    InventorySeen {
        digest: Digest,
        components: Vec<Component>,
    },
    /// A device has exactly this set from now on.
    DeviceInventory {
        device: DeviceId,
        inventory: Digest,
    },
    /// Chance does not explain why so many devices that got this are in trouble.
    ForeignSuspected {
        suspect: Suspect,
    },
    /// It is out of the fleet for good, and its key opens nothing any more.
    DeviceRetired {
        device: DeviceId,
        why: String,
        by: String,
    },
    /// Somebody has looked: there is one machine with this key.
    CloneCleared {
        device: DeviceId,
        why: String,
        by: String,
    },
    /// Two live boots on one key.
    DeviceCloned {
        device: DeviceId,
    },
    /// Its certificate had expired, and it has proven that it holds its key: it gets a new one.
    CertificateRecovered {
        device: DeviceId,
    },
    /// The same proof, and no certificate.
    CertificateRefused {
        device: DeviceId,
        #[serde(flatten)]
        refusal: identity::Refusal,
    },
    PolicySet {
        tenant: String,
        policy: Envelope,
        by: String,
    },
    RolloutStarted {
        rollout: u64,
        release: Envelope,
        gate: Envelope,
        authorisation: Envelope,
        /// The times as they are now: a later version of this program may have others.
        profile: Profile,
        by: String,
    },
    /// A decision or an observation of the rollout.
    Rollout {
        rollout: u64,
        #[serde(flatten)]
        event: rollout::Event,
    },
    /// Logged before the permit is signed.
    PermitGranted {
        rollout: u64,
        device: DeviceId,
        arm: Arm,
        nonce: String,
        frontier_sequence: u64,
        issued_ms: u64,
    },
    /// Logged before the frontier is signed.
    FrontierMoved {
        rollout: u64,
        sequence: u64,
        issued_ms: u64,
        expires_ms: u64,
        halted: bool,
        completed: bool,
        reach: Vec<Reach>,
    },
    /// An operator's own signed halt.
    HaltSigned {
        halt: Envelope,
        by: String,
    },
    /// A person was refused something.
    AccessRefused {
        /// The account; none if nobody was logged in or the name is unknown.
        who: Option<String>,
        what: String,
        why: String,
        /// Refusals before this one that were not recorded, because there were too many.
        left_out: u64,
    },
    /// An incident or one of its cases.
    Recovery {
        #[serde(flatten)]
        event: recovery::Event,
    },
    /// A notice to people, and what came of it.
    Notice {
        #[serde(flatten)]
        event: staffel_notice::Event,
    },
    /// A notice's addresses, one list for each recipient: personal, so a record of its own that can be erased.
    NoticeAddresses {
        notice: u64,
        addresses: Vec<Vec<staffel_notice::address::Address>>,
    },
    /// A customer, a site, its contacts, or a device that is expected there.
    Place {
        #[serde(flatten)]
        place: Place,
        by: String,
    },
    /// Two releasers took every halt of this rollout's release back: it may be released again, by a rollout of its own.
    UnhaltSigned {
        rollout: u64,
        unhalts: Vec<Envelope>,
        why: String,
        by: String,
    },
    /// The keys with which a customer signs its policy.
    TenantKeysSet {
        tenant: String,
        keys: Vec<PublicKey>,
        by: String,
    },
    /// A signed act of repair for one device.
    RemedySent {
        device: DeviceId,
        remedy: Envelope,
        by: String,
    },
    /// Personal data of an entry was taken out of the log: its place, time, kind and commitment stay, so the log still verifies.
    Erased {
        entry: u64,
        /// What it was, such as "the addresses of notice 3".
        what: String,
        why: String,
        by: String,
    },
    /// What became of it, in the words of the device's guard.
    RemedyDone {
        device: DeviceId,
        sequence: u64,
        done: bool,
        why: String,
    },
    /// Findings of a device's sensor, without the fields of the events.
    DetectionsFound {
        device: DeviceId,
        #[serde(flatten)]
        found: Found,
    },
    /// Fields of events that triggered rules: command lines and account names are personal, so a record of its own that can
    /// be erased.
    DetectionEvidence {
        device: DeviceId,
        evidence: Vec<KeptEvidence>,
    },
    /// A person has seen to an alert.
    DetectionAcknowledged {
        device: DeviceId,
        #[serde(flatten)]
        said: Acknowledgement,
    },
}

impl Record {
    /// The entry's kind in the log, for whoever looks with `sqlite3`.
    pub fn kind(&self) -> &'static str {
        match self {
            Record::ServerStarted { .. } => "server.started",
            Record::TokenIssued { .. } => "token.issued",
            Record::DeviceEnrolled { .. } => "device.enrolled",
            Record::DeviceChanged { .. } => "device.changed",
            Record::DeviceRefused { .. } => "device.refused",
            Record::DeviceStarted { .. } => "device.started",
            Record::DeviceLeft { .. } => "device.left",
            Record::InventorySeen { .. } => "inventory.seen",
            Record::DeviceInventory { .. } => "device.inventory",
            Record::ForeignSuspected { .. } => "foreign.suspected",
            Record::DeviceCloned { .. } => "device.cloned",
            Record::CertificateRecovered { .. } => "certificate.recovered",
            Record::CertificateRefused { .. } => "certificate.refused",
            Record::DeviceRetired { .. } => "device.retired",
            Record::CloneCleared { .. } => "device.clone-cleared",
            Record::PolicySet { .. } => "policy.set",
            Record::RolloutStarted { .. } => "rollout.started",
            Record::Rollout { event, .. } => match event {
                rollout::Event::WaveOpened { .. } => "rollout.wave-opened",
                rollout::Event::Permitted { .. } => "rollout.permitted",
                rollout::Event::OnTrial { .. } => "rollout.on-trial",
                rollout::Event::Confirmed { .. } => "rollout.confirmed",
                rollout::Event::Failed { .. } => "rollout.failed",
                rollout::Event::Withdrawn { .. } => "rollout.withdrawn",
                rollout::Event::CutOff { .. } => "rollout.cut-off",
                rollout::Event::Overdue { .. } => "rollout.overdue",
                rollout::Event::Departed { .. } => "rollout.departed",
                rollout::Event::Observed { .. } => "rollout.observed",
                rollout::Event::WaveResolved { .. } => "rollout.wave-resolved",
                rollout::Event::Held { .. } => "rollout.held",
                rollout::Event::Released { .. } => "rollout.released",
                rollout::Event::Fenced { .. } => "rollout.fenced",
                rollout::Event::Halted { .. } => "rollout.halted",
                rollout::Event::Completed => "rollout.completed",
                rollout::Event::ObservationGap { .. } => "rollout.observation-gap",
            },
            Record::PermitGranted { .. } => "permit.granted",
            Record::FrontierMoved { .. } => "frontier.moved",
            Record::HaltSigned { .. } => "halt.signed",
            Record::AccessRefused { .. } => "access.refused",
            Record::Recovery { event } => match event {
                recovery::Event::IncidentOpened { .. } => "recovery.incident-opened",
                recovery::Event::CasesOpened { .. } => "recovery.cases-opened",
                recovery::Event::Owned { .. } => "recovery.owned",
                recovery::Event::Said { .. } => "recovery.said",
                recovery::Event::Contacted { .. } => "recovery.contacted",
                recovery::Event::CallBack { .. } => "recovery.call-back",
                recovery::Event::Noted { .. } => "recovery.noted",
                recovery::Event::Heard { .. } => "recovery.heard",
                recovery::Event::FellSilent { .. } => "recovery.fell-silent",
                recovery::Event::DebtOpened { .. } => "recovery.debt-opened",
                recovery::Event::DebtLifted { .. } => "recovery.debt-lifted",
                recovery::Event::Verified { .. } => "recovery.verified",
                recovery::Event::Doubted { .. } => "recovery.doubted",
                recovery::Event::Reopened { .. } => "recovery.reopened",
                recovery::Event::Closed { .. } => "recovery.closed",
            },
            Record::Notice { event } => event.kind(),
            Record::NoticeAddresses { .. } => "notice.addresses",
            Record::Place { place, .. } => match place {
                Place::Customer { .. } => "place.customer",
                Place::Site { .. } => "place.site",
                Place::Contacts { .. } => "place.contacts",
                Place::Expected { .. } => "place.expected-device",
            },
            Record::UnhaltSigned { .. } => "halt.taken-back",
            Record::TenantKeysSet { .. } => "tenant.keys-set",
            Record::Erased { .. } => "entry.erased",
            Record::DetectionsFound { .. } => "detection.found",
            Record::DetectionEvidence { .. } => "detection.evidence",
            Record::DetectionAcknowledged { .. } => "detection.acknowledged",
            Record::RemedySent { .. } => "remedy.sent",
            Record::RemedyDone { .. } => "remedy.done",
        }
    }

    /// The entry to append.
    pub fn to_entry(&self, at_ms: u64) -> Result<NewEntry, String> {
        let payload = serde_json::to_vec(self).map_err(|e| format!("write a log record: {e}"))?;
        NewEntry::new(at_ms, self.kind(), payload).map_err(|e| format!("write a log record: {e}"))
    }

    /// Reads an entry. `None` if its payload was erased or it is of a kind that a later version added.
    pub fn of(entry: &Entry) -> Option<Record> {
        serde_json::from_slice(entry.payload()?).ok()
    }
}

//! The catalogue of the Linux sensor. Names are those of the Sigma taxonomy where it has one, so that rules need no mapping.

use crate::catalogue::{Catalogue, Class, Field, Kind};
use Kind::{Number, Text};

const PROCESS: [(&str, Kind); 20] = [
    // Unix milliseconds.
    ("UtcTime", Number),
    ("ProcessId", Number),
    ("Image", Text),
    ("CommandLine", Text),
    ("CurrentDirectory", Text),
    ("User", Text),
    ("UserId", Number),
    ("EffectiveUserId", Number),
    ("LogonId", Number),
    ("TerminalSessionId", Number),
    ("Terminal", Text),
    ("ParentProcessId", Number),
    ("ParentImage", Text),
    ("ParentCommandLine", Text),
    ("ParentUser", Text),
    ("Hashes", Text),
    ("OriginalFileName", Text),
    ("ControlGroup", Text),
    ("Container", Text),
    ("Capabilities", Number),
];

const FILE: [(&str, Kind); 6] = [
    ("UtcTime", Number),
    ("ProcessId", Number),
    ("Image", Text),
    ("User", Text),
    ("TargetFilename", Text),
    // `create`, `modify`, `rename`, `delete` or `attributes`.
    ("Operation", Text),
];

const NETWORK: [(&str, Kind); 11] = [
    ("UtcTime", Number),
    ("ProcessId", Number),
    ("Image", Text),
    ("User", Text),
    ("Protocol", Text),
    // `true` if this machine began it.
    ("Initiated", Text),
    ("SourceIp", Text),
    ("SourcePort", Number),
    ("DestinationIp", Text),
    ("DestinationPort", Number),
    ("DestinationHostname", Text),
];

/// Lines of the authentication log.
const AUTHENTICATION: [(&str, Kind); 9] = [
    ("UtcTime", Number),
    ("Program", Text),
    ("ProcessId", Number),
    ("Host", Text),
    ("Message", Text),
    // Who acts, or wants in.
    ("User", Text),
    // Whose rights are asked for, where that is another one.
    ("TargetUser", Text),
    ("SourceIp", Text),
    // `success` or `failure`.
    ("Outcome", Text),
];

fn class(name: &str, fields: &[(&str, Kind)]) -> Class {
    let field = |(name, kind): &(&str, Kind)| Field { name: (*name).into(), kind: *kind };
    Class { name: name.into(), fields: fields.iter().map(field).collect() }
}

pub(crate) fn catalogue() -> Catalogue {
    Catalogue {
        classes: vec![
            class("process_creation", &PROCESS),
            class("file_event", &FILE),
            class("network_connection", &NETWORK),
            class("authentication", &AUTHENTICATION),
        ],
    }
}

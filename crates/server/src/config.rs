//! What the edge can be told. Every field has a default that suits a fleet of some thousand devices.
//! What must stay out: settings of the engine.

use serde::{Deserialize, Serialize};
use std::{
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// Settings of the edge. Times are milliseconds, sizes bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdgeConfig {
    /// Where to listen. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Holds `tls/` (see [`crate::ca`]) and `operators.json` (see [`crate::operators`]).
    pub data_dir: PathBuf,
    /// Root of the repository: `metadata/`, `targets/`, `blobs/`.
    pub repository: PathBuf,
    /// Connections at a time; more wait in the kernel's queue. Each needs a file descriptor.
    pub max_connections: usize,
    /// A TLS handshake takes at most this long.
    pub handshake_timeout_ms: u64,
    /// A request's header takes at most this long; an idle connection is closed after it, too.
    pub header_timeout_ms: u64,
    /// A request takes at most this long from its header to the answer's header.
    pub request_timeout_ms: u64,
    /// A client that takes no byte of an answer for this long is cut off.
    pub stall_timeout_ms: u64,
    /// A request for changes waits at most this long; less than `request_timeout_ms`.
    pub long_poll_ms: u64,
    /// What runs at a stop may finish for this long.
    pub drain_ms: u64,
    /// Largest body that a device, or anybody without a name, may send.
    pub max_device_body: usize,
    /// Largest body that an operator may send.
    pub max_operator_body: usize,
    /// Largest body of a rollout's start: it carries whole releases' statements.
    pub max_start_body: usize,
    /// Requests of one device.
    pub device_rate: Rate,
    /// Enrolments from one address (IPv6: one /64).
    pub enrol_rate: Rate,
    /// Requests to the log's proofs and cosignatures from one address (IPv6: one /64).
    pub log_rate: Rate,
    /// Deliveries of one device's sensor: so many at once after a quiet time, and then one in this time.
    pub detections_at_once: u32,
    pub detections_every_ms: u64,
    /// How many devices, and how many addresses, the limits remember.
    pub rate_table: usize,
    /// A device's certificate is good for this many days.
    pub device_certificate_days: u32,
    /// `/metrics` without a token. Otherwise it takes a viewer's who sees all customers.
    pub open_metrics: bool,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// In the long run; 0 means no limit.
    pub per_second: u32,
    /// At once after a pause; at least 1 is taken.
    pub burst: u32,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        EdgeConfig {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8443)),
            data_dir: PathBuf::from("."),
            repository: PathBuf::from("repository"),
            max_connections: 20_000,
            handshake_timeout_ms: 10_000,
            header_timeout_ms: 15_000,
            request_timeout_ms: 30_000,
            stall_timeout_ms: 30_000,
            long_poll_ms: 25_000,
            drain_ms: 10_000,
            max_device_body: 64 << 10,
            max_operator_body: 1 << 20,
            max_start_body: 32 << 20,
            device_rate: Rate { per_second: 5, burst: 20 },
            enrol_rate: Rate { per_second: 5, burst: 50 },
            log_rate: Rate { per_second: 20, burst: 100 },
            detections_at_once: 30,
            detections_every_ms: 15_000,
            rate_table: 200_000,
            device_certificate_days: 90,
            open_metrics: false,
        }
    }
}

impl EdgeConfig {
    /// Where certificates and keys lie.
    pub fn tls_dir(&self) -> PathBuf {
        self.data_dir.join("tls")
    }
}

pub(crate) fn milliseconds(value: u64) -> Duration {
    Duration::from_millis(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_nothing_and_gets_the_defaults() {
        let config: EdgeConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config, EdgeConfig::default());
        assert!(config.long_poll_ms < config.request_timeout_ms);
        assert!(serde_json::from_str::<EdgeConfig>("{\"listn\": 1}").is_err());
    }
}

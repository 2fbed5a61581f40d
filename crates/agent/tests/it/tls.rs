//! TLS to the server: the pinned authority alone, and certificates in the light of what time it is.

use crate::support::{
    block_on,
    http::{Answer, serve},
    keys::Authority,
};
use staffel_agent::{clock::TrustedTime, https};
use std::sync::{Arc, Mutex};

fn reaches(server: &Authority, pinned: &Authority, time: TrustedTime) -> Result<(), String> {
    let address = serve(Some(server.server()), |_| Answer::ok("hello"));
    let client = https::client(pinned.pem.as_bytes(), None, Arc::new(Mutex::new(time))).unwrap();
    let answer = block_on(async { client.get(format!("https://{address}/")).send().await });
    answer.map(|_| ()).map_err(|error| staffel_agent::chain(&error))
}

#[test]
fn only_the_pinned_authority_speaks_for_the_server() {
    let (ours, other) = (Authority::new((2020, 2090)), Authority::new((2020, 2090)));
    let wall = staffel_agent::clock::wall_ms();
    reaches(&ours, &ours, TrustedTime::new(wall)).unwrap();
    let error = reaches(&other, &ours, TrustedTime::new(wall)).unwrap_err();
    assert!(error.contains("certificate"), "{error}");
}

#[test]
fn an_expired_certificate_counts_only_where_the_time_is_known() {
    let expired = Authority::new((2020, 2021));
    let wall = staffel_agent::clock::wall_ms();
    let error = reaches(&expired, &expired, TrustedTime::new(wall)).unwrap_err();
    assert!(error.contains("expired") || error.contains("Expired"), "{error}");
    // This device's last known time lies in 2090: the wall clock is far behind and nothing signed has spoken yet.
    let far = TrustedTime::new(3_786_912_000_000);
    reaches(&expired, &expired, far.clone()).unwrap();
    let mut known = far;
    known.note(3_786_912_000_001, staffel_agent::platform::running_ms());
    reaches(&expired, &expired, known).unwrap_err();
}

#[test]
fn a_file_without_a_certificate_pins_nothing() {
    let time = || Arc::new(Mutex::new(TrustedTime::new(0)));
    assert!(matches!(https::client(b"", None, time()), Err(https::HttpsError::Authority { .. })));
}

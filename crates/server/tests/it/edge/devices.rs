//! Who a device is, and what it gets.

use super::support::{Identity, Server, check_in, enrolment, new_key, problem, request_pem};
use rcgen::{DnType, date_time_ymd};
use staffel_server::api::{DevicePage, Role};
use staffel_trust::wire::{Board, CheckInReply, Enrolled, Renew};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_a_device_is_told_so() {
    let server = Server::start(|_| {}).await;
    let client = server.client(None);
    for path in ["/v1/board", "/v1/policy"] {
        problem(client.get(server.url(path)).send().await.unwrap(), 401).await;
    }
    for path in ["/v1/checkin", "/v1/bye", "/v1/renew"] {
        problem(client.post(server.url(path)).json(&check_in()).send().await.unwrap(), 401).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_and_expired_certificates_and_servers_end_the_handshake() {
    let server = Server::start(|_| {}).await;
    let expired = server.forge(new_key(), |params| params.not_after = date_time_ymd(2021, 1, 1));
    let for_servers = server.forge(new_key(), |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    for identity in [Identity::foreign(), expired, for_servers] {
        let client = server.client(Some(&identity));
        let error = client.get(server.url("/healthz")).send().await.unwrap_err();
        assert!(error.status().is_none(), "{error}");
    }
    // The same client settings do work with a good certificate.
    let good = server.forge(new_key(), |_| {});
    let answer = server.client(Some(&good)).get(server.url("/healthz")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "ok\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_is_not_spoken() {
    let server = Server::start(|_| {}).await;
    // A ClientHello for TLS 1.2: one suite, the extensions that it needs, and no `supported_versions`.
    let hello = hex::decode(concat!(
        "1603010045010000410303",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "000002c02b01000016",
        "000a000400020017000b00020100000d000400020403",
    ))
    .unwrap();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    // RFC 8446, 6: a fatal alert, protocol_version.
    assert_eq!(answer, [0x15, 3, 3, 0, 2, 2, 70]);
}

#[tokio::test(flavor = "multi_thread")]
async fn enrols_checks_in_renews_and_says_goodbye() {
    let server = Server::start(|_| {}).await;
    let key = new_key();
    let request = enrolment(server.token().await, "till-1", &key);
    let enrol = || server.client(None).post(server.url("/v1/enrol")).json(&request).send();
    let first: Enrolled = enrol().await.unwrap().json().await.unwrap();
    // The first answer may be lost: the same again is fine, the token in another hand is not.
    let second: Enrolled = enrol().await.unwrap().json().await.unwrap();
    assert_eq!((first.device, &first.tenant, &first.site), (second.device, &second.tenant, &second.site));
    let thief = enrolment(request.token.clone(), "till-2", &new_key());
    problem(server.client(None).post(server.url("/v1/enrol")).json(&thief).send().await.unwrap(), 422).await;

    let identity = Identity { key, certificate_pem: first.certificate_pem };
    let device = server.client(Some(&identity));
    let reply = device.post(server.url("/v1/checkin")).json(&check_in()).send().await.unwrap();
    let reply: CheckInReply = reply.json().await.unwrap();
    assert!(reply.cadence_ms > 0);
    problem(device.get(server.url("/v1/policy")).send().await.unwrap(), 404).await;

    let renew = |csr: String| device.post(server.url("/v1/renew")).json(&Renew { csr_pem: csr }).send();
    let renewed: Enrolled = renew(request_pem(&identity.key)).await.unwrap().json().await.unwrap();
    assert_eq!((renewed.device, renewed.tenant.as_str(), renewed.site.as_str()), (identity.id(), "clinic", "north"));
    problem(renew(request_pem(&new_key())).await.unwrap(), 403).await;
    let renewed = Identity { key: identity.key, certificate_pem: renewed.certificate_pem };
    let bye = serde_json::json!({ "boot_id": "1", "why": "night" });
    let answer = server.client(Some(&renewed)).post(server.url("/v1/bye")).json(&bye).send().await.unwrap();
    assert_eq!(answer.status(), 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_says_who_it_is_whatever_the_certificate_claims() {
    let server = Server::start(|_| {}).await;
    let honest = server.device("honest").await;
    let liar = server.device("liar").await;
    let victim = honest.id().to_string();
    let liar_id = liar.id();
    let lie = server.forge(liar.key, |params| {
        params.distinguished_name.push(DnType::CommonName, victim.as_str());
        params.subject_alt_names =
            vec![rcgen::SanType::URI(format!("urn:staffel:device:{victim}").try_into().unwrap())];
    });
    let answer = server.client(Some(&lie)).post(server.url("/v1/checkin")).json(&check_in()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let page = server.operator(Role::Viewer, None).get(server.url("/api/v1/devices")).send().await.unwrap();
    let page: DevicePage = page.json().await.unwrap();
    let presence = |id| page.devices.iter().find(|d| d.device == id).unwrap().presence.clone();
    assert_eq!(presence(honest.id()), "never-seen");
    assert_eq!(presence(liar_id), "alive");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_certificate_of_a_device_that_never_enrolled_leads_nowhere() {
    let server = Server::start(|_| {}).await;
    let unknown = server.forge(new_key(), |_| {});
    let client = server.client(Some(&unknown));
    problem(client.post(server.url("/v1/checkin")).json(&check_in()).send().await.unwrap(), 404).await;
    let renew = Renew { csr_pem: request_pem(&unknown.key) };
    problem(client.post(server.url("/v1/renew")).json(&renew).send().await.unwrap(), 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_certificate_must_be_signed_by_its_key() {
    let server = Server::start(|_| {}).await;
    let token = server.token().await;
    let mut request = enrolment(token.clone(), "till-1", &new_key());
    for csr in ["", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"] {
        request.csr_pem = csr.into();
        problem(server.client(None).post(server.url("/v1/enrol")).json(&request).send().await.unwrap(), 400).await;
    }
    // The token was not used up by that.
    let request = enrolment(token, "till-1", &new_key());
    assert_eq!(server.client(None).post(server.url("/v1/enrol")).json(&request).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_board_is_not_sent_again() {
    let server = Server::start(|_| {}).await;
    let device = server.client(Some(&server.device("till-1").await));
    let first = device.get(server.url("/v1/board")).send().await.unwrap();
    let tag = first.headers()["etag"].clone();
    let _: Board = first.json().await.unwrap();
    let again = device.get(server.url("/v1/board")).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), again.headers()["etag"].clone()), (304, tag));
    assert_eq!(again.bytes().await.unwrap().len(), 0);
    let other = device.get(server.url("/v1/board")).header("if-none-match", "\"x\"").send().await.unwrap();
    assert_eq!(other.status(), 200);
}

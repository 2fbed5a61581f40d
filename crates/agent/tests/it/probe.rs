//! HTTP probes against a service that answers, answers wrongly, talks nonsense, hangs or is not there.

use crate::support::{
    block_on,
    http::{Answer, serve},
};
use staffel_agent::probe::{HttpProbeError, http};
use std::{io::Write, net::TcpListener, thread};

/// A listener that says `text` to the first caller and then keeps the connection until the test ends.
fn says(text: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(text);
        thread::park();
    });
    port
}

#[test]
fn the_status_decides() {
    let port = serve(None, |request| Answer::status(if request.path == "/up" { 204 } else { 503 })).port();
    block_on(http(port, "/up", 204, 5_000)).unwrap();
    let error = block_on(http(port, "/down", 200, 5_000)).unwrap_err();
    assert!(matches!(error, HttpProbeError::Status { got: 503, expected: 200, .. }), "{error}");
}

#[test]
fn silence_nonsense_and_nobody_are_failures() {
    let silent = block_on(http(says(b""), "/", 200, 50)).unwrap_err();
    assert!(matches!(silent, HttpProbeError::Silent { timeout_ms: 50, .. }), "{silent}");
    let nonsense = block_on(http(says(b"SSH-2.0-x 200 OK\r\n"), "/", 200, 5_000)).unwrap_err();
    assert!(matches!(nonsense, HttpProbeError::NotHttp { .. }), "{nonsense}");
    let endless = block_on(http(says(&[b'x'; 4_096]), "/", 200, 5_000)).unwrap_err();
    assert!(matches!(endless, HttpProbeError::NotHttp { .. }), "{endless}");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = block_on(http(free, "/", 200, 5_000)).unwrap_err();
    assert!(matches!(nobody, HttpProbeError::Io { operation: "connecting", .. }), "{nobody}");
}

#[test]
fn a_path_that_would_be_another_request_is_refused() {
    for path in ["", "up", "/a b", "/\r\nX: y"] {
        assert!(matches!(block_on(http(1, path, 200, 100)), Err(HttpProbeError::Path { .. })), "{path:?}");
    }
}

//! HTTP/1.1 over std sockets, with or without TLS: one thread a connection, one answer a request.

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

/// A request as far as the tests look.
#[derive(Debug)]
pub struct Request {
    pub path: String,
    /// The start of `Range: bytes=N-`.
    pub range_from: Option<u64>,
    pub body: Vec<u8>,
    /// What the client showed, DER.
    pub certificate: Option<Vec<u8>>,
}

/// An answer; `cut_after` ends the connection after so many bytes of the body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    pub content_range: Option<String>,
    pub cut_after: Option<usize>,
}

impl Answer {
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Answer { status: 200, body: body.into(), content_range: None, cut_after: None }
    }

    pub fn status(status: u16) -> Self {
        Answer { status, ..Answer::ok("") }
    }

    pub fn json(value: &impl serde::Serialize) -> Self {
        Answer::ok(serde_json::to_vec(value).unwrap())
    }
}

/// Serves on a free port of 127.0.0.1 until the process ends.
pub fn serve(
    tls: Option<Arc<ServerConfig>>,
    handler: impl Fn(Request) -> Answer + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let handler = Arc::new(handler);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (tls, handler) = (tls.clone(), Arc::clone(&handler));
            thread::spawn(move || connection(stream, tls, &*handler));
        }
    });
    address
}

fn connection(stream: TcpStream, tls: Option<Arc<ServerConfig>>, handler: &dyn Fn(Request) -> Answer) {
    let Some(config) = tls else { return exchange(BufReader::new(stream), None, handler) };
    let Ok(mut session) = ServerConnection::new(config) else { return };
    let mut socket = stream;
    while session.is_handshaking() {
        if session.complete_io(&mut socket).is_err() {
            return;
        }
    }
    let certificate = session.peer_certificates().and_then(|chain| Some(chain.first()?.to_vec()));
    exchange(BufReader::new(StreamOwned::new(session, socket)), certificate, handler);
}

fn exchange<S: Read + Write>(
    mut stream: BufReader<S>,
    certificate: Option<Vec<u8>>,
    handler: &dyn Fn(Request) -> Answer,
) {
    while let Some(request) = read_request(&mut stream) {
        let request = Request { certificate: certificate.clone(), ..request };
        let answer = handler(request);
        let mut head = format!("HTTP/1.1 {} x\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
        if let Some(range) = answer.content_range {
            head += &format!("Content-Range: {range}\r\n");
        }
        let body = &answer.body[..answer.cut_after.unwrap_or(answer.body.len()).min(answer.body.len())];
        let sent = stream.get_mut().write_all((head + "\r\n").as_bytes()).and_then(|()| {
            stream.get_mut().write_all(body)?;
            stream.get_mut().flush()
        });
        if sent.is_err() || answer.cut_after.is_some() {
            return;
        }
    }
}

fn read_request<S: Read>(stream: &mut BufReader<S>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let path = line.split(' ').nth(1)?.to_string();
    let (mut length, mut range_from) = (0, None);
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
        if let Some(value) = header.strip_prefix("range: bytes=") {
            range_from = value.trim_end_matches('-').parse().ok();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Request { path, range_from, body, certificate: None })
}

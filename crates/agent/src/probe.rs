//! Finding out whether a release works: the probes that its statement names.
//!
//! HTTP is asked from here, on 127.0.0.1 alone; whether the service is up and what its own programs say comes from the
//! guard, because the agent may not start anything. What must stay out: what a failure leads to.

use crate::guard_client::{GuardClient, GuardError};
use staffel_trust::statement::{
    guard::{Command, Reply, Status},
    predicate::{Probe, Release},
};
use std::{io, net::Ipv4Addr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A status line is shorter than this many bytes.
const STATUS_LINE: u64 = 512;

/// Why an HTTP probe failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpProbeError {
    #[error("the path {path:?} is not one that can be asked for")]
    Path { path: String },
    #[error("port {port}: {operation}")]
    Io {
        port: u16,
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("port {port}: no answer within {timeout_ms} ms")]
    Silent { port: u16, timeout_ms: u64 },
    #[error("port {port}: the answer is not HTTP")]
    NotHttp { port: u16 },
    #[error("http://127.0.0.1:{port}{path} answers {got}, expected {expected}")]
    Status { port: u16, path: String, got: u16, expected: u16 },
}

/// Runs every probe of a release once; returns what failed, a line each. Empty means: it works.
pub async fn run(release: &Release, status: &Status, guard: &GuardClient) -> Result<Vec<String>, GuardError> {
    let mut failures = Vec::new();
    let mut programs = false;
    for probe in &release.probes {
        match probe {
            Probe::Process => failures.extend(process(&release.name, status)),
            Probe::Http { port, path, status, timeout_ms } => {
                if let Err(error) = http(*port, path, *status, *timeout_ms).await {
                    failures.push(crate::chain(&error));
                }
            }
            Probe::Command { .. } => programs = true,
        }
    }
    if programs {
        match guard.ask(&Command::Probe).await? {
            Reply::Probed { failures: failed } => failures.extend(failed),
            Reply::Failed { why } => failures.push(why),
            other => return Err(GuardError::Unexpected(format!("{other:?}"))),
        }
    }
    Ok(failures)
}

fn process(name: &str, status: &Status) -> Option<String> {
    match status.services.iter().find(|service| service.name == name) {
        Some(service) if service.running => None,
        Some(service) => {
            let last = service.last_exit.as_deref().unwrap_or("it was not started yet");
            Some(format!("service {name} is not running: {last}"))
        }
        None => Some(format!("service {name} is not running: the guard does not know it")),
    }
}

/// `GET http://127.0.0.1:port/path`; `Ok` if it answers with `expected` in time.
pub async fn http(port: u16, path: &str, expected: u16, timeout_ms: u64) -> Result<(), HttpProbeError> {
    // A path with a space or a line break would be another request.
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(HttpProbeError::Path { path: path.into() });
    }
    let asked = tokio::time::timeout(Duration::from_millis(timeout_ms), status_of(port, path)).await;
    let got = asked.map_err(|_| HttpProbeError::Silent { port, timeout_ms })??;
    if got == expected { Ok(()) } else { Err(HttpProbeError::Status { port, path: path.into(), got, expected }) }
}

async fn status_of(port: u16, path: &str) -> Result<u16, HttpProbeError> {
    let io = |operation| move |source| HttpProbeError::Io { port, operation, source };
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(io("connecting"))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(io("asking"))?;
    let mut head = Vec::new();
    let mut reader = stream.take(STATUS_LINE);
    while !head.contains(&b'\n') {
        if reader.read_buf(&mut head).await.map_err(io("reading the answer"))? == 0 {
            break;
        }
    }
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut parts = line.split(|byte| *byte == b' ');
    let version = parts.next().is_some_and(|version| version.starts_with(b"HTTP/1."));
    let code = parts.next().and_then(|code| std::str::from_utf8(code).ok()?.trim().parse().ok());
    code.filter(|_| version).ok_or(HttpProbeError::NotHttp { port })
}

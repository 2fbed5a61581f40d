//! A bare HTTP/1.1 client on one kept TLS connection: the load generator shares the processors with the server, so it must
//! cost little. It speaks with our own server only. Must stay out: the load.

use anyhow::{Context as _, Result, bail};
use rustls::pki_types::ServerName;
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Answers of the server to what we ask here are far smaller.
const MAX_ANSWER: usize = 1 << 20;

/// A request's bytes, ready to be sent again and again.
pub fn post(path: &str, token: Option<&str>, json: &[u8]) -> Vec<u8> {
    let authorisation = token.map_or(String::new(), |token| format!("authorization: bearer {token}\r\n"));
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{authorisation}content-length: {}\r\n\r\n",
        json.len()
    );
    [head.as_bytes(), json].concat()
}

/// A kept connection.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects to the server, which has a certificate for this IP address.
    pub async fn open(address: SocketAddr, tls: &Arc<rustls::ClientConfig>) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true).context("connect")?;
        let name = ServerName::IpAddress(address.ip().into());
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.context("TLS handshake")?;
        Ok(Connection { stream, buffer: Vec::with_capacity(4_096) })
    }

    /// Sends a request and reads the answer's body; anything but a success is an error.
    pub async fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        self.stream.write_all(request).await.context("send a request")?;
        self.stream.flush().await.context("send a request")?;
        self.buffer.clear();
        loop {
            if let Some((status, body)) = parse(&self.buffer)? {
                let answer = self.buffer[body..].to_vec();
                if !(200..300).contains(&status) {
                    bail!("the server answers {status}: {}", String::from_utf8_lossy(&answer));
                }
                return Ok(answer);
            }
            if self.buffer.len() > MAX_ANSWER {
                bail!("the server's answer is too large");
            }
            if self.stream.read_buf(&mut self.buffer).await.context("read an answer")? == 0 {
                bail!("the server closed the connection");
            }
        }
    }
}

/// Status and start of the body, once all of it is there.
fn parse(bytes: &[u8]) -> Result<Option<(u16, usize)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).context("read an answer's header")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("read an answer's status")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.context("an answer without content-length")?;
    Ok((bytes.len() >= end + 4 + length).then_some((status, end + 4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_awaited() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]).unwrap(), None, "{cut}");
        }
        assert_eq!(parse(whole).unwrap(), Some((200, whole.len() - 5)));
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(parse(b"nonsense\r\n\r\n").is_err());
    }

    #[test]
    fn a_request_announces_its_body() {
        let text = String::from_utf8(post("/v1/checkin", Some("t"), b"{}")).unwrap();
        assert!(text.starts_with("POST /v1/checkin HTTP/1.1\r\n"));
        assert!(text.ends_with("authorization: bearer t\r\ncontent-length: 2\r\n\r\n{}"));
    }
}

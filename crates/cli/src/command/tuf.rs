//! `staffel tuf`: the command line that theupdateframework/tuf-conformance drives, so that anyone can run the suite against
//! our client. Must stay out: everything but HTTP and the clock (`staffel_trust::tuf::conformance` has the rest).

use anyhow::{Context as _, Result};
use staffel_trust::tuf::{
    client::{Fetch, FetchError, Resource, Transport},
    conformance,
    path::percent_encode_path,
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A whole file; a server that sends a byte now and then must not keep us for ever.
const FILE_TIMEOUT: Duration = Duration::from_secs(600);

/// Arguments of `staffel tuf`.
#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "  --metadata-dir D init ROOT
  --metadata-url U --metadata-dir D refresh
  --metadata-url U --metadata-dir D --target-name T [--target-name T2 ...] --target-dir TD --target-base-url B download"
)]
pub struct Args {
    /// The protocol's own options, followed by `init ROOT`, `refresh` or `download`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    rest: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let arguments = conformance::Arguments::parse(args.rest.iter().cloned())?;
    let http = http(is_https(&arguments.command))?;
    let connect = |metadata: &str, targets: Option<&str>| Http {
        http,
        metadata: metadata.trim_end_matches('/').to_string(),
        targets: targets.unwrap_or_default().trim_end_matches('/').to_string(),
    };
    // The suite changes the system's clock from outside, so this is the one that counts.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(conformance::run(&arguments, connect, now_ms))?;
    Ok(())
}

fn is_https(command: &conformance::Command) -> bool {
    let (metadata, targets) = match command {
        conformance::Command::Init { .. } => return false,
        conformance::Command::Refresh { metadata_url } => (metadata_url, metadata_url),
        conformance::Command::Download { metadata_url, target_base_url, .. } => (metadata_url, target_base_url),
    };
    [metadata, targets].iter().any(|url| url.starts_with("https:"))
}

/// The system's certificates are only looked for when they are needed: a machine that has none can still use http.
fn http(https: bool) -> Result<reqwest::Client> {
    let mut client = reqwest::Client::builder()
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::limited(5))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .timeout(FILE_TIMEOUT);
    if !https {
        let nobody = crate::client::tls()?.with_root_certificates(rustls::RootCertStore::empty());
        client = client.tls_backend_preconfigured(nobody.with_no_client_auth());
    }
    client.build().context("set up HTTP")
}

struct Http {
    http: reqwest::Client,
    metadata: String,
    targets: String,
}

impl Transport for Http {
    fn fetch<'a>(&'a self, resource: Resource<'a>, limit: u64) -> Fetch<'a> {
        let url = match resource {
            Resource::Metadata(name) => format!("{}/{name}", self.metadata),
            Resource::Target(path) => format!("{}/{}", self.targets, percent_encode_path(path)),
        };
        Box::pin(async move {
            let mut response = self.http.get(url).send().await.map_err(FetchError::failed)?;
            match response.status().as_u16() {
                200 => {}
                403 | 404 => return Err(FetchError::NotFound),
                status => return Err(FetchError::failed(format!("the server answers with status {status}"))),
            }
            if response.content_length().is_some_and(|length| length > limit) {
                return Err(FetchError::TooLarge);
            }
            let mut bytes = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(FetchError::failed)? {
                if (bytes.len() + chunk.len()) as u64 > limit {
                    return Err(FetchError::TooLarge);
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    /// Answers one request with these bytes; gives its address.
    fn answering(answer: &'static [u8]) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4_096]);
            // The client may hang up as soon as it has seen enough.
            let _ = stream.write_all(answer);
        });
        format!("http://{address}")
    }

    fn fetch(answer: &'static [u8], limit: u64) -> Result<Vec<u8>, FetchError> {
        let transport = Http { http: http(false).unwrap(), metadata: answering(answer), targets: String::new() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(transport.fetch(Resource::Metadata("root.json"), limit))
    }

    #[test]
    fn reads_to_the_limit_and_not_beyond() {
        let announced = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
        let silent = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello";
        for answer in [&announced[..], &silent[..]] {
            assert_eq!(fetch(answer, 5).unwrap(), b"hello");
            assert!(matches!(fetch(answer, 4), Err(FetchError::TooLarge)));
        }
    }

    #[test]
    fn absence_is_no_failure_and_a_failure_no_absence() {
        assert!(matches!(fetch(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", 9), Err(FetchError::NotFound)));
        assert!(matches!(fetch(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", 9), Err(FetchError::NotFound)));
        assert!(matches!(fetch(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", 9), Err(FetchError::Failed(_))));
        let cut_off = b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello";
        assert!(matches!(fetch(cut_off, 99), Err(FetchError::Failed(_))));
    }
}

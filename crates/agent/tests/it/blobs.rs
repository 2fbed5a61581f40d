//! Downloads: resumed, cut, wrong, too long, refused.

use crate::support::{
    block_on,
    http::{Answer, Request, serve},
};
use staffel_agent::blobs::{BlobError, download, place};
use staffel_core::ids::Digest;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

fn bytes() -> Vec<u8> {
    (0..200_000_u32).map(|n| (n % 251) as u8).collect()
}

struct Setup {
    spool: tempfile::TempDir,
    base: String,
}

impl Setup {
    fn new(handler: impl Fn(Request) -> Answer + Send + Sync + 'static) -> Self {
        let address = serve(None, handler);
        Setup { spool: tempfile::tempdir().unwrap(), base: format!("http://{address}") }
    }

    fn fetch(&self, digest: &Digest, size: usize) -> Result<std::path::PathBuf, BlobError> {
        let config = rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let http = reqwest::Client::builder().tls_backend_preconfigured(config).no_proxy().build().unwrap();
        block_on(download(&http, &self.base, digest, size as u64, self.spool.path()))
    }
}

/// Serves ranges of `bytes()`, and at most `cut` bytes a request.
fn ranged(request: &Request, cut: Option<usize>) -> Answer {
    let all = bytes();
    match request.range_from {
        Some(from) => Answer {
            status: 206,
            body: all[from as usize..].to_vec(),
            content_range: Some(format!("bytes {from}-{}/{}", all.len() - 1, all.len())),
            cut_after: cut,
        },
        None => Answer { cut_after: cut, ..Answer::ok(all) },
    }
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let setup = Setup::new(move |request| {
        seen.lock().unwrap().push(request.range_from);
        ranged(&request, Some(70_000))
    });
    let digest = Digest::of(&bytes());
    let path = setup.fetch(&digest, bytes().len()).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), bytes());
    assert_eq!(*asked.lock().unwrap(), [None, Some(70_000), Some(140_000)]);
    // Once it is there, nobody is asked again.
    setup.fetch(&digest, bytes().len()).unwrap();
    assert_eq!(asked.lock().unwrap().len(), 3);
}

#[test]
fn a_part_from_an_earlier_run_is_used_and_a_server_without_ranges_starts_over() {
    for knows_ranges in [true, false] {
        let setup = Setup::new(move |mut request| {
            assert_eq!(request.range_from, Some(1_000));
            if !knows_ranges {
                request.range_from = None;
            }
            ranged(&request, None)
        });
        let digest = Digest::of(&bytes());
        std::fs::write(setup.spool.path().join(format!("{digest}.part")), &bytes()[..1_000]).unwrap();
        let path = setup.fetch(&digest, bytes().len()).unwrap();
        assert_eq!(std::fs::read(path).unwrap(), bytes());
    }
}

#[test]
fn a_download_that_ends_early_for_good_says_how_far_it_came_and_keeps_it() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let setup = Setup::new(move |request| {
        let cut = if counted.fetch_add(1, Ordering::SeqCst) == 0 { 5_000 } else { 0 };
        ranged(&request, Some(cut))
    });
    let digest = Digest::of(&bytes());
    let error = setup.fetch(&digest, bytes().len()).unwrap_err();
    assert!(matches!(error, BlobError::Truncated { have: 5_000, want: 200_000, .. }), "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 2, "no progress, no further attempt");
    let part = setup.spool.path().join(format!("{digest}.part"));
    assert_eq!(std::fs::metadata(part).unwrap().len(), 5_000);
}

#[test]
fn other_bytes_of_the_right_length_are_deleted_and_named() {
    let setup = Setup::new(|_| Answer::ok(vec![0; 200_000]));
    let digest = Digest::of(&bytes());
    let error = setup.fetch(&digest, bytes().len()).unwrap_err();
    assert!(matches!(error, BlobError::WrongHash { got, .. } if got == Digest::of(&vec![0; 200_000])), "{error}");
    assert_eq!(std::fs::read_dir(setup.spool.path()).unwrap().count(), 0);
}

#[test]
fn a_damaged_file_in_the_spool_is_fetched_anew() {
    let setup = Setup::new(|request| ranged(&request, None));
    let digest = Digest::of(&bytes());
    std::fs::write(place(setup.spool.path(), &digest), vec![1; 200_000]).unwrap();
    let path = setup.fetch(&digest, bytes().len()).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), bytes());
}

#[test]
fn more_bytes_than_were_signed_and_errors_of_the_server_are_told_apart() {
    let setup = Setup::new(|_| Answer::ok(bytes()));
    let digest = Digest::of(&bytes());
    let error = setup.fetch(&digest, 100).unwrap_err();
    assert!(matches!(error, BlobError::TooLong { want: 100, .. }), "{error}");
    let setup = Setup::new(|_| Answer::status(404));
    let error = setup.fetch(&digest, 100).unwrap_err();
    assert!(matches!(error, BlobError::Status { status: 404, .. }), "{error}");
}

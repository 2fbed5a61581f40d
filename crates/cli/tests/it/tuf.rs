//! `staffel tuf` as the conformance suite calls it, against a repository served over plain HTTP.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

fn staffel(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_staffel")).arg("tuf").args(arguments).output();
    let output = output.expect("the program runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_protocols_options_reach_it_untouched_and_it_ends_with_0_or_1() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let metadata = dir.path().join("metadata").to_string_lossy().into_owned();
    let root = dir.path().join("root.json").to_string_lossy().into_owned();
    std::fs::write(&root, "{}").expect("written");
    let (code, said) = staffel(&["--metadata-dir", &metadata, "init", &root]);
    assert_eq!(code, Some(1), "a root that is none: {said}");
    let refresh = ["--metadata-url", "http://127.0.0.1:1/", "--metadata-dir", &metadata, "refresh"];
    let (code, said) = staffel(&refresh);
    assert_eq!(code, Some(1), "nothing is trusted yet: {said}");
    assert!(said.contains("root.json"), "{said}");
    let (code, said) = staffel(&["--metadata-dir", &metadata, "--help"]);
    assert!(code == Some(1) && said.contains("--help"), "no option is taken away from the protocol: {said}");
}

/// Serves the files of a folder over plain HTTP for as long as the test runs; gives the address.
fn serving(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("a connection")).lines().map_while(Result::ok);
            let request = lines.next().unwrap_or_default();
            lines.find(String::is_empty);
            let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
            let (status, body) =
                std::fs::read(folder.join(path)).map_or(("404 Not Found", Vec::new()), |b| ("200 OK", b));
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            // A client may leave early.
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    format!("http://{address}")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there").map_while(Result::ok);
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name.ends_with(".json"));
    names.sort();
    names
}

#[test]
fn our_own_repository_is_followed_over_http() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let installation = dir.path().join("staffel");
    let init = Command::new(env!("CARGO_BIN_EXE_staffel"))
        .args(["init", "--bins", "4"])
        .arg(&installation)
        .output()
        .expect("the program runs");
    assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    let url = serving(installation.join("repository"));
    let metadata = dir.path().join("metadata").to_string_lossy().into_owned();
    let root = installation.join("tuf-root.json").to_string_lossy().into_owned();
    assert_eq!(staffel(&["--metadata-dir", &metadata, "init", &root]).0, Some(0));
    let metadata_url = format!("{url}/metadata/");
    let common = ["--metadata-url", &metadata_url, "--metadata-dir", &metadata];
    let (code, said) = staffel(&[&common[..], &["refresh"]].concat());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(names(Path::new(&metadata)), ["root.json", "snapshot.json", "targets.json", "timestamp.json"]);
    let targets = dir.path().join("targets").to_string_lossy().into_owned();
    let download = ["--target-name", "releases/none", "--target-dir", &targets, "--target-base-url", &url, "download"];
    let (code, said) = staffel(&[&common[..], &download].concat());
    assert!(code == Some(1) && said.contains("releases/none"), "{said}");
}

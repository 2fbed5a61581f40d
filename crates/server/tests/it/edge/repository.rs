//! Files of the repository.

use super::support::{Server, problem};
use std::path::Path;

fn write(path: &Path, content: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn digest() -> String {
    "cd".repeat(32)
}

/// 200,000 bytes that differ from place to place.
fn content() -> Vec<u8> {
    (0..200_000u32).map(|n| (n * 7 % 251) as u8).collect()
}

async fn server() -> Server {
    let server = Server::start(|_| {}).await;
    let root = server.repository();
    write(&root.join("metadata/timestamp.json"), b"{}");
    write(&root.join("metadata/1.root.json"), b"{\"root\":1}");
    write(&root.join("targets/releases/till/1.0+7.dsse.json"), b"{\"release\":1}");
    write(&root.join("blobs/cd").join(digest()), &content());
    write(&root.join("keys/root.key"), b"secret");
    write(&root.join("metadata/.timestamp.new"), b"secret");
    write(&server.dir.path().join("secret.json"), b"secret");
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_whole_with_how_long_they_are_good() {
    let server = server().await;
    let client = server.client(None);
    let blob = format!("/repo/blobs/{}", digest());
    for (path, lifetime, kind, size) in [
        ("/repo/metadata/timestamp.json", "no-cache", "application/json", 2),
        ("/repo/metadata/1.root.json", "immutable", "application/json", 10),
        ("/repo/targets/releases/till/1.0%2B7.dsse.json", "no-cache", "application/json", 13),
        (blob.as_str(), "immutable", "application/octet-stream", 200_000),
    ] {
        let head = client.head(server.url(path)).send().await.unwrap();
        let get = client.get(server.url(path)).send().await.unwrap();
        for answer in [&head, &get] {
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(answer.headers()["content-length"], size.to_string());
            assert_eq!(answer.headers()["content-type"], kind);
            assert_eq!(answer.headers()["accept-ranges"], "bytes");
            assert!(answer.headers()["cache-control"].to_str().unwrap().contains(lifetime), "{path}");
        }
        assert_eq!(head.bytes().await.unwrap().len(), 0);
        let tag = get.headers()["etag"].clone();
        assert_eq!(get.bytes().await.unwrap().len(), size);
        let again = client.get(server.url(path)).header("if-none-match", tag).send().await.unwrap();
        assert_eq!(again.status(), 304);
    }
    let missing = client.get(server.url("/repo/metadata/2.root.json")).send().await.unwrap();
    assert_eq!(missing.headers()["cache-control"], "no-store");
    problem(missing, 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_download_goes_on_where_it_broke() {
    let server = server().await;
    let client = server.client(None);
    let url = server.url(&format!("/repo/blobs/{}", digest()));
    let tag = format!("\"{}\"", digest());
    let content = content();
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=70001-", 70_001, 200_000),
        ("bytes=-5", 199_995, 200_000),
        ("bytes=5-999999", 5, 200_000),
    ] {
        let answer = client.get(&url).header("range", range).header("if-range", &tag).send().await.unwrap();
        assert_eq!(answer.status(), 206, "{range}");
        assert_eq!(answer.headers()["content-range"], format!("bytes {from}-{}/200000", to - 1));
        assert_eq!(answer.headers()["content-length"], (to - from).to_string());
        assert_eq!(answer.bytes().await.unwrap(), content[from..to], "{range}");
    }
    for (range, if_range) in [("bytes=0-1,5-6", tag.as_str()), ("bytes=x", &tag), ("bytes=5-", "\"another version\"")] {
        let answer = client.get(&url).header("range", range).header("if-range", if_range).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.bytes().await.unwrap(), content);
    }
    let beyond = client.get(&url).header("range", "bytes=200000-").send().await.unwrap();
    assert_eq!(beyond.headers()["content-range"], "bytes */200000");
    problem(beyond, 416).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_leads_out_of_the_repository() {
    let server = server().await;
    #[cfg(unix)]
    {
        let link = |to: &str, name: &str| {
            std::os::unix::fs::symlink(to, server.repository().join("targets").join(name)).unwrap();
        };
        link("../../secret.json", "out.json");
        link("../metadata/1.root.json", "in.json");
        link("/", "slash");
        let answer = server.client(None).get(server.url("/repo/targets/in.json")).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "{\"root\":1}", "a link inside is fine");
    }
    let absolute = server.dir.path().join("secret.json");
    let absolute = format!("/repo/targets/slash{}", absolute.display());
    for path in [
        "/repo/../secret.json",
        "/repo/metadata/../../secret.json",
        "/repo/metadata/%2e%2e/%2e%2e/secret.json",
        "/repo/metadata/..%2f..%2fsecret.json",
        "/repo/metadata/%2e%2e%5c%2e%2e%5csecret.json",
        "/repo//secret.json",
        "/repo/metadata//../secret.json",
        "/repo/keys/root.key",
        "/repo/metadata/../keys/root.key",
        "/repo/metadata/.timestamp.new",
        "/repo/metadata/%2etimestamp.new",
        "/repo/targets/out.json",
        "/repo/blobs/cd",
        "/repo/blobs/../keys/root.key",
        "/repo/metadata",
        "/repo/metadata/",
        "/repo/targets/releases",
        "/repo/",
        "/repo/metadata/timestamp.json/",
        "/repo/metadata/timestamp.json%00",
        "/repo/metadata/./timestamp.json",
        "/repo/targets/timestamp.json?x=/../secret.json",
        &absolute,
    ] {
        let answer =
            server.exchange(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        assert!(!answer.contains("secret\r\n") && !answer.ends_with("secret"), "{path}: {answer}");
    }
}

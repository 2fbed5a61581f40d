//! What the shipped programs are made of: static, small, and without a way into a network.

use crate::{firmware::guest, show, skip};
use std::process::Command;

/// Functions of the C library without which no program reaches a network.
const NETWORK: [&str; 8] = ["socket", "connect", "bind", "listen", "accept", "accept4", "getaddrinfo", "gethostbyname"];

/// Names of the functions that are in a program.
fn functions(program: &std::path::Path) -> Vec<String> {
    let output = Command::new("nm").arg(program).output().expect("nm runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| line.rsplit(' ').next()).map(String::from).collect()
}

#[test]
fn the_programs_are_static_and_hold_no_network_code() {
    for name in ["guard-init", "guard-commit"] {
        let program = guest(name);
        if !program.is_file() {
            return skip("what the guard links", &program.display().to_string());
        }
        let functions = functions(&program);
        assert!(
            functions.iter().any(|name| name == "mount" || name == "reboot" || name == "open"),
            "no functions at all"
        );
        let network: Vec<_> = functions.iter().filter(|name| NETWORK.contains(&name.as_str())).collect();
        assert!(network.is_empty(), "{name} holds {network:?}");
        let bytes = std::fs::read(&program).expect("it is readable");
        // PT_INTERP would name the loader of shared libraries.
        assert!(!bytes.windows(8).any(|part| part == b"/ld-linu" || part == b"/ld-musl"), "{name} is not static");
        show(&format!("{name}, functions"), functions.len());
    }
}

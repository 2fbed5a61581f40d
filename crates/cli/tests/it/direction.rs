//! Who may depend on whom, as ARCHITECTURE.md says it: read from the manifests, and from what cargo makes of them.

use crate::fleet::show;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

/// Each crate, and which of ours it may use.
const MAY_USE: [(&str, &[&str]); 19] = [
    ("core", &[]),
    ("store", &[]),
    ("statement", &["core"]),
    ("trust", &["core", "statement"]),
    ("inventory", &["core"]),
    ("agent", &["core", "inventory", "trust"]),
    ("guard", &["core"]),
    ("boot", &["core", "guard", "statement"]),
    ("paper", &[]),
    ("notice", &["paper"]),
    ("press", &["paper"]),
    ("pack", &[]),
    ("sigma", &["pack"]),
    ("evaluator", &["pack"]),
    ("sensor", &["inventory", "pack"]),
    ("server", &["core", "notice", "paper", "trust", "store"]),
    ("console", &["core", "notice", "server", "store", "trust"]),
    ("sim", &["core"]),
    (
        "cli",
        &[
            "core",
            "statement",
            "trust",
            "store",
            "agent",
            "server",
            "console",
            "notice",
            "paper",
            "pack",
            "sigma",
            "sim",
        ],
    ),
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in `crates`").to_path_buf()
}

/// Those of our crates that a manifest names, in every kind of dependency table.
fn uses(manifest: &toml::Table) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (key, value) in manifest {
        let Some(table) = value.as_table() else { continue };
        if matches!(key.as_str(), "dependencies" | "dev-dependencies" | "build-dependencies") {
            for (name, how) in table {
                // A dependency may be renamed.
                let package = how.get("package").and_then(toml::Value::as_str).unwrap_or(name);
                found.extend(package.strip_prefix("staffel-").map(String::from));
            }
        } else {
            // `target.'cfg(..)'.dependencies` and the like.
            found.extend(uses(table));
        }
    }
    found
}

#[test]
fn no_crate_uses_more_than_it_may() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.into_iter().collect();
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(crates()).expect("the crates").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(text) = std::fs::read_to_string(entry.path().join("Cargo.toml")) else { continue };
        let manifest: toml::Table = text.parse().expect("a manifest is TOML");
        assert_eq!(manifest["package"]["name"].as_str(), Some(format!("staffel-{name}").as_str()));
        let may = allowed.get(name.as_str());
        let may =
            may.unwrap_or_else(|| panic!("{name} is a new crate: say here and in ARCHITECTURE.md what it may use"));
        for other in uses(&manifest) {
            assert!(may.contains(&other.as_str()), "{name} uses {other}, and may use only {may:?}");
        }
        seen.insert(name);
    }
    assert_eq!(seen, allowed.keys().map(ToString::to_string).collect(), "the table names a crate that is gone");
}

#[test]
fn a_forbidden_dependency_would_be_found_in_every_table() {
    for table in ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"] {
        let text = format!("[package]\nname = \"staffel-core\"\n[{table}]\nours = {{ package = \"staffel-trust\" }}\n");
        assert_eq!(uses(&text.parse().expect("TOML")), ["trust".to_string()].into(), "{table}");
    }
}

/// The crates that a package links on this machine, itself left out; what only runs in the compiler is not linked.
fn tree(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--package",
            package,
        ])
        .current_dir(crates())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let names = text.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty());
    names.map(String::from).filter(|name| name != package).collect()
}

#[test]
fn what_the_guard_and_the_core_link_is_small_and_has_no_network() {
    const NETWORK: [&str; 7] = ["tokio", "rustls", "hyper", "reqwest", "sigstore-tuf", "aws-lc-rs", "ring"];
    let boot = tree("staffel-boot");
    assert!(boot.contains("staffel-core") && boot.contains("ed25519-dalek"), "this is no tree: {boot:?}");
    let foreign: Vec<_> = boot.iter().filter(|name| !name.starts_with("staffel-")).collect();
    show("crates of others that guard-ctl links", foreign.len());
    assert!(foreign.len() <= 30, "{} crates: {foreign:?}", foreign.len());
    let guard = tree("staffel-guard");
    assert!(guard.contains("staffel-core"), "this is no tree: {guard:?}");
    let foreign = guard.iter().filter(|name| !name.starts_with("staffel-")).count();
    show("crates of others that guard-init and guard-commit link", foreign);
    assert!(foreign <= 30 && !guard.contains("ed25519-dalek"), "{foreign} crates: {guard:?}");
    for package in ["staffel-boot", "staffel-core", "staffel-guard", "staffel-statement"] {
        let tree = tree(package);
        for network in NETWORK {
            assert!(!tree.contains(network), "{package} links {network}");
        }
    }
}

#[test]
fn the_sensor_links_no_compiler_no_rule_language_and_no_network() {
    let sensor = tree("staffel-sensor");
    assert!(sensor.contains("wasmtime") && sensor.contains("staffel-pack"), "this is no tree: {sensor:?}");
    for foreign in ["cranelift-codegen", "wasmtime-cranelift", "rsigma-parser", "yaml_serde", "tokio", "rustls"] {
        assert!(!sensor.contains(foreign), "staffel-sensor links {foreign}");
    }
    let evaluator = tree("staffel-evaluator");
    let foreign: Vec<_> = evaluator.iter().filter(|name| !name.starts_with("staffel-")).collect();
    show("crates of others in the Wasm guest", foreign.len());
    assert!(foreign.len() <= 30, "{} crates: {foreign:?}", foreign.len());
}

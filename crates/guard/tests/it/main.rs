//! The guard's own tests: power cuts on a model of the disk, what the programs link, and real firmware in a virtual machine.

mod disk;
mod firmware;
mod links;
mod machine;
mod noon;
mod power_cut;
mod preflight;

/// A measured fact.
fn show(name: &str, value: impl std::fmt::Display) {
    eprintln!("SHOW {name}: {value}");
}

/// Says that a test could not run; where everything has to run that is a failure.
fn skip(test: &str, what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{test}: {what} is missing");
    eprintln!("SKIP {test}: {what} is missing");
}

//! The console over real HTTPS: who gets in, what each sees, and what is refused and logged. What pages look like is tested in
//! a browser (`crates/cli/tests/it/console.rs`).

mod answer;
mod doors;
mod leaks;
mod oidc;
mod pages;
mod provider;
mod support;

//! A statement in a file that goes from person to person until enough have signed it. What must stay out: what it says,
//! and whether its signatures hold (whoever takes it verifies that).

use crate::{
    client::{Connect, keys::signing_key},
    layout::write,
    output::Failure,
};
use anyhow::{Context as _, Result};
use staffel_statement::Envelope;
use std::path::Path;

/// Reads JSON; a file that is not there is exit code 4.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path, hint: &str) -> Result<T> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Failure::not_found(format!("{} is not there", path.display()), hint).into());
        }
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    serde_json::from_slice(&text).with_context(|| format!("{} is not readable", path.display()))
}

/// Writes it for the next person.
pub fn keep(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    write(path, &text)
}

/// Adds a signature; nobody signs twice.
pub fn add_signature(envelope: &mut Envelope, connect: &Connect, key: &str) -> Result<()> {
    let key = signing_key(connect, key)?;
    if envelope.signers(&[key.public()])?.1 > 0 {
        return Err(Failure::refused("this key has signed it already", "somebody else signs with another key").into());
    }
    Ok(envelope.add_signature(&key)?)
}

/// A person signs what was shown; a program has to say that it means it.
pub fn confirm() -> Result<()> {
    use std::io::IsTerminal as _;
    let refused = |what: &str| Failure::refused(what, "give --yes to sign without being asked");
    if !std::io::stdin().is_terminal() {
        return Err(refused("nobody is there to confirm").into());
    }
    eprint!("Sign this? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("read the answer")?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(refused("not signed").into()) }
}

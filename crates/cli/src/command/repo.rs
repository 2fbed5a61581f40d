//! `staffel repo`: keys of every role, the TUF repository, rotation.

use crate::{
    layout::{GATE, LOG, Layout, ONLINE, OPERATORS, RELEASE, RELEASERS, ROOT, write},
    output::{Failure, json},
};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use staffel_statement::{
    Envelope,
    keyring::{Keyring, RoleKeys, WitnessKey},
    predicate::sign,
};
use staffel_store::LogSigner;
use staffel_trust::{
    keyfile::{KeyPair, public_path},
    tuf::writer::{KeySet, Keyring as TufKeys, Lifetimes, Options, Repository, Role, RoleKeys as TufRoles},
};
use std::path::PathBuf;

/// Subcommands of `staffel repo`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Make the keys of all roles and an empty repository.
    Init {
        /// The folder.
        #[arg(default_value = "staffel")]
        dir: PathBuf,
        /// Hashed bins.
        #[arg(long, default_value_t = 256)]
        bins: u32,
    },
    /// Replace the keys of a role by new ones, in the TUF metadata and in the keyring of the devices.
    Rotate {
        /// The role.
        role: RoleName,
        /// Installation folder.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Sign timestamp and snapshot anew with the online key, before they expire.
    Refresh {
        /// Installation folder.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Say which keys hold which role and when metadata expires.
    Show {
        /// Installation folder.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

/// Roles whose keys can be rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RoleName {
    Root,
    Release,
    Releasers,
    Gate,
    Online,
    Operators,
}

/// Runs the command.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    match command {
        Command::Init { dir, bins } => {
            let layout = Layout { root: dir.clone() };
            make_keys(&layout)?;
            make_repository(&layout, *bins, &[])?;
            println!("Keys are in {0}/keys, the repository is in {0}/repository.", dir.display());
            println!("Move the keys of root, release, releaser and gate to machines that are not on the network.");
            Ok(())
        }
        Command::Rotate { role, dir } => rotate(&Layout::find(dir.as_deref())?, *role),
        Command::Refresh { dir } => {
            let mut repository = open(&Layout::find(dir.as_deref())?)?;
            let published = repository.refresh_timestamp(now_ms()).context("sign the timestamp")?;
            println!("timestamp {} is published", published.timestamp);
            Ok(())
        }
        Command::Show { dir } => show(&Layout::find(dir.as_deref())?, as_json),
    }
}

pub use crate::client::time::now_ms;

fn names() -> Vec<&'static str> {
    let mut names = vec![ONLINE, LOG];
    for role in [&ROOT[..], &RELEASE, &RELEASERS, &GATE, &OPERATORS] {
        names.extend(role);
    }
    names
}

/// Makes every key that is not there yet.
pub fn make_keys(layout: &Layout) -> Result<()> {
    let dir = layout.root.join("keys");
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    for name in names() {
        let path = layout.key_file(name);
        if !path.exists() {
            KeyPair::generate()?.save(&path).with_context(|| format!("make the key {name}"))?;
        }
    }
    Ok(())
}

fn role(layout: &Layout, names: &[&str], threshold: u32) -> Result<RoleKeys> {
    let keys = names.iter().map(|name| Ok(layout.public_key(name)?.for_statements())).collect::<Result<_>>()?;
    Ok(RoleKeys { keys, threshold })
}

fn tuf_role(layout: &Layout, names: &[&str], threshold: u32) -> Result<KeySet> {
    let keys = names.iter().map(|name| layout.public_key(name)).collect::<Result<Vec<_>>>()?;
    Ok(KeySet::new(&keys, threshold))
}

/// Makes the empty repository and the pinned keyring.
pub fn make_repository(layout: &Layout, bins: u32, witnesses: &[String]) -> Result<()> {
    let roles = TufRoles {
        root: tuf_role(layout, &ROOT, 2)?,
        targets: tuf_role(layout, &RELEASE, 1)?,
        bins: tuf_role(layout, &RELEASE, 1)?,
        gate: tuf_role(layout, &GATE, 1)?,
        snapshot: tuf_role(layout, &[ONLINE], 1)?,
        timestamp: tuf_role(layout, &[ONLINE], 1)?,
    };
    let options = Options { bins, ..Options::default() };
    let repository = Repository::init(&layout.repo_dir(), &roles, tuf_keys(layout)?, &options, now_ms())
        .context("make the repository")?;
    write(&layout.tuf_root_file(), &repository.first_root()?)?;

    let keyring = Keyring {
        version: 1,
        root: role(layout, &ROOT, 2)?,
        release: role(layout, &RELEASE, 1)?,
        // The kind of a release says whether one has to sign or two; a keyring may ask for more.
        gate: role(layout, &GATE, 1)?,
        releasers: role(layout, &RELEASERS, 2)?,
        online: role(layout, &[ONLINE], 1)?,
        operators: role(layout, &OPERATORS, 1)?,
        witnesses: witnesses.iter().map(|text| witness(text)).collect::<Result<_>>()?,
    };
    let envelope = sign(&keyring, &[&layout.signing_key(ROOT[0])?, &layout.signing_key(ROOT[1])?]);
    write(&layout.pinned_keyring_file(), &serde_json::to_vec_pretty(&envelope)?)?;
    write(&layout.keyrings_file(), &serde_json::to_vec_pretty(&[envelope])?)
}

fn witness(text: &str) -> Result<WitnessKey> {
    let key = staffel_store::WitnessKey::parse(text).with_context(|| format!("the witness's key {text:?}"))?;
    let raw = key.raw();
    Ok(WitnessKey { name: key.name().to_string(), key: staffel_statement::PublicKey(raw) })
}

/// The TUF keys that are here.
fn tuf_keys(layout: &Layout) -> Result<TufKeys> {
    let mut keys = Vec::new();
    let here = std::fs::read_dir(layout.root.join("keys")).with_context(|| "read the folder keys")?;
    for entry in here {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "key") {
            keys.push(KeyPair::load(&path).with_context(|| format!("read {}", path.display()))?);
        }
    }
    Ok(keys.into_iter().collect())
}

/// Opens the repository with the keys that are here.
pub fn open(layout: &Layout) -> Result<Repository> {
    Repository::open(&layout.repo_dir(), tuf_keys(layout)?, Lifetimes::default()).context("open the repository")
}

/// The keyring in force.
pub fn keyring(layout: &Layout) -> Result<Keyring> {
    let chain = layout.keyrings()?;
    let Some((first, rest)) = chain.split_first() else { bail!("the chain of keyrings is empty") };
    let mut keyring = Keyring::pinned(first)?;
    for next in rest {
        keyring = keyring.next(next)?;
    }
    Ok(keyring)
}

/// New keys for a role: the old files are kept beside as `NAME.old-VERSION`.
fn rotate(layout: &Layout, which: RoleName) -> Result<()> {
    let old = keyring(layout)?;
    let names: &[&str] = match which {
        RoleName::Root => &ROOT,
        RoleName::Release => &RELEASE,
        RoleName::Releasers => &RELEASERS,
        RoleName::Gate => &GATE,
        RoleName::Online => &[ONLINE],
        RoleName::Operators => &OPERATORS,
    };
    // Everything that signs is loaded before anything is replaced.
    let old_root: Vec<_> = ROOT.iter().filter_map(|name| layout.signing_key(name).ok()).collect();
    if old_root.len() < old.root.threshold as usize {
        return Err(Failure::refused(
            format!("{} of {} root keys are here", old_root.len(), old.root.threshold),
            "a rotation is signed by the root keys: run it where they are",
        )
        .into());
    }
    let mut repository = open(layout)?;
    let fresh: Vec<KeyPair> = names.iter().map(|_| KeyPair::generate()).collect::<Result<_, _>>()?;
    repository.add_keys(fresh.iter().cloned().collect());
    // Saved before anything is published: a root whose new keys were lost could never be rotated again.
    for (name, key) in names.iter().zip(&fresh) {
        let path = layout.key_file(name).with_extension("new");
        let kept = path.with_extension(format!("unused-{}", now_ms()));
        if path.exists() {
            std::fs::rename(&path, &kept).with_context(|| format!("keep {}", path.display()))?;
            std::fs::rename(public_path(&path), public_path(&kept)).context("keep its public half")?;
        }
        key.save(&path).with_context(|| format!("save the new key {name}"))?;
    }
    let public: Vec<_> = fresh.iter().map(|key| *key.public()).collect();
    let now = now_ms();
    for (role, threshold) in tuf_roles(which) {
        let keys = KeySet::new(&public, threshold);
        repository.rotate(role, &keys, now).with_context(|| format!("rotate the keys of {which:?}"))?;
    }
    let mut new = Keyring { version: old.version + 1, ..old.clone() };
    let keys: Vec<_> = public.iter().map(|key| key.for_statements()).collect();
    let entry = match which {
        RoleName::Root => &mut new.root,
        RoleName::Release => &mut new.release,
        RoleName::Releasers => &mut new.releasers,
        RoleName::Gate => &mut new.gate,
        RoleName::Online => &mut new.online,
        RoleName::Operators => &mut new.operators,
    };
    entry.keys = keys;
    let fresh_signers: Vec<_> = fresh.iter().map(KeyPair::for_statements).collect();
    let mut signers: Vec<_> = old_root.iter().take(old.root.threshold as usize).collect();
    if which == RoleName::Root {
        signers.extend(fresh_signers.iter().take(old.root.threshold as usize));
    }
    let envelope: Envelope = sign(&new, &signers);
    let mut chain = layout.keyrings()?;
    chain.push(envelope);
    write(&layout.keyrings_file(), &serde_json::to_vec_pretty(&chain)?)?;
    for name in names {
        let path = layout.key_file(name);
        let kept = path.with_extension(format!("old-{}", old.version));
        let new = path.with_extension("new");
        std::fs::rename(&path, &kept).with_context(|| format!("keep the old key {name}"))?;
        std::fs::rename(&new, &path).with_context(|| format!("put the new key {name} in place"))?;
        std::fs::rename(public_path(&new), public_path(&path)).context("put its public half in place")?;
    }
    println!(
        "{which:?}: {} new key(s), keyring {} is signed. Restart the server so that it tells the devices.",
        names.len(),
        new.version
    );
    Ok(())
}

fn tuf_roles(which: RoleName) -> Vec<(Role, u32)> {
    match which {
        RoleName::Root => vec![(Role::Root, 2)],
        RoleName::Release => vec![(Role::Targets, 1), (Role::Bins, 1)],
        RoleName::Gate => vec![(Role::Gate, 1)],
        RoleName::Online => vec![(Role::Snapshot, 1), (Role::Timestamp, 1)],
        // Statements only: TUF does not know them.
        RoleName::Releasers | RoleName::Operators => Vec::new(),
    }
}

fn show(layout: &Layout, as_json: bool) -> Result<()> {
    let keyring = keyring(layout)?;
    let repository = open(layout)?;
    let expires = |role| repository.expires(role).unwrap_or(0);
    if as_json {
        return json(&json!({
            "keyring": keyring,
            "expires_ms": {
                "root": expires(Role::Root), "targets": expires(Role::Targets),
                "snapshot": expires(Role::Snapshot), "timestamp": expires(Role::Timestamp),
            },
        }));
    }
    println!("keyring {}", keyring.version);
    for (name, role) in [
        ("root", &keyring.root),
        ("release", &keyring.release),
        ("releasers", &keyring.releasers),
        ("gate", &keyring.gate),
        ("online", &keyring.online),
        ("operators", &keyring.operators),
    ] {
        println!("  {name:<10} {} of {}", role.threshold, role.keys.len());
        for key in &role.keys {
            println!("             {key}");
        }
    }
    println!("TUF metadata expires (days from now):");
    let days = |at: u64| (at.saturating_sub(now_ms())) / 86_400_000;
    for (name, role) in
        [("root", Role::Root), ("targets", Role::Targets), ("snapshot", Role::Snapshot), ("timestamp", Role::Timestamp)]
    {
        println!("  {name:<10} {}", days(expires(role)));
    }
    Ok(())
}

/// The signer of the log's checkpoints.
pub fn log_signer(layout: &Layout, origin: &str) -> Result<LogSigner> {
    Ok(LogSigner::from_seed(origin, &layout.key(LOG)?.seed())?)
}

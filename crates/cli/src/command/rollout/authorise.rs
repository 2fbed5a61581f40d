//! Authorisations: what two releasers sign so that a release may go out, and how fast at most. They need not sit at one
//! machine: one writes the file, each signs it where the key is, somebody starts the rollout with it.
//!
//! Must stay out: sending it (`start`), and judging it (server and devices do).

use super::show;
use crate::{
    client::{
        Client, Connect,
        time::{moment, span},
    },
    command::envelope::{add_signature, confirm, keep, read_json},
    output::{Failure, json},
};
use anyhow::{Context as _, Result};
use clap::ValueEnum;
use staffel_core::{
    conditions::{AUTHORISATION_LIFETIME_MS, Authorisation, RELEASERS, Unit},
    ids::Digest,
    profile::{Profile, ProfileName},
};
use staffel_server::api::NextRollout;
use staffel_statement::{
    Envelope,
    predicate::{Headed, Header, Release, payload, read},
};
use std::path::{Path, PathBuf};

const DAY_MS: u64 = 24 * 3_600_000;

/// The speeds, as they are typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Speed {
    /// Seconds instead of minutes, to watch it: never for real fleets.
    Demo,
    /// A fix that can't wait; passes the customers' windows, not their freeze.
    Urgent,
    Standard,
    /// A day of soak a wave.
    Careful,
}

/// What counts as one.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum UnitArgument {
    Device,
    /// For sites whose server carries its clients.
    Site,
}

/// What the releasers allow.
#[derive(clap::Args, Clone, Debug)]
pub struct Terms {
    /// How fast.
    #[arg(long, value_enum, default_value = "standard")]
    profile: Speed,
    /// What counts as one in waves and budgets.
    #[arg(long, value_enum, default_value = "device")]
    unit: UnitArgument,
    /// The rollout that this one replaces.
    #[arg(long, value_name = "ROLLOUT")]
    supersedes: Option<u64>,
    /// At most this many exposed at the same time [else what the profile says].
    #[arg(long, value_name = "UNITS")]
    budget: Option<u32>,
    /// Days until the authorisation is over; 14 at most.
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u64).range(1..=14))]
    days: u64,
}

/// Arguments of `staffel rollout authorise`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the release.
    name: String,
    /// Its version.
    version: String,
    /// The signed release [else the folder's].
    #[arg(long, value_name = "FILE")]
    release: Option<PathBuf>,
    #[command(flatten)]
    terms: Terms,
    /// Where the authorisation goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Sign it with this releaser's key at once, a name in the folder or a file; may be given again.
    #[arg(long = "releaser", value_name = "KEY")]
    releasers: Vec<String>,
    #[command(flatten)]
    connect: Connect,
}

/// Arguments of `staffel rollout sign`.
#[derive(clap::Args)]
pub struct SignArgs {
    /// The authorisation.
    file: PathBuf,
    /// Your key: a file, or a name in the folder.
    #[arg(long)]
    key: String,
    /// Sign without asking; else it is shown and you are asked on a terminal.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Writes an authorisation.
pub fn run(args: &Args, as_json: bool) -> Result<()> {
    let path = match &args.release {
        Some(path) => path.clone(),
        None => args.connect.layout()?.releases_dir().join(format!("{}-{}.dsse.json", args.name, args.version)),
    };
    let (_, digest) = read_release(&path, &args.name, &args.version)?;
    let next = Client::from(&args.connect)?.next_rollout()?;
    let headed = args.terms.authorise(digest, &next);
    let mut envelope = Envelope::sign(&payload(&headed), &[]);
    for name in &args.releasers {
        add_signature(&mut envelope, &args.connect, name)?;
    }
    keep(&args.out, &envelope)?;
    tell(&args.out, &envelope, &headed.body, as_json)
}

/// Adds a signature.
pub fn sign_file(args: &SignArgs, as_json: bool) -> Result<()> {
    let (mut envelope, authorisation) = read_file(&args.file)?;
    add_signature(&mut envelope, &args.connect, &args.key)?;
    if !args.yes {
        eprint!("{}", text(&authorisation));
        confirm()?;
    }
    keep(&args.file, &envelope)?;
    tell(&args.file, &envelope, &authorisation, as_json)
}

impl Terms {
    /// The authorisation of these terms for a release, from now on by the server's clock.
    pub fn authorise(&self, release: Digest, next: &NextRollout) -> Headed<Authorisation> {
        let name = match self.profile {
            Speed::Demo => ProfileName::Demo,
            Speed::Urgent => ProfileName::Urgent,
            Speed::Standard => ProfileName::Standard,
            Speed::Careful => ProfileName::Careful,
        };
        let profile = Profile::named(name);
        let units = match self.unit {
            UnitArgument::Device => next.fleet.devices,
            UnitArgument::Site => next.fleet.sites,
        };
        // An older server does not say; the table is made for large fleets, and the narrower one.
        let units = if units == 0 { u64::MAX } else { units };
        let not_after_ms = next.now_ms + (self.days * DAY_MS).min(AUTHORISATION_LIFETIME_MS);
        let body = Authorisation {
            rollout: next.rollout,
            release,
            log_root: next.log_root,
            unit: match self.unit {
                UnitArgument::Device => Unit::Device,
                UnitArgument::Site => Unit::Site,
            },
            profile: name,
            start_ms: next.now_ms,
            not_after_ms,
            ceiling: profile.ceiling_for(units),
            exposure_budget: self.budget.or(profile.exposure_budget),
            supersedes: self.supersedes,
            signers: 0,
        };
        Headed { header: Header { issued_ms: next.now_ms, expires_ms: not_after_ms, ..Header::default() }, body }
    }
}

/// The signed release in a file, if it is the one that was named, with its digest.
pub fn read_release(path: &Path, name: &str, version: &str) -> Result<(Envelope, Digest)> {
    let envelope: Envelope = read_json(path, "build it with `staffel release`, or name its file with --release")?;
    let bytes = envelope.payload().with_context(|| format!("read {}", path.display()))?;
    let release: Release = read(&bytes).with_context(|| format!("{} is no signed release", path.display()))?;
    if release.name != name || release.version != version {
        let what = format!("{} is {} {}, not {name} {version}", path.display(), release.name, release.version);
        return Err(Failure::refused(what, "name the file of the release that you mean").into());
    }
    Ok((envelope, Digest::of(&bytes)))
}

/// The authorisation in a file. Its signatures are not verified: whoever takes it does that.
pub fn read_file(path: &Path) -> Result<(Envelope, Authorisation)> {
    let envelope: Envelope = read_json(path, "write it with `staffel rollout authorise`")?;
    let bytes = envelope.payload().with_context(|| format!("read {}", path.display()))?;
    let headed: Headed<Authorisation> =
        read(&bytes).with_context(|| format!("{} is no authorisation", path.display()))?;
    Ok((envelope, headed.body))
}

fn tell(path: &Path, envelope: &Envelope, authorisation: &Authorisation, as_json: bool) -> Result<()> {
    let signatures = envelope.signatures.len();
    if as_json {
        let value = serde_json::json!({ "file": path, "signatures": signatures, "authorisation": authorisation });
        return json(&value);
    }
    print!("{}", text(authorisation));
    println!("  signatures  {signatures} of {RELEASERS}");
    let file = path.display();
    if signatures < RELEASERS as usize {
        println!("Next: each releaser runs  staffel rollout sign {file} --key KEY");
    } else {
        println!("Next: staffel rollout start NAME VERSION --authorisation {file}");
    }
    Ok(())
}

/// What somebody is about to sign.
pub fn text(a: &Authorisation) -> String {
    let mut text = format!("authorisation of rollout {}\n", a.rollout);
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<11} {value}\n"));
    line("release", a.release.to_string());
    line("from", moment(a.start_ms));
    line("until", format!("{} ({})", moment(a.not_after_ms), span(a.not_after_ms.saturating_sub(a.start_ms))));
    line("profile", format!("{:?}", a.profile).to_lowercase());
    line("unit", format!("{:?}", a.unit).to_lowercase());
    line("ceiling", show::ceiling(&a.ceiling));
    let budget =
        a.exposure_budget.map_or("none but the wave itself".into(), |units| format!("{units} at the same time"));
    line("exposed", budget);
    if let Some(old) = a.supersedes {
        line("replaces", format!("rollout {old}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use staffel_core::ids::Share;
    use staffel_server::api::FleetShape;
    use staffel_statement::{SigningKey, predicate::verify};

    fn terms() -> Terms {
        let (profile, unit) = (Speed::Demo, UnitArgument::Device);
        Terms { profile, unit, supersedes: Some(3), budget: None, days: 14 }
    }

    fn next() -> NextRollout {
        let fleet = FleetShape { devices: 1_000, sites: 50, ..FleetShape::default() };
        NextRollout { rollout: 4, log_root: Digest::of(b"root"), now_ms: 1_000_000, fleet }
    }

    #[test]
    fn the_ceiling_follows_the_size_of_the_fleet() {
        let with = |unit, next: &NextRollout| {
            let terms = Terms { profile: Speed::Urgent, unit, ..terms() };
            terms.authorise(Digest::of(b"r"), next).body.ceiling[0].share
        };
        assert_eq!(with(UnitArgument::Device, &next()), Share(8_000_000));
        assert_eq!(with(UnitArgument::Site, &next()), Share(160_000_000));
        let unknown = NextRollout { fleet: FleetShape::default(), ..next() };
        assert_eq!(with(UnitArgument::Device, &unknown), Profile::named(ProfileName::Urgent).ceiling[0].share);
    }

    #[test]
    fn terms_become_what_the_profile_says() {
        let headed = terms().authorise(Digest::of(b"r"), &next());
        let profile = Profile::named(ProfileName::Demo);
        let body = &headed.body;
        assert_eq!((body.rollout, body.supersedes, body.start_ms), (4, Some(3), 1_000_000));
        assert_eq!(body.not_after_ms - body.start_ms, AUTHORISATION_LIFETIME_MS);
        assert_eq!((&body.ceiling, body.exposure_budget), (&profile.ceiling, profile.exposure_budget));
        let few = Terms { budget: Some(2), days: 1, ..terms() }.authorise(Digest::of(b"r"), &next()).body;
        assert_eq!((few.exposure_budget, few.not_after_ms), (Some(2), 1_000_000 + DAY_MS));
    }

    #[test]
    fn two_people_sign_one_file_and_neither_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("authorisation.json");
        let headed = terms().authorise(Digest::of(b"r"), &next());
        keep(&path, &Envelope::sign(&payload(&headed), &[])).unwrap();
        let mut keys = Vec::new();
        for seed in [1, 2] {
            let pair = staffel_trust::keyfile::KeyPair::from_seed([seed; 32]);
            let file = dir.path().join(format!("{seed}.key"));
            pair.save(&file).unwrap();
            let key = file.to_string_lossy().into_owned();
            let sign = || {
                let connect = Connect::default();
                sign_file(&SignArgs { file: path.clone(), key: key.clone(), yes: true, connect }, true)
            };
            sign().unwrap();
            assert_eq!(sign().unwrap_err().downcast_ref::<Failure>().map(|f| f.code), Some(3));
            keys.push(SigningKey::from_seed(&[seed; 32]).public());
        }
        let (envelope, body) = read_file(&path).unwrap();
        assert_eq!(body, headed.body);
        assert_eq!(verify::<Headed<Authorisation>>(&envelope, "releasers", &keys, RELEASERS).unwrap().2, 2);
    }

    #[test]
    fn the_shown_text_says_what_is_allowed() {
        let text = text(&terms().authorise(Digest::of(b"r"), &next()).body);
        for part in
            ["rollout 4", "(14 d)", "profile     demo", "8 at the same time", "20 % at once", "replaces    rollout 3"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_file_of_another_release_is_refused_and_a_missing_one_is_not_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.dsse.json");
        let code = |error: anyhow::Error| error.downcast_ref::<Failure>().map(|failure| failure.code);
        assert_eq!(code(read_release(&path, "a", "1").unwrap_err()), Some(4));
        let release = Release {
            name: "a".into(),
            version: "1".into(),
            sequence: 1,
            kind: staffel_core::release::Kind::Content,
            security_floor: 0,
            state: staffel_core::release::StateCompatibility::None,
            files: Vec::new(),
            service: None,
            probes: Vec::new(),
            supplier: String::new(),
        };
        keep(&path, &Envelope::sign(&payload(&release), &[])).unwrap();
        assert_eq!(read_release(&path, "a", "1").unwrap().1, Digest::of(&payload(&release)));
        assert_eq!(code(read_release(&path, "a", "2").unwrap_err()), Some(3));
        assert!(read_file(&path).is_err(), "a release is no authorisation");
    }
}

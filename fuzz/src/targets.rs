//! The entrances for bytes from elsewhere, each with valid inputs and the rules that hold for any input.

mod content;
mod samples;
mod sources;
mod traces;

use crate::Target;
use samples::{DEVICE, NONCE, START, key, keyring};
use staffel_boot::{
    codec,
    record::Record,
    socket::{Answerer, connection},
};
use staffel_core::{
    boot::firmware,
    conditions::{Identity, Memory, Readiness},
    ids::Digest,
};
use staffel_guard::{entries, partition};
use staffel_statement::{
    Envelope,
    bundle::{Bundle, Pinned, Verifier},
    guard::{Command, Reply},
    keyring::Keyring,
    witness::witness_time_ms,
};
use staffel_store::{LogSigner, TilePath, TreeHead, WitnessKey, WitnessRequest, verify_checkpoint};
use staffel_trust::{
    tuf::{
        client::{Client, ClientError, FetchError, FromFunction, Resource, block_on},
        path,
    },
    wire::{Board, Bye, CheckIn, CheckInReply, Detections, Enrol, Remedied},
};
use std::{
    cell::Cell,
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, PoisonError},
};

/// All of them.
pub fn all() -> Vec<Target> {
    vec![
        bundle(),
        statements(),
        boot_record(),
        firmware_record(),
        guard_command(),
        guard_socket(),
        tuf(),
        tlog(),
        wire(),
        content::pack(),
        content::records(),
        traces::pstore(),
        sources::connector(),
        sources::folders(),
        sources::authentication(),
        sources::collected(),
        detections(),
    ]
}

/// The kind of an error: its words without the numbers, hashes and quotations that differ from input to input.
fn kind(error: impl std::fmt::Display) -> String {
    let text: String = error.to_string().chars().take(160).collect();
    let mut quoted = false;
    let keep = |c: &char| {
        quoted ^= *c == '"';
        !quoted && (c.is_ascii_alphabetic() || *c == ' ')
    };
    text.chars().filter(keep).collect()
}

fn verifier() -> Verifier {
    let pinned = Pinned { tenant: "clinic".into(), tenant_keys: vec![key(20).public()] };
    Verifier::new(keyring(), pinned, Memory::default())
}

/// Everything that one change needs, as the agent gives it to the guard.
fn bundle() -> Target {
    let sample = samples::bundle();
    let good = sample.clone();
    let run = move |bytes: &[u8]| {
        let bundle: Bundle = match serde_json::from_slice(bytes) {
            Ok(bundle) => bundle,
            Err(error) => return Ok(kind(error)),
        };
        let mut verifier = verifier();
        let verified = verifier.look_at(&bundle, START);
        let identity = Identity {
            device: DEVICE,
            name: "ward-1".into(),
            tenant: "clinic".into(),
            site: "main".into(),
            ring: 0,
            stratum: "debian-12".into(),
            consumer: Digest::of(b"guard"),
        };
        let readiness = Readiness {
            has_last_known_good: true,
            trial_running: false,
            preflight: Vec::new(),
            nonce: Some(NONCE.into()),
            os_images: true,
        };
        let refusals = verified.refusals(&identity, &verifier.memory, &readiness, false);
        let payload = |envelope: &Option<Envelope>| envelope.as_ref().and_then(|envelope| envelope.payload().ok());
        let said = |bundle: &Bundle| {
            let Bundle { release, gate, authorisation, frontier, policy, permit, .. } = bundle;
            [release, gate, authorisation, frontier, policy, permit].map(payload)
        };
        if refusals.is_empty() && said(&bundle) != said(&good) {
            return Err("statements that nobody signed let a device change".into());
        }
        Ok(refusals.iter().map(kind).collect::<Vec<_>>().join("; "))
    };
    Target { name: "bundle", seeds: vec![samples::json(&sample)], run: Box::new(run) }
}

/// Statements that are acted on by themselves.
fn statements() -> Target {
    let seeds = samples::statements();
    let known: Vec<Vec<u8>> = seeds.iter().filter_map(|envelope| envelope.payload().ok()).collect();
    let run = move |bytes: &[u8]| {
        let envelope: Envelope = match serde_json::from_slice(bytes) {
            Ok(envelope) => envelope,
            Err(error) => return Ok(kind(error)),
        };
        let mut verifier = verifier();
        let results = [
            verifier.accept_halt(&envelope).map(drop).map_err(kind),
            verifier.accept_unhalt(&envelope).map(drop).map_err(kind),
            verifier.accept_remedy(&envelope, DEVICE, START).map(drop).map_err(kind),
            verifier.accept_receipt(&envelope, DEVICE, NONCE).map(drop).map_err(kind),
            verifier.accept_keyring(&envelope).map(drop).map_err(kind),
            Keyring::pinned(&envelope).map(drop).map_err(kind),
        ];
        // A keyring that brings its own keys is what pinning by hand takes; all else needs a key of ours.
        let believed = results[..5].iter().any(Result::is_ok);
        if believed && !envelope.payload().is_ok_and(|payload| known.contains(&payload)) {
            return Err("a statement that nobody signed was believed".into());
        }
        Ok(results.map(|result| result.err().unwrap_or("taken".into())).join("; "))
    };
    Target { name: "statements", seeds: seeds.iter().map(samples::json).collect(), run: Box::new(run) }
}

/// The guard's own records, torn, mixed up or written by somebody else.
fn boot_record() -> Target {
    let body = samples::json(&Record::default());
    let seeds = vec![codec::encode("record", 7, &body), codec::encode("record", 0, b"")];
    let run = |bytes: &[u8]| {
        let (sequence, body) = match codec::decode("record", bytes) {
            Ok(found) => found,
            Err(error) => return Ok(kind(error)),
        };
        if codec::encode("record", sequence, body) != bytes {
            return Err("a record was taken that was not written so".into());
        }
        let read: Result<Record, _> = serde_json::from_slice(body);
        Ok(read.map_or_else(kind, |_| "read".into()))
    };
    // The body alone, too: the checksum keeps most changes from ever getting there.
    let run = move |bytes: &[u8]| match serde_json::from_slice::<Record>(bytes) {
        Ok(record) => again(&record).map(|()| "a body".into()),
        Err(_) => run(bytes),
    };
    Target { name: "boot-record", seeds: [seeds, vec![body]].concat(), run: Box::new(run) }
}

/// The state on the system partition, whose bytes anybody with the disk in hand can change, and entries that are read where it is
/// lost.
fn firmware_record() -> Target {
    let digest = |n| Digest([n; 32]);
    let state = firmware::State::new(digest(1), digest(2), "quiet panic=1 oops=panic".into(), digest(3));
    let arm = firmware::Event::Arm { kernel: digest(4), initrd: digest(2), options: "quiet".into() };
    let armed = firmware::step(&state, arm).state;
    let seeds = [&state, &armed].map(|state| partition::write_state(7, state).unwrap_or_default());
    let bodies = [&state, &armed].map(samples::json);
    let texts = [entries::text(&state.good, false), entries::text(&armed.good, true)].map(String::into_bytes);
    let run = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        if let Some(entry) = entries::parse(&text, 1)
            && entries::text(&entry, false) != text
        {
            return Err("an entry was taken that was not written so".into());
        }
        // The body alone, too: the checksum keeps most changes from ever getting there.
        let state = match serde_json::from_slice::<firmware::State>(bytes) {
            Ok(state) => state,
            Err(body) => match partition::read_state(bytes) {
                Ok((_, state)) => state,
                Err(whole) => return Ok(format!("{} / {}", kind(whole), kind(body))),
            },
        };
        // Whatever it says: decisions about it end, and what is written is read as the same.
        for running in [firmware::Running::Safe, firmware::Running::Entry { number: state.good.number, trial: false }] {
            let counts = firmware::Counts::default();
            let found = firmware::Found {
                running,
                state: Some(&state),
                counts: &counts,
                traces: None,
                highest_uncounted: None,
            };
            firmware::begin(&found);
            firmware::step(&state, firmware::Event::RollBack { why: "a person".into() });
        }
        match partition::write_state(1, &state) {
            Ok(written) if partition::read_state(&written).is_ok_and(|(_, again)| again == state) => {
                Ok("a state".into())
            }
            Ok(_) if state.format != firmware::FORMAT => Ok("of another format".into()),
            Ok(_) => Err("a state is not read as it was written".into()),
            Err(error) => Ok(kind(error)),
        }
    };
    let seeds = seeds.into_iter().chain(bodies).chain(texts).collect();
    Target { name: "firmware-record", seeds, run: Box::new(run) }
}

/// Lines on the guard's socket, in both directions.
fn guard_command() -> Target {
    let run = |bytes: &[u8]| match serde_json::from_slice::<Command>(bytes) {
        Ok(command) => again(&command).map(|()| "a command".into()),
        Err(error) => match serde_json::from_slice::<Reply>(bytes) {
            Ok(reply) => again(&reply).map(|()| "a reply".into()),
            Err(other) => Ok(format!("{} / {}", kind(error), kind(other))),
        },
    };
    Target { name: "guard-command", seeds: samples::commands(), run: Box::new(run) }
}

/// The guard's socket itself: whatever comes, each line gets one answer, and only what is a command is carried out.
fn guard_socket() -> Target {
    /// What a local socket takes without anybody reading: bytes there, and as many answers back.
    const MOST: (usize, usize) = (32 << 10, 200);
    let run = |bytes: &[u8]| {
        let bytes = &bytes[..bytes.len().min(MOST.0)];
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').take(MOST.1).collect();
        let bytes = lines.concat();
        let (mut peer, ours) = UnixStream::pair().map_err(|error| error.to_string())?;
        let done = Arc::new(Mutex::new(0usize));
        let counted = Arc::clone(&done);
        let answer: Answerer = Arc::new(move |_| {
            *counted.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            Reply::Done { why: "done".into() }
        });
        let sent = peer.write_all(&bytes).and_then(|()| peer.shutdown(Shutdown::Write));
        sent.map_err(|error| error.to_string())?;
        let served = connection(ours, &answer, &Mutex::new(()));
        let mut said = String::new();
        peer.read_to_string(&mut said).map_err(|error| error.to_string())?;
        let replies: Result<Vec<Reply>, _> = said.lines().map(serde_json::from_str).collect();
        let replies = replies.map_err(|error| format!("the guard answered nonsense: {error}"))?;
        let commands =
            lines.iter().filter(|line| line.ends_with(b"\n") && serde_json::from_slice::<Command>(line).is_ok());
        let (commands, done) = (commands.count(), *done.lock().unwrap_or_else(PoisonError::into_inner));
        if replies.len() != lines.len() || commands != done {
            return Err(format!(
                "{} lines, {} answers; {commands} commands, {done} carried out",
                lines.len(),
                replies.len()
            ));
        }
        Ok(served.map_or_else(kind, |()| format!("{} commands of {} lines", done.min(3), lines.len().min(9))))
    };
    let mut seeds: Vec<Vec<u8>> = samples::commands();
    seeds.iter_mut().for_each(|seed| seed.push(b'\n'));
    seeds.push(seeds.concat());
    Target { name: "guard-socket", seeds, run: Box::new(run) }
}

/// TUF metadata: one file of a good repository at a time is somebody else's. The first byte says which.
fn tuf() -> Target {
    let repository = Arc::new(samples::Repository::new());
    let names: Vec<String> = repository.files.keys().cloned().collect();
    let seed = |at: usize| [vec![at as u8], repository.files[&names[at]].clone()].concat();
    let seeds = (0..names.len()).map(seed).collect();
    let counter = Cell::new(0u64);
    let run = move |bytes: &[u8]| {
        let Some((which, bytes)) = bytes.split_first() else { return Ok("nothing".into()) };
        let name = names[usize::from(*which) % names.len()].clone();
        let _ = path::validate(&String::from_utf8_lossy(bytes));
        counter.set(counter.get() + 1);
        // A device's own folder for each input: what one left must not help the next.
        let folder = repository.folder.path().join(format!("client-{}", counter.get()));
        let (files, changed, ours) = (repository.clone(), bytes.to_vec(), name.clone());
        let transport = FromFunction(move |resource: Resource<'_>, limit: u64| {
            let asked = resource.name();
            let bytes = if asked == ours { Some(&changed) } else { files.files.get(asked) };
            match bytes {
                None => Err(FetchError::NotFound),
                Some(bytes) if bytes.len() as u64 > limit => Err(FetchError::TooLarge),
                Some(bytes) => Ok(bytes.clone()),
            }
        });
        let looked = || -> Result<Option<Vec<u8>>, ClientError> {
            let root = if name == samples::ROOT { bytes } else { &repository.files[samples::ROOT] };
            let mut client = Client::open(&folder, root, transport)?;
            block_on(client.refresh(samples::TUF_NOW))?;
            let info = block_on(client.target_info(samples::TARGET))?;
            info.map(|info| block_on(client.download_target(&info))).transpose()
        };
        let result = looked();
        let _ = std::fs::remove_dir_all(&folder);
        match result {
            // Whoever brings its own root can bring its own everything: only that one is pinned on a device.
            Ok(Some(content)) if content != samples::CONTENT && name != samples::ROOT => {
                Err("a file that nobody signed was taken".into())
            }
            Ok(found) => Ok(format!("{name}: found {}", found.is_some())),
            Err(error) => Ok(format!("{name}: {}", kind(error))),
        }
    };
    Target { name: "tuf", seeds, run: Box::new(run) }
}

/// Notes, witness requests and paths of tiles.
fn tlog() -> Target {
    let signer = LogSigner::from_seed(samples::ORIGIN, &[8; 32]).expect("a good seed");
    let (log_key, (note, witness)) = (signer.public().clone(), samples::checkpoint(&signer));
    let (good, device_witness) = (note.clone(), samples::device_witness(&witness));
    let request = WitnessRequest { old_size: 1, proof: vec![[7; 32]], checkpoint: note.clone() }.to_text();
    let paths = ["tile/0/x001/234.p/5", "tile/entries/000", "tile/1/067"].map(|text| text.as_bytes().to_vec());
    let key_text = witness.text().into_bytes();
    let run = move |bytes: &[u8]| {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Ok(TreeHead::parse(bytes).map_or_else(kind, |_| "a head that is no text".into()));
        };
        if let Ok(request) = WitnessRequest::parse(text)
            && WitnessRequest::parse(&request.to_text()).ok().as_ref() != Some(&request)
        {
            return Err("a witness's request changed on the way".into());
        }
        if let Ok(path) = TilePath::parse(text)
            && path.to_string() != text
        {
            return Err("one tile has two paths".into());
        }
        let _ = WitnessKey::parse(text);
        let body = |note: &str| note.split("\n\n").next().map(String::from);
        let verified = verify_checkpoint(text, &log_key, std::slice::from_ref(&witness));
        let timed = witness_time_ms(text, std::slice::from_ref(&device_witness));
        if (verified.is_ok() || timed.is_some()) && body(text) != body(&good) {
            return Err("a checkpoint that nobody signed was taken".into());
        }
        Ok(format!("{} {}", verified.map_or_else(kind, |_| "verified".into()), timed.is_some()))
    };
    let seeds = [vec![note.into_bytes(), request.into_bytes(), key_text], paths.to_vec()].concat();
    Target { name: "tlog", seeds, run: Box::new(run) }
}

/// What agents and the server say to one another.
fn wire() -> Target {
    fn read<T: serde::de::DeserializeOwned + serde::Serialize>(
        bytes: &[u8],
        says: &mut Vec<String>,
    ) -> Result<(), String> {
        match serde_json::from_slice::<T>(bytes) {
            Ok(value) => {
                says.push("read".into());
                again(&value)
            }
            Err(error) => {
                says.push(kind(error));
                Ok(())
            }
        }
    }
    let run = |bytes: &[u8]| {
        let mut says = Vec::new();
        read::<CheckIn>(bytes, &mut says)?;
        read::<CheckInReply>(bytes, &mut says)?;
        read::<Board>(bytes, &mut says)?;
        read::<Enrol>(bytes, &mut says)?;
        read::<Bye>(bytes, &mut says)?;
        read::<Remedied>(bytes, &mut says)?;
        Ok(says.join("; "))
    };
    Target { name: "wire", seeds: samples::words(), run: Box::new(run) }
}

/// What a device says that its sensor found.
fn detections() -> Target {
    let seed = r#"{"stream":"0a","lost":1,"findings":[{"number":7,"kind":"match","rule":"r","title":"t","severity":"high","class":"c","pack":"p","version":2,"tags":["a"],"fields":{"Image":"/bin/x"},"count":3,"first_ms":10,"last_ms":20},{"number":8,"kind":"sensor","trouble":"killed","severity":"low","detail":"x","count":1,"first_ms":1,"last_ms":1}]}"#;
    let run = |bytes: &[u8]| match serde_json::from_slice::<Detections>(bytes) {
        Ok(said) => again(&said).map(|()| format!("{} findings", said.findings.len().min(3))),
        Err(error) => Ok(kind(error)),
    };
    Target { name: "detections", seeds: vec![seed.as_bytes().to_vec()], run: Box::new(run) }
}

/// What was read can be written and is read as the same again.
fn again<T: serde::de::DeserializeOwned + serde::Serialize>(value: &T) -> Result<(), String> {
    let once = serde_json::to_vec(value).map_err(|error| format!("it can't be written: {error}"))?;
    let back: T = serde_json::from_slice(&once).map_err(|error| format!("it is not read again: {error}"))?;
    match serde_json::to_vec(&back) {
        Ok(twice) if twice == once => Ok(()),
        _ => Err("it changed on the way".into()),
    }
}

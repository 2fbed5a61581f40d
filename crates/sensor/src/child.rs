//! The evaluator process: takes its code, builds its walls, then computes until its input ends or something goes wrong.
//!
//! It starts over for nothing: after any trouble it says what it was and ends. The supervisor has another one.

use crate::{
    engine::{Guest, TICK_MS, Trouble},
    frame::{self, Kind},
    platform,
};
use std::{
    io::{self, Read, Write},
    sync::mpsc,
    time::Duration,
};

/// Serves until the input ends.
pub fn run(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    platform::close_others()?;
    let Some((Kind::Engine, code)) = frame::read(&mut input)? else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the first frame is not the engine"));
    };
    let mut guest = match Guest::new(&code) {
        Ok(guest) => guest,
        Err(trouble) => return tell(&mut output, &trouble),
    };
    drop(code);
    // User and files first: they reach the threads that are started later. Calls last: they reach all that there are.
    let mut lacking = platform::leave_root();
    lacking.extend(platform::restrict_files());
    let tick = guest.ticker();
    let (begun, begins) = mpsc::channel();
    std::thread::spawn(move || {
        // What starting a thread takes is not allowed later.
        let _ = begun.send(());
        loop {
            std::thread::sleep(Duration::from_millis(TICK_MS));
            tick();
        }
    });
    begins.recv().map_err(io::Error::other)?;
    lacking.extend(platform::restrict_calls(platform::Calls::Computing));
    frame::write(&mut output, Kind::Ready, &serde_json::to_vec(&lacking)?)?;
    let mut answer = Vec::new();
    while let Some((kind, bytes)) = frame::read(&mut input)? {
        let result = match kind {
            Kind::Load => guest.load(&bytes).map(|()| None),
            Kind::Batch => guest.evaluate(&bytes).map(Some),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame that only this side may send")),
        };
        match result {
            Ok(None) => frame::write(&mut output, Kind::Loaded, &[])?,
            Ok(Some(said)) => {
                said.encode(&mut answer);
                frame::write(&mut output, Kind::Answer, &answer)?;
            }
            Err(trouble) => return tell(&mut output, &trouble),
        }
    }
    Ok(())
}

fn tell(output: &mut impl Write, trouble: &Trouble) -> io::Result<()> {
    frame::write(output, Kind::Trouble, &serde_json::to_vec(trouble)?)
}

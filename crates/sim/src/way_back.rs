//! How a machine that dies on a trial comes back: the production boot machine, started again and again. Must stay out:
//! how long a start takes.

use staffel_core::{
    boot::{Event, Generation, State, Terms, step},
    ids::Digest,
};

/// Starts that a machine needs until its guard runs the version before; `None` if it does not within 100.
pub fn starts_until_back() -> Option<u32> {
    let generation = |version: &str| Generation::of([("release".to_string(), Digest::of(version.as_bytes()))].into());
    let arm = |version: &str| Event::Arm {
        generation: generation(version),
        rollout: 1,
        release: Digest::of(version.as_bytes()),
        terms: Terms::default(),
    };
    let mut state = State::new();
    for event in [
        Event::Started { boot_id: "first".into() },
        arm("before"),
        Event::Confirm { release: Digest::of(b"before") },
        arm("new"),
    ] {
        state = step(&state, event).state;
    }
    (1..=100).find(|number| {
        state = step(&state, Event::Started { boot_id: format!("start {number}") }).state;
        state.selected() == Some(&generation("before"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_comes_back_after_a_few_starts() {
        let starts = starts_until_back().unwrap();
        assert!((2..=5).contains(&starts), "{starts}");
    }
}

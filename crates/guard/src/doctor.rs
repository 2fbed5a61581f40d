//! What of a machine's start is protected, what is not, and how to mend it, in plain words. Facts in, findings out. What
//! must stay out: mending it.

use crate::{command_line::value, partition::check_options};
use staffel_core::boot::firmware::{Running, State};

/// How good or bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Protected,
    NotProtected,
    Wrong,
}

/// What is known about a machine; what could not be found out is none.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The machine was started by UEFI firmware and its variables can be read.
    pub uefi: bool,
    /// The loader's name and version, as it says itself.
    pub loader: Option<String>,
    pub secure_boot: Option<bool>,
    pub watchdog: bool,
    /// The running kernel's command line.
    pub command_line: String,
    /// The guard's state on the system partition, or why there is none.
    pub state: Option<Result<State, String>>,
    /// What was wrong with one of its copies.
    pub damage: Vec<String>,
    /// The safe system is what was set up.
    pub safe_holds: Option<bool>,
    /// Bytes that are free on the system partition.
    pub free: Option<u64>,
}

/// The findings, the most important first.
pub fn findings(facts: &Facts) -> Vec<(Mark, String)> {
    let mut out = Vec::new();
    let mut say = |mark, text: String| out.push((mark, text));
    let state = match &facts.state {
        Some(Ok(state)) => state,
        Some(Err(why)) => {
            say(Mark::Wrong, format!("{why}; mend: `guard-ctl firmware set-up`"));
            return out;
        }
        None => {
            let why = match facts.uefi {
                true => "no system partition is set up; mend: `guard-ctl firmware set-up --system-partition DIR ...`",
                false => "this machine was not started by UEFI firmware: the service form covers what it can",
            };
            say(Mark::NotProtected, format!("kernel, initramfs and loader: {why}"));
            return out;
        }
    };
    let running = crate::command_line::running(&facts.command_line);
    match running {
        Running::Entry { number, .. } => {
            say(
                Mark::Protected,
                format!("the machine was started with entry {number}, last-known-good is {}", state.good.number),
            );
        }
        Running::Safe => say(Mark::Protected, "the machine is in safe mode".into()),
        Running::Foreign => say(
            Mark::NotProtected,
            "the machine was started with an entry that is not the guard's; mend: start it with an entry `Staffel N`"
                .into(),
        ),
    }
    if value(&facts.command_line, "rdinit=") != Some("/staffel/guard-init") && matches!(running, Running::Entry { .. })
    {
        say(
            Mark::NotProtected,
            "guard-init did not run: a loader that can't count is not noticed, and crashes after a commit are not \
             counted; mend: put it into the initramfs and add rdinit=/staffel/guard-init"
                .into(),
        );
    }
    match &facts.loader {
        Some(loader) if loader.starts_with("systemd-boot") => {
            say(Mark::Protected, format!("{loader} counts the starts of a trial"));
        }
        Some(loader) => say(Mark::NotProtected, format!("{loader} does not count starts; mend: install systemd-boot")),
        None => say(
            Mark::NotProtected,
            "the loader does not say who it is, so it does not count starts; mend: install systemd-boot".into(),
        ),
    }
    match facts.safe_holds {
        Some(true) => say(Mark::Protected, "the safe system is whole".into()),
        _ => say(Mark::Wrong, "the safe system is damaged or missing, so nothing is armed; mend: put it back".into()),
    }
    match facts.watchdog {
        true => say(Mark::Protected, "a watchdog starts a kernel again that hangs".into()),
        false => say(Mark::NotProtected, "no watchdog: a kernel that hangs stays until somebody comes".into()),
    }
    if facts.secure_boot == Some(true) {
        say(
            Mark::NotProtected,
            "Secure Boot is on: kernels and the safe system must be signed with a key that the firmware knows, which \
             nothing here checks before a change"
                .into(),
        );
    }
    for why in check_options(&state.good.options) {
        say(Mark::Wrong, format!("last-known-good: {why}"));
    }
    if state.earlier.is_none() {
        say(Mark::NotProtected, "nothing is earlier than last-known-good: if it crashes, safe mode is next".into());
    }
    if let Some(why) = &state.stay_safe {
        say(Mark::Wrong, format!("safe mode was asked for: {why}; leave it with `guard-ctl firmware leave-safe`"));
    }
    if let Some(free) = facts.free {
        let need = crate::partition::RESERVE + (64 << 20);
        if free < need {
            let text =
                format!("{} MiB are free on the system partition; a change with its own kernel needs more", free >> 20);
            say(Mark::Wrong, text);
        }
    }
    facts.damage.iter().for_each(|what| say(Mark::Wrong, format!("damaged: {what}")));
    out
}

/// Looks at this machine. Reads, and writes nothing.
#[cfg(target_os = "linux")]
pub fn look(partition: Option<&std::path::Path>) -> Facts {
    use crate::{entries::SAFE_IMAGE, partition, variables::Variables, volume::Folder, volume::Volume as _};
    let variables = Variables::default();
    let mut facts = Facts {
        uefi: std::path::Path::new(crate::variables::FOLDER).is_dir(),
        loader: variables.loader(),
        secure_boot: variables.secure_boot(),
        watchdog: std::path::Path::new("/dev/watchdog").exists(),
        command_line: std::fs::read_to_string("/proc/cmdline").unwrap_or_default(),
        ..Facts::default()
    };
    let Some(path) = partition else { return facts };
    let folder = Folder::new(path);
    match partition::load(&folder) {
        Ok(loaded) => {
            let safe = folder.read(SAFE_IMAGE, partition::MAX_IMAGE).ok().flatten();
            let holds = safe.is_some_and(|bytes| staffel_core::ids::Digest::of(&bytes) == loaded.state.safe);
            facts.safe_holds = Some(holds);
            (facts.damage, facts.state) = (loaded.damage, Some(Ok(loaded.state)));
        }
        Err(error) => facts.state = Some(Err(error.to_string())),
    }
    facts.free = folder.free().ok();
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use staffel_core::ids::Digest;

    fn good() -> Facts {
        let options = "panic=1 oops=panic rdinit=/staffel/guard-init";
        let mut state = State::new(Digest([1; 32]), Digest([1; 32]), options.into(), Digest([1; 32]));
        state.earlier = Some(state.good.clone());
        Facts {
            uefi: true,
            loader: Some("systemd-boot 252".into()),
            secure_boot: Some(false),
            watchdog: true,
            command_line: format!("{options} staffel.entry=1"),
            state: Some(Ok(state)),
            damage: Vec::new(),
            safe_holds: Some(true),
            free: Some(1 << 30),
        }
    }

    fn bad(facts: &Facts) -> Vec<String> {
        findings(facts).into_iter().filter(|(mark, _)| *mark != Mark::Protected).map(|(_, text)| text).collect()
    }

    #[test]
    fn nothing_is_found_where_all_is_well() {
        assert_eq!(bad(&good()), Vec::<String>::new());
    }

    #[test]
    fn each_lack_is_named_and_alone() {
        type Lack = (fn(&mut Facts), &'static str);
        let lacks: [Lack; 7] = [
            (|facts| facts.loader = Some("GRUB 2".into()), "systemd-boot"),
            (|facts| facts.watchdog = false, "watchdog"),
            (|facts| facts.secure_boot = Some(true), "Secure Boot"),
            (|facts| facts.safe_holds = Some(false), "safe system"),
            (|facts| facts.command_line = "staffel.entry=1".into(), "guard-init"),
            (|facts| facts.command_line = "quiet".into(), "not the guard's"),
            (|facts| facts.free = Some(1 << 20), "MiB are free"),
        ];
        for (change, says) in lacks {
            let mut facts = good();
            change(&mut facts);
            let found = bad(&facts);
            assert!(found.len() == 1 && found[0].contains(says), "{says}: {found:?}");
        }
    }

    #[test]
    fn a_machine_without_the_guard_is_not_called_protected() {
        for uefi in [true, false] {
            let found = findings(&Facts { uefi, ..Facts::default() });
            assert!(found.iter().all(|(mark, _)| *mark == Mark::NotProtected), "{found:?}");
        }
    }
}

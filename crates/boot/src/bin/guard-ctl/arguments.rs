//! The command line, read by hand: a parser library would be most of this program.

use crate::firmware;
use staffel_boot::{engine::Options, platform::User, supervise::AgentProgram};
use std::{ffi::OsString, path::PathBuf};

pub const HELP: &str = "\
guard-ctl: the privileged half of a device. It has no network code.

guard-ctl init --root DIR --keyring FILE --installation FILE
    Set a device up: pin the keyring (a signed envelope, or a list of them, oldest first) and who this device is.
    Refuses where a device is set up already.

guard-ctl serve --root DIR [options] [--agent PROGRAM ARGUMENT...]
    Run the guard in its service form: it supervises the services itself, and the agent.
    --agent PROGRAM ...       the agent; everything after it is the agent's
    --agent-user UID:GID      run the agent as this user and let its group use the socket (root only)
    --service-user UID:GID    run services and command probes as this user (root only)
    --boot-id-file FILE       where the identity of the machine's boot stands, if the platform has none
    --trial-timeout-ms N      give a trial up that is not confirmed by then (600000)
    --stable-after-ms N       forget crashes of a committed generation after this long without one (600000)
    --host-root DIR           where the machine's own file system begins; remedies name files below it (/)
    --quarantine-root DIR     where remedies may take foreign files away; may be given more than once
    --system-partition DIR    the system partition of the firmware, if the guard is set up there
    --command-line-file FILE  where the running kernel's command line stands (/proc/cmdline)
    --pstore DIR              where a kernel's last words are found; may be given more than once (/sys/fs/pstore and
                              /var/lib/systemd/pstore)
    --watchdogs DIR           where watchdogs say what happened (/sys/class/watchdog)

guard-ctl status --root DIR [--json]    what runs, what is on trial, what is lacking
guard-ctl send --root DIR               send one JSON command from standard input, print the reply
guard-ctl doctor --root DIR             what is protected on this machine, what is not, and how to mend it
    --system-partition DIR    the system partition of the firmware, if the guard is set up there

guard-ctl firmware ACT --system-partition DIR [options]
    The guard below the operating system: entries of the boot loader on the system partition.
    set-up --kernel FILE --initrd FILE --options TEXT --safe FILE
                              take what the machine starts with today as last-known-good; FILE of --safe is the safe
                              system, a unified kernel image
    arm --kernel FILE --initrd FILE --options TEXT
                              put a change on trial for three starts, after the preflight
    status                    last-known-good, trial, how earlier trials ended
    roll-back                 give the trial up, or else leave last-known-good for the earlier entry
    quarantine --id ID        never start what has this identity (from `status`) again
    stay-safe | leave-safe    start the safe system from now on, or no longer

guard-ctl --help | --version

Exit status: 0 done, 1 failed or refused, 2 wrong arguments, 3 (`serve`) start the machine again.
";

/// What is to be done.
pub enum Task {
    Help,
    Version,
    Serve(Box<Options>),
    Init { root: PathBuf, keyring: PathBuf, installation: PathBuf },
    Status { root: PathBuf, json: bool },
    Send { root: PathBuf },
    Doctor { root: PathBuf, partition: Option<PathBuf> },
    Firmware(firmware::Task),
}

/// Reader of arguments.
pub struct Arguments<I: Iterator<Item = OsString>> {
    rest: I,
    root: Option<PathBuf>,
    keyring: Option<PathBuf>,
    installation: Option<PathBuf>,
    partition: Option<PathBuf>,
    json: bool,
    options: Options,
    pstore: Vec<PathBuf>,
}

impl<I: Iterator<Item = OsString>> Arguments<I> {
    /// Reads a whole command line, the program's own name left out.
    pub fn parse(arguments: I) -> Result<Task, String> {
        let mut arguments = arguments;
        let Some(task) = arguments.next() else { return Ok(Task::Help) };
        let mut it = Arguments {
            rest: arguments,
            root: None,
            keyring: None,
            installation: None,
            partition: None,
            json: false,
            options: Options::new(""),
            pstore: Vec::new(),
        };
        let task = task.to_string_lossy().into_owned();
        match task.as_str() {
            "--help" | "-h" | "help" => return Ok(Task::Help),
            "--version" | "-V" => return Ok(Task::Version),
            "firmware" => return firmware::parse(it.rest),
            "serve" | "init" | "status" | "send" | "doctor" => {}
            other => return Err(format!("there is no command {other:?}")),
        }
        while let Some(option) = it.rest.next() {
            let option = option.to_string_lossy().into_owned();
            if option == "--help" {
                return Ok(Task::Help);
            }
            it.option(&task, &option)?;
        }
        it.task(&task)
    }

    fn option(&mut self, task: &str, option: &str) -> Result<(), String> {
        match (task, option) {
            (_, "--root") => self.root = Some(self.value(option)?.into()),
            ("init", "--keyring") => self.keyring = Some(self.value(option)?.into()),
            ("init", "--installation") => self.installation = Some(self.value(option)?.into()),
            ("doctor", "--system-partition") => self.partition = Some(self.value(option)?.into()),
            ("status", "--json") => self.json = true,
            ("serve", "--boot-id-file") => self.options.boot_id_file = Some(self.value(option)?.into()),
            ("serve", "--agent-user") => self.options.agent_user = Some(self.user(option)?),
            ("serve", "--service-user") => self.options.service_user = Some(self.user(option)?),
            ("serve", "--trial-timeout-ms") => self.options.trial_timeout_ms = self.number(option)?,
            ("serve", "--stable-after-ms") => self.options.stable_after_ms = self.number(option)?,
            ("serve", "--host-root") => self.options.host_root = self.value(option)?.into(),
            ("serve", "--quarantine-root") => {
                let root = self.value(option)?.into();
                self.options.quarantine_roots.push(root);
            }
            ("serve", "--system-partition") => self.options.system_partition = Some(self.value(option)?.into()),
            ("serve", "--command-line-file") => self.options.command_line_file = self.value(option)?.into(),
            ("serve", "--pstore") => {
                let folder = self.value(option)?.into();
                self.pstore.push(folder);
            }
            ("serve", "--watchdogs") => self.options.traces.watchdogs = self.value(option)?.into(),
            ("serve", "--agent") => {
                let program = self.value(option)?.into();
                self.options.agent = Some(AgentProgram { program, arguments: self.rest.by_ref().collect() });
            }
            _ => return Err(format!("`{task}` has no option {option:?}")),
        }
        Ok(())
    }

    fn task(mut self, task: &str) -> Result<Task, String> {
        if !self.pstore.is_empty() {
            self.options.traces.pstore = self.pstore;
        }
        let root = self.root.ok_or("--root DIR is missing")?;
        Ok(match task {
            "serve" => Task::Serve(Box::new(Options { root, ..self.options })),
            "init" => Task::Init {
                root,
                keyring: self.keyring.ok_or("--keyring FILE is missing")?,
                installation: self.installation.ok_or("--installation FILE is missing")?,
            },
            "status" => Task::Status { root, json: self.json },
            "send" => Task::Send { root },
            _ => Task::Doctor { root, partition: self.partition },
        })
    }

    fn value(&mut self, option: &str) -> Result<OsString, String> {
        self.rest.next().ok_or_else(|| format!("{option} needs a value"))
    }

    fn number(&mut self, option: &str) -> Result<u64, String> {
        let value = self.value(option)?;
        value
            .to_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| format!("{option} needs a number, not {value:?}"))
    }

    fn user(&mut self, option: &str) -> Result<User, String> {
        let value = self.value(option)?;
        value.to_str().and_then(User::parse).ok_or_else(|| format!("{option} needs UID:GID, not {value:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Task, String> {
        Arguments::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn everything_after_the_agent_is_the_agents() {
        let line = "serve --root /d --trial-timeout-ms 5 --agent-user 7:8 --agent /bin/a --root x --json";
        let Ok(Task::Serve(options)) = parse(line) else { panic!("it is a good line") };
        let agent = options.agent.unwrap();
        assert_eq!((options.root, agent.program), ("/d".into(), "/bin/a".into()));
        assert_eq!(agent.arguments, ["--root", "x", "--json"]);
        assert_eq!((options.trial_timeout_ms, options.agent_user), (5, Some(User { user: 7, group: 8 })));
    }

    #[test]
    fn wrong_lines_say_what_is_wrong() {
        for (line, says) in [
            ("fly", "no command"),
            ("serve", "--root"),
            ("serve --root", "needs a value"),
            ("serve --root /d --trial-timeout-ms soon", "a number"),
            ("serve --root /d --agent-user me", "UID:GID"),
            ("status --root /d --agent x", "no option"),
            ("init --root /d --keyring k", "--installation"),
            ("firmware", "needs an act"),
            ("firmware fly --system-partition /d", "no act"),
            ("firmware status", "--system-partition"),
            ("firmware arm --system-partition /d --kernel k", "--initrd"),
            ("firmware quarantine --system-partition /d --id 12", "64 hex digits"),
            ("firmware status --system-partition /d --root /e", "no option"),
        ] {
            let Err(why) = parse(line) else { panic!("{line} was taken") };
            assert!(why.contains(says), "{line}: {why}");
        }
        assert!(matches!(parse(""), Ok(Task::Help)));
        assert!(matches!(parse("serve --help"), Ok(Task::Help)));
    }
}

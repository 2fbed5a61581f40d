//! `guard-commit`: run once at each start before `boot-complete.target`, as root and without a socket. It tells the guard
//! that user space was reached, runs the checks if a trial runs, and commits or gives up. What must stay out: deciding.

#[cfg(target_os = "linux")]
mod linux {
    use staffel_core::boot::firmware::{Counts, Effect, Event, Running, Step};
    use staffel_guard::{
        command_line,
        partition::{Partition, PartitionError},
        variables::Variables,
        volume::Folder,
    };
    use std::{
        path::{Path, PathBuf},
        process::{Command, ExitCode},
        time::{Duration, Instant},
    };

    const CHECK_LIMIT: Duration = Duration::from_secs(120);

    const HELP: &str = "\
guard-commit: the verdict about this start. Run it once user space is up, as root.

guard-commit --system-partition DIR [--check PROGRAM]...
    Says that user space was reached. If a trial runs, every PROGRAM must end with status 0 within two minutes,
    then the trial is committed; else it is given up.
guard-commit --system-partition DIR --stable
    The machine has run for long enough: crashes before now count no more.

Exit status: 0 done, 1 start the machine again, 2 wrong arguments, 3 the system partition can't be used.
";

    struct Task {
        partition: PathBuf,
        checks: Vec<PathBuf>,
        stable: bool,
    }

    fn parse(mut words: impl Iterator<Item = std::ffi::OsString>) -> Result<Option<Task>, String> {
        let (mut partition, mut checks, mut stable) = (None, Vec::new(), false);
        while let Some(word) = words.next() {
            let mut value = || words.next().map(PathBuf::from).ok_or(format!("{} needs a value", word.display()));
            match word.to_str() {
                Some("--help" | "-h") => return Ok(None),
                Some("--system-partition") => partition = Some(value()?),
                Some("--check") => checks.push(value()?),
                Some("--stable") => stable = true,
                _ => return Err(format!("there is no option {}", word.display())),
            }
        }
        let partition = partition.ok_or("--system-partition DIR is missing")?;
        Ok(Some(Task { partition, checks, stable }))
    }

    pub fn main() -> ExitCode {
        let task = match parse(std::env::args_os().skip(1)) {
            Ok(Some(task)) => task,
            Ok(None) => {
                print!("{HELP}");
                return ExitCode::SUCCESS;
            }
            Err(why) => {
                eprintln!("guard-commit: {why}\n\nTry `guard-commit --help`.");
                return ExitCode::from(2);
            }
        };
        match run(&task) {
            Ok(false) => ExitCode::SUCCESS,
            Ok(true) => ExitCode::from(1),
            Err(error) => {
                eprintln!("guard-commit: {error}");
                ExitCode::from(3)
            }
        }
    }

    /// True if the machine has to be started again.
    fn run(task: &Task) -> Result<bool, PartitionError> {
        let variables = Variables::default();
        let running = command_line::running(&std::fs::read_to_string("/proc/cmdline").unwrap_or_default());
        let mut partition = Partition::open(Folder::new(&task.partition))?;
        partition.damage().iter().for_each(|what| eprintln!("guard-commit: damaged: {what}"));
        if task.stable {
            return Ok(tell(&variables, &partition.apply(Event::Stable { running })?));
        }
        let mut restart = tell(&variables, &partition.reached(running, &variables.counts())?);
        if matches!(running, Running::Entry { trial: true, .. }) {
            let failed = task.checks.iter().find_map(|program| check(program).err());
            let verdict = match failed {
                None => Event::Healthy { running, counted: variables.counted() },
                Some(why) => Event::Unhealthy { running, why },
            };
            restart |= tell(&variables, &partition.apply(verdict)?);
        }
        Ok(restart)
    }

    fn check(program: &Path) -> Result<(), String> {
        let failed = |how: &dyn std::fmt::Display| Err(format!("the check {} {how}", program.display()));
        let mut child = match Command::new(program).spawn() {
            Ok(child) => child,
            Err(error) => return failed(&format_args!("can't be run: {error}")),
        };
        let begin = Instant::now();
        while begin.elapsed() < CHECK_LIMIT {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return failed(&format_args!("failed: {status}")),
                Ok(None) => std::thread::sleep(Duration::from_millis(50)),
                Err(error) => return failed(&format_args!("can't be waited for: {error}")),
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        failed(&format_args!("did not end within {} s", CHECK_LIMIT.as_secs()))
    }

    fn tell(variables: &Variables, step: &Step) -> bool {
        println!("guard-commit: {}{}", if step.refused { "refused: " } else { "" }, step.why);
        let counts = variables.counts();
        // What crashed stays known, so that it does not count again.
        let forgotten = Counts { traces: counts.traces, ..Counts::default() };
        if step.effects.contains(&Effect::ForgetCounts)
            && counts != forgotten
            && let Err(error) = variables.set_counts(&forgotten)
        {
            eprintln!("guard-commit: {error}");
        }
        step.effects.contains(&Effect::Restart)
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("guard-commit runs on Linux only");
}

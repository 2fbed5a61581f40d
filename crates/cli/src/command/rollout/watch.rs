//! `staffel rollout watch`: a table that redraws on a terminal, a line for each change in a pipe, until the rollout is over.
//! Must stay out: what the figures mean.

use super::show;
use crate::{
    client::{
        Client, Connect,
        time::{clock, now_ms},
    },
    output::{Failure, is_terminal},
};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use staffel_server::api::RolloutView;
use std::{
    io::Write as _,
    time::{Duration, Instant},
};

/// How long a server may be away (restarting, say) until watching gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries while it is away.
const RETRY: Duration = Duration::from_millis(500);
/// Changes come in bursts; more frames than this a second help nobody.
const FRAME: Duration = Duration::from_millis(100);

/// Arguments of `staffel rollout watch`.
#[derive(clap::Args)]
pub struct Args {
    /// Number of the rollout.
    id: u64,
    #[command(flatten)]
    connect: Connect,
}

/// Runs the command.
pub fn run(args: &Args, as_json: bool) -> Result<()> {
    let client = Client::from(&args.connect)?;
    let mut screen = Screen::new(as_json);
    let mut away_since: Option<Instant> = None;
    let mut seen = 0;
    loop {
        let looked =
            client.rollout(args.id).and_then(|view| Ok((client_change(&client, &view, seen, &mut screen)?, view)));
        match looked {
            Ok((change, view)) => {
                (seen, away_since) = (change, None);
                if let Some(end) = verdict(&view) {
                    screen.finish();
                    return end;
                }
                std::thread::sleep(FRAME);
            }
            Err(error) => {
                let away = error.downcast_ref::<Failure>().is_some_and(|failure| failure.code == 5);
                if !away || away_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                    screen.finish();
                    return Err(error);
                }
                screen.note("the server can't be reached; what runs goes on running, trying again");
                std::thread::sleep(RETRY);
            }
        }
    }
}

/// Shows the rollout; then, unless it is over, waits for the next change.
fn client_change(client: &Client, view: &RolloutView, seen: u64, screen: &mut Screen) -> Result<u64> {
    screen.show(view)?;
    if verdict(view).is_some() { Ok(seen) } else { client.changes(seen) }
}

/// How it ended, if it did. A rollout that is held is not over.
fn verdict(view: &RolloutView) -> Option<Result<()>> {
    match view.state.as_str() {
        "completed" => Some(Ok(())),
        "halted" => {
            let what = format!("rollout {} of {} {} was halted", view.rollout, view.name, view.version);
            let hint = format!("`staffel rollout why {}` tells how it came to that: {}", view.rollout, view.why);
            Some(Err(Failure::stopped(what, hint).into()))
        }
        _ => None,
    }
}

/// Where it is shown.
enum Screen {
    Terminal(ProgressBar),
    Pipe { last: String },
    Json { last: String },
}

impl Screen {
    fn new(as_json: bool) -> Self {
        if as_json {
            return Screen::Json { last: String::new() };
        }
        if !is_terminal() {
            return Screen::Pipe { last: String::new() };
        }
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stdout());
        // The template is ours, so it parses.
        let style = ProgressStyle::with_template("{bar:40.green} {pos} of {len} proven healthy\n{msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Screen::Terminal(bar)
    }

    fn show(&mut self, view: &RolloutView) -> std::io::Result<()> {
        match self {
            Screen::Terminal(bar) => {
                bar.set_length(view.devices);
                bar.set_position(view.confirmed);
                bar.set_message(show::status(view, now_ms()));
                bar.tick();
                Ok(())
            }
            Screen::Pipe { last } => {
                let line = show::line(view);
                if line != *last {
                    writeln!(std::io::stdout(), "{} {line}", clock(now_ms()))?;
                    *last = line;
                }
                Ok(())
            }
            Screen::Json { last } => {
                let line = serde_json::to_string(view)?;
                if line != *last {
                    writeln!(std::io::stdout(), "{line}")?;
                    *last = line;
                }
                Ok(())
            }
        }
    }

    /// Something to say beside the rollout; once as long as it stays the same.
    fn note(&mut self, text: &str) {
        match self {
            Screen::Terminal(bar) => bar.set_message(text.to_string()),
            Screen::Pipe { last } | Screen::Json { last } => {
                if last != text {
                    eprintln!("{} {text}", clock(now_ms()));
                    *last = text.to_string();
                }
            }
        }
    }

    /// Leaves what is shown on the terminal.
    fn finish(&self) {
        if let Screen::Terminal(bar) = self {
            bar.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_completed_and_halted_end_it() {
        assert!(verdict(&show::example("running", 1)).is_none());
        assert!(verdict(&show::example("held", 1)).is_none());
        assert!(verdict(&show::example("completed", 24)).is_some_and(|end| end.is_ok()));
        let error = verdict(&show::example("halted", 1)).unwrap().unwrap_err();
        let failure = error.downcast_ref::<Failure>().unwrap();
        assert_eq!(failure.code, 6);
        assert!(failure.hint.contains("staffel rollout why 2"));
    }

    #[test]
    fn a_pipe_gets_a_line_for_a_change_and_none_without() {
        let mut screen = Screen::Pipe { last: String::new() };
        let last = |screen: &Screen| match screen {
            Screen::Pipe { last } => last.clone(),
            _ => String::new(),
        };
        screen.show(&show::example("running", 1)).unwrap();
        let first = last(&screen);
        assert!(first.starts_with("rollout 2 running, wave 1: 1 of 24 proven, 1 exposed"), "{first}");
        screen.show(&show::example("running", 2)).unwrap();
        assert_ne!(last(&screen), first);
    }
}

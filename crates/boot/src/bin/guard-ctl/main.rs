//! `guard-ctl`: the privileged half of a device as a program. Only arguments and words for people live here.

mod arguments;
mod doctor;
mod firmware;
mod show;

use arguments::{Arguments, HELP, Task};
use staffel_boot::{client, engine, install, layout::Layout};
use staffel_statement::guard::{Command, Reply};
use std::{io::Read as _, process::ExitCode};

/// The machine has to be started again.
const START_AGAIN: u8 = 3;

fn main() -> ExitCode {
    let task = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(task) => task,
        Err(why) => {
            eprintln!("guard-ctl: {why}\n\nTry `guard-ctl --help`.");
            return ExitCode::from(2);
        }
    };
    match run(task) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("guard-ctl: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode, String> {
    match task {
        Task::Help => print!("{HELP}"),
        Task::Version => println!("guard-ctl {}", env!("CARGO_PKG_VERSION")),
        Task::Serve(options) => {
            let end = engine::serve(*options).map_err(|error| error.to_string())?;
            return Ok(if end == engine::End::StartAgain { ExitCode::from(START_AGAIN) } else { ExitCode::SUCCESS });
        }
        Task::Init { root, keyring, installation } => {
            let layout = Layout::new(root);
            install::init(&layout, &keyring, &installation).map_err(|error| error.to_string())?;
            println!("{} is set up; nothing runs yet", layout.root.display());
        }
        Task::Status { root, json } => {
            let reply = client::ask(&Layout::new(root), &Command::Status).map_err(|error| error.to_string())?;
            let Reply::Status(status) = &reply else { return Ok(show::reply(&reply)) };
            match json {
                true => println!("{}", serde_json::to_string_pretty(status).map_err(|error| error.to_string())?),
                false => print!("{}", show::status(status)),
            }
        }
        Task::Send { root } => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| format!("can't read the command: {error}"))?;
            let command =
                serde_json::from_str(&text).map_err(|error| format!("the command is not readable: {error}"))?;
            let reply = client::ask(&Layout::new(root), &command).map_err(|error| error.to_string())?;
            return Ok(show::reply(&reply));
        }
        Task::Doctor { root, partition } => print!("{}", doctor::report(&Layout::new(root), partition.as_deref())),
        Task::Firmware(task) => return firmware::run(&task).map_err(|error| error.to_string()),
    }
    Ok(ExitCode::SUCCESS)
}

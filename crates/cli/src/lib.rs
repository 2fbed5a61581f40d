//! The `staffel` program: everything a person does at a terminal.
//!
//! Each command is a module of its own under `command/`; `layout` knows where keys and files are, `client` speaks the
//! operator API, `output` prints, `lab` runs a whole fleet on one machine for the demo and the end-to-end tests. What must stay out: decisions (they are `core`'s) and anything privileged.

mod client;
mod command;
pub mod lab;
mod layout;
mod output;

pub use client::Client;
pub use command::gate;
pub use layout::Layout;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::{fmt::Write as _, process::ExitCode};

/// Endpoint protection and updates that cannot take their fleet down, and that bring back whatever goes down anyway.
#[derive(Parser)]
#[command(name = "staffel", version, after_help = output::EXIT_CODES)]
struct Arguments {
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Say more on standard error; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make keys, repository, certificates and a server configuration in a new folder.
    Init(command::init::Args),
    /// Keys and metadata of the TUF repository.
    #[command(subcommand)]
    Repo(command::repo::Command),
    /// Run the server.
    Server(command::server::Args),
    /// Build a release from a folder, sign and publish it.
    Release(command::release::Args),
    /// Run a release as a device would, and attest that it passed.
    Gate(command::gate::Args),
    /// Detection packs from Sigma rules.
    #[command(subcommand)]
    Pack(command::pack::Command),
    /// Start, watch and stop rollouts.
    #[command(subcommand)]
    Rollout(command::rollout::Command),
    /// Look at devices, make enrolment tokens.
    #[command(subcommand)]
    Device(command::device::Command),
    /// What devices' sensors found, and who has seen to it.
    #[command(subcommand)]
    Alert(command::alert::Command),
    /// Software that Staffel did not bring, and what of it is suspected.
    #[command(subcommand)]
    Software(command::software::Command),
    /// Repair one device with acts that operators sign.
    #[command(subcommand)]
    Remedy(command::remedy::Command),
    /// Customers and their policies.
    #[command(subcommand)]
    Tenant(command::tenant::Command),
    /// Accounts of the console.
    #[command(subcommand)]
    User(command::user::Command),
    /// Tokens of the operator API.
    #[command(subcommand)]
    Operator(command::operator::Command),
    /// Customers' sites and how to reach their people.
    #[command(subcommand)]
    Site(command::site::Command),
    /// Take customers, sites, contacts or devices from a CSV file.
    #[command(subcommand)]
    Import(command::import::Command),
    /// What went wrong, and how far it is mended.
    #[command(subcommand)]
    Incident(command::incident::Command),
    /// Devices that are not back yet, one case each.
    #[command(subcommand)]
    Case(command::case::Command),
    /// Sites that somebody has to call, the most urgent first.
    CallList(command::case::CallListArgs),
    /// Write what went wrong as a document that cites the log.
    #[command(subcommand)]
    Report(command::report::Command),
    /// Tell customers what happened, and see who knows.
    #[command(subcommand)]
    Notice(command::notice::Command),
    /// Print documents: runs `staffel-press`.
    Press(command::press::Args),
    /// Verify and witness the log.
    #[command(subcommand)]
    Log(command::log::Command),
    /// Recompute the evidence of a verdict from standard input.
    Evidence(command::evidence::Args),
    /// TUF client that speaks the protocol of the TUF conformance suite.
    Tuf(command::tuf::Args),
    /// What a release would do to a fleet, before anybody publishes it.
    #[command(subcommand)]
    Sim(command::sim::Command),
    /// Measure this machine.
    #[command(subcommand)]
    Bench(command::bench::Command),
    /// The main job before your eyes: a good release, a bad one, and foreign software that kills machines, on 24 real agents.
    Demo(command::demo::Args),
    /// One machine of the demo: power supply and reset button around a real guard and agent.
    #[command(hide = true)]
    DemoMachine(command::machine::Args),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Commands as the help groups them; those that stand in no group come last.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Set up", &["init", "repo", "server", "user", "operator", "tenant", "site", "import"]),
    ("Ship", &["release", "gate", "sim", "rollout"]),
    ("Look", &["device", "alert", "software", "log", "evidence"]),
    ("Bring back", &["incident", "case", "call-list", "remedy", "notice", "report", "press"]),
    ("Try", &["demo", "bench"]),
];

/// The program with its help in groups.
fn program() -> clap::Command {
    let program = Arguments::command();
    let mut groups = String::new();
    let mut group = |heading: &str, names: &[&str]| {
        let _ = writeln!(groups, "{heading}:");
        for command in names.iter().filter_map(|name| program.find_subcommand(name)) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(groups, "  {:<12} {about}", command.get_name());
        }
        groups.push('\n');
    };
    GROUPS.iter().for_each(|(heading, names)| group(heading, names));
    let others = program.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name);
    let others: Vec<_> = others.filter(|name| !GROUPS.iter().any(|(_, names)| names.contains(name))).collect();
    group("More", &others);
    let template =
        format!("{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}Options:\n{{options}}{{after-help}}");
    program.help_template(template)
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = Arguments::from_arg_matches(&program().get_matches()).unwrap_or_else(|error| error.exit());
    output::log_to_stderr(arguments.verbose, arguments.json);
    // One provider for the whole process; a second call would be the only way to fail.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let json = arguments.json;
    let result = match arguments.command {
        Command::Init(args) => command::init::run(&args, json),
        Command::Repo(command) => command::repo::run(&command, json),
        Command::Server(args) => command::server::run(&args),
        Command::Release(args) => command::release::run(&args, json),
        Command::Gate(args) => command::gate::run(&args, json),
        Command::Pack(command) => command::pack::run(&command, json),
        Command::Rollout(command) => command::rollout::run(&command, json),
        Command::Device(command) => command::device::run(&command, json),
        Command::Alert(command) => command::alert::run(&command, json),
        Command::Software(command) => command::software::run(&command, json),
        Command::Remedy(command) => command::remedy::run(&command, json),
        Command::Tenant(command) => command::tenant::run(&command, json),
        Command::User(command) => command::user::run(&command, json),
        Command::Operator(command) => command::operator::run(&command, json),
        Command::Site(command) => command::site::run(&command, json),
        Command::Import(command) => command::import::run(&command, json),
        Command::Incident(command) => command::incident::run(&command, json),
        Command::Case(command) => command::case::run(&command, json),
        Command::CallList(args) => command::case::call_list(&args, json),
        Command::Report(command) => command::report::run(&command, json),
        Command::Notice(command) => command::notice::run(&command, json),
        Command::Press(args) => command::press::run(&args),
        Command::Log(command) => command::log::run(&command, json),
        Command::Evidence(args) => command::evidence::run(&args, json),
        Command::Tuf(args) => command::tuf::run(&args),
        Command::Sim(command) => command::sim::run(&command, json),
        Command::Bench(command) => command::bench::run(&command, json),
        Command::Demo(args) => command::demo::run(&args, json),
        Command::DemoMachine(args) => command::machine::run(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "staffel", &mut std::io::stdout());
            Ok(())
        }
    };
    output::exit(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_each_command_once_under_a_heading() {
        let program = program();
        let help = program.clone().render_help().to_string();
        for command in program.get_subcommands() {
            let line = format!("\n  {:<12} ", command.get_name());
            assert_eq!(help.matches(&line).count(), usize::from(!command.is_hide_set()), "{} in {help}", line.trim());
        }
        for heading in ["Set up:", "Ship:", "Look:", "Bring back:", "Try:", "Options:", "Exit codes:"] {
            assert!(help.contains(&format!("\n{heading}\n")), "{heading} in {help}");
        }
        assert!(GROUPS.iter().flat_map(|(_, names)| *names).all(|name| program.find_subcommand(name).is_some()));
    }
}

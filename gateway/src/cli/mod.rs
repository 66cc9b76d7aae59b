//! The command line.

mod check;
mod diff;
mod explain;
mod gateway;
mod mirror;
mod output;
mod rollout;
mod run;
mod simulate;

use crate::demo;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use std::{net::IpAddr, path::PathBuf, process::ExitCode};

/// A configuration has errors (`EX_CONFIG` of sysexits.h).
const EX_CONFIG: u8 = 78;

/// A command cannot be carried out.
const FAILURE: u8 = 1;

/// A traffic-shifting edge gateway: weighted splits, pins, hot reload, metrics by variant.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve traffic
    Run {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// How the process's own log is written (to standard error)
        #[arg(long, value_enum, default_value_t = LogFormat::Text)]
        log_format: LogFormat,
        /// Take over from the process that serves already, if there is one
        #[arg(long)]
        upgrade: bool,
    },
    /// Check configurations: exits 0, or 78 with every error
    Check {
        /// Configuration files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Print errors and warnings as JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell which variant a request would get, and why
    Explain {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// A header of the request; may be repeated
        #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
        headers: Vec<String>,
        /// The request's method
        #[arg(short = 'X', long, default_value = "GET")]
        method: String,
        /// The address the request comes from
        #[arg(long, default_value = "127.0.0.1")]
        client: IpAddr,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// The request's URL
        url: String,
    },
    /// Tell what changes between two configurations: routes, weights, users who move
    Diff {
        /// The configuration in force
        old: PathBuf,
        /// The configuration to be
        new: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Play a rollout thousands of times, or judge a recorded one: what its gates would do
    Simulate(Box<simulate::Options>),
    /// Ask a running gateway about its mirrors
    Mirror {
        #[command(subcommand)]
        command: mirror::Command,
    },
    /// See what a running gateway rolls out, and decide what becomes of it
    Rollout {
        #[command(subcommand)]
        command: rollout::Command,
    },
    /// Show it: two versions of a service, a gateway in front, users, and a table to watch
    Demo {
        /// Where the configuration and the logs go, and stay; default: a directory that is removed
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Play a story unattended, check what it claims, and end: exits 0 if all of it holds
        #[arg(long)]
        once: bool,
        /// Print the story's report as JSON
        #[arg(long, requires = "once")]
        json: bool,
    },
    /// Print the JSON Schema of the configuration
    Schema,
    /// Print a completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// The format of the process's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Runs the command that the arguments name.
pub(crate) fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { config, log_format, upgrade } => run::run(config, log_format, upgrade),
        Command::Check { files, json } => check::check(&files, json),
        Command::Explain { config, headers, method, client, json, url } => {
            explain::explain(&config, &headers, method, client, url, json)
        }
        Command::Diff { old, new, json } => diff::diff(&old, &new, json),
        Command::Simulate(options) => simulate::simulate(&options),
        Command::Mirror { command } => mirror::mirror(&command),
        Command::Rollout { command } => rollout::rollout(&command),
        Command::Demo { dir, once, json } => match demo::run(&demo::Options { dir, once, json }) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(FAILURE),
            Err(error) => output::fail(&error.to_string()),
        },
        Command::Schema => output::print_json(&tidegate_config::json_schema()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tidegate", &mut script);
            output::print(&String::from_utf8_lossy(&script))
        }
    }
}

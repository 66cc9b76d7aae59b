//! CPU time a request of the gateway, beside a bare pingora proxy that does the same 90/10 split.
//!
//! usage: `cargo run --profile dist -p tidegate-benches --bin proxy_cost`, after `cargo build
//! --profile dist -p tidegate -p tidegate-benches`; `scripts/proxy-cost.sh` does both.
//!
//! One origin (nginx), one load generator (wrk) and the two proxies run on this machine. A proxy has
//! a CPU of its own and one worker thread; origin and load share another CPU. The two take turns
//! under the same load, and each round gives one ratio, so what the machine does to both cancels
//! out. CPU time is what the kernel charged to the proxy's process (user and system), divided by
//! the requests that wrk saw answered.
//!
//! The gateway does what a canary needs in earnest: four routes on two hosts, a pin, a user's key
//! hashed for each request, metrics, its default limits. The bare proxy draws a number
//! (`bare_proxy`'s own page says what is fair about it). Both get the same requests.
//!
//! The time is reported and never asserted: the limit in the last line is the project's aim. It
//! fails when it could not measure, or when a request was not answered with 200.
//!
//! Rejected: wall time or requests a second, which say as much about the load generator; loading
//! both proxies at once, where they would fight for caches and memory.
#![allow(clippy::print_stdout)]

mod load;
mod report;
mod subject;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use tidegate_benches::machine::{Cpus, beside, warn_of_company};
use tidegate_benches::origin::Origin;

use load::Load;
use report::{Report, Round};
use subject::Subject;

/// What the project allows itself: the median ratio of CPU time a request.
const LIMIT: f64 = 1.15;

/// Measures the CPU time a request of the gateway beside a bare pingora proxy.
#[derive(Debug, Parser)]
struct Options {
    /// The gateway's binary [default: `tidegate` beside this program]
    #[arg(long, conflicts_with = "null")]
    tidegate: Option<PathBuf>,
    /// Measure the bare proxy against itself: what the method makes of no difference
    #[arg(long)]
    null: bool,
    /// How often each of the two takes its turn
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long a turn is, in seconds
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Keep-alive connections to the proxy
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let report = measure(&options)?;
    if options.json {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    Ok(())
}

fn measure(options: &Options) -> anyhow::Result<Report> {
    let cpus = Cpus::two()?;
    warn_of_company();
    let directory = tempfile::tempdir()?;
    let origin = Origin::start(directory.path(), &cpus, "")?;
    let load = Load::prepare(directory.path(), &cpus, options.connections)?;

    let bare = beside("bare_proxy")?;
    let bare = Subject::bare("bare pingora", &bare, origin.address(), &cpus)?;
    let other = if options.null {
        Subject::bare("bare again", &beside("bare_proxy")?, origin.address(), &cpus)?
    } else {
        let binary = options.tidegate.clone().map_or_else(|| beside("tidegate"), Ok)?;
        Subject::tidegate(&binary, directory.path(), origin.address(), &cpus)?
    };

    // Fills connection pools and warms caches.
    for subject in [&bare, &other] {
        subject.check()?;
        subject.turn(&load, Duration::from_secs(1))?;
    }
    let turn = Duration::from_secs(options.seconds);
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        if !options.json {
            eprintln!("round {number} of {}", options.rounds);
        }
        rounds.push(Round { bare: bare.turn(&load, turn)?, other: other.turn(&load, turn)? });
    }
    Ok(Report { other: other.name(), limit: LIMIT, rounds })
}

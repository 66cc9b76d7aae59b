//! What mirroring costs: the gateway beside Envoy and nginx.
//!
//! usage: `cargo run --profile dist -p tidegate-benches --bin mirror_cost`, after `cargo build
//! --profile dist -p tidegate`; `scripts/mirror-cost.sh` does both. Needs 8,192 open files.
//!
//! Every proxy runs three times: without a mirror, with all requests mirrored to a dark upstream
//! that answers, and with all mirrored to one that hangs (accepts and never answers). All have a CPU
//! to themselves and one worker thread; origins (nginx), the hung upstream and the load share
//! another. They take turns, so what the machine does to all cancels out in the ratios of a round.
//!
//! The load is open: h2load sends requests at a fixed rate, the same for all and well below what any
//! of them can do, spread evenly over the connections. A saturated proxy would drop copies and look
//! cheap, so the dark origin counts them: a row is invalid where less than 99 % arrived, or where
//! requests were not answered at the rate at which they were sent.
//!
//! * CPU time a request is what the kernel charged to the proxy's process (user and system), divided
//!   by the requests. It is taken when the last copies have been answered.
//! * Latency is what h2load logged for each request, from sending it to the end of the answer. A
//!   request that could not be sent, because the one before it on its connection never ended, counts
//!   as one that never ended. What matters is the 99th percentile with a hung dark upstream over
//!   that without a mirror.
//!
//! Envoy and nginx are set up as their manuals say, with the timeouts of the gateway. Both do less:
//! nginx has no metrics, and Envoy's default limit of 1,024 requests is all that it knows of budgets.
//!
//! The numbers are reported and never asserted: the limits are the project's aims. It fails when it
//! could not measure, an invalid row included.
//!
//! Rejected: wrk, whose load is closed: a slow proxy gets fewer requests and shows a better
//! percentile. h2load's `--duration`, which sends on all connections at once in bursts.
#![allow(clippy::print_stdout)]

mod configuration;
mod dark;
mod load;
mod report;
mod subject;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use tidegate_benches::machine::{Cpus, beside, warn_of_company};
use tidegate_benches::origin::Origin;

use configuration::{Case, Proxy};
use load::Load;
use report::{Report, Row};
use subject::{Stage, Subject};

/// Measures what mirroring costs the gateway, Envoy and nginx.
#[derive(Debug, Parser)]
struct Options {
    /// The gateway's binary [default: `tidegate` beside this program]
    #[arg(long)]
    tidegate: Option<PathBuf>,
    /// Which proxies to measure
    #[arg(long, value_delimiter = ',', default_value = "tidegate,envoy,nginx")]
    proxies: Vec<Proxy>,
    /// Also what comparing answers of 2 KiB of JSON costs the gateway
    #[arg(long)]
    compare: bool,
    /// How often each takes its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long a turn is, in seconds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Requests a second, over all connections
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    rate: u32,
    /// Keep-alive connections to the proxy
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let report = measure(&options)?;
    if options.json {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    Ok(if report.is_valid() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(options: &Options) -> anyhow::Result<Report> {
    let each = options.rate * options.seconds / options.connections;
    ensure!(
        each < REQUESTS_OF_A_CONNECTION,
        "{each} requests on each connection are too many: the gateway closes one after \
         {REQUESTS_OF_A_CONNECTION}; use more --connections"
    );
    let files = open_files()?;
    ensure!(files >= OPEN_FILES, "{OPEN_FILES} open files are needed: `ulimit -n` says {files}");
    let cpus = Cpus::two()?;
    warn_of_company();
    stay_on(cpus.rest)?;
    let directory = tempfile::tempdir()?;
    let at = |name: &str| directory.path().join(name);
    let stage = Stage {
        primary: Origin::start(&at("primary"), &cpus, &document(&configuration::primary_json()))?,
        dark: Origin::start(&at("dark"), &cpus, &document(&configuration::dark_json()))?,
        hung: dark::hung_upstream()?,
        load: Load::new(at("h2load.log"), cpus.rest, options.rate, options.connections),
        tidegate: options.tidegate.clone().map_or_else(|| beside("tidegate"), Ok)?,
        directory: directory.path().to_owned(),
        cpus,
    };
    let mut subjects = Vec::new();
    for (proxy, case) in plan(options) {
        let subject = Subject::start(&stage, proxy, case)?;
        subject.check()?;
        // Fills connection pools and warms caches.
        subject.turn(&stage, 1)?;
        subjects.push((subject, Vec::new()));
    }
    for number in 1..=options.rounds {
        if !options.json {
            eprintln!("round {number} of {}", options.rounds);
        }
        // There and back again, so that a machine that slows down slows all alike.
        if number > 1 {
            subjects.reverse();
        }
        for (subject, turns) in &mut subjects {
            turns.push(subject.turn(&stage, options.seconds)?);
        }
    }
    subjects.sort_by_key(|(subject, _)| (subject.proxy, subject.case));
    let rows = subjects
        .into_iter()
        .map(|(subject, turns)| Row { proxy: subject.proxy, case: subject.case, turns })
        .collect();
    Ok(Report { rate: options.rate, versions: versions(options)?, rows })
}

/// Who takes turns in a round; those whose ratio is of interest come one after the other.
fn plan(options: &Options) -> Vec<(Proxy, Case)> {
    let mut plan = Vec::new();
    plan.extend(options.proxies.iter().map(|proxy| (*proxy, Case::Mirror)));
    for proxy in &options.proxies {
        plan.extend([(*proxy, Case::Plain), (*proxy, Case::Hung)]);
    }
    if options.compare {
        plan.extend([(Proxy::Tidegate, Case::Document), (Proxy::Tidegate, Case::Compared)]);
    }
    plan
}

/// An nginx `location` that answers with `json`.
fn document(json: &str) -> String {
    format!("location /document {{ default_type application/json; return 200 '{json}'; }}")
}

/// How many files this process may have open.
fn open_files() -> anyhow::Result<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    match line.and_then(|line| line.split_whitespace().next()) {
        Some("unlimited") => Ok(u64::MAX),
        Some(number) => Ok(number.parse()?),
        None => bail!("/proc/self/limits has no open files"),
    }
}

/// Keeps this process on `cpu`, for the sake of the hung upstream's thread.
fn stay_on(cpu: u32) -> anyhow::Result<()> {
    let output = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", &cpu.to_string()])
        .arg(std::process::id().to_string())
        .output()
        .context("taskset could not start; scripts/deps.sh bench gets it")?;
    ensure!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// What each of the others calls its version.
fn versions(options: &Options) -> anyhow::Result<Vec<(Proxy, String)>> {
    let mut versions = Vec::new();
    for proxy in &options.proxies {
        let (program, argument) = match proxy {
            Proxy::Tidegate => continue,
            Proxy::Envoy => ("envoy", "--version"),
            Proxy::Nginx => ("nginx", "-v"),
        };
        let output = Command::new(program).arg(argument).output().context(program)?;
        let text = [output.stdout, output.stderr].concat();
        // `nginx version: nginx/1.2.3`, `… version: 0a1b2c/1.2.3/Clean/RELEASE/BoringSSL`.
        let text = String::from_utf8_lossy(&text);
        let version = text.trim().rsplit(' ').next().and_then(|text| text.split('/').nth(1));
        versions.push((*proxy, version.unwrap_or("?").to_owned()));
    }
    Ok(versions)
}

/// For the connections of all proxies to the hung upstream, and some.
const OPEN_FILES: u64 = 8192;

/// The gateway's limit; h2load would not connect again.
const REQUESTS_OF_A_CONNECTION: u32 = 1000;

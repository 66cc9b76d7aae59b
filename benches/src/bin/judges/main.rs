//! What the tests of rollouts promise, and what they do: the tables of `docs/statistics.md`.
//!
//! Everything is played by the judge that runs in the gateway, on seeded traffic: the same seed
//! prints the same tables.

mod certified;
mod detection;
mod false_alarms;
mod late;
mod plans;
mod rivals;
mod table;
mod thin;
mod wald;

use clap::Parser;
use std::io::Write;
use table::Table;

/// Print how often the tests of rollouts err, and how soon they find what is wrong
#[derive(Debug, Parser)]
struct Args {
    /// Runs in each cell
    #[arg(long, default_value_t = 2000)]
    runs: usize,
    /// Seed of all of them
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A few short runs, to see that the program works
    #[arg(long)]
    quick: bool,
}

/// How much is tried.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// In each cell.
    runs: usize,
    seed: u64,
    /// Failures that healthy candidates are watched for.
    horizon: f64,
}

/// A title, and what makes the tables below it.
type Section = (&'static str, fn(Effort) -> Vec<Table>);

const SECTIONS: [Section; 6] = [
    ("Healthy candidates that were rolled back", false_alarms::tables),
    ("Failures until a regression is found", detection::tables),
    ("Where requests are few", thin::tables),
    ("A candidate that breaks later", late::tables),
    ("Candidates that were certified", certified::tables),
    ("Beside others", rivals::tables),
];

fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let runs = if args.quick { args.runs.min(40) } else { args.runs };
    let horizon = if args.quick { 200.0 } else { 2000.0 };
    let effort = Effort { runs, seed: args.seed, horizon };
    let mut out = std::io::stdout().lock();
    for (title, tables) in SECTIONS {
        writeln!(out, "### {title}\n")?;
        for table in tables(effort) {
            writeln!(out, "{table}")?;
        }
        out.flush()?;
    }
    Ok(())
}

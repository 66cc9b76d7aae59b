//! Instructions of a route lookup and of a variant decision, counted by valgrind's callgrind. They
//! hardly vary from run to run, so they show a slower lookup where a busy machine's clock cannot.
//!
//! usage: `instructions` prints a table; `instructions TABLE_KIND ROUTES` and `instructions
//! DECISION_KIND` (positions in their lists) do the work that is counted.
//!
//! Rejected: gungraun (iai-callgrind), which needs a second binary of exactly its own version
//! installed beside valgrind, for a few numbers.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::process::Command;

use anyhow::{Context as _, bail};
use tidegate_benches::{DecisionKind, ROUTE_COUNTS, TableKind};

/// How often the requests of a workload are asked.
const ROUNDS: usize = 16;

fn main() -> anyhow::Result<()> {
    let arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse().with_context(|| format!("`{text}` is no number")))
        .collect::<anyhow::Result<Vec<usize>>>()?;
    match arguments[..] {
        [] => report(),
        [kind, count] => {
            let kind = *TableKind::ALL.get(kind).context("no such kind of table")?;
            let (table, requests) = kind.build(count);
            counted(&requests, |request| table.find(&request.view()));
            Ok(())
        }
        [kind] => {
            let kind = *DecisionKind::ALL.get(kind).context("no such kind of decision")?;
            let (policy, requests) = kind.build();
            counted(&requests, |request| policy.decide(&request.view(), 0x9E37_79B9_7F4A_7C15));
            Ok(())
        }
        _ => bail!("usage: instructions [TABLE_KIND ROUTES | DECISION_KIND]"),
    }
}

/// What callgrind counts: it looks for this name. The loop's own few instructions are included.
#[inline(never)]
fn counted<T, R>(requests: &[T], ask: impl Fn(&T) -> R) {
    for _ in 0..ROUNDS {
        for request in requests {
            black_box(ask(black_box(request)));
        }
    }
}

fn report() -> anyhow::Result<()> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        bail!("valgrind is missing; scripts/deps.sh bench installs it");
    }
    println!("instructions a lookup, by number of routes");
    println!("{:<42}{:>8}{:>8}{:>8}", "", ROUTE_COUNTS[0], ROUTE_COUNTS[1], ROUTE_COUNTS[2]);
    for (position, kind) in TableKind::ALL.iter().enumerate() {
        print!("{:<42}", kind.name());
        for count in ROUTE_COUNTS {
            print!("{:>8.0}", count_instructions(&[position, count])?);
        }
        println!();
    }
    println!("\ninstructions a decision");
    for (position, kind) in DecisionKind::ALL.iter().enumerate() {
        println!("{:<42}{:>8.0}", kind.name(), count_instructions(&[position])?);
    }
    Ok(())
}

/// Runs this program with `arguments` under callgrind; the instructions for each request.
fn count_instructions(arguments: &[usize]) -> anyhow::Result<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*instructions*counted*")
        .arg(std::env::current_exe()?)
        .args(arguments.iter().map(usize::to_string))
        .output()?;
    let messages = String::from_utf8_lossy(&output.stderr);
    // "==123== Collected : 4567"
    let collected = messages
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, count)| count.trim().parse::<f64>().ok());
    match collected {
        Some(count) if output.status.success() && count > 0.0 => {
            Ok(count / (ROUNDS * tidegate_benches::REQUEST_COUNT) as f64)
        }
        _ => bail!("callgrind counted nothing for {arguments:?}:\n{messages}"),
    }
}

//! Services with few requests, looked at five times a second all the same: in most ticks nobody
//! comes, or only to one of the two versions.

use crate::{
    Effort,
    plans::{constant, no_worse},
    table::{Table, percent},
    wald,
};
use std::time::Duration;
use tidegate_controller::simulate::{Summary, Ticks, Traffic, Worse, play_many};

const TICK: Duration = Duration::from_millis(200);

/// Shares of failures, and how many times as many the candidate has.
const CASES: [(f64, f64); 3] = [(0.01, 10.0), (0.1, 3.0), (0.1, 5.0)];

pub(crate) fn tables(effort: Effort) -> Vec<Table> {
    let runs = effort.runs.div_ceil(5);
    let caption = format!(
        "Mean failures until the rollback, divided by Wald's bound; ticks of 200 ms, the candidate \
         at 10 %. {runs} runs; standard errors up to {:.2}.",
        1.0 / (runs as f64).sqrt()
    );
    let mut table = Table::new(caption, &["requests/s", "1 %, 10×", "10 %, 3×", "10 %, 5×"]);
    for rate in [1.0, 5.0, 20.0, 50.0] {
        let cells = CASES.map(|(base, times)| cell(effort.seed, runs, rate, base, times));
        table.row([rate.to_string()].into_iter().chain(cells));
    }
    vec![table]
}

fn cell(seed: u64, runs: usize, rate: f64, base: f64, times: f64) -> String {
    let share = 0.1;
    let bound = wald::failures(share, times);
    let a_second = rate * base * (1.0 - share + share * times);
    let traffic = Traffic {
        rate,
        errors: base,
        worse: Worse { errors: times, ..Worse::HEALTHY },
        ticks: Ticks::Fixed(TICK),
        ..Traffic::default()
    };
    let limit = Duration::from_secs_f64(10.0 * bound / a_second);
    let plan = constant(share, vec![no_worse(0.0)]);
    let summary = Summary::of(&play_many(&plan, &traffic, limit, runs, seed));
    match summary.errors {
        Some(errors) if summary.undecided.count == 0 => format!("{:.2}", errors.mean / bound),
        Some(errors) => {
            let found = percent(summary.rolled_back.share);
            format!("{:.2} (found {found})", errors.mean / bound)
        }
        None => "never".to_owned(),
    }
}

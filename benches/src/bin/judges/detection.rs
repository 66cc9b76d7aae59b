//! How many failures it takes to find a candidate that is worse, beside the least possible.

use crate::{
    Effort,
    false_alarms::{BASES, SHARES},
    plans::{constant, no_worse},
    table::{Table, percent},
    wald,
};
use std::time::Duration;
use tidegate_controller::simulate::{Summary, Ticks, Traffic, Worse, play_many};

/// How many times the baseline's failures.
pub(crate) const TIMES: [f64; 4] = [2.0, 3.0, 5.0, 10.0];

/// A tick of a hundredth of what it takes at least finds it a hundredth later.
const PART: f64 = 0.01;

/// How often is looked.
#[derive(Debug, Clone, Copy)]
enum Looks {
    /// As soon as so many failures are expected.
    Failures(f64),
    /// In seconds.
    Every(f64),
}

pub(crate) fn tables(effort: Effort) -> Vec<Table> {
    vec![
        table(effort, Looks::Failures(0.3), "ticks of 0.3 failures"),
        table(effort, Looks::Every(1.0), "ticks of 1 s at 200 requests/s"),
    ]
}

fn table(effort: Effort, looks: Looks, words: &str) -> Table {
    let caption = format!(
        "Mean failures of both versions until the rollback, divided by Wald's bound; {words} (or \
         of a hundredth of the bound, where that is longer). In parentheses the mean requests, \
         divided by Wald's bound in requests. {} runs; standard errors up to {:.2}.",
        effort.runs,
        1.0 / (effort.runs as f64).sqrt()
    );
    let mut table =
        Table::new(caption, &["failures of the baseline", "candidate at", "2×", "3×", "5×", "10×"]);
    for base in BASES {
        for share in SHARES {
            let cells = TIMES.map(|times| cell(effort, looks, base, share, times));
            table.row([percent(base), percent(share)].into_iter().chain(cells));
        }
    }
    table
}

fn cell(effort: Effort, looks: Looks, base: f64, share: f64, times: f64) -> String {
    const RATE: f64 = 200.0;
    if base * times >= 1.0 {
        return "–".to_owned();
    }
    let bound = wald::failures(share, times);
    let a_second = RATE * base * (1.0 - share + share * times);
    let least = match looks {
        Looks::Failures(failures) => failures / a_second,
        Looks::Every(seconds) => seconds,
    };
    let tick = least.max(PART * bound / a_second);
    let traffic = Traffic {
        rate: RATE,
        errors: base,
        worse: Worse { errors: times, ..Worse::HEALTHY },
        ticks: Ticks::Fixed(Duration::from_secs_f64(tick)),
        ..Traffic::default()
    };
    // Nobody is left after so long.
    let limit = Duration::from_secs_f64(30.0 * bound / a_second + 30.0 * tick);
    let plan = constant(share, vec![no_worse(0.0)]);
    let episodes = play_many(&plan, &traffic, limit, effort.runs, effort.seed);
    let summary = Summary::of(&episodes);
    let Some(errors) = summary.errors else { return "never".to_owned() };
    let requests = episodes.iter().map(|episode| episode.requests as f64).sum::<f64>()
        / episodes.len() as f64
        / wald::requests(share, base, times);
    let missed = match summary.undecided.count {
        0 => String::new(),
        some => format!(", {some} missed"),
    };
    format!("{:.2} ({requests:.2}{missed})", errors.mean / bound)
}

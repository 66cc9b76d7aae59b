//! A candidate that is fine at first: what the good past costs.

use crate::{
    Effort,
    plans::{constant, no_worse},
    table::Table,
    wald,
};
use std::time::Duration;
use tidegate_controller::simulate::{Spread, Summary, Ticks, Traffic, Worse, play_many};

/// The candidate's share of requests.
const SHARE: f64 = 0.1;
/// Failures of both before it breaks.
const BEFORE: [f64; 4] = [0.0, 100.0, 1000.0, 5000.0];
/// How much worse it is then.
const TIMES: [f64; 4] = [2.0, 3.0, 5.0, 10.0];

pub(crate) fn tables(effort: Effort) -> Vec<Table> {
    let runs = effort.runs.div_ceil(4);
    let caption = format!(
        "Mean failures from the moment on at which the candidate breaks, divided by Wald's bound; \
         0.1 % failures, the candidate at 10 %. {runs} runs."
    );
    let mut table = Table::new(caption, &["failures before", "2×", "3×", "5×", "10×"]);
    for before in BEFORE {
        let before = before * effort.horizon / 2000.0;
        let cells = TIMES.map(|times| cell(effort.seed, runs, before, times));
        table.row([format!("{before:.0}")].into_iter().chain(cells));
    }
    vec![table]
}

fn cell(seed: u64, runs: usize, before: f64, times: f64) -> String {
    let (rate, base) = (1000.0, 0.001);
    let bound = wald::failures(SHARE, times);
    let a_second = rate * base * (1.0 - SHARE + SHARE * times);
    let from = Duration::from_secs_f64(before / (rate * base));
    let traffic = Traffic {
        rate,
        errors: base,
        worse: Worse { errors: times, from, ..Worse::HEALTHY },
        // A hundredth of the bound, or a failure in three.
        ticks: Ticks::Fixed(Duration::from_secs_f64((bound / 100.0).max(0.3) / a_second)),
        ..Traffic::default()
    };
    let limit = from + Duration::from_secs_f64(60.0 * bound / a_second);
    let plan = constant(SHARE, vec![no_worse(0.0)]);
    let episodes = play_many(&plan, &traffic, limit, runs, seed);
    let late = episodes.iter().filter(|episode| episode.elapsed > from);
    let failures = late.filter(|episode| episode.rolled_back_by().is_some()).map(|episode| {
        // What is expected before, not what was: the difference is 0 on average.
        (episode.elapsed - from).as_secs_f64() * a_second
    });
    let Some(failures) = Spread::of(failures) else { return "never".to_owned() };
    let missed = match Summary::of(&episodes).undecided.count {
        0 => String::new(),
        some => format!(" ({some} missed)"),
    };
    format!("{:.2} ± {:.2}{missed}", failures.mean / bound, failures.error / bound)
}

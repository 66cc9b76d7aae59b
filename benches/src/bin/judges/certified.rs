//! Steps that wait for a proof that the candidate is good: how often that is wrong, and how long it
//! takes.

use crate::{
    Effort,
    plans::{BETA, held, no_worse, plan},
    table::{Table, percent, rate},
};
use std::time::Duration;
use tidegate_controller::simulate::{
    Ending, Episode, Rate, Spread, Ticks, Traffic, Worse, play_many,
};
use tidegate_judge::{AdvanceWhen, Plan};

const SHARES: [f64; 3] = [0.01, 0.1, 0.5];
const MARGINS: [f64; 3] = [0.2, 0.5, 1.0];

/// Requests a second, and failures among them.
const RATE: f64 = 1000.0;
const BASE: f64 = 0.001;

pub(crate) fn tables(effort: Effort) -> Vec<Table> {
    let runs = effort.runs.div_ceil(2);
    let caption = format!(
        "0.1 % failures; {runs} runs of {} failures each. On the line: a candidate that is worse by \
         exactly the margin was certified, in % (95 % interval); at most {} are promised. As good: \
         the share of candidates like the baseline that were certified, and the median of the \
         failures of both until then.",
        4.0 * effort.horizon,
        BETA.probability() * 100.0
    );
    let heads = ["`worse_than_baseline`", "candidate at", "on the line", "as good"];
    let mut table = Table::new(caption, &heads);
    for margin in MARGINS {
        for share in SHARES {
            let plan = certifying(share, margin);
            let bad = play(effort, runs, &plan, 1.0 + margin);
            let good = play(effort, runs, &plan, 1.0);
            let failures = Spread::of(promoted(&good).map(|episode| episode.errors as f64));
            let failures = failures.map_or_else(String::new, |f| format!(" · {:.0}", f.median));
            let good = percent(promoted(&good).count() as f64 / good.len().max(1) as f64);
            table.row([
                percent(margin),
                percent(share),
                rate(&Rate::new(promoted(&bad).count(), bad.len()), BETA.probability()),
                format!("{good}{failures}"),
            ]);
        }
    }
    vec![table]
}

/// One step, which is over as soon as the candidate is certified.
fn certifying(share: f64, margin: f64) -> Plan {
    let mut plan = plan(vec![held(share, Duration::ZERO)], vec![no_worse(margin)]);
    plan.advance_when = AdvanceWhen::Certified;
    plan
}

fn play(effort: Effort, runs: usize, plan: &Plan, times: f64) -> Vec<Episode> {
    let traffic = Traffic {
        rate: RATE,
        errors: BASE,
        worse: Worse { errors: times, ..Worse::HEALTHY },
        ticks: Ticks::Growing { events: 0.3, part: 0.01 },
        ..Traffic::default()
    };
    let limit = Duration::from_secs_f64(4.0 * effort.horizon / (RATE * BASE));
    play_many(plan, &traffic, limit, runs, effort.seed)
}

fn promoted(episodes: &[Episode]) -> impl Iterator<Item = &Episode> {
    episodes.iter().filter(|episode| episode.ending == Ending::Promoted)
}

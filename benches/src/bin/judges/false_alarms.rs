//! How often a candidate that meets every line is rolled back all the same.

use crate::{
    Effort,
    plans::{ALPHA, ceiling, constant, held, no_worse, plan, slow},
    table::{Table, percent, rate},
};
use std::time::Duration;
use tidegate_controller::simulate::{Outage, Summary, Ticks, Traffic, Worse, play_many};
use tidegate_judge::Plan;

/// The baseline's shares of failures.
pub(crate) const BASES: [f64; 4] = [0.0001, 0.001, 0.01, 0.1];
/// The candidate's shares of requests.
pub(crate) const SHARES: [f64; 3] = [0.01, 0.1, 0.5];

/// Requests a second. What counts is how many fail in a tick, so any would do.
const RATE: f64 = 1000.0;

/// As often as a third of a failure, and later with every hundredth of what has been.
const TICKS: Ticks = Ticks::Growing { events: 0.3, part: 0.01 };

pub(crate) fn tables(effort: Effort) -> Vec<Table> {
    let mut tables: Vec<Table> = [0.0, 0.1].map(|margin| constant_weight(effort, margin)).into();
    tables.push(scenarios(effort));
    tables
}

fn constant_weight(effort: Effort, margin: f64) -> Table {
    let caption = format!(
        "Rolled back of {} runs with a candidate exactly on the line, `worse_than_baseline: {}`, \
         in % (95 % interval); at most {} are promised. Each run lasts {} failures.",
        effort.runs,
        percent(margin).replace(' ', ""),
        ALPHA.probability() * 100.0,
        effort.horizon
    );
    let mut table = Table::new(
        caption,
        &["failures of the baseline", "candidate at 1 %", "at 10 %", "at 50 %"],
    );
    for base in BASES {
        let cells = SHARES.map(|share| {
            let plan = constant(share, vec![no_worse(margin)]);
            let traffic = healthy(base, margin);
            rolled_back(effort, &plan, &traffic, seconds(effort, base))
        });
        table.row([percent(base)].into_iter().chain(cells));
    }
    table
}

fn healthy(base: f64, margin: f64) -> Traffic {
    let worse = Worse { errors: 1.0 + margin, ..Worse::HEALTHY };
    Traffic { rate: RATE, errors: base, worse, ticks: TICKS, ..Traffic::default() }
}

fn rolled_back(effort: Effort, plan: &Plan, traffic: &Traffic, seconds: f64) -> String {
    let limit = Duration::from_secs_f64(seconds);
    let episodes = play_many(plan, traffic, limit, effort.runs, effort.seed);
    rate(&Summary::of(&episodes).rolled_back, ALPHA.probability())
}

/// How long it takes for as many failures as the horizon is.
fn seconds(effort: Effort, base: f64) -> f64 {
    effort.horizon / (RATE * base)
}

fn scenarios(effort: Effort) -> Table {
    let caption = format!(
        "The same for what happens on the way: {} runs, 0.1 % failures, no margin.",
        effort.runs
    );
    let mut table = Table::new(caption, &["", "rolled back, %"]);
    let base = 0.001;
    let seconds = seconds(effort, base);
    let third = Duration::from_secs_f64(seconds / 3.0);
    let ramp = [0.01, 0.1, 0.5].map(|weight| held(weight, third)).to_vec();
    let steps = plan(ramp, vec![no_worse(0.0)]);
    let usual = healthy(base, 0.0);
    let outage = Outage {
        from: Duration::from_secs_f64(seconds / 2.0),
        lasting: Duration::from_secs_f64(seconds / 50.0),
        times: 50,
    };
    let few = |traffic: Traffic| Traffic {
        rate: 5.0,
        ticks: Ticks::Fixed(Duration::from_millis(200)),
        ..traffic
    };
    let cases = [
        ("weights 1 %, 10 %, 50 %", steps.clone(), usual.clone(), seconds),
        (
            "the same, rate ×10 in bursts",
            steps.clone(),
            Traffic { bursts: true, ..usual.clone() },
            seconds,
        ),
        (
            "the same, and both versions fail 50 times as often for a while",
            steps,
            Traffic { outage: Some(outage), ..usual.clone() },
            seconds,
        ),
        (
            "candidate at 10 %, both versions fail 50 times as often for a while",
            constant(0.1, vec![no_worse(0.0)]),
            Traffic { outage: Some(outage), ..usual.clone() },
            seconds,
        ),
        (
            "four lines at once: failures and slow requests, each beside the baseline and at its \
             ceiling",
            constant(0.1, vec![no_worse(0.0), ceiling(base), slow(base)]),
            Traffic { slow: vec![base], ..usual.clone() },
            seconds,
        ),
        (
            "5 requests/s, ticks of 200 ms, 1 % failures",
            constant(0.1, vec![no_worse(0.0)]),
            few(healthy(0.01, 0.0)),
            1200.0,
        ),
    ];
    for (what, plan, traffic, seconds) in cases {
        table.row([what.to_owned(), rolled_back(effort, &plan, &traffic, seconds)]);
    }
    table
}

//! Plans and ticks in few words.

// Every test uses a part of it.
#![allow(dead_code)]

use std::time::Duration;
use tidegate_judge::{
    AdvanceWhen, Arm, Arms, Bound, Gate, Lines, Margin, Measure, OnBreach, OnSourceBroken, Plan,
    Risk, Share, Step, Tick, Until,
};

pub(crate) fn percent(percent: f64) -> Share {
    Share::from_millionths((percent * 10_000.0).round() as u32).expect("at most 100%")
}

pub(crate) fn risk(percent: f64) -> Risk {
    Risk::from_millionths((percent * 10_000.0).round() as u32).expect("a risk")
}

pub(crate) fn margin(percent: f64) -> Margin {
    Margin((percent * 10_000.0).round() as u32)
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn plan(steps: Vec<Step>, gates: Vec<Gate>) -> Plan {
    Plan {
        name: "shop-v2".to_owned(),
        route: "shop".to_owned(),
        baseline: "stable".to_owned(),
        candidate: "canary".to_owned(),
        mirror: Some("dark".to_owned()),
        revision: "1".to_owned(),
        steps,
        gates,
        alpha: risk(1.0),
        beta: risk(5.0),
        advance_when: AdvanceWhen::Held,
        failed_requests: None,
        on_breach: OnBreach::Rollback,
    }
}

/// A step with `weight` percent for users.
pub(crate) fn step(weight: f64, hold: u64, min_requests: u64) -> Step {
    let until = Until::Held { hold: seconds(hold), min_requests };
    Step { weight: percent(weight), mirror: None, until }
}

/// A step without users, whose mirror copies everything.
pub(crate) fn dark(hold: u64) -> Step {
    Step { mirror: Some(Share::ALL), ..step(0.0, hold, 0) }
}

/// A step that waits for a person.
pub(crate) fn approval(weight: f64) -> Step {
    Step { until: Until::Promoted, ..step(weight, 0, 0) }
}

pub(crate) fn gate(name: &str, measure: Measure) -> Gate {
    Gate { name: name.to_owned(), measure, on_source_broken: OnSourceBroken::Hold }
}

/// At most `max` percent fail, and `over` percent more than the baseline's.
pub(crate) fn errors(max: f64, over: f64) -> Gate {
    gate("errors", Measure::Errors(Lines::Both(percent(max), margin(over))))
}

pub(crate) fn query(bound: Bound, failures: u32, on_source_broken: OnSourceBroken) -> Gate {
    let measure = Measure::Query {
        url: "http://127.0.0.1:9090".to_owned(),
        query: "load".to_owned(),
        bound,
        every: seconds(15),
        failures,
    };
    Gate { on_source_broken, ..gate("load", measure) }
}

pub(crate) fn arm(requests: u64, failures: u64) -> Arm {
    Arm { requests, failures, failed: failures, over: Vec::new() }
}

/// `elapsed` seconds with `[requests, failures]` of both.
pub(crate) fn users(elapsed: u64, baseline: [u64; 2], candidate: [u64; 2]) -> Tick {
    let [baseline, candidate] = [baseline, candidate].map(|[n, failed]| arm(n, failed));
    Tick { elapsed: seconds(elapsed), users: Arms { baseline, candidate }, ..Tick::default() }
}

/// `elapsed` seconds with nothing.
pub(crate) fn silence(elapsed: u64) -> Tick {
    Tick { elapsed: seconds(elapsed), ..Tick::default() }
}

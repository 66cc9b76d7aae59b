//! The plans that are tried.

use std::time::Duration;
use tidegate_judge::{
    AdvanceWhen, Gate, Lines, Margin, Measure, OnBreach, OnSourceBroken, Plan, Risk, Share, Step,
    Until,
};

/// Alpha of all of them: one in a hundred.
pub(crate) const ALPHA: Risk = risk(10_000);
/// And beta: one in twenty.
pub(crate) const BETA: Risk = risk(50_000);

const fn risk(millionths: u32) -> Risk {
    match Risk::from_millionths(millionths) {
        Some(risk) => risk,
        None => panic!("not between none and a half"),
    }
}

/// A plan with these steps and gates.
pub(crate) fn plan(steps: Vec<Step>, gates: Vec<Gate>) -> Plan {
    Plan {
        name: "shop-v2".to_owned(),
        route: "shop".to_owned(),
        baseline: "stable".to_owned(),
        candidate: "canary".to_owned(),
        mirror: None,
        revision: "1".to_owned(),
        steps,
        gates,
        alpha: ALPHA,
        beta: BETA,
        advance_when: AdvanceWhen::Held,
        failed_requests: None,
        on_breach: OnBreach::Rollback,
    }
}

/// A plan that stays at one weight for longer than anybody watches.
pub(crate) fn constant(weight: f64, gates: Vec<Gate>) -> Plan {
    plan(vec![held(weight, Duration::from_secs(1 << 40))], gates)
}

/// A step that is held for so long.
pub(crate) fn held(weight: f64, hold: Duration) -> Step {
    Step { weight: share(weight), mirror: None, until: Until::Held { hold, min_requests: 0 } }
}

/// A share of failures at most `margin` above the baseline's, as a part of that.
pub(crate) fn no_worse(margin: f64) -> Gate {
    gate("errors", Measure::Errors(Lines::WorseThanBaseline(Margin(millionths(margin)))))
}

/// No larger share of failures than this.
pub(crate) fn ceiling(max: f64) -> Gate {
    gate("error-ceiling", Measure::Errors(Lines::Max(share(max))))
}

/// No larger share of slow requests than `max`, nor than the baseline's.
pub(crate) fn slow(max: f64) -> Gate {
    let lines = Lines::Both(share(max), Margin(0));
    gate("slow", Measure::Latency { over: Duration::from_millis(300), lines })
}

fn gate(name: &str, measure: Measure) -> Gate {
    Gate { name: name.to_owned(), measure, on_source_broken: OnSourceBroken::Hold }
}

/// More than all is all.
fn share(share: f64) -> Share {
    Share::from_millionths(millionths(share)).unwrap_or(Share::ALL)
}

fn millionths(part: f64) -> u32 {
    (part * 1e6).round() as u32
}

//! The plans that people write, and what they change in them.

use crate::common::{approval, dark, errors, gate, margin, percent, plan, query, risk, step};
use crate::traffic::pick;
use rand::{RngExt as _, rngs::StdRng};
use std::time::Duration;
use tidegate_judge::{
    AdvanceWhen, Bound, Gate, Lines, Measure, OnBreach, OnSourceBroken, Plan, Step,
};

/// A plan of `revision`.
pub(crate) fn draw(rng: &mut StdRng, revision: u32) -> Plan {
    let mut plan = plan(steps(rng), gates(rng));
    plan.revision = revision.to_string();
    plan.alpha = risk(pick(rng, &[0.1, 1.0]));
    plan.advance_when = pick(rng, &[AdvanceWhen::Held, AdvanceWhen::Held, AdvanceWhen::Certified]);
    plan.failed_requests = pick(rng, &[None, None, Some(500)]);
    plan.on_breach = pick(rng, &[OnBreach::Rollback, OnBreach::Rollback, OnBreach::Pause]);
    plan
}

/// The same plan, with something else in it.
pub(crate) fn change(rng: &mut StdRng, old: &Plan) -> Plan {
    let mut plan = old.clone();
    match rng.random_range(0..5) {
        0 => plan.steps = steps(rng),
        1 => plan.gates = gates(rng),
        2 => plan.gates.push(mismatches("diffs")),
        3 => {
            let position = rng.random_range(0..plan.steps.len());
            plan.steps[position] = Step { until: step(0.0, 20, 200).until, ..plan.steps[position] };
        }
        _ => plan.alpha = risk(0.5),
    }
    plan.gates.sort_by(|a, b| a.name.cmp(&b.name));
    plan.gates.dedup_by(|a, b| a.name == b.name);
    plan
}

fn steps(rng: &mut StdRng) -> Vec<Step> {
    let mut steps = Vec::new();
    if rng.random_bool(0.3) {
        steps.push(dark(rng.random_range(0..60)));
    }
    let mut weight = 0.0;
    for level in [1.0, 5.0, 10.0, 25.0, 50.0, 100.0] {
        if rng.random_bool(0.4) {
            weight = level;
            steps.push(step(level, rng.random_range(0..90), pick(rng, &[0, 100, 1000])));
        }
        if rng.random_bool(0.1) {
            steps.push(approval(weight));
        }
    }
    if steps.is_empty() {
        steps.push(step(20.0, 30, 0));
    }
    steps
}

fn gates(rng: &mut StdRng) -> Vec<Gate> {
    let mut gates = vec![errors(pick(rng, &[2.0, 5.0]), 100.0)];
    if rng.random_bool(0.4) {
        let lines =
            pick(rng, &[Lines::Max(percent(10.0)), Lines::WorseThanBaseline(margin(100.0))]);
        let over = Duration::from_millis(pick(rng, &[300, 500]));
        gates.push(gate("slow", Measure::Latency { over, lines }));
    }
    if rng.random_bool(0.2) {
        gates.push(mismatches("diffs"));
    }
    if rng.random_bool(0.4) {
        let on = [OnSourceBroken::Hold, OnSourceBroken::Pause, OnSourceBroken::Rollback];
        let bound = pick(rng, &[Bound::Max(1.0), Bound::Between(0.1, 1.7), Bound::Min(0.1)]);
        gates.push(query(bound, rng.random_range(1..4), pick(rng, &on)));
    }
    if rng.random_bool(0.05) {
        gates.clear();
    }
    gates
}

fn mismatches(name: &str) -> Gate {
    gate(name, Measure::Mismatches { max: percent(1.0) })
}

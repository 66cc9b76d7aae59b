//! What a run has to know of the step it is in, kept once more and by other means.
//!
//! It is part of what is durable: a crash takes it back to where the run is taken back to.

use std::time::Duration;
use tidegate_judge::{
    Action, Answer, Decision, Gate, Line, Lines, Measure, Plan, Share, Step, Tick,
};

/// Silence for longer is no data.
const SILENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    pub(crate) plan: Plan,
    pub(crate) step: Step,
    pub(crate) held: Duration,
    /// Time since the candidate's last request.
    quiet: Duration,
    pub(crate) requests: u64,
    pub(crate) paused: bool,
    /// The gate that it is paused for.
    stopped_by: Option<String>,
    pub(crate) failed: u64,
    forgiven: u64,
    gates: Vec<GateLedger>,
}

#[derive(Debug, Clone)]
struct GateLedger {
    gate: Gate,
    /// In this step: requests of the baseline and of the candidate.
    seen: [u64; 2],
    quiet: Duration,
    /// It can be measured in this step.
    applies: bool,
    /// Of the candidate, since the gate began: requests, and what counts against it.
    against: [u64; 2],
    last: Option<Answer>,
    out: u32,
}

impl Ledger {
    pub(crate) fn start(plan: &Plan) -> Self {
        Self {
            plan: plan.clone(),
            step: plan.steps[0],
            held: Duration::ZERO,
            quiet: Duration::ZERO,
            requests: 0,
            paused: false,
            stopped_by: None,
            failed: 0,
            forgiven: 0,
            gates: plan.gates.iter().map(GateLedger::new).collect(),
        }
    }

    /// The run takes in a tick, which led to `decisions`.
    pub(crate) fn tick(&mut self, tick: &Tick, decisions: &[Decision]) {
        let arms = if self.step.is_dark() { &tick.dark } else { &tick.users };
        self.requests += arms.candidate.requests;
        self.failed += tick.users.candidate.failed;
        for gate in &mut self.gates {
            gate.tick(&self.step, tick);
        }
        // What is bad is known.
        let known = |gate: &GateLedger| decisions.iter().any(|made| is_bad(made, &gate.gate));
        self.quiet = match arms.candidate.requests {
            0 => self.quiet + tick.elapsed,
            _ => Duration::ZERO,
        };
        let unseen = self.requests == 0 || self.quiet > SILENCE;
        let blind = unseen || self.gates.iter().any(|gate| gate.is_blind() && !known(gate));
        if !self.paused && !blind {
            self.held += tick.elapsed;
        }
    }

    /// Something was decided, and the run has `plan` now.
    pub(crate) fn decided(&mut self, decision: &Decision, plan: &Plan) {
        match decision.action {
            Action::Started => *self = Ledger::start(plan),
            Action::Advanced => {
                if decision.actor != "controller" {
                    self.forgive(decision);
                }
                self.enter(plan, decision.step - 1);
            }
            Action::Paused => {
                self.paused = true;
                let bad = self.gates.iter().find(|gate| is_bad(decision, &gate.gate));
                self.stopped_by = bad.map(|gate| gate.gate.name.clone());
            }
            Action::Resumed => {
                self.paused = false;
                self.forgive(decision);
            }
            _ => {}
        }
    }

    /// A person saw what was bad and goes on.
    fn forgive(&mut self, decision: &Decision) {
        self.overruled();
        let stopped_by = self.stopped_by.take();
        for gate in &mut self.gates {
            if is_bad(decision, &gate.gate) || stopped_by.as_ref() == Some(&gate.gate.name) {
                *gate = GateLedger::new(&gate.gate);
            }
        }
        if self.is_over_budget() {
            self.forgiven = self.failed;
        }
    }

    /// A person goes on after a breach: what was bad by then is no news.
    fn overruled(&mut self) {
        if self.stopped_by.is_some() {
            self.gates.iter_mut().for_each(|gate| gate.against = [0, 0]);
        }
    }

    fn enter(&mut self, plan: &Plan, position: usize) {
        self.overruled();
        let old = std::mem::take(&mut self.gates);
        let kept = |gate: &Gate| {
            let same = old.iter().find(|ledger| ledger.gate == *gate).cloned();
            let kept = same.unwrap_or_else(|| GateLedger::new(gate));
            GateLedger { seen: [0, 0], quiet: Duration::ZERO, last: None, ..kept }
        };
        self.gates = plan.gates.iter().map(kept).collect();
        self.plan = plan.clone();
        self.step = plan.steps[position];
        self.held = Duration::ZERO;
        self.quiet = Duration::ZERO;
        self.requests = 0;
        self.paused = false;
        self.stopped_by = None;
    }

    pub(crate) fn is_over_budget(&self) -> bool {
        self.plan.failed_requests.is_some_and(|budget| self.failed - self.forgiven > budget)
    }

    /// The gates that are bad beyond doubt.
    pub(crate) fn plainly_bad(&self) -> Vec<&str> {
        let bad = self.gates.iter().filter(|gate| gate.is_plainly_bad());
        bad.map(|gate| gate.gate.name.as_str()).collect()
    }

    /// The gates that nothing is known of.
    pub(crate) fn blind(&self) -> Vec<&str> {
        let blind = self.gates.iter().filter(|gate| gate.is_blind());
        blind.map(|gate| gate.gate.name.as_str()).collect()
    }
}

impl GateLedger {
    fn new(gate: &Gate) -> Self {
        Self {
            gate: gate.clone(),
            seen: [0, 0],
            quiet: Duration::ZERO,
            applies: true,
            against: [0, 0],
            last: None,
            out: 0,
        }
    }

    fn tick(&mut self, step: &Step, tick: &Tick) {
        self.quiet += tick.elapsed;
        let arms = if step.is_dark() { &tick.dark } else { &tick.users };
        let [baseline, candidate] = [arms.baseline.requests, arms.candidate.requests];
        let all = step.weight == Share::ALL;
        let (fed, lines, counts) = match &self.gate.measure {
            Measure::Query { .. } => return self.listen(tick),
            Measure::Mismatches { max } => {
                (tick.mirrored, Lines::Max(*max), [0, tick.compared, tick.mismatched])
            }
            Measure::Errors(lines) => {
                let served = !step.is_dark() || tick.mirrored;
                (served, *lines, [baseline, candidate, arms.candidate.failures])
            }
            // The times of copies say little.
            Measure::Latency { over, lines } => {
                let known = tick.latencies.iter().position(|latency| latency == over);
                let counts = known.map(|at| [baseline, candidate, arms.candidate.over[at]]);
                (!step.is_dark(), *lines, counts.unwrap_or_default())
            }
        };
        self.applies = fed && !(all && is_relative(lines));
        if !fed {
            return;
        }
        self.seen[0] += counts[0];
        self.seen[1] += counts[1];
        self.against[0] += counts[1];
        self.against[1] += counts[2];
        if counts[1] > 0 {
            self.quiet = Duration::ZERO;
        }
    }

    fn listen(&mut self, tick: &Tick) {
        let Measure::Query { bound, .. } = &self.gate.measure else { return };
        for reading in tick.readings.iter().filter(|reading| reading.gate == self.gate.name) {
            match reading.answer {
                Answer::Value(value) if value.is_nan() => self.last = Some(Answer::NoData),
                Answer::Value(value) => {
                    self.quiet = Duration::ZERO;
                    self.out = if bound.admits(value) { 0 } else { self.out + 1 };
                    self.last = Some(reading.answer.clone());
                }
                _ => self.last = Some(reading.answer.clone()),
            }
        }
    }

    /// Nobody can tell how the candidate does.
    fn is_blind(&self) -> bool {
        match &self.gate.measure {
            Measure::Query { every, failures, .. } => {
                let stale = self.quiet > (*every * 3).max(SILENCE);
                let number = matches!(self.last, Some(Answer::Value(_)));
                self.out < *failures && (stale || !number)
            }
            Measure::Errors(lines) | Measure::Latency { lines, .. } => {
                let alone = self.seen[0] == 0 && is_relative(*lines);
                self.applies && (self.seen[1] == 0 || alone || self.quiet > SILENCE)
            }
            Measure::Mismatches { .. } => {
                self.applies && (self.seen[1] == 0 || self.quiet > SILENCE)
            }
        }
    }

    fn is_plainly_bad(&self) -> bool {
        let max = match &self.gate.measure {
            Measure::Query { failures, .. } => return self.out >= *failures,
            Measure::Errors(lines) | Measure::Latency { lines, .. } => lines.max(),
            Measure::Mismatches { max } => Some(*max),
        };
        max.is_some_and(|max| is_far_above(self.against, max.fraction()))
    }
}

fn is_bad(decision: &Decision, gate: &Gate) -> bool {
    decision.gates.iter().any(|report| report.name == gate.name && report.verdict == "bad")
}

fn is_relative(lines: Lines) -> bool {
    matches!(lines, Lines::WorseThanBaseline(_))
}

/// At least twice `max`, which has a chance below `e^-40` if that is the true rate.
fn is_far_above([requests, against]: [u64; 2], max: f64) -> bool {
    let n = requests as f64;
    let rate = against as f64 / n.max(1.0);
    let divergence = |p: f64, q: f64| if p > 0.0 { p * (p / q).ln() } else { 0.0 };
    rate >= 2.0 * max && n * (divergence(rate, max) + divergence(1.0 - rate, 1.0 - max)) > 40.0
}

/// Where a gate of `plan` is bad: one of all its lines has the whole of alpha's share.
pub(crate) fn bad_at(plan: &Plan) -> f64 {
    let of = |lines: Lines| if matches!(lines, Lines::Both(..)) { 2 } else { 1 };
    let lines: u32 = plan
        .gates
        .iter()
        .map(|gate| match gate.measure {
            Measure::Errors(lines) | Measure::Latency { lines, .. } => of(lines),
            Measure::Mismatches { .. } => 1,
            Measure::Query { .. } => 0,
        })
        .sum();
    f64::from(lines.max(1)) / plan.alpha.probability()
}

/// The gates of a decision whose evidence is beyond the line that `plan` draws.
pub(crate) fn beyond<'a>(decision: &'a Decision, plan: &Plan) -> Vec<(&'a str, Line)> {
    let line = bad_at(plan);
    let gates = decision.gates.iter();
    gates
        .flat_map(|gate| gate.tests.iter().map(move |test| (gate.name.as_str(), test)))
        .filter(|(_, test)| test.evidence >= line * (1.0 + 1e-9))
        .map(|(name, test)| (name, test.line))
        .collect()
}

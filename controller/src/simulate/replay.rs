//! Recorded ticks before the gates of a plan: what it would have decided.
//!
//! What cannot be known is what users would have met under other weights. So the steps are the
//! recorded ones wherever these are known, and only what the gates say is asked anew. A breach is
//! noted and then forgiven nothing: the ticks after it are judged too, to see when the other gates
//! would have noticed.

use super::recording::Recorded;
use serde::Serialize;
use std::time::Duration;
use tidegate_judge::{
    Action, Decision, Freedom, GateReport, OnBreach, OnSourceBroken, Plan, Run, Time, Verb, step,
};

/// What a plan makes of a recording.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replay {
    /// How many ticks.
    pub ticks: usize,
    /// How long they took.
    pub elapsed: Duration,
    /// The gates of the plan.
    pub gates: Vec<GateTrace>,
    /// When the candidate would have been taken away, or the rollout paused.
    pub stop: Option<Stop>,
    /// When the last step was over, by the plan's own steps; only where none were recorded.
    pub promoted: Option<Moment>,
}

/// What became of one gate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateTrace {
    /// Its name.
    pub name: String,
    /// When it was bad first.
    pub bad: Option<Moment>,
    /// When it was good first, in each step where it was.
    pub good: Vec<Moment>,
    /// The greatest evidence that it saw, beside what it takes to be bad.
    pub evidence: f64,
    /// Evidence at which it is bad.
    pub bad_at: f64,
    /// What it said at last.
    pub verdict: String,
    /// Why, in words.
    pub why: String,
}

/// A point of the recording: after a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// The tick's number, from 1.
    pub tick: usize,
    /// Time since the first tick began.
    pub elapsed: Duration,
    /// The step, from 1.
    pub step: usize,
    /// Requests of users that the candidate had failed by then.
    pub failed_requests: u64,
}

/// What stops a rollout.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stop {
    /// When.
    pub at: Moment,
    /// `rolled_back` or `paused`.
    pub action: Action,
    /// Why.
    pub why: String,
}

/// Feeds the ticks to the gates of `plan`.
pub fn replay(plan: &Plan, recorded: &[Recorded]) -> Replay {
    let (mut run, _) = Run::start(&watching(plan), None, "replay", Time(0));
    let mut replay = Replay::new(plan);
    let mut at = Moment { tick: 0, elapsed: Duration::ZERO, step: 1, failed_requests: 0 };
    for Recorded { step: position, tick, .. } in recorded {
        if let Some(position) = position {
            follow(&mut run, position.saturating_sub(1), Time(0).after(at.elapsed));
        }
        at.tick += 1;
        at.elapsed = at.elapsed.saturating_add(tick.elapsed);
        at.step = run.position() + 1;
        at.failed_requests = at.failed_requests.saturating_add(tick.users.candidate.failed);
        let freedom = if position.is_some() { Freedom::Frozen } else { Freedom::Free };
        let (next, decisions) = step(&run, tick, freedom, Time(0).after(at.elapsed));
        replay.note(plan, &next, &decisions, at);
        run = next;
        if run.outcome().is_some() {
            replay.promoted = Some(at);
            break;
        }
    }
    replay.ticks = at.tick;
    replay.elapsed = at.elapsed;
    replay
}

/// The plan, but nothing ends it before its time.
fn watching(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.on_breach = OnBreach::Pause;
    for gate in &mut plan.gates {
        if gate.on_source_broken == OnSourceBroken::Rollback {
            gate.on_source_broken = OnSourceBroken::Pause;
        }
    }
    plan
}

/// Goes on to where the recording was, or to the last step of a plan that has fewer.
fn follow(run: &mut Run, position: usize, now: Time) {
    let last = run.plan().steps.len().saturating_sub(1);
    while run.position() < position.min(last) {
        let Ok((next, _)) = run.act(Verb::Promote, "replay", Freedom::Free, now) else { return };
        *run = next;
    }
}

impl Replay {
    fn new(plan: &Plan) -> Self {
        let gates = plan.gates.iter().map(|gate| GateTrace {
            name: gate.name.clone(),
            bad: None,
            good: Vec::new(),
            evidence: 0.0,
            bad_at: 0.0,
            verdict: String::new(),
            why: String::new(),
        });
        let gates = gates.collect();
        Self { ticks: 0, elapsed: Duration::ZERO, gates, stop: None, promoted: None }
    }

    fn note(&mut self, plan: &Plan, run: &Run, decisions: &[Decision], at: Moment) {
        // A step that ends is judged before the next begins: what it said is in its decision.
        let ended = decisions.iter().find(|d| matches!(d.action, Action::Advanced));
        let report = run.report(Freedom::Free).gates;
        let reports = ended.map_or(&report, |decision| &decision.gates);
        for (trace, report) in self.gates.iter_mut().zip(reports) {
            trace.note(report, at);
        }
        if self.stop.is_some() {
            return;
        }
        let Some(decision) = decisions.iter().find(|d| d.action == Action::Paused) else { return };
        let breach = decision.gates.iter().any(|gate| gate.verdict == "bad");
        let broken = !breach && decision.gates.iter().any(|gate| gate.verdict == "source_broken");
        let ends = if broken {
            plan.gates.iter().zip(&decision.gates).any(|(gate, report)| {
                report.verdict == "source_broken"
                    && gate.on_source_broken == OnSourceBroken::Rollback
            })
        } else {
            plan.on_breach == OnBreach::Rollback
        };
        let action = if ends { Action::RolledBack } else { Action::Paused };
        self.stop = Some(Stop { at, action, why: decision.why.clone() });
    }
}

impl GateTrace {
    fn note(&mut self, report: &GateReport, at: Moment) {
        for test in &report.tests {
            self.evidence = self.evidence.max(test.evidence);
            self.bad_at = test.bad_at;
        }
        if report.verdict == "bad" && self.bad.is_none() {
            self.bad = Some(at);
        }
        let known = self.good.last().is_some_and(|good| good.step == at.step);
        if report.verdict == "good" && report.applies && !known {
            self.good.push(at);
        }
        self.verdict.clone_from(&report.verdict);
        self.why.clone_from(&report.why);
    }
}

//! One step of the machine: what a tick makes of a run.
//!
//! Pure: the same run, tick and time always give the same run and decisions, and what is to be in
//! force follows from the run alone ([`Run::setting`]), so there is nothing left to decide for
//! whoever carries it out.

use crate::{
    decision::{Action, Decision},
    gate::{GateState, SILENCE, Verdict, bad_at, good_at},
    plan::{AdvanceWhen, OnBreach, OnSourceBroken, Plan, Step, Until},
    run::{Active, Outcome, Pause, Run, Status},
    tick::Tick,
    units::Time,
};
use std::time::Duration;

/// Who decides when nobody asks.
pub(crate) const CONTROLLER: &str = "controller";

/// Ids of failed requests that a run keeps.
const SAMPLES: usize = 8;

/// What may be done besides judging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freedom {
    /// Steps advance.
    Free,
    /// Nothing advances; what is bad is still taken away.
    Frozen,
}

/// What `tick` makes of `run`: the run after it, and the decisions that were made.
pub fn step(run: &Run, tick: &Tick, freedom: Freedom, now: Time) -> (Run, Vec<Decision>) {
    let mut next = run.clone();
    let mut decisions = Vec::new();
    if let Some(gate) = next.halves.add(&next.plan, tick, bad_at(&next.plan)) {
        let why = format!("the baseline was told from itself by `{gate}`: a false alarm");
        decisions.push(next.decide(Action::FalseAlarm, CONTROLLER, why, Some(run), now));
    }
    let Status::Active(_) = next.status else { return (next, decisions) };
    next.take_in(tick);
    let judged = next.clone();
    if let Some(decision) = next.react(&judged, freedom, now) {
        decisions.push(decision);
    }
    (next, decisions)
}

impl Run {
    /// Counts.
    fn take_in(&mut self, tick: &Tick) {
        let position = self.position();
        let step = self.step_at(position);
        for gate in &mut self.gates {
            gate.add(tick, &step);
        }
        self.failed = self.failed.saturating_add(tick.users.candidate.failed);
        for sample in &tick.samples {
            self.samples.push_back(sample.clone());
        }
        let surplus = self.samples.len().saturating_sub(SAMPLES);
        self.samples.drain(..surplus);
        let quiet = self.gates.iter().all(|gate| !self.blocks(gate));
        let Status::Active(active) = &mut self.status else { return };
        let arms = if step.is_dark() { &tick.dark } else { &tick.users };
        active.requests = active.requests.saturating_add(arms.candidate.requests);
        active.quiet = match arms.candidate.requests {
            0 => active.quiet.saturating_add(tick.elapsed),
            _ => Duration::ZERO,
        };
        let has_data = active.requests > 0 && active.quiet <= SILENCE;
        active.pace.add(tick, step.is_dark());
        if quiet && has_data && active.pause.is_none() {
            active.held = active.held.saturating_add(tick.elapsed);
        }
    }

    /// Whether time passes in vain: nobody can tell how the candidate does.
    fn blocks(&self, gate: &GateState) -> bool {
        let applies = gate.applies(&self.step_at(self.position()));
        applies && matches!(self.verdict(gate), Verdict::NoData(_) | Verdict::SourceBroken(_))
    }

    /// Decides at most one thing.
    fn react(&mut self, judged: &Run, freedom: Freedom, now: Time) -> Option<Decision> {
        if let Some((gate, why)) = self.breach() {
            return self.breached(gate, &why, judged, now);
        }
        if let Some((gate, why, on)) = self.broken() {
            let why = format!("the source of `{gate}` is broken: {why}");
            return match on {
                OnSourceBroken::Hold => None,
                OnSourceBroken::Pause => self.pause(Pause::Source { gate }, why, judged, now),
                OnSourceBroken::Rollback => {
                    self.end(Outcome::RolledBack, &why, now);
                    Some(self.decide(Action::RolledBack, CONTROLLER, why, Some(judged), now))
                }
            };
        }
        let Status::Active(active) = &self.status else { return None };
        let over = active.pause.is_none() && self.is_over(active);
        if freedom == Freedom::Frozen || !over {
            return None;
        }
        let why = self.why_over(active);
        Some(self.advance(CONTROLLER, why, judged, now))
    }

    /// The first gate that is bad, or the budget.
    fn breach(&self) -> Option<(String, String)> {
        let bad = self.gates.iter().find(|gate| self.verdict(gate) == Verdict::Bad);
        if let Some(gate) = bad {
            return Some((gate.gate.name.clone(), self.gate_report(gate).words()));
        }
        let budget = self.plan.failed_requests.filter(|_| self.is_over_budget())?;
        let failed = self.failed.saturating_sub(self.forgiven);
        Some(("budget".to_owned(), format!("{failed} requests failed, the budget is {budget}")))
    }

    pub(crate) fn is_over_budget(&self) -> bool {
        let failed = self.failed.saturating_sub(self.forgiven);
        self.plan.failed_requests.is_some_and(|budget| failed > budget)
    }

    fn breached(&mut self, gate: String, why: &str, judged: &Run, now: Time) -> Option<Decision> {
        let why = format!("`{gate}` is bad: {why}");
        match self.plan.on_breach {
            OnBreach::Rollback => {
                self.end(Outcome::RolledBack, &why, now);
                Some(self.decide(Action::RolledBack, CONTROLLER, why, Some(judged), now))
            }
            OnBreach::Pause => self.pause(Pause::Breach { gate }, why, judged, now),
        }
    }

    /// The first gate with a broken source that does more than hold; those that roll back first.
    fn broken(&self) -> Option<(String, String, OnSourceBroken)> {
        let with = |on: OnSourceBroken| {
            let gates = self
                .gates
                .iter()
                .filter(move |gate| gate.gate.on_source_broken == on && gate.is_broken_for_long());
            gates.into_iter().find_map(move |gate| match self.verdict(gate) {
                Verdict::SourceBroken(why) => Some((gate.gate.name.clone(), why, on)),
                _ => None,
            })
        };
        with(OnSourceBroken::Rollback).or_else(|| with(OnSourceBroken::Pause))
    }

    /// Pauses a run that is not paused yet, or for a lesser reason.
    fn pause(&mut self, pause: Pause, why: String, judged: &Run, now: Time) -> Option<Decision> {
        let Status::Active(active) = &mut self.status else { return None };
        if active.pause.as_ref().is_some_and(|paused| paused.gravity() >= pause.gravity()) {
            return None;
        }
        active.pause = Some(pause);
        Some(self.decide(Action::Paused, CONTROLLER, why, Some(judged), now))
    }

    fn is_over(&self, active: &Active) -> bool {
        let Until::Held { hold, min_requests } = self.step_at(active.step).until else {
            return false;
        };
        let certified = self.plan.advance_when == AdvanceWhen::Certified;
        active.held >= hold
            && active.requests >= min_requests
            && self.gates.iter().all(|gate| self.passes(gate, certified))
    }

    /// Whether `gate` lets the run go on to the next step.
    pub(crate) fn passes(&self, gate: &GateState, certified: bool) -> bool {
        let undecided_is_fine = gate.query.is_none() && !certified && !self.suspects(gate);
        match self.verdict(gate) {
            _ if !gate.applies(&self.step_at(self.position())) => true,
            Verdict::Good => true,
            Verdict::Undecided => undecided_is_fine,
            Verdict::Bad | Verdict::NoData(_) | Verdict::SourceBroken(_) => false,
        }
    }

    /// Whether there is evidence that a line is crossed, short of what takes the candidate away. More
    /// users will not get it before that is decided: of candidates that meet the line, at most a share
    /// of beta is ever held up, and these until their evidence fades.
    pub(crate) fn suspects(&self, gate: &GateState) -> bool {
        let (at, step) = (good_at(&self.plan), self.step_at(self.position()));
        let mut tests = gate.tests.iter().filter(|test| test.applies(&step));
        tests.any(|test| test.worse.value() >= at)
    }

    fn why_over(&self, active: &Active) -> String {
        let certified = match self.plan.advance_when {
            AdvanceWhen::Certified => ", every gate is good",
            AdvanceWhen::Held => ", no gate is bad",
        };
        let held = active.held.as_secs_f64();
        format!("held for {held:.0} s with {} requests{certified}", active.requests)
    }

    /// On to the next step, or to the end.
    pub(crate) fn advance(
        &mut self,
        actor: &str,
        why: String,
        judged: &Run,
        now: Time,
    ) -> Decision {
        match self.next_position() {
            Some(position) => {
                self.adopt_next_plan();
                self.enter(position, now);
                self.decide(Action::Advanced, actor, why, Some(judged), now)
            }
            None => {
                self.end(Outcome::Promoted, &why, now);
                self.decide(Action::Promoted, actor, why, Some(judged), now)
            }
        }
    }

    /// The position of the next step in the plan that is in force from there.
    pub(crate) fn next_position(&self) -> Option<usize> {
        let here = self.position();
        let Some(next) = &self.next_plan else {
            return Some(here + 1).filter(|next| *next < self.plan.steps.len());
        };
        // How long a step behind was held does not matter any more, only what it set.
        let set = |plan: &Plan| {
            let steps = plan.steps.get(..=here)?;
            Some(steps.iter().map(|step| (step.weight, step.mirror)).collect::<Vec<_>>())
        };
        if set(&self.plan).is_some_and(|so_far| set(next) == Some(so_far)) {
            return Some(here + 1).filter(|position| *position < next.steps.len());
        }
        higher_step(next, &self.step_at(here))
    }

    fn adopt_next_plan(&mut self) {
        let Some(plan) = self.next_plan.take() else { return };
        let old = std::mem::take(&mut self.gates);
        // A gate that did not change keeps its evidence.
        let keep = |gate: &crate::plan::Gate| old.iter().find(|state| state.gate == *gate);
        let state = |gate| keep(gate).cloned().unwrap_or_else(|| GateState::new(gate));
        self.gates = plan.gates.iter().map(state).collect();
        self.plan = plan;
    }
}

/// In a plan whose first steps are others: the first step that is further up than `from`, or asks
/// for a person's approval on its level.
fn higher_step(plan: &Plan, from: &Step) -> Option<usize> {
    let level = |step: &Step| (step.weight, step.mirror);
    let asks = |step: &Step| step.until == Until::Promoted && from.until != Until::Promoted;
    plan.steps
        .iter()
        .position(|step| level(step) > level(from) || step.weight == from.weight && asks(step))
}

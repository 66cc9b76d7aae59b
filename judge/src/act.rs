//! What people, and changes of the configuration, do to a run.

use crate::{
    decision::{Action, Decision},
    gate::{GateState, Verdict},
    plan::Plan,
    run::{Active, Outcome, Pause, Run, Status},
    step::Freedom,
    units::Time,
};
use serde::{Deserialize, Serialize};

/// Who acts when the configuration changes.
pub(crate) const CONFIGURATION: &str = "configuration";

/// What a person may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// On to the next step.
    Promote,
    /// Everybody gets the candidate.
    PromoteFull,
    /// The step stays as it is; gates still take a bad candidate away.
    Pause,
    /// A paused run goes on. A gate that was bad starts afresh.
    Resume,
    /// Nobody gets the candidate; also the undo of a promotion.
    Abort,
    /// A new run of a revision that was rolled back or aborted.
    Retry,
}

impl Verb {
    /// All of them.
    pub const ALL: [Verb; 6] =
        [Verb::Promote, Verb::PromoteFull, Verb::Pause, Verb::Resume, Verb::Abort, Verb::Retry];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Promote => "promote",
            Verb::PromoteFull => "promote --full",
            Verb::Pause => "pause",
            Verb::Resume => "resume",
            Verb::Abort => "abort",
            Verb::Retry => "retry",
        }
    }
}

/// What was asked for is not possible now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not possible: the rollout is {state}; possible: {}", verb.name(), names(possible))]
pub struct Illegal {
    /// What was asked for.
    pub verb: Verb,
    /// What the state is, in words.
    pub state: String,
    /// What is possible.
    pub possible: Vec<Verb>,
}

fn names(verbs: &[Verb]) -> String {
    if verbs.is_empty() {
        return "nothing".to_owned();
    }
    verbs.iter().map(|verb| format!("`{}`", verb.name())).collect::<Vec<_>>().join(", ")
}

impl Run {
    /// What a person may do now.
    pub fn possible(&self, freedom: Freedom) -> Vec<Verb> {
        let free = freedom == Freedom::Free;
        Verb::ALL.into_iter().filter(|verb| self.allows(*verb, free)).collect()
    }

    fn allows(&self, verb: Verb, free: bool) -> bool {
        match (&self.status, verb) {
            (Status::Active(_), Verb::Promote | Verb::PromoteFull) => free,
            (Status::Active(active), Verb::Pause) => active.pause.is_none(),
            (Status::Active(active), Verb::Resume) => active.pause.is_some(),
            (Status::Active(_), Verb::Abort) => true,
            (Status::Ended(ended), Verb::Abort) => ended.outcome == Outcome::Promoted,
            (Status::Ended(ended), Verb::Retry) => free && ended.outcome != Outcome::Promoted,
            _ => false,
        }
    }

    /// Does what `actor` asks for.
    ///
    /// # Errors
    /// When the state does not allow it; nothing is changed.
    pub fn act(
        &self,
        verb: Verb,
        actor: &str,
        freedom: Freedom,
        now: Time,
    ) -> Result<(Run, Decision), Illegal> {
        let possible = self.possible(freedom);
        if !possible.contains(&verb) {
            let mut state = self.state().name().replace('_', " ");
            if freedom == Freedom::Frozen {
                state.push_str(", and all rollouts are frozen");
            }
            return Err(Illegal { verb, state, possible });
        }
        let mut next = self.clone();
        let why = format!("{actor} asked for `{}`", verb.name());
        let decision = match verb {
            Verb::Promote => {
                // Whoever promotes a run that a gate had stopped knows what it said.
                next.forgive();
                next.advance(actor, why, self, now)
            }
            Verb::PromoteFull => {
                next.end(Outcome::Promoted, &why, now);
                next.decide(Action::Promoted, actor, why, Some(self), now)
            }
            Verb::Pause => {
                next.set_pause(Some(Pause::Person));
                next.decide(Action::Paused, actor, why, Some(self), now)
            }
            Verb::Resume => {
                next.forgive();
                next.set_pause(None);
                next.decide(Action::Resumed, actor, why, Some(self), now)
            }
            Verb::Abort => {
                next.end(Outcome::Aborted, &why, now);
                next.decide(Action::Aborted, actor, why, Some(self), now)
            }
            Verb::Retry => {
                let plan = self.next_plan.as_ref().unwrap_or(&self.plan);
                let (run, mut decision) = Run::start(plan, Some(self), actor, now);
                decision.why = why;
                return Ok((run, decision));
            }
        };
        Ok((next, decision))
    }

    fn set_pause(&mut self, pause: Option<Pause>) {
        if let Status::Active(active) = &mut self.status {
            active.pause = pause;
        }
    }

    /// Gates that are bad start afresh, and so does the budget if that is what was breached.
    fn forgive(&mut self) {
        // It may have recovered since, and has lost by that what finds the next regression.
        let stopped_by = match &self.status {
            Status::Active(Active { pause: Some(Pause::Breach { gate }), .. }) => Some(gate),
            _ => None,
        };
        let was_bad = |gate: &GateState| {
            stopped_by == Some(&gate.gate.name) || self.verdict(gate) == Verdict::Bad
        };
        let bad: Vec<bool> = self.gates.iter().map(was_bad).collect();
        for (gate, _) in self.gates.iter_mut().zip(bad).filter(|(_, bad)| *bad) {
            GateState::forgive(gate);
        }
        if self.is_over_budget() {
            self.forgiven = self.failed;
        }
    }

    /// Takes in the plan that the configuration has now.
    pub fn replan(&self, plan: &Plan, freedom: Freedom, now: Time) -> (Run, Vec<Decision>) {
        let known = self.next_plan.as_ref().unwrap_or(&self.plan);
        if known == plan {
            return (self.clone(), Vec::new());
        }
        if plan.revision != known.revision {
            if freedom == Freedom::Frozen {
                return (self.clone(), Vec::new());
            }
            return self.superseded(plan, now);
        }
        let mut next = self.clone();
        if self.outcome().is_some() {
            // It stays as it ended; a retry would follow the new plan.
            next.next_plan = Some(plan.clone());
            return (next, Vec::new());
        }
        let names =
            |plan: &Plan| [plan.route.clone(), plan.baseline.clone(), plan.candidate.clone()];
        if names(plan) != names(&self.plan) {
            let why = "its route or its variants are others now".to_owned();
            next.end(Outcome::Aborted, &why, now);
            let decision = next.decide(Action::Aborted, CONFIGURATION, why, Some(self), now);
            next.next_plan = Some(plan.clone());
            return (next, vec![decision]);
        }
        if *plan == self.plan {
            next.next_plan = None;
            let why = "the change of the plan was taken back".to_owned();
            let decision = next.decide(Action::Replanned, CONFIGURATION, why, Some(self), now);
            return (next, vec![decision]);
        }
        next.next_plan = Some(plan.clone());
        let why = "the plan was changed: from the next step on".to_owned();
        let decision = next.decide(Action::Replanned, CONFIGURATION, why, Some(self), now);
        (next, vec![decision])
    }

    /// A new revision takes the place of this one.
    fn superseded(&self, plan: &Plan, now: Time) -> (Run, Vec<Decision>) {
        let mut decisions = Vec::new();
        let mut old = self.clone();
        if self.outcome().is_none() {
            let why = format!("revision {} takes its place", plan.revision);
            old.end(Outcome::Aborted, &why, now);
            decisions.push(old.decide(Action::Aborted, CONFIGURATION, why, Some(self), now));
        }
        let (run, decision) = if old.condemned.contains(&plan.revision) {
            let revision = &plan.revision;
            let why =
                format!("revision {revision} was rolled back before: `retry` to try it again");
            Run::refused(plan, Some(&old), why, CONFIGURATION, now)
        } else {
            Run::start(plan, Some(&old), CONFIGURATION, now)
        };
        decisions.push(decision);
        (run, decisions)
    }

    /// The configuration has no such rollout any more, or not its route or variants.
    pub fn remove(&self, why: &str, now: Time) -> (Run, Option<Decision>) {
        if self.outcome().is_some() {
            return (self.clone(), None);
        }
        let mut next = self.clone();
        next.end(Outcome::Aborted, why, now);
        let decision = next.decide(Action::Aborted, CONFIGURATION, why.to_owned(), Some(self), now);
        (next, Some(decision))
    }
}

//! A run: one attempt at bringing a revision to everybody, and where it is.

use crate::{
    decision::{Action, Decision},
    gate::{GateState, Verdict, bad_at, good_at},
    halves::Halves,
    plan::{Plan, Step},
    tick::Tick,
    units::{Share, Time},
};
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, time::Duration};

/// The state of a rollout. Everything that a restart needs is in its JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Run {
    pub(crate) plan: Plan,
    /// The plan from the next step on, when it was changed meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_plan: Option<Plan>,
    pub(crate) number: u32,
    pub(crate) started: Time,
    pub(crate) status: Status,
    pub(crate) gates: Vec<GateState>,
    pub(crate) halves: Halves,
    /// Requests of users that the candidate failed.
    pub(crate) failed: u64,
    /// Of these, those before a person went on beyond the budget.
    pub(crate) forgiven: u64,
    /// Ids of some of them, the newest last.
    pub(crate) samples: VecDeque<String>,
    /// Revisions that were rolled back, the newest last.
    pub(crate) condemned: VecDeque<String>,
}

/// Under way, or over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Active(Active),
    Ended(Ended),
}

/// In the middle of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Active {
    /// Its position in the plan.
    pub(crate) step: usize,
    pub(crate) since: Time,
    /// Time with data, as long as nothing was paused.
    pub(crate) held: Duration,
    /// Requests (or copies) that the candidate was judged by in this step.
    pub(crate) requests: u64,
    /// Time since the last of these.
    #[serde(default)]
    pub(crate) quiet: Duration,
    pub(crate) pause: Option<Pause>,
    pub(crate) pace: Pace,
}

/// Why a step stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// A person said so.
    Person,
    /// A gate is bad, and the plan wants a person to decide.
    Breach {
        /// Its name, or `budget`.
        gate: String,
    },
    /// A gate's source is broken, and the plan wants a person to decide.
    Source {
        /// Its name.
        gate: String,
    },
}

impl Pause {
    /// How much it takes to go on; a graver reason takes the place of another.
    pub(crate) fn gravity(&self) -> u8 {
        match self {
            Pause::Person => 0,
            Pause::Source { .. } => 1,
            Pause::Breach { .. } => 2,
        }
    }
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) at: Time,
    /// The step it ended in.
    pub(crate) step: usize,
    pub(crate) why: String,
}

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everybody has the candidate.
    Promoted,
    /// It was worse, and nobody has it.
    RolledBack,
    /// A person or a change of the configuration ended it, and nobody has it.
    Aborted,
}

/// Requests a second of both arms, lately.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Pace {
    pub(crate) per_second: [f64; 2],
    seen: Duration,
}

/// What is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The candidate's share of the two variants' requests.
    pub weight: Share,
    /// The share that the mirror copies; `None`: as the mirror itself says.
    pub mirror: Option<Share>,
    /// The candidate has taken the baseline's place for good.
    pub promoted: bool,
}

impl Setting {
    /// Nobody gets the candidate.
    pub const NOTHING: Setting = Setting { weight: Share::NONE, mirror: None, promoted: false };
}

/// Revisions that a rollout remembers to have rolled back.
const CONDEMNED: usize = 64;

impl Run {
    /// A new run of `plan`, in its first step; `previous` is the rollout's run before.
    pub fn start(plan: &Plan, previous: Option<&Run>, actor: &str, now: Time) -> (Self, Decision) {
        let active = Active::enter(0, now);
        let mut run = Self {
            plan: plan.clone(),
            next_plan: None,
            number: previous.map_or(1, |run| run.number.saturating_add(1)),
            started: now,
            status: Status::Active(active),
            gates: plan.gates.iter().map(GateState::new).collect(),
            halves: previous.map(|run| run.halves.clone()).unwrap_or_default(),
            failed: 0,
            forgiven: 0,
            samples: VecDeque::new(),
            condemned: previous.map(|run| run.condemned.clone()).unwrap_or_default(),
        };
        run.condemned.retain(|revision| *revision != plan.revision);
        let why = format!("revision {} begins", plan.revision);
        let decision = run.decide(Action::Started, actor, why, previous, now);
        (run, decision)
    }

    /// A new run of `plan` that ended before it began; a person may try it again.
    pub fn refused(
        plan: &Plan,
        previous: Option<&Run>,
        why: String,
        actor: &str,
        now: Time,
    ) -> (Self, Decision) {
        let (mut run, _) = Self::start(plan, previous, actor, now);
        run.end(Outcome::Aborted, &why, now);
        if let Some(previous) = previous {
            run.condemned.clone_from(&previous.condemned);
        }
        let decision = run.decide(Action::Aborted, actor, why, previous, now);
        (run, decision)
    }

    /// The plan of the current step.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Counts the rollout's runs, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// How it ended; `None` while it goes on.
    pub fn outcome(&self) -> Option<Outcome> {
        match &self.status {
            Status::Active(_) => None,
            Status::Ended(ended) => Some(ended.outcome),
        }
    }

    /// The step it is in, or ended in, from 0.
    pub fn position(&self) -> usize {
        match &self.status {
            Status::Active(active) => active.step,
            Status::Ended(ended) => ended.step,
        }
    }

    /// What is to be in force. Nothing else decides that.
    pub fn setting(&self) -> Setting {
        match &self.status {
            Status::Active(active) => {
                let step = self.step_at(active.step);
                Setting { weight: step.weight, mirror: step.mirror, promoted: false }
            }
            Status::Ended(ended) => match ended.outcome {
                Outcome::Promoted => Setting { weight: Share::ALL, mirror: None, promoted: true },
                Outcome::RolledBack | Outcome::Aborted => Setting::NOTHING,
            },
        }
    }

    /// The trials of the tests themselves.
    pub fn halves(&self) -> &Halves {
        &self.halves
    }

    pub(crate) fn step_at(&self, position: usize) -> Step {
        // A position is always one of the plan's; a step that changes nothing is the safe reading.
        let nothing =
            Step { weight: Share::NONE, mirror: None, until: crate::plan::Until::Promoted };
        self.plan.steps.get(position).copied().unwrap_or(nothing)
    }

    pub(crate) fn verdict(&self, gate: &GateState) -> Verdict {
        let step = self.step_at(self.position());
        gate.verdict(&step, bad_at(&self.plan), good_at(&self.plan))
    }

    /// Enters the step at `position` of the current plan.
    pub(crate) fn enter(&mut self, position: usize, now: Time) {
        for gate in &mut self.gates {
            gate.enter_step();
        }
        self.status = Status::Active(Active::enter(position, now));
    }

    pub(crate) fn end(&mut self, outcome: Outcome, why: &str, now: Time) {
        if outcome == Outcome::RolledBack && !self.condemned.contains(&self.plan.revision) {
            self.condemned.push_back(self.plan.revision.clone());
            let surplus = self.condemned.len().saturating_sub(CONDEMNED);
            self.condemned.drain(..surplus);
        }
        let ended = Ended { outcome, at: now, step: self.position(), why: why.to_owned() };
        self.status = Status::Ended(ended);
    }
}

impl Active {
    fn enter(step: usize, now: Time) -> Self {
        Self {
            step,
            since: now,
            held: Duration::ZERO,
            requests: 0,
            quiet: Duration::ZERO,
            pause: None,
            pace: Pace::default(),
        }
    }
}

impl Pace {
    /// Over about the last half minute.
    const MEMORY: Duration = Duration::from_secs(30);

    pub(crate) fn add(&mut self, tick: &Tick, dark: bool) {
        let elapsed = tick.elapsed.as_secs_f64();
        if elapsed <= 0.0 {
            return;
        }
        let arms = if dark { &tick.dark } else { &tick.users };
        self.seen = self.seen.saturating_add(tick.elapsed).min(Self::MEMORY);
        let part = (elapsed / self.seen.as_secs_f64()).min(1.0);
        for (pace, arm) in self.per_second.iter_mut().zip([&arms.baseline, &arms.candidate]) {
            *pace += part * (arm.requests as f64 / elapsed - *pace);
        }
    }
}

/// The JSON of a run. Whatever was read is a run only if its positions are the plan's.
#[derive(Deserialize)]
struct Stored {
    plan: Plan,
    #[serde(default)]
    next_plan: Option<Plan>,
    number: u32,
    started: Time,
    status: Status,
    gates: Vec<GateState>,
    halves: Halves,
    failed: u64,
    #[serde(default)]
    forgiven: u64,
    samples: VecDeque<String>,
    #[serde(default)]
    condemned: VecDeque<String>,
}

impl TryFrom<Stored> for Run {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let Stored {
            plan,
            next_plan,
            number,
            started,
            status,
            gates,
            halves,
            failed,
            forgiven,
            samples,
            condemned,
        } = stored;
        let position = match &status {
            Status::Active(active) => active.step,
            Status::Ended(ended) => ended.step,
        };
        if plan.steps.get(position).is_none() {
            return Err(format!("step {position} is not one of {}", plan.steps.len()));
        }
        let same = gates.len() == plan.gates.len()
            && gates.iter().zip(&plan.gates).all(|(state, gate)| state.gate == *gate);
        if next_plan.as_ref().is_some_and(|plan| plan.steps.is_empty()) {
            return Err("its next plan has no steps".to_owned());
        }
        if !same || gates.iter().any(|gate| !gate.is_whole()) || !halves.is_whole() {
            return Err("its evidence is not that of its gates".to_owned());
        }
        Ok(Self {
            plan,
            next_plan,
            number,
            started,
            status,
            gates,
            halves,
            failed,
            forgiven,
            samples,
            condemned,
        })
    }
}

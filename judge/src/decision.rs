//! The record of a decision: who did what, when, and why.

use crate::{
    report::GateReport,
    run::Run,
    units::{Share, Time},
};
use serde::{Deserialize, Serialize};

/// What happened to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It began.
    Started,
    /// The next step began.
    Advanced,
    /// The step stays until a person decides.
    Paused,
    /// It goes on.
    Resumed,
    /// Everybody has the candidate.
    Promoted,
    /// The candidate was taken away.
    RolledBack,
    /// A person or a change of the configuration ended it.
    Aborted,
    /// The plan changed; the next step is the new plan's.
    Replanned,
    /// The baseline was told from itself: a false alarm of the tests, nothing is done.
    FalseAlarm,
    /// Somebody stopped all rollouts from advancing.
    Frozen,
    /// And let them go on.
    Thawed,
}

impl Action {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Action::Started => "started",
            Action::Advanced => "advanced",
            Action::Paused => "paused",
            Action::Resumed => "resumed",
            Action::Promoted => "promoted",
            Action::RolledBack => "rolled_back",
            Action::Aborted => "aborted",
            Action::Replanned => "replanned",
            Action::FalseAlarm => "false_alarm",
            Action::Frozen => "frozen",
            Action::Thawed => "thawed",
        }
    }
}

/// A decision, with all that it was made on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// When, by the wall clock.
    pub time: Time,
    /// The rollout.
    pub rollout: String,
    /// Its route.
    pub route: String,
    /// The revision.
    pub revision: String,
    /// The rollout's run, from 1.
    pub run: u32,
    /// Who: `controller`, `configuration`, or the name that a token stands for.
    pub actor: String,
    /// What.
    pub action: Action,
    /// Why, in words.
    pub why: String,
    /// The step after it, from 1.
    pub step: usize,
    /// How many steps there are.
    pub steps: usize,
    /// The candidate's weight before.
    pub weight_before: Share,
    /// And after.
    pub weight: Share,
    /// The share that the mirror copies, where the step sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Share>,
    /// What every gate said.
    pub gates: Vec<GateReport>,
    /// Requests of users that the candidate failed in this run.
    pub failed_requests: u64,
    /// Ids of some of them.
    pub samples: Vec<String>,
    /// The configuration that was in force, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

impl Run {
    /// The record of something that changes nothing about the run itself.
    pub fn note(&self, action: Action, actor: &str, why: String, now: Time) -> Decision {
        self.decide(action, actor, why, Some(self), now)
    }

    /// The record of what made this run out of `before`.
    pub(crate) fn decide(
        &self,
        action: Action,
        actor: &str,
        why: String,
        before: Option<&Run>,
        now: Time,
    ) -> Decision {
        let setting = self.setting();
        let evidence = before.filter(|before| before.number == self.number).unwrap_or(self);
        Decision {
            time: now,
            rollout: self.plan.name.clone(),
            route: self.plan.route.clone(),
            revision: self.plan.revision.clone(),
            run: self.number,
            actor: actor.to_owned(),
            action,
            why,
            step: self.position() + 1,
            steps: self.plan.steps.len(),
            weight_before: before.map_or(Share::NONE, |run| run.setting().weight),
            weight: setting.weight,
            mirror: setting.mirror,
            gates: evidence.gate_reports(),
            failed_requests: self.failed,
            samples: self.samples.iter().cloned().collect(),
            generation: None,
        }
    }
}

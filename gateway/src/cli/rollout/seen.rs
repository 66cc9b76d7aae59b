//! Rollouts as the admin API shows them, as far as commands print them.

use serde::Deserialize;
use tidegate_judge::{Decision, GateReport, Outcome, Share, State, Time, Verb};

/// `/api/v1/rollouts`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Rollouts {
    pub(super) rollouts: Vec<Rollout>,
    /// Those that wait to begin.
    #[serde(default)]
    pub(super) not_started: Vec<String>,
    pub(super) freeze: Option<Freeze>,
    pub(super) store_error: Option<String>,
}

/// A stop of everything that advances.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Freeze {
    pub(super) by: String,
    pub(super) at: Time,
}

/// `/api/v1/rollouts/{name}`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Rollout {
    #[serde(rename = "rollout")]
    pub(super) name: String,
    pub(super) route: String,
    pub(super) baseline: String,
    pub(super) candidate: String,
    pub(super) revision: String,
    pub(super) run: u32,
    pub(super) state: State,
    pub(super) ended: Option<Ended>,
    pub(super) step: usize,
    pub(super) steps: usize,
    pub(super) plan: Vec<Step>,
    pub(super) weight: Share,
    pub(super) mirror: Option<Share>,
    pub(super) held_seconds: f64,
    pub(super) requests: u64,
    pub(super) waits_for: Vec<String>,
    pub(super) possible: Vec<Verb>,
    pub(super) gates: Vec<GateReport>,
    pub(super) failed_requests: u64,
    pub(super) budget: Option<u64>,
    pub(super) samples: Vec<String>,
    pub(super) halves: Halves,
    pub(super) plan_changes: bool,
    pub(super) removed: bool,
    /// What the split really gave the candidate.
    pub(super) realised_share: Option<f64>,
    #[serde(default)]
    pub(super) store_error: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) at: Time,
    pub(super) why: String,
}

/// What a step sets.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Step {
    pub(super) weight: Share,
    pub(super) mirror: Option<Share>,
    /// Absent: until somebody promotes.
    pub(super) hold_seconds: Option<f64>,
    pub(super) min_requests: Option<u64>,
}

/// The tests on the baseline against itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Halves {
    pub(super) trials: u64,
    pub(super) alarms: u64,
}

/// `/api/v1/rollouts/{name}/decisions`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Decisions {
    pub(super) decisions: Vec<Record>,
}

/// A decision and its number in the journal.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Record {
    pub(super) id: i64,
    #[serde(flatten)]
    pub(super) decision: Decision,
}

#[cfg(test)]
mod tests {
    use super::Rollout;
    use crate::rollout::testing::rollout;
    use serde_json::json;
    use tidegate_controller::Shown;
    use tidegate_judge::{Freedom, Run, State, Time, Verb};

    #[test]
    fn what_the_judge_reports_is_understood() {
        let plan = rollout("checkout", "shop", "canary", &[300]);
        let (run, _) = Run::start(&plan, None, "configuration", Time(0));
        let aborted = run.act(Verb::Abort, "anna", Freedom::Free, Time(5));
        let (aborted, _) = aborted.expect("it may be aborted");
        for (run, state) in [(run, State::Waiting), (aborted, State::Aborted)] {
            let mut body = json!(Shown { report: run.report(Freedom::Free), removed: false });
            body["realised_share"] = json!(null);
            let seen: Rollout = serde_json::from_value(body).expect("a rollout");
            assert_eq!((seen.name.as_str(), seen.state), ("checkout", state));
            assert_eq!(seen.ended.is_some(), state == State::Aborted);
        }
    }
}

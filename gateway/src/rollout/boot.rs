//! What was in force when the last process ended, for the first snapshot of this one: it must not
//! serve a moment with the file's weights.

use super::{HeldShift, carry};
use std::path::PathBuf;
use tidegate_config::Plan;
use tidegate_judge::Run;

/// The shifts to begin with, from the state of the rollouts of `plan`. What cannot be read is said,
/// and begins without users: that is safe.
pub(crate) fn restored(plan: &Plan) -> Vec<HeldShift> {
    let Some(path) = state(plan) else { return carry(&[], plan) };
    let saved = match tidegate_controller::peek(&path) {
        Ok(saved) => saved,
        Err(error) => {
            let path = path.display();
            tracing::error!(%error, "the state in {path} is unknown: rollouts begin at the baseline");
            return carry(&[], plan);
        }
    };
    let kept = saved.keep.as_deref().and_then(|keep| serde_json::from_str(keep).ok());
    let mut kept: Vec<HeldShift> = kept.unwrap_or_default();
    // The runs are newer, and rollouts may have been taken out of the file since.
    for held in &mut kept {
        if let Some(run) = saved.runs.iter().find(|run| held.is_of(run.plan())) {
            held.promoted = run.setting().promoted;
        }
    }
    let mut shifts = carry(&kept, plan);
    for held in &mut shifts {
        let Some(rollout) = plan.rollouts.iter().find(|rollout| held.is_of(&rollout.plan)) else {
            continue;
        };
        let run = saved.runs.iter().find(|run| is_run_of(run, &rollout.plan));
        let setting = run.map_or(tidegate_judge::Setting::NOTHING, Run::setting);
        held.shift.weight = setting.weight;
        held.shift.mirror = rollout.plan.mirror.clone().zip(setting.mirror);
        held.promoted = setting.promoted;
    }
    shifts
}

/// The file that keeps the state, if there is anything to keep: rollouts now, or what they left.
pub(crate) fn state(plan: &Plan) -> Option<PathBuf> {
    let path = &plan.state;
    (!plan.rollouts.is_empty() || path.exists()).then(|| path.clone())
}

/// A run of another revision, or of other variants, says nothing about this plan.
fn is_run_of(run: &Run, plan: &tidegate_judge::Plan) -> bool {
    let known = run.plan();
    known.name == plan.name
        && known.revision == plan.revision
        && known.route == plan.route
        && known.baseline == plan.baseline
        && known.candidate == plan.candidate
}

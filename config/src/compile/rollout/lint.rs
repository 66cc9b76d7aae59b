//! Warnings about a rollout.

use super::{Arms, Dark};
use crate::{
    choice::Metric,
    problem::Problems,
    schema::Rollout,
    value::{Weight, percent},
};
use std::time::Duration;
use tidegate_judge::{AdvanceWhen, Share, Step, Until};

pub(super) fn warn(
    rollout: &Rollout,
    arms: Arms<'_>,
    dark: Dark<'_>,
    steps: &[Step],
    problems: &mut Problems,
) {
    owned_weights(rollout, arms, problems);
    if rollout.steps.complete {
        quick_steps(rollout, steps, problems);
    }
    if rollout.gates.complete {
        ungated(rollout, problems);
    }
    if rollout.steps.complete && rollout.gates.complete {
        unfed_gates(rollout, dark, steps, problems);
    }
}

/// Somebody may take the weights in the file for those in force.
fn owned_weights(rollout: &Rollout, arms: Arms<'_>, problems: &mut Problems) {
    let written = |position| arms.weight(position);
    let (Some(baseline), Some(candidate)) = (written(arms.baseline), written(arms.candidate))
    else {
        return;
    };
    if matches!(candidate.value, Weight::Integer(0) | Weight::Percent(0)) {
        return;
    }
    let shown = |weight: Weight| match weight {
        Weight::Integer(number) => number.to_string(),
        Weight::Percent(parts) => percent(u64::from(parts)),
        Weight::Wrong => String::new(),
    };
    problems
        .warning(
            candidate.span,
            format!(
                "the rollout `{}` owns the weights of `{}` and `{}`: the file's {} and {} are not \
                 used",
                rollout.name.value.0,
                rollout.baseline.value.0,
                rollout.candidate.value.0,
                shown(baseline.value),
                shown(candidate.value),
            ),
        )
        .help(
            "it starts at its first step, and after its end keeps them until you remove it; a \
             weight of 0 here says so"
                .to_owned(),
        )
        .note(rollout.name.span, "the rollout is here");
}

fn ungated(rollout: &Rollout, problems: &mut Problems) {
    // A budget takes the candidate away too.
    if rollout.gates.is_empty() && rollout.budget.failed_requests.is_none() {
        let name = &rollout.name;
        problems
            .warning(
                name.span,
                format!(
                    "the rollout `{}` has no gates: nothing would take the candidate away",
                    name.value.0
                ),
            )
            .help(
                "add one, such as `{ name: errors, metric: error_rate, worse_than_baseline: 10% }`"
                    .to_owned(),
            );
    }
}

/// A certified step waits for its gates.
fn quick_steps(rollout: &Rollout, steps: &[Step], problems: &mut Problems) {
    if rollout.advance_when.value.0 == AdvanceWhen::Certified {
        return;
    }
    let at_once = Until::Held { hold: Duration::ZERO, min_requests: 0 };
    for (number, (step, written)) in (1..).zip(steps.iter().zip(rollout.steps.iter())) {
        if step.until == at_once && step.weight < Share::ALL {
            problems
                .warning(written.span, format!("step {number} passes as soon as it has begun"))
                .help("add `hold`, `min_requests` or `pause: true`".to_owned());
        }
    }
}

/// A gate that never gets data blocks nothing and guards nothing.
fn unfed_gates(rollout: &Rollout, dark: Dark<'_>, steps: &[Step], problems: &mut Problems) {
    let Some(mirror) = dark.mirror() else { return };
    let copies = |step: &Step| match step.mirror {
        Some(share) => share > Share::NONE,
        None => mirror.percent.0 > 0,
    };
    if steps.iter().any(copies) {
        return;
    }
    let mismatch = |metric: Option<Metric>| metric == Some(Metric::MismatchRate);
    for gate in rollout.gates.iter() {
        if mismatch(gate.metric.as_ref().map(|metric| metric.value.0)) {
            problems
                .warning(
                    gate.name.span,
                    format!("the gate `{}` never gets data: no step mirrors", gate.name.value.0),
                )
                .help(format!(
                    "add `mirror` to a step, or a `percent` above 0 to the mirror `{}`",
                    mirror.name.value.0
                ));
        }
    }
}

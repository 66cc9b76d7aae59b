//! The steps of a rollout. They only go up: what goes down is a rollback.

use super::Dark;
use crate::{
    problem::{Problems, Span, Spanned},
    schema::{Rollout, Step},
    value::StepShare,
};
use std::time::Duration;
use tidegate_judge as judge;
use tidegate_judge::{Share, Until};

/// A person has to see the way at a glance.
const MAX_STEPS: usize = 100;

/// What the step before has set.
#[derive(Default)]
struct Before {
    weight: Share,
    /// Where the weight was written.
    weight_span: Option<Span>,
    mirror: Option<Share>,
}

pub(super) fn compile(
    rollout: &Rollout,
    dark: Dark<'_>,
    problems: &mut Problems,
) -> Vec<judge::Step> {
    let steps = &rollout.steps;
    if steps.is_empty() && steps.complete {
        problems
            .error(steps.span, format!("the rollout `{}` has no steps", rollout.name.value.0))
            .help("add at least one, such as `{ weight: 10%, hold: 10m }`".to_owned());
    }
    if steps.len() > MAX_STEPS {
        problems.error(steps.span, format!("a rollout has at most {MAX_STEPS} steps"));
    }
    mirrored(steps, dark, problems);
    let mut before = Before::default();
    steps.iter().take(MAX_STEPS).map(|step| one(step, &mut before, problems)).collect()
}

/// Told once: all steps have the same remedy.
fn mirrored(steps: &[Spanned<Step>], dark: Dark<'_>, problems: &mut Problems) {
    let Dark::Absent { route, upstream } = dark else { return };
    let Some(share) = steps.iter().find_map(|step| step.mirror) else { return };
    problems.error(share.span, format!("the route `{route}` has no mirror to `{upstream}`")).help(
        format!(
            "add a mirror with `upstream: {upstream}`, the candidate's, to the route, name another \
             of its mirrors with `mirror` in the rollout, or remove this"
        ),
    );
}

fn one(step: &Spanned<Step>, before: &mut Before, problems: &mut Problems) -> judge::Step {
    let Step { weight, mirror, pause, .. } = &step.value;
    let bare = pause.is_some() && weight.is_none() && mirror.is_none();
    let mirror = match mirror {
        Some(mirror) => Some(share(*mirror)),
        None if bare => before.mirror,
        None => None,
    };
    if let Some(written) = weight {
        let now = share(*written);
        if now < before.weight {
            let problem = problems
                .error(written.span, format!("the weight falls from {} to {now}", before.weight));
            problem.help(
                "steps only go up; a bad candidate is taken away without a step for it".to_owned(),
            );
            if let Some(span) = before.weight_span {
                problem.note(span, "it was set here");
            }
        }
        before.weight = now;
        before.weight_span = Some(written.span);
    }
    before.mirror = mirror;
    purpose(step, before, problems);
    judge::Step { weight: before.weight, mirror, until: until(step, problems) }
}

/// A step without a purpose is most likely a mistake in another one.
fn purpose(step: &Spanned<Step>, set: &Before, problems: &mut Problems) {
    if step.pause.is_some() {
        return;
    }
    let Some(span) = step.weight.as_ref().or(step.mirror.as_ref()).map(|share| share.span) else {
        problems
            .error(step.span, "this step has none of `weight`, `mirror` and `pause`")
            .help("say what it sets, such as `weight: 10%`".to_owned());
        return;
    };
    let copies = set.mirror.is_some_and(|share| share > Share::NONE);
    if set.weight == Share::NONE && !copies {
        problems
            .error(span, "this step does nothing: no user gets the candidate, no mirror is set")
            .help("give it a `weight` above 0% or a `mirror`, or remove it".to_owned());
    }
}

fn until(step: &Spanned<Step>, problems: &mut Problems) -> Until {
    let Step { hold, min_requests, pause, .. } = &step.value;
    let Some(pause) = pause else {
        return Until::Held {
            hold: hold.map_or(Duration::ZERO, |hold| hold.value.0),
            min_requests: min_requests.map_or(0, |count| count.value.0),
        };
    };
    if !pause.value {
        problems
            .error(pause.span, "`pause` can only be `true`")
            .help("leave it out where the step does not wait for a person".to_owned());
    }
    let others = [
        ("hold", hold.as_ref().map(|hold| hold.span)),
        ("min_requests", min_requests.as_ref().map(|count| count.span)),
    ];
    for (key, span) in others {
        let Some(span) = span.filter(|_| pause.value) else { continue };
        problems
            .error(span, format!("`{key}` means nothing in a step that pauses"))
            .help("it waits until a person promotes it; hold in a step before it".to_owned());
    }
    Until::Promoted
}

fn share(written: Spanned<StepShare>) -> Share {
    // What was written is never above the whole.
    Share::from_millionths(written.value.0).unwrap_or(Share::ALL)
}

//! One rollout, with all that there is to see.

use super::{
    gates,
    seen::{Rollout, Step},
    text::{moment, percent, span, state, verbs},
};
use crate::screen::Paint;
use tidegate_judge::{Outcome, Share};

/// Ids of failed requests that are shown.
const SAMPLES: usize = 3;

/// The picture, but for the decisions, as lines.
pub(super) fn render(rollout: &Rollout, paint: Paint) -> Vec<String> {
    let name = paint.bold(&rollout.name);
    let step = format!("step {} of {}", rollout.step, rollout.steps);
    let mut lines = vec![format!("{name}  {}, {step}", state(rollout.state, paint))];
    let facts = facts(rollout).into_iter();
    lines.extend(facts.map(|(what, fact)| format!("  {what:<10} {fact}")));
    lines.extend(warnings(rollout).iter().map(|warning| format!("  {}", paint.yellow(warning))));
    lines.push(paint.bold("steps"));
    lines.extend(rail(rollout, paint));
    if !rollout.gates.is_empty() {
        lines.push(paint.bold("gates"));
        let active = rollout.ended.is_none();
        lines.extend(rollout.gates.iter().flat_map(|gate| gates::render(gate, active, paint)));
        lines.push(baseline_itself(rollout, paint));
    }
    lines
}

/// In one line.
pub(super) fn line(rollout: &Rollout, paint: Paint) -> String {
    let mut line = format!(
        "{} {} run {}: {}, step {} of {}, weight {}",
        rollout.name,
        rollout.revision,
        rollout.run,
        state(rollout.state, paint),
        rollout.step,
        rollout.steps,
        rollout.weight,
    );
    if let Some(mirror) = rollout.mirror {
        line.push_str(&format!(", mirror {mirror}"));
    }
    line
}

fn facts(rollout: &Rollout) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("revision", format!("{}, run {}", rollout.revision, rollout.run)),
        ("route", format!("{}: {} against {}", rollout.route, rollout.candidate, rollout.baseline)),
        ("weight", weight(rollout)),
    ];
    match &rollout.ended {
        Some(ended) => facts.push(("ended", format!("{}: {}", moment(ended.at), ended.why))),
        None => {
            facts.push(("held", held(rollout)));
            if !rollout.waits_for.is_empty() {
                facts.push(("waits for", rollout.waits_for.join("; ")));
            }
        }
    }
    facts.push(("failed", failed(rollout)));
    facts.extend(samples(rollout));
    facts.push(("possible", verbs(&rollout.possible)));
    facts
}

fn weight(rollout: &Rollout) -> String {
    let mut text = rollout.weight.to_string();
    if let Some(realised) = rollout.realised_share {
        text.push_str(&format!(", actual {}", percent(realised)));
    }
    if let Some(mirror) = rollout.mirror {
        text.push_str(&format!("; mirror {mirror}"));
    }
    text
}

fn held(rollout: &Rollout) -> String {
    let step = rollout.step.checked_sub(1).and_then(|position| rollout.plan.get(position));
    let of = |limit: Option<String>| limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
    let hold = of(step.and_then(|step| step.hold_seconds).map(span));
    let requests = of(step.and_then(|step| step.min_requests).map(|requests| requests.to_string()));
    let dark = rollout.weight == Share::NONE;
    let what = if dark { "copies" } else { "requests" };
    let held = span(rollout.held_seconds);
    format!("{held}{hold} with data; {what}: {}{requests}", rollout.requests)
}

fn failed(rollout: &Rollout) -> String {
    let mut text = format!("requests of users: {}", rollout.failed_requests);
    if let Some(budget) = rollout.budget {
        text.push_str(&format!(" of {budget} at most"));
    }
    text
}

/// Ids of failed requests, or of copies: the newest are in everybody's logs.
fn samples(rollout: &Rollout) -> Option<(&'static str, String)> {
    let newest = rollout.samples.iter().rev().take(SAMPLES).map(String::as_str);
    let newest: Vec<&str> = newest.collect();
    (!newest.is_empty()).then(|| ("such as", newest.join(", ")))
}

fn warnings(rollout: &Rollout) -> Vec<String> {
    let mut warnings = Vec::new();
    if rollout.removed {
        warnings.push("the configuration does not have it any more".to_owned());
    }
    if rollout.plan_changes {
        warnings.push("the plan was changed: from the next step on".to_owned());
    }
    if let Some(error) = &rollout.store_error {
        warnings.push(format!("nothing advances, as state cannot be kept: {error}"));
    }
    warnings
}

/// The steps from first to last: done, current, to come.
fn rail(rollout: &Rollout, paint: Paint) -> Vec<String> {
    let here = match rollout.ended.as_ref().map(|ended| ended.outcome) {
        None => '▶',
        Some(Outcome::Promoted) => '✔',
        Some(Outcome::RolledBack) => '✖',
        Some(Outcome::Aborted) => '■',
    };
    let steps = (1..).zip(&rollout.plan);
    let steps = steps.map(|(number, step)| {
        let text = |mark: char| format!("  {mark} {number}  {}", in_words(step));
        match number.cmp(&rollout.step) {
            std::cmp::Ordering::Less => paint.green(&text('✔')),
            std::cmp::Ordering::Equal => paint.bold(&text(here)),
            std::cmp::Ordering::Greater => paint.dim(&text('·')),
        }
    });
    steps.collect()
}

fn in_words(step: &Step) -> String {
    let mut parts = match (step.weight, step.mirror) {
        (Share::NONE, Some(mirror)) => vec![format!("dark, mirror {mirror}")],
        (weight, Some(mirror)) => vec![format!("weight {weight}, mirror {mirror}")],
        (weight, None) => vec![format!("weight {weight}")],
    };
    match step.hold_seconds {
        Some(hold) if hold > 0.0 => parts.push(span(hold)),
        Some(_) => {}
        None => parts.push("until somebody promotes".to_owned()),
    }
    parts.extend(step.min_requests.map(|requests| format!("{requests} requests")));
    parts.join(", ")
}

/// How often the tests cry wolf, as measured.
fn baseline_itself(rollout: &Rollout, paint: Paint) -> String {
    let (trials, alarms) = (rollout.halves.trials, rollout.halves.alarms);
    let line = format!("  the baseline against itself: {alarms} false alarms in {trials} trials");
    if alarms > 0 { paint.yellow(&line) } else { paint.dim(&line) }
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{ended, rollout},
        *,
    };

    #[test]
    fn a_step_under_way() {
        assert_eq!(
            render(&rollout(), Paint::plain())[..14].join("\n"),
            "\
checkout  ▶ progressing, step 2 of 4
  revision   2.3.1, run 1
  route      shop: canary against stable
  weight     5%, actual 4.93%
  held       3 min 20 s of 10 min with data; requests: 1200 of 2000
  waits for  6 min 40 s more; 800 more requests
  failed     requests of users: 3 of 500 at most
  such as    c, b, a
  possible   promote, promote --full, pause, abort
steps
  ✔ 1  dark, mirror 10%, 5 min
  ▶ 2  weight 5%, 10 min, 2000 requests
  · 3  weight 5%, until somebody promotes
  · 4  weight 100%"
        );
    }

    #[test]
    fn a_rollback_says_why_and_where() {
        let lines = render(&ended(), Paint::plain());
        assert_eq!(
            lines[..13].join("\n"),
            "\
checkout  ✖ rolled back, step 2 of 4
  revision   2.3.1, run 1
  route      shop: canary against stable
  weight     0%
  ended      2026-03-01 12:04:05Z: `errors` is bad
  failed     requests of users: 41 of 500 at most
  such as    c, b, a
  possible   retry
steps
  ✔ 1  dark, mirror 10%, 5 min
  ✖ 2  weight 5%, 10 min, 2000 requests
  · 3  weight 5%, until somebody promotes
  · 4  weight 100%"
        );
        assert_eq!(
            lines.last().map(String::as_str),
            Some("  the baseline against itself: 0 false alarms in 12 trials")
        );
    }

    #[test]
    fn what_holds_it_up_is_said() {
        let mut rollout = rollout();
        rollout.store_error = Some("disk full".to_owned());
        rollout.plan_changes = true;
        let lines = render(&rollout, Paint::plain());
        assert_eq!(lines[9], "  the plan was changed: from the next step on");
        assert_eq!(lines[10], "  nothing advances, as state cannot be kept: disk full");
    }

    #[test]
    fn in_one_line() {
        assert_eq!(
            line(&rollout(), Paint::plain()),
            "checkout 2.3.1 run 1: ▶ progressing, step 2 of 4, weight 5%"
        );
    }
}

//! The rollout, as text, below the table.

use super::{admin::Rollout, config::ROLLOUT, stats::percent};
use crate::screen::Paint;
use tidegate_judge::{Decision, GateReport, State};

/// Where it is, what its gates say, and what was decided last.
pub(super) fn render(rollout: &Rollout, last: Option<&Decision>, paint: Paint) -> Vec<String> {
    let head = format!("{} {ROLLOUT} {}", paint.bold("rollout"), headline(rollout));
    let state = match rollout.state {
        State::Promoted => paint.green(&head),
        State::RolledBack => paint.red(&head),
        _ => head,
    };
    let mut lines = vec![state, format!("  {}", weight(rollout))];
    let width = rollout.gates.iter().map(|gate| gate.name.chars().count()).max();
    let width = width.unwrap_or_default();
    lines.extend(rollout.gates.iter().map(|gate| line(gate, width, paint)));
    if let Some(Decision { action, actor, why, .. }) = last {
        let action = action.name().replace('_', " ");
        lines.push(paint.dim(&format!("  last: {action} by {actor}: {why}")));
    }
    lines
}

/// In a few words.
pub(super) fn headline(rollout: &Rollout) -> String {
    let Rollout { revision, run, step, steps, .. } = rollout;
    let state = rollout.state.name().replace('_', " ");
    let done = if rollout.state == State::Promoted { *steps } else { step.saturating_sub(1) };
    let cells = (0..*steps).map(|cell| match cell {
        cell if cell < done => '█',
        cell if cell == done => '▒',
        _ => '░',
    });
    let bar: String = cells.collect();
    format!("{revision} run {run}: {state} {bar} step {step} of {steps}")
}

fn weight(rollout: &Rollout) -> String {
    let mut text = format!("weight {}", rollout.weight);
    if let Some(share) = rollout.realised_share {
        text.push_str(&format!(", actual {}", percent(share)));
    }
    text.push_str(&format!("; {} requests failed", rollout.failed_requests));
    if !rollout.waits_for.is_empty() {
        text.push_str(&format!("; waits for {}", rollout.waits_for.join(", ")));
    }
    text
}

fn line(gate: &GateReport, width: usize, paint: Paint) -> String {
    let verdict = gate.verdict.replace('_', " ");
    let text = format!("  {:<width$}  {verdict:<9}  {}", gate.name, gate.why);
    match gate.verdict.as_str() {
        "good" => paint.green(&text),
        "bad" => paint.red(&text),
        "undecided" if !gate.applies => paint.dim(&text),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rollout() -> Rollout {
        let gate = |name: &str, verdict: &str, why: &str| {
            json!({
                "name": name, "asks": "", "verdict": verdict, "why": why, "applies": true,
                "tests": [],
                "run": { "requests": [0, 0], "against": [0, 0] },
                "step": { "requests": [0, 0], "against": [0, 0] },
            })
        };
        let shown = json!({
            "revision": "2.0", "run": 1, "state": "progressing", "step": 3, "steps": 5,
            "weight": 100_000, "realised_share": 0.0981, "waits_for": ["1 s more"],
            "failed_requests": 2,
            "gates": [
                gate("errors", "undecided", "2 of 310 (0.65%), evidence 4.20 of 500"),
                gate("diffs", "no_data", "nothing measured for 3 s"),
            ],
        });
        serde_json::from_value(shown).expect("a rollout")
    }

    #[test]
    fn where_it_is_and_what_its_gates_say() {
        assert_eq!(
            render(&rollout(), None, Paint::plain()).join("\n"),
            "\
rollout shop-v2 2.0 run 1: progressing ██▒░░ step 3 of 5
  weight 10%, actual 9.8 %; 2 requests failed; waits for 1 s more
  errors  undecided  2 of 310 (0.65%), evidence 4.20 of 500
  diffs   no data    nothing measured for 3 s"
        );
    }

    #[test]
    fn the_bar_is_full_when_it_is_promoted() {
        let mut rollout = rollout();
        (rollout.state, rollout.step) = (State::Promoted, 5);
        assert_eq!(headline(&rollout), "2.0 run 1: promoted █████ step 5 of 5");
    }
}

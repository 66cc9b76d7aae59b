//! What the gates of a plan say about a run that really was.

use super::{
    super::output,
    recording::Recording,
    table::{self, time},
};
use serde_json::json;
use std::{fmt::Write, process::ExitCode};
use tidegate_controller::simulate::{GateTrace, Moment, Replay, replay};
use tidegate_judge::{Decision, Plan};

pub(super) fn show(plan: &Plan, recording: &Recording, as_json: bool) -> ExitCode {
    let replayed = replay(plan, &recording.ticks);
    if !as_json {
        return output::print(&in_words(plan, recording, &replayed));
    }
    let really = recording.stop.as_ref().map(|decision| {
        json!({
            "action": decision.action,
            "why": decision.why,
            "time": decision.time,
            "step": decision.step,
            "seconds": seconds_until(recording, decision),
        })
    });
    output::print_json(&json!({
        "rollout": plan.name,
        "run": recording.run,
        "replay": replayed,
        "really": really,
    }))
}

fn in_words(plan: &Plan, recording: &Recording, replayed: &Replay) -> String {
    let mut text = String::new();
    let run = recording.run.map_or_else(String::new, |run| format!(", run {run}"));
    let lasted = time(replayed.elapsed.as_secs_f64());
    let _ = writeln!(text, "{}{run}: {} ticks, {lasted}\n", plan.name, replayed.ticks);
    let width = replayed.gates.iter().map(|gate| gate.name.chars().count()).max().unwrap_or(0);
    for gate in &replayed.gates {
        let _ = writeln!(text, "{:<width$}  {}", gate.name, gate_in_words(gate));
    }
    let with_these = match (&replayed.stop, &replayed.promoted) {
        (Some(stop), _) => {
            let action = stop.action.name().replace('_', " ");
            format!("{action} {}: {}", at(&stop.at), stop.why)
        }
        (None, Some(moment)) => format!("promoted {}", at(moment)),
        (None, None) => "nothing stops it".to_owned(),
    };
    let _ = writeln!(text, "\nwith these gates: {with_these}");
    if let Some(decision) = &recording.stop {
        let after = seconds_until(recording, decision);
        let after = after.map_or_else(String::new, |after| format!(" after {}", time(after)));
        let action = decision.action.name().replace('_', " ");
        let _ = writeln!(
            text,
            "really:           {action}{after} in step {}: {}",
            decision.step, decision.why
        );
    }
    text
}

fn gate_in_words(gate: &GateTrace) -> String {
    let good = match gate.good.as_slice() {
        [] => String::new(),
        moments => {
            let moments: Vec<String> = moments.iter().map(at).collect();
            format!("; good {}", moments.join(", "))
        }
    };
    let bad = match &gate.bad {
        Some(moment) => format!("bad {}, {} failed requests", at(moment), moment.failed_requests),
        None => "never bad".to_owned(),
    };
    let evidence = match gate.bad_at {
        0.0 => String::new(),
        bad_at => {
            format!(", evidence {} of {bad_at:.0} at most", table::number(gate.evidence))
        }
    };
    let verdict = gate.verdict.replace('_', " ");
    format!("{bad}{evidence}{good}; at the end {verdict}: {}", gate.why)
}

fn at(moment: &Moment) -> String {
    let after = time(moment.elapsed.as_secs_f64());
    format!("after {after} (tick {}, step {})", moment.tick, moment.step)
}

/// From the first recorded tick on.
fn seconds_until(recording: &Recording, decision: &Decision) -> Option<f64> {
    let began = recording.began?;
    Some(decision.time.0.saturating_sub(began.0) as f64 / 1000.0)
}

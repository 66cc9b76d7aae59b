//! After the faults: what is healthy ends promoted, and what is bad does not stay.

use crate::{
    common::{dark, errors, step},
    traffic::Truth,
    world::World,
};
use std::time::Duration;
use tidegate_judge::{OnBreach, Outcome, Plan, State, Step, Until, Verb};

const TICK: Duration = Duration::from_secs(5);

/// Twelve steps of at most a minute and a half, each with time to be certain of every gate.
const TICKS: u32 = 12 * 18 + 600;

pub(crate) fn check(world: &mut World) {
    world.calm();
    world.release(judged);
    // A healthy candidate may be taken away now and then; hardly twice in a row.
    let promoted = ends(world) == Outcome::Promoted || {
        world.ask(Verb::Retry);
        ends(world) == Outcome::Promoted
    };
    assert!(promoted, "a healthy candidate does not arrive: {:?}", world.run());

    world.truth = Truth::BAD;
    world.release(judged);
    let on_breach = world.run().map(|run| run.plan().on_breach);
    let bad = |state| match on_breach {
        Some(OnBreach::Pause) => state == State::Paused,
        _ => state == State::RolledBack,
    };
    for _ in 0..TICKS {
        if world.run().is_some_and(|run| bad(run.state())) {
            return;
        }
        press_on(world);
    }
    panic!("a bad candidate stays: {:?}", world.run());
}

/// A plan under which what is bad cannot slip through.
fn judged(plan: &mut Plan) {
    plan.failed_requests = None;
    if plan.gates.is_empty() {
        plan.gates.push(errors(5.0, 100.0));
    }
    if plan.steps.iter().all(|step| step.until == Until::Promoted) {
        plan.steps.insert(0, dark(30));
    }
    for set in &mut plan.steps {
        if let Until::Held { hold, .. } = set.until {
            *set = Step { until: step(0.0, hold.as_secs(), 400).until, ..*set };
        }
    }
}

fn ends(world: &mut World) -> Outcome {
    for _ in 0..TICKS {
        if let Some(outcome) = world.run().and_then(|run| run.outcome()) {
            return outcome;
        }
        press_on(world);
    }
    panic!("it does not end: {:?}", world.run().map(|run| run.report(world.freedom)));
}

/// Time passes, and a person approves what waits for it.
fn press_on(world: &mut World) {
    if world.run().is_some_and(|run| run.state() == State::Waiting) {
        world.ask(Verb::Promote);
    }
    world.tick(TICK, 1);
}

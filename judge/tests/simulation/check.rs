//! What must never happen.

use crate::ledger::{Ledger, beyond};
use tidegate_judge::{
    Action, Decision, Freedom, OnBreach, Pause, Plan, Run, Share, State, Until, Verb, step,
};

/// A decision of the machine itself, on what the ledger says of the time before it.
pub(crate) fn earned(decision: &Decision, before: &Ledger, freedom: Freedom) {
    if decision.actor != "controller" {
        return;
    }
    match decision.action {
        Action::Advanced | Action::Promoted => {}
        Action::Started => panic!("S6: the controller started a run"),
        _ => return,
    }
    assert_eq!(freedom, Freedom::Free, "S6: {:?} while frozen", decision.action);
    let Until::Held { hold, min_requests } = before.step.until else {
        panic!("S2: went on without the approval that the step waits for");
    };
    assert!(before.held >= hold, "S2: held for {:?} of {hold:?}", before.held);
    assert!(before.requests >= min_requests, "S2: {} of {min_requests}", before.requests);
    assert!(!before.paused, "S2: went on while paused");
    assert!(!before.is_over_budget(), "S2: went on beyond the budget");
    assert_eq!(before.plainly_bad(), [""; 0], "S2: went on, and it is bad");
    assert_eq!(before.blind(), [""; 0], "S2: went on blindly");
    let bad: Vec<_> = decision.gates.iter().filter(|gate| gate.verdict == "bad").collect();
    assert!(bad.is_empty(), "S2: went on with {bad:?}");
    assert_eq!(beyond(decision, &before.plan), [], "S2: went on with a line crossed");
}

/// After a tick: what is bad is taken away at once, frozen or not.
pub(crate) fn reacted(run: &Run, ledger: &Ledger, decisions: &[Decision]) {
    if run.outcome().is_some() || decisions.iter().any(|made| made.action == Action::Advanced) {
        return;
    }
    let plan = run.plan();
    let bad = ledger.plainly_bad();
    if bad.is_empty() && !ledger.is_over_budget() {
        return;
    }
    assert_eq!(plan.on_breach, OnBreach::Pause, "S6: {bad:?} is bad, and nothing was done");
    let pause = run.report(Freedom::Free).pause;
    let breach = matches!(pause, Some(Pause::Breach { .. }));
    assert!(breach, "S6: {bad:?} is bad, and it is {:?}: {pause:?}", run.state());
}

/// The weight in force is one that somebody wrote.
pub(crate) fn written(weight: Share, run: Option<&Run>, plans: &[Plan]) {
    let Some(run) = run else {
        assert_eq!(weight, Share::NONE, "S1: a weight without a run");
        return;
    };
    assert!(plans.contains(run.plan()), "S1: nobody wrote the plan {:?}", run.plan());
    let of_step = run.plan().steps.iter().any(|step| step.weight == weight);
    let promoted = run.state() == State::Promoted && weight == Share::ALL;
    assert!(weight == Share::NONE || of_step || promoted, "S1: {weight} is nobody's");
    match run.state() {
        State::RolledBack | State::Aborted => assert_eq!(weight, Share::NONE, "S3"),
        State::Promoted => assert_eq!(weight, Share::ALL, "S1"),
        State::Progressing | State::Waiting | State::Paused => {
            assert_eq!(weight, run.plan().steps[run.position()].weight, "S1");
        }
    }
}

/// What a person may ask for, in a table.
pub(crate) fn legal(state: State, freedom: Freedom) -> Vec<Verb> {
    let mut verbs = match state {
        State::Progressing | State::Waiting => {
            vec![Verb::Promote, Verb::PromoteFull, Verb::Pause, Verb::Abort]
        }
        State::Paused => vec![Verb::Promote, Verb::PromoteFull, Verb::Resume, Verb::Abort],
        State::Promoted => vec![Verb::Abort],
        State::RolledBack | State::Aborted => vec![Verb::Retry],
    };
    if freedom == Freedom::Frozen {
        let upward = [Verb::Promote, Verb::PromoteFull, Verb::Retry];
        verbs.retain(|verb| !upward.contains(verb));
    }
    verbs
}

/// Exactly the legal verbs are possible; the others change nothing and say what is.
pub(crate) fn verbs(run: &Run, freedom: Freedom, now: tidegate_judge::Time) {
    let legal = legal(run.state(), freedom);
    assert_eq!(run.possible(freedom), legal, "S8: {:?} {freedom:?}", run.state());
    for verb in Verb::ALL {
        match run.act(verb, "ann", freedom, now) {
            Ok((next, decision)) => {
                assert!(legal.contains(&verb), "S8: {verb:?} in {:?}", run.state());
                assert_eq!(decision.actor, "ann", "S8");
                assert_eq!(decision.weight_before, run.setting().weight, "S8");
                assert_eq!(decision.weight, next.setting().weight, "S8");
            }
            Err(illegal) => {
                assert!(!legal.contains(&verb), "S8: {illegal}");
                assert_eq!(illegal.possible, legal, "S8");
                let text = illegal.to_string();
                let named = |verb: &Verb| text.contains(&format!("`{}`", verb.name()));
                assert!(illegal.possible.iter().all(named), "S8: {text}");
            }
        }
    }
}

/// A run that was read back does the same as the one that was not.
pub(crate) fn resumes(run: &Run, tick: &tidegate_judge::Tick, now: tidegate_judge::Time) {
    let text = serde_json::to_string(run).expect("JSON");
    let read: Run = serde_json::from_str(&text).expect("S5: a run");
    assert_eq!(read, *run, "S5");
    let (there, here) =
        (step(&read, tick, Freedom::Free, now), step(run, tick, Freedom::Free, now));
    assert_eq!(there, here, "S5: a restart changes what is decided");
}

//! The way up.

use crate::{
    common::{
        approval, arm, dark, errors, gate, margin, percent, plan, seconds, silence, step, users,
    },
    story::Story,
};
use tidegate_judge::{AdvanceWhen, Arms, Freedom, Lines, Measure, Share, State, Tick, Time, Verb};

#[test]
fn a_good_candidate_goes_all_the_way() {
    let steps = vec![step(1.0, 30, 0), approval(1.0), step(10.0, 20, 250), step(100.0, 0, 0)];
    let mut story = Story::begin(&plan(steps, vec![errors(1.0, 10.0)]));
    story.ticks(3, &users(10, [990, 1], [10, 0]));
    story.waits();
    story.ticks(5, &users(10, [990, 1], [10, 0]));
    story.ask(Verb::Promote).expect("it waits for that");
    story.ticks(2, &users(10, [900, 1], [100, 0]));
    story.waits();
    story.ticks(2, &users(10, [900, 1], [100, 0]));
    story.ticks(3, &users(10, [0, 0], [1000, 1]));
    assert_eq!(story.run.setting().weight, Share::ALL);
    story.is("
        0s configuration started 1/4 0% -> 1%: revision 1 begins
        30s controller advanced 2/4 1% -> 1%: held for 30 s with 30 requests, no gate is bad
        30s waits for: somebody to `promote`
        80s ann advanced 3/4 1% -> 10%: ann asked for `promote`
        100s waits for: 50 more requests
        110s controller advanced 4/4 10% -> 100%: held for 30 s with 300 requests, no gate is bad
        120s controller promoted 4/4 100% -> 100%: held for 10 s with 100 requests, no gate is bad
        ");
}

#[test]
fn nothing_is_said_of_silence_but_how_long_it_lasts() {
    let mut story = Story::begin(&plan(vec![step(10.0, 90, 0)], vec![errors(1.0, 10.0)]));
    story.ticks(1, &silence(3600));
    story.waits();
    story.ticks(1, &users(10, [900, 1], [100, 0]));
    // A minute without a request is no silence yet.
    story.ticks(3, &silence(10));
    story.waits();
    story.ticks(90, &silence(10));
    story.waits();
    let report = story.run.report(Freedom::Free);
    assert_eq!(report.gates[0].why, "nothing measured for 15 min 30 s");
    assert_eq!(report.held_seconds, 60.0 + 10.0);
    story.is("
        0s configuration started 1/1 0% -> 10%: revision 1 begins
        3600s waits for: 1 min 30 s more; no requests for 1 h; `errors`: no data
        3640s waits for: 50 s more
        4540s waits for: 20 s more; no requests for 15 min 30 s; `errors`: no data
        ");
}

#[test]
fn a_baseline_without_requests_is_no_baseline() {
    let relative = gate("errors", Measure::Errors(Lines::WorseThanBaseline(margin(10.0))));
    let mut story = Story::begin(&plan(vec![step(10.0, 20, 0)], vec![relative]));
    story.ticks(100, &users(10, [0, 0], [100, 0]));
    story.waits();
    story.ticks(2, &users(10, [900, 0], [100, 0]));
    story.is("
        0s configuration started 1/1 0% -> 10%: revision 1 begins
        1000s waits for: 20 s more; `errors`: no data
        1020s controller promoted 1/1 10% -> 100%: held for 20 s with 10200 requests, no gate is bad
        ");
}

#[test]
fn all_of_the_traffic_leaves_nothing_to_compare_with() {
    let gates = vec![
        gate("relative", Measure::Errors(Lines::WorseThanBaseline(margin(10.0)))),
        gate("ceiling", Measure::Errors(Lines::Max(percent(5.0)))),
    ];
    let mut story = Story::begin(&plan(vec![step(100.0, 20, 0)], gates));
    story.ticks(1, &users(10, [0, 0], [1000, 10]));
    let report = story.run.report(Freedom::Free);
    assert!(!report.gates[0].applies && report.gates[1].applies);
    assert_eq!(report.gates[0].why, "not measured in this step");
    story.ticks(1, &users(10, [0, 0], [1000, 200]));
    story.is(
        "
        0s configuration started 1/1 0% -> 100%: revision 1 begins
        20s controller rolled_back 1/1 100% -> 0%: `ceiling` is bad: 210 of 2000 (10.5%), evidence 4.7e58 of 200
        ",
    );
}

#[test]
fn certified_waits_until_every_gate_is_good() {
    let mut plan = plan(vec![step(10.0, 10, 0), step(20.0, 10, 0)], vec![errors(2.0, 100.0)]);
    plan.advance_when = AdvanceWhen::Certified;
    let mut story = Story::begin(&plan);
    story.ticks(10, &users(10, [900, 9], [100, 1]));
    story.waits();
    story.ticks(7, &users(10, [900, 9], [100, 1]));
    // What it was like under a smaller load certifies nothing.
    for test in &story.run.report(Freedom::Free).gates[0].tests {
        assert!((test.certainty - 1.0).abs() < 1e-9, "{test:?}");
    }
    story.ticks(40, &users(10, [800, 8], [200, 2]));
    story.is(
        "
        0s configuration started 1/2 0% -> 10%: revision 1 begins
        100s waits for: `errors`: undecided
        170s controller advanced 2/2 10% -> 20%: held for 170 s with 1700 requests, every gate is good
        270s controller promoted 2/2 20% -> 100%: held for 100 s with 2000 requests, every gate is good
        ",
    );
}

#[test]
fn the_dark_is_judged_by_copies() {
    let gates = vec![
        gate("errors", Measure::Errors(Lines::WorseThanBaseline(margin(10.0)))),
        gate("diffs", Measure::Mismatches { max: percent(1.0) }),
    ];
    let copies = |mismatched| Tick {
        dark: Arms { baseline: arm(500, 1), candidate: arm(500, 1) },
        mirrored: true,
        compared: 500,
        mismatched,
        // What users get of the baseline says nothing of the candidate.
        ..users(10, [5000, 10], [0, 0])
    };
    let mut story = Story::begin(&plan(vec![dark(30), step(1.0, 30, 0)], gates.clone()));
    story.ticks(3, &copies(1));
    // Where the mirror does not copy, mismatches are nobody's.
    story.ticks(1, &users(10, [990, 1], [10, 0]));
    assert_eq!(story.run.report(Freedom::Free).gates[1].why, "not measured in this step");
    story.ticks(2, &users(10, [990, 1], [10, 0]));
    story.is("
        0s configuration started 1/2 0% -> 0%: revision 1 begins
        30s controller advanced 2/2 0% -> 1%: held for 30 s with 1500 requests, no gate is bad
        60s controller promoted 2/2 1% -> 100%: held for 30 s with 30 requests, no gate is bad
        ");

    let mut story = Story::begin(&plan(vec![dark(30), step(1.0, 30, 0)], gates));
    story.ticks(3, &copies(40));
    story.is(
        "
        0s configuration started 1/2 0% -> 0%: revision 1 begins
        10s controller rolled_back 1/2 0% -> 0%: `diffs` is bad: 40 of 500 (8.0%), evidence 4.4e20 of 200
        ",
    );
}

#[test]
fn the_counts_of_a_step_are_its_own() {
    let steps = vec![step(10.0, 10, 100), step(20.0, 10, 1000)];
    let mut story = Story::begin(&plan(steps, vec![errors(1.0, 10.0)]));
    story.ticks(1, &users(10, [9000, 9], [1000, 1]));
    story.ticks(3, &users(10, [800, 1], [200, 0]));
    story.waits();
    story.ticks(2, &users(10, [800, 1], [200, 0]));
    story.is("
        0s configuration started 1/2 0% -> 10%: revision 1 begins
        10s controller advanced 2/2 10% -> 20%: held for 10 s with 1000 requests, no gate is bad
        40s waits for: 400 more requests
        60s controller promoted 2/2 20% -> 100%: held for 50 s with 1000 requests, no gate is bad
        ");
}

#[test]
fn frozen_nothing_advances_and_what_is_bad_goes() {
    let plan = plan(vec![step(10.0, 10, 0), step(50.0, 10, 0)], vec![errors(1.0, 10.0)]);
    let mut story = Story::begin(&plan);
    story.freedom = Freedom::Frozen;
    story.ticks(5, &users(10, [900, 1], [100, 0]));
    story.waits();
    let illegal = story.ask(Verb::Promote).expect_err("it is frozen");
    assert_eq!(
        illegal.to_string(),
        "`promote` is not possible: the rollout is progressing, and all rollouts are frozen; \
         possible: `pause`, `abort`"
    );
    story.ticks(3, &users(10, [900, 1], [100, 30]));
    let illegal = story.ask(Verb::Retry).expect_err("it is frozen");
    assert!(illegal.to_string().ends_with("possible: nothing"), "{illegal}");
    story.is(
        "
        0s configuration started 1/2 0% -> 10%: revision 1 begins
        50s waits for: all rollouts are frozen
        60s controller rolled_back 1/2 10% -> 0%: `errors` is bad: 30 of 600 (5.0%), baseline 6 of 5400 (0.11%), evidence 6.6e29 of 200
        ",
    );
}

#[test]
fn a_person_undoes_a_promotion_and_tries_again() {
    let mut story = Story::begin(&plan(vec![step(10.0, 10, 0)], vec![errors(1.0, 10.0)]));
    story.ask(Verb::Pause).expect("it goes on");
    story.ticks(9, &users(10, [900, 1], [100, 0]));
    story.ask(Verb::Resume).expect("it is paused");
    story.ask(Verb::PromoteFull).expect("it goes on");
    story.ask(Verb::Abort).expect("it is promoted");
    let illegal = story.ask(Verb::Promote).expect_err("it is over");
    assert_eq!(
        illegal.to_string(),
        "`promote` is not possible: the rollout is aborted; possible: `retry`"
    );
    story.ask(Verb::Retry).expect("it is over");
    assert_eq!(story.run.state(), State::Progressing);
    assert_eq!(story.run.report(Freedom::Free).started, Time(0).after(seconds(90)));
    story.is("
        0s configuration started 1/1 0% -> 10%: revision 1 begins
        0s ann paused 1/1 10% -> 10%: ann asked for `pause`
        90s ann resumed 1/1 10% -> 10%: ann asked for `resume`
        90s ann promoted 1/1 10% -> 100%: ann asked for `promote --full`
        90s ann aborted 1/1 100% -> 0%: ann asked for `abort`
        90s ann started 1/1 0% -> 10%: ann asked for `retry`
        ");
}

//! Bad candidates.

use crate::{
    common::{arm, errors, gate, percent, plan, query, step, users},
    story::Story,
};
use tidegate_judge::{
    Answer, Arms, Bound, Freedom, Lines, Measure, OnBreach, OnSourceBroken, Plan, Reading, Tick,
    Verb,
};

fn steps(gate: tidegate_judge::Gate) -> Plan {
    plan(vec![step(1.0, 30, 0), step(10.0, 30, 0), step(100.0, 0, 0)], vec![gate])
}

#[test]
fn a_candidate_that_is_bad_under_load_is_rolled_back() {
    let mut story = Story::begin(&steps(errors(1.0, 10.0)));
    story.ticks(3, &users(10, [990, 1], [10, 0]));
    story.ticks(9, &users(1, [90, 0], [10, 2]));
    story.ticks(9, &users(10, [1000, 1], [0, 0]));
    let report = story.run.report(Freedom::Free);
    assert_eq!(report.gates[0].verdict, "bad");
    story.is(
        "
        0s configuration started 1/3 0% -> 1%: revision 1 begins
        30s controller advanced 2/3 1% -> 10%: held for 30 s with 30 requests, no gate is bad
        32s controller rolled_back 2/3 10% -> 0%: `errors` is bad: 4 of 50 (8.0%), baseline 3 of 3150 (0.10%), evidence 303 of 200
        ",
    );
}

#[test]
fn a_breach_may_ask_a_person() {
    let plan = Plan { on_breach: OnBreach::Pause, ..steps(errors(1.0, 10.0)) };
    let mut story = Story::begin(&plan);
    story.ticks(9, &users(10, [990, 1], [10, 2]));
    story.waits();
    // It goes on as if nothing had been.
    story.ask(Verb::Resume).expect("it is paused");
    story.waits();
    story.ticks(3, &users(10, [990, 1], [10, 0]));
    story.is(
        "
        0s configuration started 1/3 0% -> 1%: revision 1 begins
        20s controller paused 1/3 1% -> 1%: `errors` is bad: 4 of 20 (20.0%), baseline 2 of 1980 (0.10%), evidence 25941 of 200
        90s waits for: paused: `errors` is bad; 10 s more; `errors`: bad
        90s ann resumed 1/3 1% -> 1%: ann asked for `resume`
        90s waits for: 10 s more; `errors`: no data
        100s controller advanced 2/3 1% -> 10%: held for 30 s with 100 requests, no gate is bad
        ",
    );
}

#[test]
fn a_gate_that_recovered_in_the_pause_starts_afresh_too() {
    let plan = Plan { on_breach: OnBreach::Pause, ..steps(errors(1.0, 10.0)) };
    let mut story = Story::begin(&plan);
    story.ticks(1, &users(10, [900, 1], [100, 20]));
    story.ticks(500, &users(10, [900, 1], [100, 0]));
    assert_eq!(story.run.report(Freedom::Free).gates[0].verdict, "good");
    story.ask(Verb::Resume).expect("it is paused");
    for test in &story.run.report(Freedom::Free).gates[0].tests {
        assert!((test.evidence - 1.0).abs() < 1e-9, "{test:?}");
    }
    story.is(
        "
        0s configuration started 1/3 0% -> 1%: revision 1 begins
        10s controller paused 1/3 1% -> 1%: `errors` is bad: 20 of 100 (20.0%), baseline 1 of 900 (0.11%), evidence 2.1e17 of 200
        5010s ann resumed 1/3 1% -> 1%: ann asked for `resume`
        ",
    );
}

#[test]
fn a_breach_takes_the_place_of_a_persons_pause_and_of_a_broken_source() {
    let mut plan = Plan { on_breach: OnBreach::Pause, ..steps(errors(1.0, 10.0)) };
    plan.gates.push(query(Bound::Max(1.0), 1, OnSourceBroken::Pause));
    let mut story = Story::begin(&plan);
    story.ask(Verb::Pause).expect("it goes on");
    let broken = Answer::Broken("connection refused".to_owned());
    let readings = vec![Reading { gate: "load".to_owned(), answer: broken }];
    story.ticks(3, &Tick { readings, ..users(10, [990, 1], [10, 0]) });
    story.ticks(3, &users(10, [990, 1], [10, 5]));
    story.is(
        "
        0s configuration started 1/3 0% -> 1%: revision 1 begins
        0s ann paused 1/3 1% -> 1%: ann asked for `pause`
        30s controller paused 1/3 1% -> 1%: the source of `load` is broken: connection refused
        40s controller paused 1/3 1% -> 1%: `errors` is bad: 5 of 40 (12.5%), baseline 4 of 3960 (0.10%), evidence 387629 of 200
        ",
    );
}

#[test]
fn a_budget_is_what_users_may_suffer() {
    let mut plan = steps(gate("errors", Measure::Errors(Lines::Max(percent(50.0)))));
    plan.failed_requests = Some(20);
    // Retries are users' trouble as well; the test counts them once.
    let failing = Tick {
        users: Arms {
            baseline: arm(990, 0),
            candidate: tidegate_judge::Arm { failed: 5, ..arm(10, 1) },
        },
        ..users(10, [0, 0], [0, 0])
    };
    let mut story = Story::begin(&plan);
    story.ticks(6, &failing);
    story.is(
        "
        0s configuration started 1/3 0% -> 1%: revision 1 begins
        30s controller advanced 2/3 1% -> 10%: held for 30 s with 30 requests, no gate is bad
        50s controller rolled_back 2/3 10% -> 0%: `budget` is bad: 25 requests failed, the budget is 20
        ",
    );

    plan.on_breach = OnBreach::Pause;
    let mut story = Story::begin(&plan);
    story.ticks(6, &failing);
    // The next twenty.
    story.ask(Verb::Resume).expect("it is paused");
    story.ticks(5, &failing);
    story.is("
        0s configuration started 1/3 0% -> 1%: revision 1 begins
        30s controller advanced 2/3 1% -> 10%: held for 30 s with 30 requests, no gate is bad
        50s controller paused 2/3 10% -> 10%: `budget` is bad: 25 requests failed, the budget is 20
        60s ann resumed 2/3 10% -> 10%: ann asked for `resume`
        70s controller advanced 3/3 10% -> 100%: held for 30 s with 40 requests, no gate is bad
        80s controller promoted 3/3 100% -> 100%: held for 10 s with 10 requests, no gate is bad
        ");
}

#[test]
fn an_outage_of_both_is_nobodys_fault() {
    let relative = Measure::Errors(Lines::WorseThanBaseline(crate::common::margin(10.0)));
    let plan = plan(vec![step(10.0, 60, 0)], vec![gate("errors", relative)]);
    let mut story = Story::begin(&plan);
    story.ticks(5, &users(10, [900, 1], [100, 0]));
    story.ticks(5, &users(10, [900, 450], [100, 50]));
    story.ticks(5, &users(10, [900, 1], [100, 0]));
    story.is("
        0s configuration started 1/1 0% -> 10%: revision 1 begins
        60s controller promoted 1/1 10% -> 100%: held for 60 s with 600 requests, no gate is bad
        ");
}

//! The configuration changes under a run.

use crate::{
    common::{approval, dark, errors, gate, percent, plan, step, users},
    story::Story,
};
use tidegate_judge::{Arms, Freedom, Lines, Measure, Plan, Share, Tick, Verb};

fn shop() -> Plan {
    plan(vec![step(1.0, 10, 0), step(10.0, 10, 0), step(50.0, 10, 0)], vec![errors(1.0, 10.0)])
}

fn good() -> Tick {
    users(10, [900, 1], [100, 0])
}

#[test]
fn a_change_is_taken_in_with_the_next_step() {
    let mut story = Story::begin(&shop());
    story.ticks(1, &users(1, [90, 0], [10, 0]));
    let mut changed = shop();
    changed.steps[1] = step(20.0, 10, 0);
    changed.gates.push(gate("ceiling", Measure::Errors(Lines::Max(percent(5.0)))));
    story.replan(&changed);
    assert!(story.run.report(Freedom::Free).plan_changes);
    story.replan(&changed);
    story.ticks(2, &good());
    let report = story.run.report(Freedom::Free);
    // What did not change keeps its evidence, what is new has none yet.
    assert_eq!(report.gates[0].run.requests, [90 + 1800, 10 + 200]);
    assert_eq!(report.gates[1].run.requests, [900, 100]);
    story.is("
        0s configuration started 1/3 0% -> 1%: revision 1 begins
        1s configuration replanned 1/3 1% -> 1%: the plan was changed: from the next step on
        11s controller advanced 2/3 1% -> 20%: held for 11 s with 110 requests, no gate is bad
        21s controller advanced 3/3 20% -> 50%: held for 10 s with 100 requests, no gate is bad
        ");
}

#[test]
fn a_change_that_is_taken_back_is_none() {
    let mut story = Story::begin(&shop());
    let changed = Plan { steps: vec![step(5.0, 10, 0)], ..shop() };
    story.replan(&changed);
    story.replan(&shop());
    story.ticks(3, &good());
    story.is("
        0s configuration started 1/3 0% -> 1%: revision 1 begins
        0s configuration replanned 1/3 1% -> 1%: the plan was changed: from the next step on
        0s configuration replanned 1/3 1% -> 1%: the change of the plan was taken back
        10s controller advanced 2/3 1% -> 10%: held for 10 s with 100 requests, no gate is bad
        20s controller advanced 3/3 10% -> 50%: held for 10 s with 100 requests, no gate is bad
        30s controller promoted 3/3 50% -> 100%: held for 10 s with 100 requests, no gate is bad
        ");
}

#[test]
fn other_steps_go_on_from_the_first_that_is_further_up() {
    let mut story = Story::begin(&shop());
    story.ticks(1, &good());
    let changed =
        Plan { steps: vec![step(5.0, 10, 0), step(10.0, 10, 0), step(30.0, 10, 0)], ..shop() };
    story.replan(&changed);
    story.ticks(2, &good());
    story.is("
        0s configuration started 1/3 0% -> 1%: revision 1 begins
        10s controller advanced 2/3 1% -> 10%: held for 10 s with 100 requests, no gate is bad
        10s configuration replanned 2/3 10% -> 10%: the plan was changed: from the next step on
        20s controller advanced 3/3 10% -> 30%: held for 10 s with 100 requests, no gate is bad
        30s controller promoted 3/3 30% -> 100%: held for 10 s with 100 requests, no gate is bad
        ");
}

#[test]
fn an_edit_of_the_step_does_not_skip_what_comes_after() {
    let steps =
        |hold| vec![dark(hold), dark(60), step(10.0, hold, 0), approval(10.0), step(50.0, 10, 0)];
    let copies = Tick {
        dark: Arms { baseline: crate::common::arm(100, 0), candidate: crate::common::arm(100, 0) },
        mirrored: true,
        ..users(10, [1000, 0], [0, 0])
    };
    let mut story = Story::begin(&Plan { steps: steps(20), ..shop() });
    story.replan(&Plan { steps: steps(30), ..shop() });
    story.ticks(2 + 6, &copies);
    story.replan(&Plan { steps: steps(40), ..shop() });
    story.ticks(3 + 9, &good());
    story.waits();
    story.is("
        0s configuration started 1/5 0% -> 0%: revision 1 begins
        0s configuration replanned 1/5 0% -> 0%: the plan was changed: from the next step on
        20s controller advanced 2/5 0% -> 0%: held for 20 s with 200 requests, no gate is bad
        80s controller advanced 3/5 0% -> 10%: held for 60 s with 600 requests, no gate is bad
        80s configuration replanned 3/5 10% -> 10%: the plan was changed: from the next step on
        110s controller advanced 4/5 10% -> 10%: held for 30 s with 300 requests, no gate is bad
        200s waits for: somebody to `promote`
        ");
}

#[test]
fn a_new_way_to_the_same_weight_still_asks() {
    let mut story = Story::begin(&shop());
    story.ticks(1, &good());
    let steps = vec![step(10.0, 60, 0), approval(10.0), step(50.0, 10, 0)];
    story.replan(&Plan { steps, ..shop() });
    story.ticks(9, &good());
    story.ask(Verb::Promote).expect("it waits for that");
    story.is("
        0s configuration started 1/3 0% -> 1%: revision 1 begins
        10s controller advanced 2/3 1% -> 10%: held for 10 s with 100 requests, no gate is bad
        10s configuration replanned 2/3 10% -> 10%: the plan was changed: from the next step on
        20s controller advanced 2/3 10% -> 10%: held for 10 s with 100 requests, no gate is bad
        100s ann advanced 3/3 10% -> 50%: ann asked for `promote`
        ");
}

#[test]
fn a_new_revision_takes_the_place_of_the_old() {
    let next = Plan { revision: "2".to_owned(), ..shop() };
    let mut story = Story::begin(&shop());
    story.ticks(1, &good());
    story.replan(&next);
    assert_eq!(story.run.number(), 2);
    // Not while everything is frozen; and what was taken away does not come back by itself.
    story.freedom = Freedom::Frozen;
    story.replan(&Plan { revision: "3".to_owned(), ..shop() });
    story.freedom = Freedom::Free;
    story.ticks(9, &users(1, [990, 0], [10, 5]));
    story.replan(&next);
    story.replan(&Plan { alpha: crate::common::risk(2.0), ..next });
    story.ticks(9, &good());
    assert_eq!(story.run.setting().weight, Share::NONE);
    story.is(
        "
        0s configuration started 1/3 0% -> 1%: revision 1 begins
        10s controller advanced 2/3 1% -> 10%: held for 10 s with 100 requests, no gate is bad
        10s configuration aborted 2/3 10% -> 0%: revision 2 takes its place
        10s configuration started 1/3 0% -> 1%: revision 2 begins
        11s controller rolled_back 1/3 1% -> 0%: `errors` is bad: 5 of 10 (50.0%), baseline 0 of 990 (0.0%), evidence 3.2e6 of 200
        ",
    );
}

#[test]
fn a_retry_follows_the_plan_of_now() {
    let mut story = Story::begin(&shop());
    story.ask(Verb::Abort).expect("it goes on");
    story.replan(&Plan { steps: vec![step(5.0, 10, 0)], ..shop() });
    story.ask(Verb::Retry).expect("it is over");
    story.is("
        0s configuration started 1/3 0% -> 1%: revision 1 begins
        0s ann aborted 1/3 1% -> 0%: ann asked for `abort`
        0s ann started 1/1 0% -> 5%: ann asked for `retry`
        ");
}

#[test]
fn what_is_not_configured_gets_nothing() {
    let mut story = Story::begin(&shop());
    story.remove();
    story.remove();
    story.replan(&shop());
    story.is("
        0s configuration started 1/3 0% -> 1%: revision 1 begins
        0s configuration aborted 1/3 1% -> 0%: the configuration has it no more
        ");

    let mut story = Story::begin(&shop());
    story.replan(&Plan { candidate: "other".to_owned(), ..shop() });
    story.is("
        0s configuration started 1/3 0% -> 1%: revision 1 begins
        0s configuration aborted 1/3 1% -> 0%: its route or its variants are others now
        ");

    // A promotion is left alone.
    let mut story = Story::begin(&shop());
    story.ask(Verb::PromoteFull).expect("it goes on");
    story.remove();
    story.is("
        0s configuration started 1/3 0% -> 1%: revision 1 begins
        0s ann promoted 1/3 1% -> 100%: ann asked for `promote --full`
        ");
}

#[test]
fn a_revision_that_was_rolled_back_does_not_come_back_by_another_one() {
    let plan = shop();
    let mut story = Story::begin(&plan);
    story.ticks(4, &users(10, [990, 1], [10, 9]));
    let mut other = plan.clone();
    other.revision = "2".to_owned();
    story.replan(&other);
    story.replan(&plan);
    story.ask(Verb::Retry).expect("a person may");
    story.is(
        "
        0s configuration started 1/3 0% -> 1%: revision 1 begins
        10s controller rolled_back 1/3 1% -> 0%: `errors` is bad: 9 of 10 (90.0%), baseline 1 of 990 (0.10%), evidence 9.0e12 of 200
        40s configuration started 1/3 0% -> 1%: revision 2 begins
        40s configuration aborted 1/3 1% -> 0%: revision 1 takes its place
        40s configuration aborted 1/3 0% -> 0%: revision 1 was rolled back before: `retry` to try it again
        40s ann started 1/3 0% -> 1%: ann asked for `retry`
        ",
    );
}

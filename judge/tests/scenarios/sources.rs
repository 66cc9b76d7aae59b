//! Numbers from elsewhere.

use crate::{
    common::{plan, query, step, users},
    story::Story,
};
use tidegate_judge::{Answer, Bound, Freedom, OnSourceBroken, Plan, Reading, Tick, Verb};

fn load(on: OnSourceBroken, failures: u32) -> Plan {
    plan(vec![step(10.0, 60, 0)], vec![query(Bound::Between(0.1, 0.8), failures, on)])
}

fn says(answer: Answer) -> Tick {
    let readings = vec![Reading { gate: "load".to_owned(), answer }];
    Tick { readings, ..users(10, [900, 0], [100, 0]) }
}

fn broken() -> Tick {
    says(Answer::Broken("connection refused".to_owned()))
}

#[test]
fn a_number_in_bounds_is_good() {
    let mut story = Story::begin(&load(OnSourceBroken::Hold, 1));
    story.ticks(2, &users(10, [900, 0], [100, 0]));
    story.waits();
    story.ticks(6, &says(Answer::Value(0.5)));
    story.is("
        0s configuration started 1/1 0% -> 10%: revision 1 begins
        20s waits for: 1 min more; `load`: no data
        80s controller promoted 1/1 10% -> 100%: held for 60 s with 800 requests, no gate is bad
        ");
}

#[test]
fn some_numbers_in_a_row_have_to_be_out_of_bounds() {
    let mut story = Story::begin(&load(OnSourceBroken::Hold, 3));
    story.ticks(2, &says(Answer::Value(0.9)));
    story.ticks(1, &says(Answer::Value(0.7)));
    story.ticks(2, &says(Answer::Value(0.9)));
    // Silence takes nothing back, and adds nothing.
    story.ticks(2, &says(Answer::NoData));
    story.waits();
    story.ticks(1, &says(Answer::Value(0.05)));
    story.is("
        0s configuration started 1/1 0% -> 10%: revision 1 begins
        70s waits for: 10 s more; `load`: no data
        80s controller rolled_back 1/1 10% -> 0%: `load` is bad: 0.05
        ");
}

#[test]
fn what_is_no_number_is_no_data() {
    let mut story = Story::begin(&load(OnSourceBroken::Rollback, 1));
    story.ticks(3, &says(Answer::Value(f64::NAN)));
    story.waits();
    assert_eq!(story.run.report(Freedom::Free).gates[0].why, "nothing measured for 30 s");
    story.ticks(1, &says(Answer::Value(f64::INFINITY)));
    assert!(serde_json::to_string(&story.run).is_ok_and(|text| !text.contains("\"value\":null")));
    story.is("
        0s configuration started 1/1 0% -> 10%: revision 1 begins
        30s waits for: 1 min more; `load`: no data
        40s controller rolled_back 1/1 10% -> 0%: `load` is bad: 1.8e308
        ");
}

#[test]
fn a_broken_source_holds_pauses_or_rolls_back() {
    let story = |on| {
        let mut story = Story::begin(&load(on, 1));
        story.ticks(1, &says(Answer::Value(0.5)));
        story.ticks(9, &broken());
        story.waits();
        story
    };
    let mut held = story(OnSourceBroken::Hold);
    held.ticks(5, &says(Answer::Value(0.5)));
    held.is("
        0s configuration started 1/1 0% -> 10%: revision 1 begins
        100s waits for: 50 s more; `load`: source broken
        150s controller promoted 1/1 10% -> 100%: held for 60 s with 1500 requests, no gate is bad
        ");

    let mut paused = story(OnSourceBroken::Pause);
    paused.ticks(9, &says(Answer::Value(0.5)));
    paused.ask(Verb::Resume).expect("it is paused");
    paused.ticks(5, &says(Answer::Value(0.5)));
    paused.is("
        0s configuration started 1/1 0% -> 10%: revision 1 begins
        40s controller paused 1/1 10% -> 10%: the source of `load` is broken: connection refused
        100s waits for: paused: the source of `load` is broken; 50 s more; `load`: source broken
        190s ann resumed 1/1 10% -> 10%: ann asked for `resume`
        240s controller promoted 1/1 10% -> 100%: held for 60 s with 2400 requests, no gate is bad
        ");

    story(OnSourceBroken::Rollback).is("
        0s configuration started 1/1 0% -> 10%: revision 1 begins
        40s controller rolled_back 1/1 10% -> 0%: the source of `load` is broken: connection refused
        100s waits for: nothing
        ");
}

#[test]
fn of_two_broken_sources_the_graver_decides() {
    let mut plan = load(OnSourceBroken::Pause, 1);
    let other = query(Bound::Max(1.0), 1, OnSourceBroken::Rollback);
    plan.gates.push(tidegate_judge::Gate { name: "other".to_owned(), ..other });
    let mut story = Story::begin(&plan);
    story.ticks(4, &broken());
    let answer = Answer::Broken("404".to_owned());
    let readings = vec![Reading { gate: "other".to_owned(), answer }];
    story.ticks(3, &Tick { readings, ..users(10, [900, 0], [100, 0]) });
    story.is("
        0s configuration started 1/1 0% -> 10%: revision 1 begins
        30s controller paused 1/1 10% -> 10%: the source of `load` is broken: connection refused
        70s controller rolled_back 1/1 10% -> 0%: the source of `other` is broken: 404
        ");
}

#[test]
fn an_old_number_is_no_data() {
    let mut story = Story::begin(&load(OnSourceBroken::Hold, 1));
    story.ticks(1, &says(Answer::Value(0.5)));
    story.freedom = Freedom::Frozen;
    story.ticks(7, &users(10, [900, 0], [100, 0]));
    story.freedom = Freedom::Free;
    story.ticks(1, &users(10, [900, 0], [100, 0]));
    story.waits();
    story.is("
        0s configuration started 1/1 0% -> 10%: revision 1 begins
        90s waits for: `load`: no data
        ");
}

//! What is kept comes back, to the last bit.

#![allow(clippy::expect_used, missing_docs)]

mod common;

use common::{approval, dark, errors, gate, margin, percent, plan, query, seconds, step};
use proptest::prelude::*;
use std::time::Duration;
use tidegate_judge::{
    Answer, Arm, Arms, Bound, Decision, Freedom, Lines, Measure, OnBreach, OnSourceBroken, Plan,
    Reading, Run, Tick, Time, Verb, step as judge,
};

fn shop(on_breach: OnBreach) -> Plan {
    let lines = Lines::Both(percent(1.0), margin(20.0));
    let gates = vec![
        errors(1.0, 10.0),
        gate("slow", Measure::Latency { over: seconds(1), lines }),
        gate("diffs", Measure::Mismatches { max: percent(0.1) }),
        query(Bound::Between(-0.1, 0.3), 2, OnSourceBroken::Pause),
    ];
    let steps = vec![dark(5), step(0.3, 5, 10), approval(10.0), step(100.0, 5, 0)];
    Plan { on_breach, failed_requests: Some(1 << 60), ..plan(steps, gates) }
}

#[derive(Debug, Clone)]
enum Event {
    Tick(Box<Tick>),
    Verb(Verb),
    Replan(Box<Plan>),
}

fn count() -> impl Strategy<Value = u64> {
    // Also beyond 2^53, where not every number is a float.
    prop_oneof![4 => 0..2000_u64, 1 => any::<u64>()]
}

fn arms() -> impl Strategy<Value = Arms> {
    let arm = || {
        (count(), count(), count(), prop::collection::vec(count(), 0..3))
            .prop_map(|(requests, failures, failed, over)| Arm { requests, failures, failed, over })
    };
    (arm(), arm()).prop_map(|(baseline, candidate)| Arms { baseline, candidate })
}

fn answer() -> impl Strategy<Value = Answer> {
    let extreme = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MIN_POSITIVE, f64::MAX];
    prop_oneof![
        (-1.0..1.0).prop_map(Answer::Value),
        prop::sample::select(extreme.to_vec()).prop_map(Answer::Value),
        Just(Answer::NoData),
        ".{0,8}".prop_map(Answer::Broken),
    ]
}

prop_compose! {
    fn tick()(
        elapsed in prop_oneof![4 => 0..100_000_u64, 1 => any::<u64>()],
        (users, dark, halves) in (arms(), arms(), arms()),
        (mirrored, known) in any::<(bool, bool)>(),
        (compared, mismatched) in (count(), count()),
        answers in prop::collection::vec(answer(), 0..3),
        samples in prop::collection::vec(".{0,8}", 0..12),
    ) -> Tick {
        let reading = |answer| Reading { gate: "load".to_owned(), answer };
        Tick {
            elapsed: Duration::from_millis(elapsed),
            latencies: if known { vec![seconds(1)] } else { Vec::new() },
            readings: answers.into_iter().map(reading).collect(),
            users, dark, halves, mirrored, compared, mismatched, samples,
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let revised = |revision: &str, weight| Plan {
        revision: revision.to_owned(),
        steps: vec![step(weight, 3, 0), step(70.0, 3, 0)],
        ..shop(OnBreach::Pause)
    };
    prop_oneof![
        8 => tick().prop_map(|tick| Event::Tick(Box::new(tick))),
        2 => prop::sample::select(Verb::ALL.to_vec()).prop_map(Event::Verb),
        1 => prop::sample::select(vec![revised("1", 5.0), revised("2", 7.0)]).prop_map(|plan| Event::Replan(Box::new(plan))),
    ]
}

fn happens(run: &Run, event: &Event, now: Time) -> (Run, Vec<Decision>) {
    match event {
        Event::Tick(tick) => judge(run, tick, Freedom::Free, now),
        Event::Verb(verb) => match run.act(*verb, "ann", Freedom::Free, now) {
            Ok((run, decision)) => (run, vec![decision]),
            Err(_) => (run.clone(), Vec::new()),
        },
        Event::Replan(plan) => run.replan(plan, Freedom::Free, now),
    }
}

fn back<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    let text = serde_json::to_string(value).expect("JSON");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Nothing is written beside the sources.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(200))]

    /// A controller that restarts after every event does the same as one that never does.
    #[test]
    fn a_run_goes_on_where_it_was(
        pauses in any::<bool>(),
        events in prop::collection::vec(event(), 1..40),
    ) {
        let plan = shop(if pauses { OnBreach::Pause } else { OnBreach::Rollback });
        let (mut steady, started) = Run::start(&plan, None, "configuration", Time(0));
        prop_assert_eq!(back(&started), started);
        let mut restarted = back(&steady);
        for (now, event) in (0..).map(Time).zip(&events) {
            let (next, decisions) = happens(&steady, event, now);
            let (other, same) = happens(&restarted, event, now);
            prop_assert_eq!(&same, &decisions);
            prop_assert_eq!(&back(&decisions), &decisions);
            steady = next;
            restarted = back(&other);
            prop_assert_eq!(&restarted, &steady);
            serde_json::to_string(&steady.report(Freedom::Frozen)).expect("JSON");
        }
        let size = serde_json::to_string(&steady).expect("JSON").len();
        prop_assert!(size < 40_000, "it grows: {} bytes", size);
    }

    #[test]
    fn a_tick_comes_back(mut tick in tick()) {
        for reading in &mut tick.readings {
            if let Answer::Value(value) = reading.answer {
                reading.answer = Answer::number(value);
            }
        }
        prop_assert_eq!(back(&tick), tick);
    }

    #[test]
    fn ticks_add_up(a in tick(), b in tick()) {
        let mut sum = a.clone();
        let fits = sum.merge(&b);
        prop_assert_eq!(fits, a.latencies == b.latencies);
        if fits {
            let add = u64::saturating_add;
            let requests = |tick: &Tick| tick.users.candidate.requests;
            prop_assert_eq!(requests(&sum), add(requests(&a), requests(&b)));
            prop_assert_eq!(sum.compared, add(a.compared, b.compared));
            prop_assert_eq!(sum.readings.len(), a.readings.len() + b.readings.len());
        }
    }
}

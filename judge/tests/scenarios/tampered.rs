//! JSON that no run has written is refused, and nothing panics.

use crate::{
    common::{errors, plan, query, step, users},
    story::Story,
};
use serde_json::{Value, json};
use tidegate_judge::{Bound, Freedom, OnSourceBroken, Plan, Run, Time, step as judge};

fn run() -> Value {
    let gates = vec![errors(1.0, 10.0), query(Bound::Max(0.5), 2, OnSourceBroken::Pause)];
    let mut story = Story::begin(&plan(vec![step(10.0, 60, 0), step(50.0, 60, 0)], gates));
    let mut tick = users(10, [900, 1], [100, 1]);
    tick.halves = tick.users.clone();
    story.ticks(3, &tick);
    let longer = vec![step(10.0, 60, 0), step(20.0, 60, 0)];
    story.replan(&Plan { steps: longer, ..story.run.plan().clone() });
    serde_json::to_value(&story.run).expect("JSON")
}

fn refused(path: &str, value: Value) {
    let mut tampered = run();
    let wrong = format!("{path} = {value} is taken for a run");
    *tampered.pointer_mut(path).expect(path) = value;
    assert!(serde_json::from_value::<Run>(tampered).is_err(), "{wrong}");
}

#[test]
fn what_is_no_run_is_refused() {
    assert!(serde_json::from_value::<Run>(run()).is_ok());
    refused("/status/active/step", json!(2));
    refused("/status/active/step", json!(u64::MAX));
    refused("/plan/steps", json!([]));
    refused("/next_plan/steps", json!([]));
    refused("/plan/steps/0/weight", json!(1_000_001));
    refused("/plan/alpha", json!(0));
    refused("/gates", json!([]));
    refused("/gates/0/gate/name", json!("other"));
    refused("/gates/0/tests", json!([]));
    refused("/gates/0/tests/0/line", json!({ "max": 20_000 }));
    refused("/gates/0/tests/0/worse/wealth", json!([1.0]));
    refused("/gates/0/tests/0/worse/wealth/3", json!(-1.0));
    refused("/gates/0/tests/0/worse/wealth/3", json!(1e300));
    refused("/gates/0/tests/0/worse/wealth/3", json!(null));
    refused("/gates/0/tests/0/better/kept", json!(-0.1));
    refused("/gates/0/tests/0/worse/base/requests", json!(0.0));
    refused("/gates/1/query", json!(null));
    refused("/halves/lanes/0/evidence/wealth", json!([]));
    refused("/number", json!(-1));
}

/// Each number of a run in turn is as large or as small as it gets: what is still taken for a run
/// goes on without a panic.
#[test]
fn extreme_numbers_do_no_harm() {
    let original = run();
    let mut paths = Vec::new();
    numbers(&original, String::new(), &mut paths);
    assert!(paths.len() > 100, "{}", paths.len());
    let mut taken = 0;
    for path in paths {
        for extreme in [json!(0), json!(0.0), json!(u32::MAX), json!(u64::MAX), json!(1e308)] {
            let mut tampered = original.clone();
            *tampered.pointer_mut(&path).expect("a path") = extreme;
            let Ok(run) = serde_json::from_value::<Run>(tampered) else { continue };
            taken += 1;
            let mut tick = users(10, [900, 1], [100, 1]);
            tick.halves = tick.users.clone();
            let (next, _) = judge(&run, &tick, Freedom::Free, Time(u64::MAX));
            let text = serde_json::to_string(&next).expect("JSON");
            assert!(serde_json::from_str::<Run>(&text).is_ok(), "{path}: {text}");
            serde_json::to_string(&next.report(Freedom::Free)).expect("JSON");
        }
    }
    assert!(taken > 100, "{taken}");
}

fn numbers(value: &Value, path: String, paths: &mut Vec<String>) {
    match value {
        Value::Number(_) => paths.push(path),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(i, item)| numbers(item, format!("{path}/{i}"), paths));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(key, item)| numbers(item, format!("{path}/{key}"), paths));
        }
        _ => {}
    }
}

//! Rollouts to print, as the admin API writes them.

use super::seen::{Decisions, Rollout};
use serde_json::{Value, json};

/// In the middle of its second step.
pub(super) fn rollout() -> Rollout {
    serde_json::from_value(body()).expect("a rollout")
}

/// Rolled back there.
pub(super) fn ended() -> Rollout {
    let mut body = body();
    body["state"] = json!("rolled_back");
    let at = 1_772_366_645_000_u64;
    body["ended"] = json!({ "outcome": "rolled_back", "at": at, "why": "`errors` is bad" });
    body["weight"] = json!(0);
    body["realised_share"] = json!(null);
    body["waits_for"] = json!([]);
    body["possible"] = json!(["retry"]);
    body["failed_requests"] = json!(41);
    body["gates"][0]["verdict"] = json!("bad");
    serde_json::from_value(body).expect("a rollout")
}

fn body() -> Value {
    json!({
        "rollout": "checkout", "route": "shop", "baseline": "stable", "candidate": "canary",
        "revision": "2.3.1", "run": 1, "started": 1_772_366_000_000_u64,
        "state": "progressing", "step": 2, "steps": 4,
        "plan": [
            { "weight": 0, "mirror": 100_000, "hold_seconds": 300.0 },
            { "weight": 50_000, "hold_seconds": 600.0, "min_requests": 2000 },
            { "weight": 50_000 },
            { "weight": 1_000_000, "hold_seconds": 0.0 },
        ],
        "weight": 50_000, "step_since": 1_772_366_400_000_u64, "held_seconds": 200.2,
        "requests": 1200, "waits_for": ["6 min 40 s more", "800 more requests"],
        "possible": ["promote", "promote_full", "pause", "abort"],
        "gates": [errors(), saturation()],
        "failed_requests": 3, "budget": 500, "samples": ["z", "a", "b", "c"],
        "halves": { "trials": 12, "alarms": 0, "lanes": [] },
        "plan_changes": false, "removed": false, "generation": 7, "realised_share": 0.0493,
        "freeze": null, "store_error": null, "undurable": 0,
    })
}

fn errors() -> Value {
    let asks = "failures: at most 1% and no more than 10% worse than the baseline";
    let counts = json!({ "requests": [22_800, 1200], "against": [31, 3] });
    json!({
        "name": "errors", "asks": asks, "verdict": "undecided", "why": "", "applies": true,
        "run": counts, "step": counts,
        "tests": [
            {
                "line": { "max": 10_000 },
                "evidence": 0.21, "bad_at": 400.0, "certainty": 12.2, "good_at": 20.0,
            },
            {
                "line": { "worse_than_baseline": 100_000 },
                "evidence": 8.1, "bad_at": 400.0, "certainty": 0.4, "good_at": 20.0,
                "forecast": [
                    { "times": 2.0, "seconds": 372.0, "requests": 3000.0 },
                    { "times": 3.0, "seconds": 130.0, "requests": 1000.0 },
                ],
            },
        ],
    })
}

fn saturation() -> Value {
    let none = json!({ "requests": [0, 0], "against": [0, 0] });
    json!({
        "name": "saturation", "asks": "max(cpu): at most 0.8", "verdict": "good", "why": "0.42",
        "applies": true, "tests": [], "run": none, "step": none, "value": 0.42,
    })
}

/// Two of them.
pub(super) fn decisions() -> Decisions {
    let decision = |id: i64, actor: &str, action: &str, why: &str, weight: u32| {
        json!({
            "id": id, "time": 1_772_366_645_000_u64, "rollout": "checkout", "route": "shop",
            "revision": "2.3.1", "run": 1, "actor": actor, "action": action, "why": why,
            "step": 2, "steps": 4, "weight_before": 50_000, "weight": weight, "gates": [],
            "failed_requests": 3, "samples": [],
        })
    };
    let all = [
        decision(3, "controller", "rolled_back", "`errors` is bad", 0),
        decision(2, "anna", "resumed", "anna asked for `resume`", 50_000),
    ];
    serde_json::from_value(json!({ "decisions": all })).expect("decisions")
}

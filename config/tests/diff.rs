//! What `diff` says about two plans, and what the admin API shows of one.

use serde_json::json;
use tidegate_config::{Plan, compile_text, diff, effective, load, render};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const FULL: &str = include_str!("data/full.yaml");

fn plan(text: &str) -> Result<Plan, String> {
    compile_text("t.yaml", text).map_err(|errors| render(&errors, false))
}

fn edited(edits: &[(&str, &str)]) -> Result<Plan, String> {
    let mut text = FULL.to_owned();
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    plan(&text)
}

#[test]
fn nothing_changes_between_equal_plans() -> Outcome {
    // The order of conditions and the way of writing make no difference.
    let same = edited(&[
        ("POST, GET", "GET, POST"),
        ("1MiB", "1024KiB"),
        ("prefix: /shop/", "prefix: /shop"),
    ])?;
    assert!(diff(&plan(FULL)?, &same).is_empty());
    Ok(())
}

#[test]
fn weights_move_the_share_that_they_say() -> Outcome {
    let new = edited(&[("weight: 90", "weight: 60"), ("weight: 10,", "weight: 40,")])?;
    let found = diff(&plan(FULL)?, &new);
    let [route] = &found.changed[..] else { return Err(format!("{found:?}").into()) };
    assert_eq!((&*route.name, route.what.len()), ("shop", 0));
    assert!((route.moved - 0.3).abs() < 0.02, "{}", route.moved);
    let canary = &route.weights[1];
    assert_eq!((&*canary.variant, canary.old, canary.new), ("canary", Some(10), Some(40)));
    assert!((canary.old_share - 0.1).abs() < 1e-6 && (canary.new_share - 0.4).abs() < 1e-6);
    // The same shares on another scale move nobody.
    let scaled = edited(&[("weight: 90", "weight: 900"), ("weight: 10,", "weight: 100,")])?;
    let moved: Vec<f64> = diff(&plan(FULL)?, &scaled).changed.iter().map(|r| r.moved).collect();
    assert_eq!(moved, [0.0]);
    Ok(())
}

#[test]
fn names_what_changed() -> Outcome {
    let new = edited(&[
        ("name: rest", "name: fresh"),
        ("timeout: 15s", "timeout: 20s"),
        ("exact: always", "exact: never"),
        ("Bearer s3cret", "Bearer other"),
        ("upstream: shop-v2, weight: 10, fallback: stable", "upstream: shop-v1, weight: 10"),
        ("address: 127.0.0.1:8080", "address: 127.0.0.1:8088"),
        ("connections: 16", "connections: 17"),
        ("sample: 12.5%", "sample: 1%"),
    ])?;
    let found = diff(&plan(FULL)?, &new);
    assert_eq!((&*found.added[0], &*found.removed[0]), ("fresh", "rest"));
    let [route] = &found.changed[..] else { return Err(format!("{found:?}").into()) };
    assert!(route.moved.abs() < f64::EPSILON);
    let [pins, timeout, upstream, fallback, headers] = &route.what[..] else {
        return Err(format!("{route:?}").into());
    };
    assert!(pins.contains("\"always\"") && pins.contains("\"never\""));
    assert_eq!(timeout, "timeout: 15s -> 20s");
    assert_eq!(upstream, "upstream of canary: shop-v2 -> shop-v1");
    assert_eq!(fallback, "fallback of canary: stable -> none");
    assert_eq!(headers, "request headers", "values may be secret");
    assert_eq!(found.other, ["upstream shop-v1 changed", "access_log"]);
    assert_eq!(found.restart, ["listeners"]);
    Ok(())
}

#[test]
fn the_effective_configuration_has_defaults_and_no_secrets() -> Outcome {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("tidegate.yaml");
    std::fs::write(&path, format!("include: more.yaml\n{FULL}"))?;
    let more = "routes: [{ name: more, match: { headers: [{ name: X-Api-Key, exact: s3cret }] }, variants: [{ name: v, upstream: shop-v1 }] }]\n";
    std::fs::write(directory.path().join("more.yaml"), more)?;
    let shown = effective(&load(&path, None)?);
    assert_eq!(shown["routes"][0]["headers"]["request"]["set"]["authorization"], "[redacted]");
    assert_eq!(shown["routes"][0]["headers"]["request"]["add"]["x-env"], "edge");
    assert!(!shown.to_string().contains("s3cret"));
    assert_eq!(shown["routes"][0]["variants"][0]["weight"], 90);
    assert_eq!(shown["routes"][2]["variants"][1]["weight"], "0.1%");
    assert_eq!(shown["routes"][0]["match"]["query"][0]["exact"], "1", "text stays text");
    assert_eq!(shown["routes"][0]["pins"][1]["cookie"]["present"], true);
    assert_eq!(shown["routes"][3]["name"], "more");
    assert_eq!(shown["routes"][3]["max_body"], "100MiB");
    assert_eq!(
        shown["upstreams"][1]["timeouts"],
        json!({"connect": "1s", "response": "15s", "idle": "60s"})
    );
    assert_eq!(shown["upstreams"][1]["limits"]["connections"], 1024);
    assert_eq!(shown.get("include"), None);
    Ok(())
}

//! Mirrors: from their keys to the plan, what is odd about them, and what changes.

use http::{HeaderName, HeaderValue, Method};
use std::{error::Error, time::Duration};
use tidegate_config::{
    Plan, compile_text, diff,
    plan::{Mirror, MirrorLimits},
    render,
};
use tidegate_policies::{DayBudget, RateLimit};

type Outcome = Result<(), Box<dyn Error>>;

const FULL: &str = include_str!("data/full.yaml");

fn plan(text: &str) -> Result<Plan, String> {
    compile_text("full.yaml", text).map_err(|problems| render(&problems, false))
}

#[test]
fn every_key_arrives() -> Outcome {
    let plan = plan(FULL)?;
    assert_eq!(plan.runtime.mirror_memory, 32 << 20);
    let [dark, _] = &plan.routes[0].mirrors[..] else { return Err("two mirrors".into()) };
    assert_eq!((&*dark.name, &*plan.upstreams[dark.upstream].name), ("dark", "shop-dark"));
    assert_eq!(dark.policy.methods, [Method::GET, Method::HEAD, Method::POST]);
    assert_eq!(dark.policy.sample.millionths(), 125_000);
    assert_eq!((dark.max_body, dark.timeout), (128 << 10, Duration::from_secs(2)));
    let limits = MirrorLimits {
        concurrent: 64.try_into()?,
        per_second: Some(RateLimit::per_second(100.try_into()?)),
        per_day: Some(DayBudget::per_day(100_000.try_into()?)),
    };
    assert_eq!(dark.limits, limits);
    let field = (HeaderName::from_static("x-env"), HeaderValue::from_static("shadow"));
    assert_eq!(dark.headers.set, [field]);
    assert_eq!(dark.headers.remove, ["x-debug"]);
    let compare = dark.compare.as_ref().ok_or("it compares")?;
    assert_eq!(compare.noise_upstream.map(|n| &*plan.upstreams[n].name), Some("shop-v1"));
    let rules = &compare.rules;
    assert_eq!(rules.headers, ["content-type"]);
    assert_eq!(rules.max_body, 512 << 10);
    let ignored: Vec<String> = rules.ignore.iter().map(ToString::to_string).collect();
    assert_eq!(ignored, ["$.timestamp", "$.trace[*]"]);
    assert_eq!(rules.redact[0].to_string(), "$.user.email");
    assert_eq!(
        (rules.array_keys[0].0.to_string(), &*rules.array_keys[0].1),
        ("$.items".to_owned(), "id")
    );
    Ok(())
}

#[test]
fn absent_keys_have_safe_defaults() -> Outcome {
    let plan = plan(FULL)?;
    let Mirror { policy, max_body, timeout, limits, compare, .. } = &plan.routes[0].mirrors[1];
    assert_eq!(policy.methods, [Method::GET, Method::HEAD]);
    assert_eq!(policy.sample.millionths(), 1_000_000);
    assert_eq!((*max_body, *timeout), (64 << 10, Duration::from_secs(5)));
    assert_eq!((limits.concurrent.get(), limits.per_second, limits.per_day), (256, None, None));
    assert!(compare.is_none());
    assert!(plan.routes[1].mirrors.is_empty());
    Ok(())
}

#[test]
fn a_mirror_has_a_sample_of_its_own() -> Outcome {
    let plan = plan(FULL)?;
    let [dark, second] = &plan.routes[0].mirrors[..] else { return Err("two mirrors".into()) };
    assert_ne!(dark.policy.salt, second.policy.salt);
    assert_ne!(dark.policy.salt, plan.routes[0].policy.salt);
    Ok(())
}

#[test]
fn what_is_odd_is_said() -> Outcome {
    let warned = |from: &str, to: &str| {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("tidegate.yaml");
        std::fs::write(&path, FULL.replacen(from, to, 1))?;
        std::fs::write(dir.path().join("admin.token"), "0123456789abcdef")?;
        let loaded = tidegate_config::load(&path, None).map_err(|f| f.render(false))?;
        Ok::<_, Box<dyn Error>>(
            loaded.warnings.iter().map(|w| w.message.clone()).collect::<Vec<_>>(),
        )
    };
    assert_eq!(
        warned("name: second, upstream: shop-dark", "name: second, upstream: shop-v2")?,
        ["the mirror sends to `shop-v2`, which serves clients of this route too"]
    );
    assert_eq!(
        warned("x-env: shadow }, remove: [x-debug]", "x-env: shadow }, remove: [cookie]")?,
        ["copies without `cookie` may be answered differently for that alone"]
    );
    // The dark upstream is in use, although no variant has it.
    assert!(warned("percent: 12.5", "percent: 5")?.is_empty());
    Ok(())
}

#[test]
fn a_change_of_a_mirror_is_a_difference_that_moves_nobody() -> Outcome {
    let old = plan(FULL)?;
    let changed = |from: &str, to: &str| {
        let new = plan(&FULL.replacen(from, to, 1))?;
        let diff = diff(&old, &new);
        let route = diff.changed.first().ok_or("no route changed")?;
        assert_eq!(route.moved, 0.0);
        Ok::<_, Box<dyn Error>>(route.what.clone())
    };
    assert_eq!(changed("percent: 12.5", "percent: 13")?, ["mirror dark changed"]);
    assert_eq!(
        changed("noise_upstream: shop-v1", "noise_upstream: shop-v2")?,
        ["mirror dark changed"]
    );
    let second = "      - { name: second, upstream: shop-dark }\n";
    assert_eq!(changed(second, "")?, ["mirror second removed"]);
    assert_eq!(
        changed("name: second", "name: third")?,
        ["mirror third added", "mirror second removed"]
    );
    // Another place in the list of upstreams is no change.
    let first = "upstreams:\n";
    let moved =
        plan(&FULL.replacen(first, "upstreams:\n  - { name: new, endpoints: [a:1] }\n", 1))?;
    assert!(diff(&old, &moved).changed.is_empty());
    Ok(())
}

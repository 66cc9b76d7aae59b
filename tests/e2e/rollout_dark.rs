//! The dark part of a rollout: copies, and no users.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tidegate_tests::*;

const A_WHILE: Duration = Duration::from_secs(19);

const REQUESTS: &str = "tidegate_mirror_requests_total";

/// Requests a second. Mirrors yield to all other work: on a busy machine copies of more would wait
/// for each other.
const PACE: u32 = 40;

/// Many may wait, and all have to come.
const MIRROR: &str = "mirrors:\n  - { name: dark, upstream: v2, percent: 0, \
                      limits: { concurrent: 5000 }, compare: {} }";

/// Copies so far: those that were made, and all that could have been.
async fn copies(gateway: &Gateway) -> Result<(u64, u64)> {
    let outcomes = gateway.metrics().await?.by_outcome(REQUESTS, "dark");
    let all = outcomes.values().sum();
    Ok((all - outcomes.get("not_sampled").copied().unwrap_or(0), all))
}

#[tokio::test]
async fn a_dark_step_turns_the_mirror_up_and_gives_nobody_the_candidate() -> Result<()> {
    let plan = "steps: [{ mirror: 50%, pause: true }, { mirror: 100%, pause: true }, \
                { weight: 100%, pause: true }]\n\
                gates: [{ name: diffs, metric: mismatch_rate, max: 1% }]";
    let shop = Shop::open_with(plan, |config| config.also(MIRROR)).await?;
    let (mut made, mut all) = (0, 0);
    for (step, share) in [(1, 0.5), (2, 1.0)] {
        let rollout = shop.rollout.until("the step", SOON, |one| one["step"] == step).await?;
        assert_eq!(rollout["mirror"].as_f64(), Some(share * 1e6));
        assert_eq!((&rollout["weight"], shop.weight().await?), (&json!(0), 0.0));
        let report = Load::run(&shop.gateway.get("/"), 2, 80).await.flawless()?;
        assert_eq!(report.of("v1"), 80, "a user got the dark version");
        shop.gateway.all_outcomes("dark", all + 80).await?;
        let now = copies(&shop.gateway).await?;
        match share {
            1.0 => assert_eq!(now.0 - made, 80),
            share => assert_share(now.0 - made, 80, share),
        }
        let copied = now.0 - made;
        let judged = |rollout: &Value| rollout["requests"] == copied;
        let rollout = shop.rollout.until("the copies are judged", SOON, judged).await?;
        assert_eq!(
            rollout["gates"][0]["step"],
            json!({ "requests": [0, copied], "against": [0, 0] })
        );
        (made, all) = now;
        shop.rollout.does("promote").await?;
    }
    assert_eq!(shop.v2.origin.hits(), made);
    let report = Load::run(&shop.gateway.get("/"), 4, 100).await.flawless()?;
    assert_eq!(report.of("v2"), 100);
    let (after, _) = copies(&shop.gateway).await?;
    assert_eq!(after, made, "copies, though the mirror itself says 0%");
    shop.gateway.stop().await
}

#[tokio::test]
async fn an_equal_dark_version_goes_on_to_users() -> Result<()> {
    let plan = "steps: [{ mirror: 100%, hold: 300ms, min_requests: 25 }, \
                { weight: 100%, hold: 300ms }]\n\
                gates: [{ name: diffs, metric: mismatch_rate, max: 5% }]";
    let shop = Shop::open_with(plan, |config| config.also(MIRROR)).await?;
    let load = Load::paced(&shop.gateway.get("/"), PACE);
    shop.rollout.reaches("promoted", A_WHILE).await?;
    load.stop().await.flawless()?;
    let decision = shop.rollout.decision("advanced").await?;
    let compared = decision["gates"][0]["run"]["requests"][1].as_u64().context("no counts")?;
    assert!(compared > 0 && decision["gates"][0]["run"]["against"][1] == 0, "{decision:#}");
    shop.gateway.stop().await
}

/// An old and a new version whose answers are these, and a rollout that begins in the dark.
async fn dark(old: &'static str, new: &'static str, gates: &str) -> Result<(Gateway, [Origin; 2])> {
    let serving = |name, body: &'static str| {
        Origin::serving(name, move |_| {
            let mut answer = Response::new(Bytes::from_static(body.as_bytes()));
            answer.headers_mut().insert("x-origin", http::HeaderValue::from_static(name));
            answer
        })
    };
    let (v1, v2) = tokio::try_join!(serving("v1", old), serving("v2", new))?;
    let plan =
        format!("steps: [{{ mirror: 100%, hold: 10m }}, {{ weight: 100% }}]\ngates: {gates}");
    let config = Config::split(v1.address(), "100", v2.address(), "0").also(MIRROR);
    let gateway = Gateway::start(&config.rollout("1", &plan).yaml()).await?;
    Ok((gateway, [v1, v2]))
}

#[tokio::test]
async fn a_dark_version_that_answers_something_else_goes_no_further() -> Result<()> {
    let gates = "[{ name: errors, metric: error_rate, max: 50% }, \
                 { name: diffs, metric: mismatch_rate, max: 5% }]";
    let (gateway, origins) = dark(r#"{"price":10}"#, r#"{"price":9}"#, gates).await?;
    let rollout = Rollout::of(&gateway, "v2");
    let load = Load::paced(&gateway.get("/"), PACE);
    let ended = rollout.reaches("rolled_back", A_WHILE).await?;
    let report = load.stop().await.flawless()?;
    assert_eq!(report.of("v2"), 0, "a user got the dark version");
    let why = ended["ended"]["why"].as_str().unwrap_or_default();
    assert!(why.starts_with("`diffs` is bad: "), "{why}");
    let gate = &rollout.decision("rolled_back").await?["gates"][1];
    assert_eq!(gate["run"]["requests"], gate["run"]["against"], "{gate:#}");
    // The mirror is the file's again, which copies nothing; those that were made may still wait.
    let before = gateway.all_outcomes("dark", report.served()).await?;
    let hits = origins[1].hits();
    Load::run(&gateway.get("/"), 2, 100).await.flawless()?;
    let after = gateway.all_outcomes("dark", report.served() + 100).await?;
    let not_sampled = |outcomes: &BTreeMap<String, u64>| outcomes.get("not_sampled").copied();
    assert_eq!(not_sampled(&after), Some(not_sampled(&before).unwrap_or(0) + 100));
    assert_eq!(origins[1].hits(), hits);
    assert_eq!(
        gateway.metrics().await?.sum("tidegate_variant_weight", &[("variant", "canary")]),
        0.0
    );
    gateway.stop().await
}

#[tokio::test]
async fn a_dark_version_that_fails_goes_no_further() -> Result<()> {
    let plan = "steps: [{ mirror: 100%, hold: 10m }, { weight: 100% }]\n\
                gates: [{ name: errors, metric: error_rate, max: 5% }]";
    let shop = Shop::open_with(plan, |config| config.also(MIRROR)).await?;
    shop.v2.fail(0.5);
    let load = Load::paced(&shop.gateway.get("/"), PACE);
    let rollout = shop.rollout.reaches("rolled_back", A_WHILE).await?;
    let report = load.stop().await.flawless()?;
    assert_eq!(report.of("v2"), 0, "a user got the dark version");
    // Nobody's request failed, so none counts against the budget.
    assert_eq!(rollout["failed_requests"], 0);
    let decision = shop.rollout.decision("rolled_back").await?;
    let counts = &decision["gates"][0]["run"];
    assert!(counts["against"][1].as_u64() > Some(0), "{counts}");
    shop.gateway.stop().await
}

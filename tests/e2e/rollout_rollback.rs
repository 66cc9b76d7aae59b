//! A new version that is worse than it may be, each time in another way.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::time::Duration;
use tidegate_tests::*;

/// To find a version that is as bad as those here, and to act.
const FOUND: Duration = Duration::from_secs(15);

/// One step that would last, and these gates.
fn half(gates: &str) -> String {
    format!("steps: [{{ weight: 50%, hold: 10m }}]\ngates: [{gates}]")
}

/// The two kinds of gates, the second one far from anything that happens by chance.
const ERRORS: &str = "\
{ name: slow, metric: latency, over: 8s, max: 20% }, \
{ name: errors, metric: error_rate, max: 5% }";

/// Waits until `gate` has taken the candidate away, checks that nobody has it any more, and gives
/// the decision.
async fn rolled_back(shop: &Shop, gate: &str) -> Result<Value> {
    let rollout = shop.rollout.reaches("rolled_back", FOUND).await?;
    let why = rollout["ended"]["why"].as_str().unwrap_or_default().to_owned();
    assert!(why.starts_with(&format!("`{gate}` is bad: ")), "{why}");
    assert_eq!((&rollout["weight"], &rollout["possible"]), (&json!(0), &json!(["retry"])));
    assert_eq!(shop.weight().await?, 0.0);
    let report = Load::run(&shop.gateway.get("/"), 4, 200).await.flawless()?;
    assert_eq!(report.of("v1"), 200, "{report:?}");
    assert_eq!(shop.rollout.actions().await?, ["started", "rolled_back"]);

    let decision = shop.rollout.decision("rolled_back").await?;
    assert_eq!((&decision["actor"], &decision["why"]), (&json!("controller"), &json!(why)));
    assert_eq!((&decision["weight_before"], &decision["weight"]), (&json!(500_000), &json!(0)));
    let generation = decision["generation"].as_f64().context("no generation")?;
    assert!(generation < shop.gateway.generation().await?, "{generation} had the candidate");
    Ok(decision)
}

/// The gate of a decision has crossed its line by what it counted, and says so.
fn crossed(decision: &Value, name: &str) -> Result<[u64; 2]> {
    let gates = decision["gates"].as_array().into_iter().flatten();
    let gate = gates.clone().find(|gate| gate["name"] == name).context("no such gate")?;
    assert_eq!(gate["verdict"], "bad", "{gate:#}");
    let counts = &gate["run"];
    let number = |value: &Value| value.as_u64().with_context(|| counts.to_string());
    let (against, requests) = (number(&counts["against"][1])?, number(&counts["requests"][1])?);
    assert!(against > 0 && against <= requests, "{counts}");
    let tests = gate["tests"].as_array().context("no tests")?;
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let bad = |test: &&Value| number(&test["evidence"]) >= number(&test["bad_at"]);
    assert!(tests.iter().any(|test| bad(&test)), "{tests:?}");
    let why = decision["why"].as_str().unwrap_or_default();
    assert!(why.contains(&format!("{against} of {requests} (")), "{counts} and {why}");
    Ok([against, requests])
}

/// Each sample of the decision is a request in the access log that the candidate failed.
async fn samples_are_failures(shop: &Shop, decision: &Value) -> Result<()> {
    let samples = decision["samples"].as_array().context("no samples")?;
    assert!((1..=8).contains(&samples.len()), "{samples:?}");
    for id in samples {
        let line = eventually("the sample's line", async || {
            shop.access().ok()?.into_iter().find(|line| line["request_id"] == *id)
        })
        .await?;
        assert_eq!((&line["variant"], &line["reason"]), (&json!("canary"), &json!("split")));
        assert!(line["status"].as_u64() >= Some(500), "{line}");
    }
    Ok(())
}

/// All that holds for a version whose requests fail.
async fn failures_are_found(shop: Shop, clients: usize) -> Result<()> {
    let load = shop.load(clients);
    let decision = rolled_back(&shop, "errors").await?;
    let report = load.stop().await;
    let [against, _] = crossed(&decision, "errors")?;
    assert!(decision["failed_requests"].as_u64() >= Some(against), "{decision:#}");
    assert!(report.failed >= against, "{report:?}");
    samples_are_failures(&shop, &decision).await?;
    shop.gateway.stop().await
}

#[tokio::test]
async fn a_version_that_answers_500_goes() -> Result<()> {
    let shop = Shop::open(&half(ERRORS)).await?;
    shop.v2.fail(0.3);
    failures_are_found(shop, 4).await
}

#[tokio::test]
async fn a_version_that_resets_connections_goes() -> Result<()> {
    let shop = Shop::open(&half(ERRORS)).await?;
    shop.v2.origin.behave(Behaviour::Hangup);
    failures_are_found(shop, 4).await
}

#[tokio::test]
async fn a_version_that_hangs_goes() -> Result<()> {
    let shop = Shop::open_with(&half(ERRORS), |config| config.also("timeout: 400ms")).await?;
    shop.v2.origin.behave(Behaviour::Never);
    failures_are_found(shop, 8).await
}

#[tokio::test]
async fn a_version_that_nobody_listens_for_goes() -> Result<()> {
    let dead = DeadAddress::new()?;
    let (v1, v2) = tokio::try_join!(Canary::start("v1"), Canary::start("v2"))?;
    let config = Config::split(v1.origin.address(), "100", dead.address(), "0")
        .top("access_log: { path: access.log }")
        .rollout("1", &half(ERRORS));
    failures_are_found(Shop::open_as(&config, v1, v2).await?, 4).await
}

#[tokio::test]
async fn a_version_that_is_slow_goes() -> Result<()> {
    let gates = "{ name: errors, metric: error_rate, max: 5% }, \
                 { name: slow, metric: latency, over: 300ms, max: 20% }";
    let shop = Shop::open(&half(gates)).await?;
    shop.v2.origin.behave(Behaviour::Delay(Duration::from_millis(500)));
    let load = shop.load(8);
    let decision = rolled_back(&shop, "slow").await?;
    crossed(&decision, "slow")?;
    assert_eq!((&decision["failed_requests"], &decision["samples"]), (&json!(0), &json!([])));
    load.stop().await.flawless()?;
    shop.gateway.stop().await
}

#[tokio::test]
async fn a_version_that_is_worse_than_the_old_one_goes() -> Result<()> {
    let gates = "{ name: errors, metric: error_rate, worse_than_baseline: 50% }";
    let shop = Shop::open(&half(gates)).await?;
    shop.v1.fail(0.1);
    shop.v2.fail(0.6);
    let load = shop.load(4);
    let rollout = shop.rollout.reaches("rolled_back", FOUND).await?;
    load.stop().await;
    let decision = shop.rollout.decision("rolled_back").await?;
    crossed(&decision, "errors")?;
    let counts = &decision["gates"][0]["run"];
    assert!(counts["requests"][0].as_u64() > Some(0), "{counts}");
    assert!(decision["why"].as_str().unwrap_or_default().contains(", baseline "), "{rollout:#}");
    samples_are_failures(&shop, &decision).await?;
    shop.gateway.stop().await
}

/// What both depend on fails: nobody is helped by going back.
#[tokio::test]
async fn a_version_that_fails_like_the_old_one_stays() -> Result<()> {
    let plan = "steps: [{ weight: 50%, hold: 1s, min_requests: 500 }]\nalpha: 0.01%\n\
                gates: [{ name: errors, metric: error_rate, worse_than_baseline: 50% }]";
    let shop = Shop::open(plan).await?;
    shop.v1.fail(0.2);
    shop.v2.fail(0.2);
    let load = shop.load(4);
    let rollout = shop.rollout.reaches("promoted", FOUND).await?;
    let report = load.stop().await;
    assert!(report.failed > 0 && rollout["failed_requests"].as_u64() > Some(0), "{rollout:#}");
    let decision = shop.rollout.decision("promoted").await?;
    let counts = &decision["gates"][0]["run"];
    for arm in [0, 1] {
        assert!(counts["against"][arm].as_u64() > Some(0), "{counts}");
    }
    assert_eq!(shop.rollout.actions().await?, ["started", "promoted"]);
    shop.gateway.stop().await
}

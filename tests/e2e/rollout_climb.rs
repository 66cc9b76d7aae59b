//! A new version that is as good as the old one, on its way to everybody.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tidegate_tests::*;

/// For a whole rollout of some seconds.
const CLIMBED: Duration = Duration::from_secs(20);

const STEPS: &str = "\
steps:
  - { weight: 10%, hold: 800ms, min_requests: 60 }
  - { weight: 30%, hold: 800ms, min_requests: 60 }
  - { weight: 100%, hold: 400ms }
gates:
  - { name: errors, metric: error_rate, max: 5%, worse_than_baseline: 50% }
  - { name: slow, metric: latency, over: 5s, max: 5%, worse_than_baseline: 50% }";

/// What each decision says of the way up.
fn way(decisions: &[Value]) -> Vec<Value> {
    let of = |one: &Value| json!([one["action"], one["step"], one["weight_before"], one["weight"]]);
    decisions.iter().map(of).collect()
}

/// Requests of the access log by generation: all of the split's, and those to the candidate.
fn by_generation(lines: &[Value]) -> Result<BTreeMap<u64, [u64; 2]>> {
    let mut counts: BTreeMap<u64, [u64; 2]> = BTreeMap::new();
    for line in lines {
        let generation = line["generation"].as_u64().with_context(|| line.to_string())?;
        let counts = counts.entry(generation).or_default();
        counts[0] += 1;
        counts[1] += u64::from(line["variant"] == "canary");
    }
    Ok(counts)
}

#[tokio::test]
async fn a_good_version_climbs_to_everybody_and_no_request_fails() -> Result<()> {
    let shop = Shop::open(STEPS).await?;
    let load = shop.load(4);
    let ended = shop.rollout.reaches("promoted", CLIMBED).await?;
    assert_eq!((&ended["weight"], &ended["step"]), (&json!(1_000_000), &json!(3)));
    assert_eq!((&ended["failed_requests"], &ended["samples"]), (&json!(0), &json!([])));
    assert_eq!(ended["possible"], json!(["abort"]));
    load.serves(100).await?;
    assert_eq!(shop.weight().await?, 1.0);
    let report = load.stop().await.flawless()?;

    let decisions = shop.rollout.decisions().await?;
    let (nobody, tenth, third, all) = (0, 100_000, 300_000, 1_000_000);
    assert_eq!(
        way(&decisions),
        [
            json!(["started", 1, nobody, tenth]),
            json!(["advanced", 2, tenth, third]),
            json!(["advanced", 3, third, all]),
            json!(["promoted", 3, all, all]),
        ]
    );
    let times: Vec<_> = decisions.iter().filter_map(|one| one["time"].as_u64()).collect();
    assert!(times.len() == 4 && times.is_sorted(), "{times:?}");
    let ids: Vec<_> = decisions.iter().filter_map(|one| one["id"].as_u64()).collect();
    assert!(ids.windows(2).all(|two| two[0] < two[1]), "{ids:?}");
    assert_eq!(decisions[0]["actor"], "configuration");
    assert!(decisions[1..].iter().all(|one| one["actor"] == "controller"), "{decisions:#?}");
    let why = decisions[1]["why"].as_str().unwrap_or_default();
    assert!(why.starts_with("held for ") && why.ends_with("no gate is bad"), "{why}");

    // A weight each: the file's, three steps, everybody.
    let lines = eventually("a line for each request", async || {
        shop.access().ok().filter(|lines| lines.len() as u64 == report.served())
    })
    .await?;
    let shares: Vec<_> = by_generation(&lines)?.into_values().collect();
    let climbed: Vec<_> = shares.iter().filter(|[_, canary]| *canary > 0).collect();
    ensure!(climbed.len() >= 3, "{shares:?}");
    for ([all, canary], expected) in climbed.iter().zip([0.1, 0.3]) {
        assert_share(*canary, *all, expected);
    }
    assert!(climbed[2..].iter().all(|[all, canary]| all == canary), "{shares:?}");
    shop.gateway.stop().await
}

#[tokio::test]
async fn the_weight_in_force_is_the_steps_and_so_is_the_share() -> Result<()> {
    let steps = "steps: [{ weight: 5%, pause: true }, { weight: 40%, pause: true }]\n\
                 gates: [{ name: errors, metric: error_rate, max: 5% }]";
    let shop = Shop::open(steps).await?;
    for (step, weight) in [(1, 0.05), (2, 0.4)] {
        let at = |rollout: &Value| rollout["step"] == step && rollout["state"] == "waiting";
        shop.rollout.until("it waits at the step", SOON, at).await?;
        assert_eq!(shop.weight().await?, weight);
        let report = Load::run(&shop.gateway.get("/"), 4, 800).await.flawless()?;
        assert_share(report.of("v2"), 800, weight);
        let seen = |rollout: &Value| rollout["requests"] == report.of("v2");
        let rollout =
            shop.rollout.until("the candidate's requests are counted", SOON, seen).await?;
        let realised = rollout["realised_share"].as_f64().context("no share")?;
        assert_eq!(realised, report.of("v2") as f64 / 800.0);
        let gate = &rollout["gates"][0];
        assert_eq!(gate["step"]["requests"], json!([report.of("v1"), report.of("v2")]));
        assert_eq!(gate["step"]["against"], json!([0, 0]));
        shop.rollout.does("promote").await?;
    }
    assert_eq!(shop.rollout.get().await?["state"], "promoted");
    shop.gateway.stop().await
}

/// A user who has the new version keeps it on the way up.
#[tokio::test]
async fn no_user_falls_back_to_the_old_version_on_the_way_up() -> Result<()> {
    const USERS: usize = 300;
    let steps = "steps: [{ weight: 20%, pause: true }, { weight: 50%, pause: true }, \
                 { weight: 90%, pause: true }]\n\
                 gates: [{ name: errors, metric: error_rate, max: 5% }]";
    let keyed = |config: Config| config.also("bucket_by: [{ header: x-user-id }]");
    let shop = Shop::open_with(steps, keyed).await?;
    let mut before = vec![false; USERS];
    for (step, weight) in [(1, 0.2), (2, 0.5), (3, 0.9)] {
        shop.rollout.until("the step", SOON, |rollout| rollout["step"] == step).await?;
        let mut connection = Connection::open(shop.gateway.web()).await?;
        let mut now = Vec::with_capacity(USERS);
        for user in 0..USERS {
            let call = shop.gateway.get("/").header("x-user-id", &format!("user-{user}"));
            now.push(connection.send(&call).await?.origin() == "v2");
        }
        assert_share(now.iter().filter(|has| **has).count() as u64, USERS as u64, weight);
        let lost = before.iter().zip(&now).filter(|(before, now)| **before && !**now).count();
        assert_eq!(lost, 0, "users who lost the new version at {weight}");
        before = now;
        shop.rollout.does("promote").await?;
    }
    shop.gateway.stop().await
}

/// The tests are tried on the baseline alone, whose two halves are the same version.
#[tokio::test]
async fn the_baseline_is_not_told_from_itself() -> Result<()> {
    let steps = "steps: [{ weight: 50%, hold: 10m }]\nalpha: 0.01%\n\
                 gates: [{ name: errors, metric: error_rate, worse_than_baseline: 10% }]";
    let shop = Shop::open(steps).await?;
    shop.v1.fail(0.1);
    shop.v2.fail(0.1);
    let load = shop.load(4);
    let judged = |rollout: &Value| {
        let requests = rollout["gates"][0]["run"]["requests"][0].as_u64();
        requests >= Some(500) && !rollout["halves"]["lanes"][0].is_null()
    };
    let rollout = shop.rollout.until("the halves are judged", CLIMBED, judged).await?;
    let halves = &rollout["halves"];
    assert_eq!((&halves["trials"], &halves["alarms"]), (&json!(0), &json!(0)), "{halves}");
    let lane = &halves["lanes"][0];
    assert_eq!(lane["gate"], "errors");
    let evidence = lane["evidence"].as_f64().context("no evidence")?;
    let bad_at = rollout["gates"][0]["tests"][0]["bad_at"].as_f64().context("no line")?;
    assert!(evidence > 0.0 && evidence < bad_at, "{evidence} of {bad_at}");
    load.stop().await;
    let metrics = shop.gateway.metrics().await?;
    assert!(metrics.has("tidegate_baseline_trials_total"));
    assert_eq!(metrics.sum("tidegate_baseline_false_alarms_total", &[("rollout", "v2")]), 0.0);
    shop.gateway.stop().await
}

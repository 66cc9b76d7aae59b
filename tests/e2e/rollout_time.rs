//! How long users get a version that is known to be bad. The test runner gives these tests the
//! machine for themselves: beside others they would measure the others.

use anyhow::{Context, Result};
use std::time::Duration;
use tidegate_tests::*;

/// What is promised.
const PROMISED: Duration = Duration::from_secs(1);

const FOUND: Duration = Duration::from_secs(20);

/// The new version is good for a while under `load`, then fails a third of its requests.
async fn last_request(shop: Shop, load: Load, after: u64) -> Result<()> {
    let enough = |rollout: &serde_json::Value| {
        let requests = &rollout["gates"][0]["run"]["requests"];
        requests[1].as_u64() >= Some(after)
    };
    shop.rollout.until("both were asked", FOUND, enough).await?;
    let (served, begin) = (load.served(), wall_clock());
    shop.v2.fail(0.3);
    let turned = wall_clock();
    shop.rollout.reaches("rolled_back", FOUND).await?;
    let pace = (load.served() - served) * 1000 / (wall_clock() - begin).max(1);
    // Two seconds more of it.
    load.serves((2 * pace).max(20)).await?;
    load.stop().await;
    let decision = shop.rollout.decision("rolled_back").await?;
    let decided = decision["time"].as_u64().context("no time")?;
    let last = shop.v2.last_request();
    let found = decided.saturating_sub(turned);
    let late = Duration::from_millis(last.saturating_sub(decided));
    eprintln!(
        "{pace} good answers a second: found {found} ms after it turned bad, the last request {} \
         ms after that; {}",
        late.as_millis(),
        decision["why"]
    );
    assert!(late < PROMISED, "a user got it {late:?} after it was known to be bad");
    assert_eq!(shop.weight().await?, 0.0);
    shop.gateway.stop().await
}

fn half() -> &'static str {
    "steps: [{ weight: 50%, hold: 10m }]\ngates: [{ name: errors, metric: error_rate, max: 5% }]"
}

#[tokio::test]
async fn a_rollback_is_in_force_within_a_second_at_ten_requests_a_second() -> Result<()> {
    let shop = Shop::open(half()).await?;
    let load = Load::paced(&shop.gateway.get("/"), 10);
    last_request(shop, load, 5).await
}

#[tokio::test]
async fn a_rollback_is_in_force_within_a_second_at_full_speed() -> Result<()> {
    let shop = Shop::open(half()).await?;
    let load = shop.load(32);
    last_request(shop, load, 500).await
}

/// What a person takes away goes as fast.
#[tokio::test]
async fn an_abort_is_in_force_within_a_second() -> Result<()> {
    let shop = Shop::open(half()).await?;
    let load = shop.load(8);
    load.serves(500).await?;
    let asked = wall_clock();
    shop.rollout.does("abort").await?;
    assert_eq!(shop.weight().await?, 0.0, "it was answered before it was in force");
    load.serves(500).await?;
    load.stop().await.flawless()?;
    let late = Duration::from_millis(shop.v2.last_request().saturating_sub(asked));
    assert!(late < PROMISED, "a user got it {late:?} after the abort");
    shop.gateway.stop().await
}

//! Which requests count for a rollout, and how often.

use anyhow::Result;
use serde_json::{Value, json};
use std::time::Instant;
use tidegate_tests::*;

const ATTEMPTS: &str = "tidegate_attempts_total";

/// One step with `weight` that lasts, and a gate that judges failures.
fn held(weight: &str, max: &str) -> String {
    format!(
        "steps: [{{ weight: {weight}, hold: 10m }}]\n\
         gates: [{{ name: errors, metric: error_rate, max: {max} }}]"
    )
}

/// Waits until the gate has counted so many requests of both, and gives them and the failures.
async fn counted(shop: &Shop, requests: u64) -> Result<(Value, Value)> {
    let all = |rollout: &Value| {
        let both = &rollout["gates"][0]["run"]["requests"];
        both[0].as_u64().zip(both[1].as_u64()).map(|(b, c)| b + c)
    };
    let rollout = shop
        .rollout
        .until("the requests are counted", SOON, |one| all(one) == Some(requests))
        .await?;
    let counts = &rollout["gates"][0]["run"];
    Ok((counts["requests"].clone(), counts["against"].clone()))
}

#[tokio::test]
async fn requests_that_a_pin_sent_do_not_count() -> Result<()> {
    let pin = "pins: [{ variant: canary, header: { name: x-canary, present: true } }]";
    let shop = Shop::open_with(&held("1%", "5%"), |config| config.also(pin)).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    shop.v2.fail(1.0);
    let pinned = shop.gateway.get("/").header("x-canary", "1");
    assert_eq!(Load::run(&pinned, 2, 200).await.failed, 200);
    shop.gateway.counts(ATTEMPTS, &[("outcome", "server_error")], 200.0).await?;
    shop.v2.fail(0.0);
    // Those of the split after them are counted, so they would have been, too.
    Load::run(&shop.gateway.get("/"), 2, 50).await.flawless()?;
    let (_, against) = counted(&shop, 50).await?;
    assert_eq!(against, json!([0, 0]));
    let rollout = shop.rollout.get().await?;
    assert_eq!(
        (&rollout["state"], &rollout["failed_requests"]),
        (&json!("progressing"), &json!(0))
    );
    assert_eq!(rollout["samples"], json!([]));
    shop.gateway.stop().await
}

#[tokio::test]
async fn a_client_that_hangs_up_says_nothing_about_the_version() -> Result<()> {
    let shop = Shop::open(&held("100%", "5%")).await?;
    shop.rollout.until("everybody has it", SOON, |one| one["weight"] == 1_000_000).await?;
    shop.v2.origin.behave(Behaviour::Never);
    for n in 1..=30 {
        let mut client = RawClient::connect(shop.gateway.web()).await?;
        client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n").await?;
        let arrived = async || (shop.v2.origin.hits() == n).then_some(());
        eventually("the request is at the candidate", arrived).await?;
    }
    shop.gateway.counts(ATTEMPTS, &[("outcome", "client_aborted")], 30.0).await?;
    shop.v2.origin.behave(Behaviour::Echo);
    Load::run(&shop.gateway.get("/"), 1, 10).await.flawless()?;
    assert_eq!(counted(&shop, 10).await?, (json!([0, 10]), json!([0, 0])));
    assert_eq!(shop.rollout.get().await?["failed_requests"], 0);
    shop.gateway.stop().await
}

/// Nobody saw a failure, and the version is as bad as if everybody had.
#[tokio::test]
async fn a_failure_that_the_fallback_saved_counts() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Canary::start("v1"), Canary::start("v2"))?;
    let dead = DeadAddress::new()?;
    let config = Config::new()
        .top("access_log: { path: access.log }")
        .upstream("v1", v1.origin.address())
        .upstream("v2", dead.address())
        .route(
            "shop",
            "/",
            "[{ name: stable, upstream: v1, weight: 100 }, \
             { name: canary, upstream: v2, weight: 0, fallback: stable }]",
        )
        .rollout("1", &held("50%", "5%"));
    let shop = Shop::open_as(&config, v1, v2).await?;
    let load = shop.load(2);
    let ended = shop.rollout.reaches("rolled_back", SOON).await?;
    load.stop().await.flawless()?;
    let why = ended["ended"]["why"].as_str().unwrap_or_default();
    assert!(why.starts_with("`errors` is bad: "), "{why}");
    let decision = shop.rollout.decision("rolled_back").await?;
    let counts = &decision["gates"][0]["run"];
    assert_eq!(counts["requests"][1], counts["against"][1], "{counts}");
    for id in decision["samples"].as_array().into_iter().flatten() {
        let line = eventually("the sample's line", async || {
            shop.access().ok()?.into_iter().find(|line| line["request_id"] == *id)
        })
        .await?;
        assert_eq!((&line["reason"], &line["status"]), (&json!("fallback"), &json!(200)), "{line}");
    }
    let saved = shop.gateway.metrics().await?.sum("tidegate_fallbacks_total", &[]);
    assert!(saved >= counts["against"][1].as_f64().unwrap_or(f64::MAX), "{saved} of {counts}");
    shop.gateway.stop().await
}

/// A user who tries again and again is one user.
#[tokio::test]
async fn what_a_user_tries_again_counts_once_a_second() -> Result<()> {
    let keyed = |config: Config| config.also("bucket_by: [{ header: x-user-id }]");
    let shop = Shop::open_with(&held("100%", "95%"), keyed).await?;
    shop.rollout.until("everybody has it", SOON, |one| one["weight"] == 1_000_000).await?;
    shop.v2.fail(1.0);
    let user = shop.gateway.get("/").header("x-user-id", "u1");
    let begin = Instant::now();
    assert_eq!(Load::run(&user, 1, 100).await.failed, 100);
    let seconds = begin.elapsed().as_secs() + 1;
    let seen = |rollout: &Value| rollout["failed_requests"] == 100;
    let rollout = shop.rollout.until("all failures are seen", SOON, seen).await?;
    let counts = &rollout["gates"][0]["run"];
    assert_eq!(counts["requests"], counts["against"], "{counts}");
    let counted = counts["requests"][1].as_u64();
    assert!(counted >= Some(1) && counted <= Some(seconds), "{counts} in {seconds} s");
    // Others count, each for himself.
    for user in 2..=20 {
        let call = shop.gateway.get("/").header("x-user-id", &format!("u{user}"));
        assert_eq!(call.send().await?.status, 500);
    }
    let more = counted.map(|counted| counted + 19);
    let all = |rollout: &Value| rollout["gates"][0]["run"]["requests"][1].as_u64() == more;
    shop.rollout.until("those of others count", SOON, all).await?;
    shop.gateway.stop().await
}

/// Requests without a key are nobody's, and each counts.
#[tokio::test]
async fn without_a_key_every_request_counts() -> Result<()> {
    let shop = Shop::open(&held("100%", "95%")).await?;
    shop.rollout.until("everybody has it", SOON, |one| one["weight"] == 1_000_000).await?;
    shop.v2.fail(1.0);
    assert_eq!(Load::run(&shop.gateway.get("/"), 1, 60).await.failed, 60);
    assert_eq!(counted(&shop, 60).await?, (json!([0, 60]), json!([0, 60])));
    shop.gateway.stop().await
}

//! The share of each endpoint.

use anyhow::Result;
use std::{collections::BTreeMap, net::SocketAddr};
use tidegate_tests::*;

/// One route to an upstream of these endpoints.
fn config(endpoints: &[SocketAddr], keys: &str) -> Config {
    let endpoints: Vec<_> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    Config::new()
        .upstream_with("v1", &format!("endpoints: [{}], {keys}", endpoints.join(", ")))
        .route("shop", "/", "[{ name: stable, upstream: v1 }]")
        .also("bucket_by: [{ header: x-user-id }]")
}

#[tokio::test]
async fn a_new_endpoint_starts_slowly() -> Result<()> {
    let (a, b) = tokio::try_join!(Origin::start("a"), Origin::start("b"))?;
    let both = [a.address(), b.address()];
    for policy in ["round_robin", "least_request"] {
        let keys = |slow_start| format!("load_balance: {policy}, slow_start: {slow_start}");
        let gateway = Gateway::start(&config(&both[..1], &keys("10m")).yaml()).await?;
        Load::run(&gateway.get("/"), 2, 50).await.flawless()?;
        let mut before = gateway.generation().await?;
        gateway.write(&config(&both, &keys("10m")).yaml())?;
        before = gateway.generation_after(before).await?;
        // A tenth of the weight, and some more if the machine is slow.
        let report = Load::run(&gateway.get("/"), 2, 400).await.flawless()?;
        assert!((4..=100).contains(&report.of("b")), "{policy}: {report:?}");
        let warming = [("upstream", "v1"), ("state", "warming")];
        let metrics = gateway.metrics().await?;
        assert_eq!(metrics.sum("tidegate_upstream_endpoints", &warming), 1.0);
        gateway.write(&config(&both, &keys("100ms")).yaml())?;
        gateway.generation_after(before).await?;
        gateway.counts("tidegate_upstream_endpoints", &warming, 0.0).await?;
        let report = Load::run(&gateway.get("/"), 2, 400).await.flawless()?;
        assert!((140..=260).contains(&report.of("b")), "{policy}: {report:?}");
        gateway.stop().await?;
    }
    Ok(())
}

/// A user's endpoint.
async fn homes(gateway: &Gateway) -> Result<BTreeMap<u32, String>> {
    let mut homes = BTreeMap::new();
    for user in 0..60 {
        let call = gateway.get("/").header("x-user-id", &user.to_string());
        homes.insert(user, call.send().await?.origin().to_owned());
    }
    Ok(homes)
}

#[tokio::test]
async fn users_of_an_endpoint_that_is_down_move_and_come_back() -> Result<()> {
    let (a, b, c) = tokio::try_join!(Origin::start("a"), Origin::start("b"), Origin::start("c"))?;
    let (address, addresses) = (b.address(), [a.address(), b.address(), c.address()]);
    let keys = "load_balance: consistent_hash, health_check: { path: /, interval: 50ms }";
    let gateway = Gateway::start(&config(&addresses, keys).yaml()).await?;
    let before = homes(&gateway).await?;
    for origin in ["a", "b", "c"] {
        let users = before.values().filter(|home| *home == origin).count();
        assert!(users > 5, "{users} of 60 at {origin}");
    }
    drop(b);
    let unhealthy = [("upstream", "v1"), ("state", "unhealthy")];
    gateway.counts("tidegate_upstream_endpoints", &unhealthy, 1.0).await?;
    for (user, home) in homes(&gateway).await? {
        assert!(before[&user] == "b" && home != "b" || before[&user] == home, "user {user}");
    }
    let _b = Origin::at("b", address).await?;
    gateway.counts("tidegate_upstream_endpoints", &unhealthy, 0.0).await?;
    assert_eq!(homes(&gateway).await?, before);
    gateway.stop().await
}

#[tokio::test]
async fn an_http2_upstream_takes_a_hundred_requests_for_each_connection() -> Result<()> {
    let origin = Origin::h2c("v1").await?;
    origin.behave(Behaviour::Delay(std::time::Duration::from_millis(500)));
    let keys = "protocol: h2c, limits: { connections: 1, requests: 4096 }";
    let gateway = Gateway::start(&config(&[origin.address()], keys).yaml()).await?;
    let report = Load::run(&gateway.get("/"), 130, 130).await;
    assert!(report.failed > 0 && report.of("v1") >= 100, "{report:?}");
    gateway.stop().await
}

//! Which endpoint of an upstream gets a request.

use anyhow::Result;
use std::{collections::BTreeSet, time::Duration};
use tidegate_tests::*;
use tokio::time::sleep;

/// One upstream of two endpoints.
fn pool(a: &Origin, b: &Origin, keys: &str) -> Config {
    let endpoints = format!("endpoints: [\"{}\", \"{}\"]", a.address(), b.address());
    Config::new().upstream_with("v1", &format!("{endpoints}, {keys}")).route(
        "shop",
        "/",
        "[{ name: stable, upstream: v1 }]",
    )
}

#[tokio::test]
async fn round_robin_takes_turns() -> Result<()> {
    let (a, b) = tokio::try_join!(Origin::start("a"), Origin::start("b"))?;
    let gateway = Gateway::start(&pool(&a, &b, "load_balance: round_robin").yaml()).await?;
    let report = Load::run(&gateway.get("/"), 1, 200).await.flawless()?;
    assert_eq!((report.of("a"), report.of("b")), (100, 100));
    gateway.stop().await
}

#[tokio::test]
async fn least_request_spares_the_busy() -> Result<()> {
    let (a, b) = tokio::try_join!(Origin::start("a"), Origin::start("b"))?;
    a.behave(Behaviour::Delay(Duration::from_millis(300)));
    let gateway = Gateway::start(&pool(&a, &b, "load_balance: least_request").yaml()).await?;
    let load = Load::start(&gateway.get("/"), 4);
    sleep(Duration::from_millis(1500)).await;
    let report = load.stop().await.flawless()?;
    // In turns it would be half and half, at the pace of the slow one.
    assert!(report.of("b") > 8 * report.of("a"), "{report:?}");
    gateway.stop().await
}

#[tokio::test]
async fn consistent_hash_keeps_a_user_on_an_endpoint() -> Result<()> {
    let (a, b) = tokio::try_join!(Origin::start("a"), Origin::start("b"))?;
    let config =
        pool(&a, &b, "load_balance: consistent_hash").also("bucket_by: [{ header: x-user-id }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    let mut seen = BTreeSet::new();
    for user in 0..40 {
        let call = gateway.get("/").header("x-user-id", &user.to_string());
        let first = call.send().await?.origin().to_owned();
        for _ in 0..3 {
            assert_eq!(call.send().await?.origin(), first, "user {user}");
        }
        seen.insert(first);
    }
    assert_eq!(seen.len(), 2, "40 users all on one endpoint");
    gateway.stop().await
}

#[tokio::test]
async fn an_endpoint_may_be_a_name() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let keys = format!("endpoints: [\"localhost:{}\"]", origin.address().port());
    let config = Config::new().upstream_with("v1", &keys);
    let config = config.route("shop", "/", "[{ name: stable, upstream: v1 }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    eventually("the name is resolved", async || {
        gateway.get("/").send().await.ok().filter(|answer| answer.status == 200)
    })
    .await?;
    gateway.stop().await
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_503_and_holds_up_nothing_else() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let config = Config::new()
        .upstream("v1", origin.address())
        .upstream_with("v2", "endpoints: [\"nowhere.invalid:80\"]")
        .route("good", "/", "[{ name: stable, upstream: v1 }]")
        .route("bad", "/bad", "[{ name: stable, upstream: v2 }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    assert_eq!(gateway.get("/").send().await?.status, 200);
    assert_eq!(gateway.get("/bad").send().await?.status, 503);
    let labels = [("route", "bad"), ("outcome", "no_endpoint")];
    gateway.counts("tidegate_attempts_total", &labels, 1.0).await?;
    gateway.stop().await
}

#[tokio::test]
async fn connections_to_an_upstream_are_kept() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    // Each client connection is new; the upstream's are not.
    for _ in 0..100 {
        assert_eq!(gateway.get("/").send().await?.status, 200);
    }
    assert!(origin.connections() < 20, "{} connections for 100 requests", origin.connections());
    gateway.stop().await
}

/// An upstream closes a kept connection whenever it likes, also in the moment when the next request
/// is on its way; a request that may be repeated is, and no client sees it.
#[tokio::test]
async fn a_kept_connection_that_was_closed_fails_no_request() -> Result<()> {
    let origin = RawOrigin::start(|mut stream| async move {
        for _ in 0..3 {
            read_request(&mut stream).await?;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await?;
        }
        // Without a word about it.
        Ok(Vec::new())
    })
    .await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let report = Load::run(&gateway.get("/"), 2, 300).await.flawless()?;
    assert_eq!(report.served(), 300);
    gateway.stop().await
}

//! Active health checks: what is down gets no requests, and gets them again when it is back.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Response;
use serde_json::Value;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tidegate_tests::*;

const CHECKS: &str = "tidegate_upstream_health_checks_total";
const QUICK: &str = "interval: 50ms, timeout: 5s, unhealthy_after: 3, healthy_after: 2";

/// One route to an upstream of these endpoints; `keys` go into its flow mapping.
fn config(endpoints: &[SocketAddr], keys: &str) -> Config {
    let endpoints: Vec<_> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    Config::new()
        .upstream_with("v1", &format!("endpoints: [{}], {keys}", endpoints.join(", ")))
        .route("shop", "/", "[{ name: stable, upstream: v1 }]")
}

/// What the admin API says of an endpoint of the first upstream.
async fn endpoint(gateway: &Gateway, address: SocketAddr) -> Result<Value> {
    let upstreams = gateway.admin_get("/api/v1/upstreams").await?.json()?;
    let endpoints = upstreams["upstreams"][0]["endpoints"].as_array().context("no list")?;
    let found = endpoints.iter().find(|one| one["address"] == address.to_string());
    Ok(found.context("no such endpoint")?.clone())
}

async fn until(gateway: &Gateway, address: SocketAddr, state: &str) -> Result<Value> {
    eventually(&format!("{address} is {state}"), async || {
        endpoint(gateway, address).await.ok().filter(|one| one["state"] == state)
    })
    .await
}

#[tokio::test]
async fn an_endpoint_that_is_down_at_the_start_fails_no_request() -> Result<()> {
    let (good, dead) = (Origin::start("good").await?, DeadAddress::new()?);
    let keys = format!("health_check: {{ path: /healthz, {QUICK} }}");
    let endpoints = [good.address(), dead.address()];
    let gateway = Gateway::start(&config(&endpoints, &keys).yaml()).await?;
    let report = Load::run(&gateway.get("/"), 2, 200).await.flawless()?;
    assert_eq!(report.of("good"), 200);
    let seen = endpoint(&gateway, dead.address()).await?;
    assert_eq!(seen["state"], "unhealthy");
    assert_eq!(seen["last_check"]["result"], "failure");
    assert_eq!(seen["last_check"]["reason"], "connection refused");
    assert!(seen["last_check"]["at"].as_f64().context("no time")? > 1.7e9);
    let metrics = gateway.metrics().await?;
    let states =
        |state| metrics.sum("tidegate_upstream_endpoints", &[("upstream", "v1"), ("state", state)]);
    assert_eq!((states("healthy"), states("unhealthy"), states("ejected")), (1.0, 1.0, 0.0));
    assert!(metrics.sum(CHECKS, &[("upstream", "v1"), ("result", "failure")]) >= 1.0);
    gateway.stop().await
}

#[tokio::test]
async fn an_endpoint_that_dies_is_out_and_one_that_is_back_is_in() -> Result<()> {
    let (a, b) = tokio::try_join!(Origin::start("a"), Origin::start("b"))?;
    let (address, endpoints) = (b.address(), [a.address(), b.address()]);
    let keys = format!("health_check: {{ path: /healthz, {QUICK} }}");
    let gateway = Gateway::start(&config(&endpoints, &keys).yaml()).await?;
    let report = Load::run(&gateway.get("/"), 2, 100).await.flawless()?;
    assert!(report.of("b") > 30, "{report:?}");
    drop(b);
    until(&gateway, address, "unhealthy").await?;
    assert_eq!(Load::run(&gateway.get("/"), 2, 100).await.flawless()?.of("a"), 100);
    let b = Origin::at("b", address).await?;
    until(&gateway, address, "healthy").await?;
    assert!(Load::run(&gateway.get("/"), 2, 100).await.flawless()?.of("b") > 30);
    let log = gateway.log().join("\n");
    assert!(log.contains("an endpoint is unhealthy: connection refused"), "{log}");
    assert!(log.contains("an endpoint is healthy again"), "{log}");
    assert!(b.hits() > 30);
    gateway.stop().await
}

/// An origin that is fine but for its own opinion.
async fn moody(name: &'static str) -> Result<(Origin, Arc<AtomicBool>)> {
    let well = Arc::new(AtomicBool::new(true));
    let opinion = Arc::clone(&well);
    let origin = Origin::serving(name, move |request| {
        let asked = request.uri.path() == "/healthz";
        let status = if asked && !opinion.load(Ordering::Relaxed) { 503 } else { 200 };
        let answer = Response::builder().status(status).header("x-origin", name);
        answer.body(Bytes::new()).unwrap_or_default()
    })
    .await?;
    Ok((origin, well))
}

#[tokio::test]
async fn who_says_it_is_not_well_gets_nothing() -> Result<()> {
    let (a, well) = moody("a").await?;
    let fallback = Origin::start("fallback").await?;
    let config = Config::new()
        .upstream_with(
            "v2",
            &format!(
                "endpoints: [\"{}\"], health_check: {{ path: \"/healthz?deep=1\", {QUICK} }}",
                a.address()
            ),
        )
        .upstream("v1", fallback.address())
        .route(
            "shop",
            "/",
            "[{ name: stable, upstream: v1, weight: 0 }, \
             { name: canary, upstream: v2, weight: 1, fallback: stable }]",
        )
        .route("alone", "/alone", "[{ name: canary, upstream: v2 }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    assert_eq!(gateway.get("/").send().await?.origin(), "a");
    let check = a.recorded().into_iter().find(|one| one.uri.path() == "/healthz");
    let check = check.context("no check")?;
    assert_eq!(check.uri.query(), Some("deep=1"));
    assert_eq!(check.header("host"), a.address().to_string());
    let agent = check.header("user-agent");
    assert!(agent.starts_with("tidegate-health/"), "{agent}");
    well.store(false, Ordering::Relaxed);
    let seen = until(&gateway, a.address(), "unhealthy").await?;
    assert_eq!(seen["last_check"]["reason"], "status 503");
    // There is no panic mode: nobody is sent to what is known to be broken.
    assert_eq!(gateway.get("/").send().await?.origin(), "fallback");
    assert_eq!(gateway.get("/alone").send().await?.status, 503);
    well.store(true, Ordering::Relaxed);
    until(&gateway, a.address(), "healthy").await?;
    assert_eq!(gateway.get("/alone").send().await?.origin(), "a");
    gateway.stop().await
}

#[tokio::test]
async fn a_server_that_hangs_is_unhealthy() -> Result<()> {
    let (a, b) = tokio::try_join!(Origin::start("a"), Origin::start("b"))?;
    let keys = "health_check: { path: /healthz, host: shop.test, interval: 50ms, timeout: 300ms }";
    let endpoints = [a.address(), b.address()];
    let gateway = Gateway::start(&config(&endpoints, keys).yaml()).await?;
    assert_eq!(a.last().header("host"), "shop.test");
    b.behave(Behaviour::Never);
    let seen = until(&gateway, b.address(), "unhealthy").await?;
    assert_eq!(seen["last_check"]["reason"], "no answer within 300ms");
    assert_eq!(Load::run(&gateway.get("/"), 2, 100).await.flawless()?.of("a"), 100);
    gateway.stop().await
}

#[tokio::test]
async fn a_reload_knows_what_the_checks_found() -> Result<()> {
    let (a, well) = moody("a").await?;
    let b = Origin::start("b").await?;
    let endpoints = [a.address(), b.address()];
    // Beyond the first, no check comes while the test runs.
    let first = "health_check: { path: /healthz, interval: 1h }";
    well.store(false, Ordering::Relaxed);
    let gateway = Gateway::start(&config(&endpoints, first).yaml()).await?;
    until(&gateway, a.address(), "unhealthy").await?;
    well.store(true, Ordering::Relaxed);
    let checks = || a.recorded().iter().filter(|one| one.uri.path() == "/healthz").count();
    // Nothing about the upstream.
    let mut before = gateway.generation().await?;
    gateway.write(&config(&endpoints, first).also("timeout: 9s").yaml())?;
    before = gateway.generation_after(before).await?;
    assert_eq!(
        (endpoint(&gateway, a.address()).await?["state"].as_str(), checks()),
        (Some("unhealthy"), 1)
    );
    // Its limits only: a new pool, whose checks run at once; one success is not enough.
    gateway.write(&config(&endpoints, &format!("{first}, limits: {{ requests: 9 }}")).yaml())?;
    before = gateway.generation_after(before).await?;
    eventually("the second check", async || (checks() == 2).then_some(())).await?;
    assert_eq!(endpoint(&gateway, a.address()).await?["state"], "unhealthy");
    assert_eq!(Load::run(&gateway.get("/"), 2, 20).await.flawless()?.of("b"), 20);
    // Other checks decide at once.
    let other = "health_check: { path: /, interval: 1h }";
    gateway.write(&config(&endpoints, other).yaml())?;
    before = gateway.generation_after(before).await?;
    until(&gateway, a.address(), "healthy").await?;
    // No checks.
    gateway.write(&config(&endpoints, "").yaml())?;
    gateway.generation_after(before).await?;
    assert!(!gateway.metrics().await?.text.contains("unhealthy\"} 1"));
    gateway.stop().await
}

#[tokio::test]
async fn a_mirror_at_the_same_upstream_checks_nothing_twice() -> Result<()> {
    let (a, _well) = moody("a").await?;
    let keys = "health_check: { path: /healthz, interval: 1h }";
    let config =
        config(&[a.address()], keys).also("mirrors: [{ name: dark, upstream: v1, percent: 100 }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    assert_eq!(gateway.get("/").send().await?.status, 200);
    eventually("the copy", async || (a.hits() >= 3).then_some(())).await?;
    let checks = a.recorded().iter().filter(|one| one.uri.path() == "/healthz").count();
    assert_eq!(checks, 1);
    gateway.stop().await
}

#[tokio::test]
async fn checks_end_with_their_upstream() -> Result<()> {
    let (a, _well) = moody("a").await?;
    let keys = format!("health_check: {{ path: /healthz, {QUICK} }}");
    let gateway = Gateway::start(&config(&[a.address()], &keys).yaml()).await?;
    // A request that began with the old configuration holds it as long as it takes.
    let slow = Origin::start("slow").await?;
    let before = gateway.generation().await?;
    gateway.write(&config(&[slow.address()], "").yaml())?;
    gateway.generation_after(before).await?;
    let (mut hits, mut calm) = (a.hits(), 0);
    eventually("no more checks", async || {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        calm = if a.hits() == hits { calm + 1 } else { 0 };
        hits = a.hits();
        (calm >= 5).then_some(())
    })
    .await?;
    gateway.stop().await
}

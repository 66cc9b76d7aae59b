//! Endpoints whose requests fail again and again get none for a while.

use anyhow::{Context, Result};
use std::time::Duration;
use tidegate_tests::*;
use tokio::time::sleep;

const EJECTIONS: &str = "tidegate_upstream_ejections_total";

fn config(endpoints: &[std::net::SocketAddr], keys: &str) -> Config {
    let endpoints: Vec<_> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    Config::new()
        .upstream_with("v1", &format!("endpoints: [{}], {keys}", endpoints.join(", ")))
        .route("shop", "/", "[{ name: stable, upstream: v1 }]")
}

async fn endpoints(gateway: &Gateway, state: &str) -> Result<f64> {
    let by = [("upstream", "v1"), ("state", state)];
    Ok(gateway.metrics().await?.sum("tidegate_upstream_endpoints", &by))
}

#[tokio::test]
async fn a_burst_of_errors_ejects_and_time_heals() -> Result<()> {
    let (a, b, c) = tokio::try_join!(Origin::start("a"), Origin::start("b"), Origin::start("c"))?;
    let addresses = [a.address(), b.address(), c.address()];
    let keys = "outlier_detection: { consecutive_failures: 5, eject_for: 2s }";
    let gateway = Gateway::start(&config(&addresses, keys).yaml()).await?;
    Load::run(&gateway.get("/"), 2, 60).await.flawless()?;
    b.behave(Behaviour::Status(500));
    let before = b.hits();
    let report = Load::run(&gateway.get("/"), 1, 300).await;
    assert_eq!(report.failed, 5, "{report:?}");
    assert_eq!(b.hits() - before, 5);
    let upstreams = gateway.admin_get("/api/v1/upstreams").await?.json()?;
    let listed = upstreams["upstreams"][0]["endpoints"].as_array().context("no list")?.clone();
    let ejected = listed.iter().find(|one| one["state"] == "ejected").context("none ejected")?;
    assert_eq!(ejected["address"], b.address().to_string());
    assert!(ejected["ejected_until"].as_f64().context("no end")? > 1.7e9);
    assert_eq!(gateway.metrics().await?.sum(EJECTIONS, &[("upstream", "v1")]), 1.0);
    b.behave(Behaviour::Echo);
    eventually("it is back", async || {
        (endpoints(&gateway, "healthy").await.ok()? == 3.0).then_some(())
    })
    .await?;
    let report = Load::run(&gateway.get("/"), 2, 90).await.flawless()?;
    assert!(report.of("b") >= 20, "{report:?}");
    let log = gateway.log().join("\n");
    assert!(log.contains("an endpoint is ejected: 5 failures in a row"), "{log}");
    assert!(log.contains("an endpoint is back from its ejection"), "{log}");
    gateway.stop().await
}

#[tokio::test]
async fn what_clients_do_is_no_failure_of_an_endpoint() -> Result<()> {
    let (a, b) = tokio::try_join!(Origin::start("a"), Origin::start("b"))?;
    let keys = "outlier_detection: { consecutive_failures: 1, eject_for: 1h }";
    let gateway = Gateway::start(&config(&[a.address(), b.address()], keys).yaml()).await?;
    for status in ["400", "404", "429"] {
        for _ in 0..4 {
            let answer = gateway.get("/").header("x-want-status", status).send().await?;
            assert_eq!(answer.status.to_string(), status);
        }
    }
    // Clients that go away before the answer.
    a.behave(Behaviour::Never);
    b.behave(Behaviour::Never);
    for _ in 0..4 {
        let call = gateway.get("/").limit(Duration::from_millis(200));
        assert!(call.send().await.is_err());
    }
    let gone = [("outcome", "client_aborted")];
    gateway.counts("tidegate_attempts_total", &gone, 4.0).await?;
    assert_eq!(endpoints(&gateway, "healthy").await?, 2.0);
    gateway.stop().await
}

#[tokio::test]
async fn refused_connections_and_silence_count() -> Result<()> {
    let (good, silent, dead) =
        (Origin::start("good").await?, Origin::start("silent").await?, DeadAddress::new()?);
    silent.behave(Behaviour::Never);
    for bad in [dead.address(), silent.address()] {
        let keys = "timeouts: { response: 300ms }, \
                    outlier_detection: { consecutive_failures: 2, eject_for: 1h }";
        let gateway = Gateway::start(&config(&[good.address(), bad], keys).yaml()).await?;
        let report = Load::run(&gateway.get("/"), 1, 40).await;
        assert_eq!((report.failed, report.of("good")), (2, 38), "{report:?}");
        assert_eq!(endpoints(&gateway, "ejected").await?, 1.0);
        gateway.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn when_all_fail_some_stay() -> Result<()> {
    let (a, b) = tokio::try_join!(Origin::start("a"), Origin::start("b"))?;
    a.behave(Behaviour::Status(503));
    b.behave(Behaviour::Status(503));
    let keys = "outlier_detection: { consecutive_failures: 2, eject_for: 1h }";
    let gateway = Gateway::start(&config(&[a.address(), b.address()], keys).yaml()).await?;
    Load::run(&gateway.get("/"), 2, 60).await;
    assert_eq!(
        (endpoints(&gateway, "ejected").await?, endpoints(&gateway, "healthy").await?),
        (1.0, 1.0)
    );
    // As soon as the one that is left is well, all is.
    a.behave(Behaviour::Echo);
    b.behave(Behaviour::Echo);
    Load::run(&gateway.get("/"), 2, 40).await.flawless()?;
    gateway.stop().await?;

    // Where all may be out, the fallback takes over.
    a.behave(Behaviour::Status(503));
    b.behave(Behaviour::Status(503));
    let fallback = Origin::start("fallback").await?;
    let keys = "outlier_detection: { consecutive_failures: 2, eject_for: 1h, max_ejected: 100% }";
    let config = Config::new()
        .upstream_with(
            "v1",
            &format!("endpoints: [\"{}\", \"{}\"], {keys}", a.address(), b.address()),
        )
        .upstream("v2", fallback.address())
        .route(
            "shop",
            "/",
            "[{ name: stable, upstream: v1, weight: 1, fallback: other }, \
             { name: other, upstream: v2, weight: 0 }]",
        );
    let gateway = Gateway::start(&config.yaml()).await?;
    let report = Load::run(&gateway.get("/"), 1, 40).await;
    assert_eq!((report.failed, report.of("fallback")), (4, 36), "{report:?}");
    gateway.stop().await
}

#[tokio::test]
async fn a_reload_forgives_nobody() -> Result<()> {
    let (a, b) = tokio::try_join!(Origin::start("a"), Origin::start("b"))?;
    b.behave(Behaviour::Hangup);
    let addresses = [a.address(), b.address()];
    let keys = "outlier_detection: { consecutive_failures: 2, eject_for: 1h }";
    let gateway = Gateway::start(&config(&addresses, keys).yaml()).await?;
    Load::run(&gateway.get("/"), 1, 40).await;
    assert_eq!(endpoints(&gateway, "ejected").await?, 1.0);
    let before = gateway.generation().await?;
    gateway.write(&config(&addresses, &format!("{keys}, limits: {{ requests: 99 }}")).yaml())?;
    gateway.generation_after(before).await?;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(endpoints(&gateway, "ejected").await?, 1.0);
    assert_eq!(Load::run(&gateway.get("/"), 2, 40).await.flawless()?.of("a"), 40);
    gateway.stop().await
}

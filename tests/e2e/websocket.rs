//! WebSocket through the gateway.

use anyhow::{Context, Result};
use rustix::process::Signal;
use std::time::Duration;
use tidegate_tests::*;

const ATTEMPTS: &str = "tidegate_attempts_total";
const OPEN: &str = "tidegate_streams_open";

fn labels(variant: &str) -> [(&str, &str); 2] {
    [("route", "shop"), ("variant", variant)]
}

#[tokio::test]
async fn messages_come_back() -> Result<()> {
    let (server, authority) = (WebSocketServer::start("v1").await?, Authority::new("CA")?);
    let pair = authority.server(&["shop.test"])?;
    let config = Config::single(server.address()).tls(&[&pair], "").also("expose_variant: true");
    let gateway = Gateway::start(&config.yaml()).await?;
    let client = WebSocketClient::start().await?;
    let opened = client.open(1, gateway.web(), "/chat?a=b", &[("x-user-id", "u1")]).await?;
    assert_eq!((opened.status, &*opened.header("x-origin")), (101, "v1"));
    assert_eq!(opened.header("x-tidegate-variant"), "stable");
    assert_eq!(server.header("x-user-id").await?, "u1");
    assert_eq!(server.header("x-forwarded-proto").await?, "http");
    let ca = authority.path();
    let opened = client.open_secure(2, gateway.address("tls"), &ca, "shop.test").await?;
    assert_eq!(opened.status, 101);
    assert_eq!(server.header("x-forwarded-proto").await?, "https");
    gateway.counts(OPEN, &labels("stable"), 2.0).await?;
    for stream in [1, 2] {
        for message in ["hello", "", "\u{1f30a}"] {
            assert_eq!(client.send(stream, message).await?, message);
        }
        for size in [256, 65_536, 5 << 20] {
            assert!(client.send_bytes(stream, size).await?, "{size} bytes changed");
        }
        client.ping(stream).await?;
    }
    // Either side may close, with a code and a reason that the other one sees.
    assert_eq!(client.close(1, 4001, "enough").await?, 4001);
    client.ask_to_close(2, 4002).await?;
    assert_eq!(client.wait(2, SOON).await?, (4002, "as told".to_owned()));
    let closed = async || server.closed().await.ok().filter(|closed| closed.len() == 2);
    let closed = eventually("the server saw both ends", closed).await?;
    assert!(closed.contains(&(4001, "enough".to_owned())), "{closed:?}");
    gateway.counts(OPEN, &labels("stable"), 0.0).await?;
    gateway.counts(ATTEMPTS, &[("variant", "stable"), ("outcome", "success")], 2.0).await?;
    let metrics = gateway.metrics().await?;
    assert_eq!(metrics.sum("tidegate_requests_total", &[("code", "1xx")]), 2.0);
    gateway.cut().await
}

#[tokio::test]
async fn connections_are_split_and_pinned_as_requests_are() -> Result<()> {
    let (v1, v2) = tokio::try_join!(WebSocketServer::start("v1"), WebSocketServer::start("v2"))?;
    let keys = "bucket_by: [{ header: x-user-id }]\n\
                pins: [{ variant: canary, header: { name: x-canary, present: true } }]";
    let config = Config::split(v1.address(), "70", v2.address(), "30").also(keys);
    let gateway = Gateway::start(&config.yaml()).await?;
    let client = WebSocketClient::start().await?;
    let mut on_v2 = 0;
    for user in 0..100 {
        let name = format!("user-{user}");
        let mut origins = Vec::new();
        for again in 0..2 {
            let headers = [("x-user-id", &*name)];
            let opened = client.open(2 * user + again, gateway.web(), "/", &headers).await?;
            origins.push(opened.header("x-origin"));
        }
        assert_eq!(origins[0], origins[1], "{name}");
        on_v2 += u64::from(origins[0] == "v2");
    }
    assert_share(on_v2, 100, 0.3);
    gateway.counts(OPEN, &labels("canary"), 2.0 * on_v2 as f64).await?;
    gateway.counts(OPEN, &labels("stable"), 200.0 - 2.0 * on_v2 as f64).await?;
    for stream in 300..310 {
        let opened = client.open(stream, gateway.web(), "/", &[("x-canary", "1")]).await?;
        assert_eq!(opened.header("x-origin"), "v2");
        assert_eq!(client.send(stream, "a").await?, "a");
    }
    drop(client);
    gateway.stop().await
}

#[tokio::test]
async fn whoever_goes_without_a_word_is_noticed_by_the_other() -> Result<()> {
    let server = WebSocketServer::start("v1").await?;
    let gateway = Gateway::start(&Config::single(server.address()).yaml()).await?;
    let client = WebSocketClient::start().await?;
    for stream in 1..=4 {
        client.open(stream, gateway.web(), "/", &[]).await?;
        client.send(stream, "a").await?;
    }
    client.vanish(1).await?;
    let closed = async || server.closed().await.ok().filter(|closed| closed.len() == 1);
    assert_eq!(eventually("the server saw it", closed).await?[0].0, 1006);
    gateway.counts(OPEN, &labels("stable"), 3.0).await?;
    server.kill().await?;
    for stream in 2..=4 {
        assert_eq!(client.wait(stream, SOON).await?.0, 1006);
    }
    gateway.counts(OPEN, &labels("stable"), 0.0).await?;
    gateway.counts("tidegate_requests_in_flight", &[], 0.0).await?;
    gateway.counts("tidegate_client_connections", &[], 0.0).await?;
    gateway.cut().await
}

#[tokio::test]
async fn a_handshake_may_be_refused() -> Result<()> {
    let client = WebSocketClient::start().await?;
    let (dead, origin) = (DeadAddress::new()?, Origin::start("v1").await?);
    let config = Config::single(dead.address()).upstream("no", origin.address()).route(
        "no",
        "/no",
        "[{ name: stable, upstream: no }]",
    );
    let gateway = Gateway::start(&config.yaml()).await?;
    assert_eq!(client.open(1, gateway.web(), "/", &[]).await?.status, 503);
    // The service says no: the client hears that, and the connection can be used again.
    let refused = client.open(2, gateway.web(), "/no", &[("x-want-status", "403")]).await?;
    assert_eq!(refused.status, 403);
    gateway.counts(OPEN, &[], 0.0).await?;
    gateway.cut().await
}

/// A dead variant's connections go to its fallback, as requests do.
#[tokio::test]
async fn a_dead_variant_falls_back() -> Result<()> {
    let (dead, v1) = (DeadAddress::new()?, WebSocketServer::start("v1").await?);
    let config = Config::new().upstream("v1", v1.address()).upstream("v2", dead.address()).route(
        "shop",
        "/",
        "[{ name: stable, upstream: v1, weight: 0 }, \
         { name: canary, upstream: v2, weight: 1, fallback: stable }]",
    );
    let gateway = Gateway::start(&config.yaml()).await?;
    let client = WebSocketClient::start().await?;
    let opened = client.open(1, gateway.web(), "/", &[]).await?;
    assert_eq!((opened.status, &*opened.header("x-origin")), (101, "v1"));
    assert_eq!(client.send(1, "a").await?, "a");
    gateway.counts(OPEN, &labels("stable"), 1.0).await?;
    gateway.counts(OPEN, &labels("canary"), 0.0).await?;
    drop(client);
    gateway.stop().await
}

/// Nothing may be said for longer than a request's body may rest.
#[tokio::test]
async fn a_quiet_connection_stays() -> Result<()> {
    let server = WebSocketServer::start("v1").await?;
    let keys = format!("endpoints: [\"{}\"], timeouts: {{ response: 1s }}", server.address());
    let config = Config::new()
        .listener("short", "timeouts: { head: 1s, idle: 1s, body: 1s }")
        .upstream_with("v1", &keys)
        .route("shop", "/", "[{ name: stable, upstream: v1 }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    let client = WebSocketClient::start().await?;
    client.open(1, gateway.address("short"), "/", &[]).await?;
    assert_eq!(client.send(1, "before").await?, "before");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(client.send(1, "after").await?, "after");
    drop(client);
    gateway.stop().await
}

#[tokio::test]
async fn a_reload_closes_nothing() -> Result<()> {
    let (v1, v2) = tokio::try_join!(WebSocketServer::start("v1"), WebSocketServer::start("v2"))?;
    let gateway =
        Gateway::start(&Config::split(v1.address(), "1", v2.address(), "0").yaml()).await?;
    let client = WebSocketClient::start().await?;
    assert_eq!(client.open(1, gateway.web(), "/", &[]).await?.header("x-origin"), "v1");
    gateway.write(&Config::split(v1.address(), "0", v2.address(), "1").yaml())?;
    assert_eq!(gateway.reload().await?.status, 200);
    assert_eq!(client.open(2, gateway.web(), "/", &[]).await?.header("x-origin"), "v2");
    assert_eq!(client.send(1, "still here").await?, "still here");
    gateway.counts(OPEN, &labels("stable"), 1.0).await?;
    gateway.counts(OPEN, &labels("canary"), 1.0).await?;
    drop(client);
    gateway.stop().await
}

/// The end of the process is the end of its connections, at the latest when the drain is over.
#[tokio::test]
async fn the_drain_timeout_ends_connections() -> Result<()> {
    let server = WebSocketServer::start("v1").await?;
    let config = Config::single(server.address()).top("runtime: { drain_timeout: 2s }");
    let mut gateway = Gateway::start(&config.yaml()).await?;
    let client = WebSocketClient::start().await?;
    client.open(1, gateway.web(), "/", &[]).await?;
    client.send(1, "a").await?;
    gateway.signal(Signal::TERM)?;
    let unready = async || {
        let answer = gateway.admin_get("/readyz").await.ok()?;
        (answer.status == 503).then_some(())
    };
    eventually("the drain has begun", unready).await?;
    assert_eq!(client.send(1, "still here").await?, "still here");
    client.wait(1, SOON).await.context("it goes on without end")?;
    assert_eq!(gateway.exit_code(SOON).await?, 0);
    Ok(())
}

/// Streams on a version that is taken away are closed if the rollout says so, and else go on.
#[tokio::test]
async fn a_rollback_closes_connections_if_told() -> Result<()> {
    for drain in [true, false] {
        let (v1, v2) =
            tokio::try_join!(WebSocketServer::start("v1"), WebSocketServer::start("v2"))?;
        let told = if drain { "on_streams: { drain: 1s }" } else { "" };
        let plan = format!(
            "steps: [{{ weight: 50%, hold: 10m }}]\n\
             gates: [{{ name: errors, metric: error_rate, max: 5% }}]\n{told}"
        );
        let config = Config::split(v1.address(), "100", v2.address(), "0").rollout("1", &plan);
        let directory = quick_directory()?;
        let file = directory.path().join("tidegate.yaml");
        std::fs::write(&file, config.yaml())?;
        let gateway = Gateway::start_at(&file).await?;
        let rollout = Rollout::of(&gateway, "v2");
        rollout.until("half have it", SOON, |one| one["weight"] == 500_000).await?;
        let client = WebSocketClient::start().await?;
        let (mut stable, mut canary) = (Vec::new(), Vec::new());
        for stream in 1..=40 {
            let opened = client.open(stream, gateway.web(), "/", &[]).await?;
            let of = if opened.header("x-origin") == "v1" { &mut stable } else { &mut canary };
            of.push(stream);
        }
        assert!(!stable.is_empty() && !canary.is_empty(), "{stable:?}, {canary:?}");
        gateway.counts(OPEN, &labels("canary"), canary.len() as f64).await?;
        // What is no WebSocket fails there from now on.
        v2.plain(500).await?;
        let load = Load::start(&gateway.get("/"), 4);
        rollout.reaches("rolled_back", 2 * SOON).await?;
        load.stop().await;
        if drain {
            for stream in &canary {
                client.wait(*stream, SOON).await.context("a stream of the bad version goes on")?;
            }
            gateway.counts(OPEN, &labels("canary"), 0.0).await?;
        } else {
            tokio::time::sleep(Duration::from_secs(2)).await;
            for stream in &canary {
                assert_eq!(client.send(*stream, "still here").await?, "still here");
            }
        }
        for stream in &stable {
            assert_eq!(client.send(*stream, "still here").await?, "still here");
        }
        gateway.counts(OPEN, &labels("stable"), stable.len() as f64).await?;
        drop(client);
        gateway.cut().await?;
    }
    Ok(())
}

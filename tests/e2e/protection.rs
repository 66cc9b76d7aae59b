//! What clients may do at most: how often, how many at once, from where, and how slowly.

use anyhow::Result;
use std::time::Duration;
use tidegate_tests::*;
use tokio::time::sleep;

const REJECTED: &str = "tidegate_rejected_requests_total";

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_when_to_come_again() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let limit = "rate_limit: { requests: 1, per: 1h, burst: 5, by: { header: x-api-key } }";
    let gateway = Gateway::start(&Config::single(origin.address()).also(limit).yaml()).await?;
    for key in ["a", "b"] {
        let call = gateway.get("/").header("x-api-key", key);
        for _ in 0..5 {
            assert_eq!(call.send().await?.status, 200);
        }
        let refused = call.send().await?;
        assert_eq!(refused.status, 429);
        let wait: u64 = refused.header("retry-after").parse()?;
        assert!((3_500..=3_600).contains(&wait), "{wait}");
    }
    // Without a key it is the address.
    for _ in 0..5 {
        assert_eq!(gateway.get("/").send().await?.status, 200);
    }
    assert_eq!(gateway.get("/").send().await?.status, 429);
    gateway.counts(REJECTED, &[("reason", "rate_limited")], 3.0).await?;
    // A reload that does not change the limit forgives nothing; one that does begins anew.
    let generation = gateway.generation().await?;
    let other = format!("{limit}\ntimeout: 9s");
    gateway.write(&Config::single(origin.address()).also(&other).yaml())?;
    gateway.generation_after(generation).await?;
    assert_eq!(gateway.get("/").send().await?.status, 429);
    gateway.stop().await
}

#[tokio::test]
async fn a_route_may_be_for_some_networks() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let keys = "allow_from: [10.0.0.0/8, \"2001:db8::/32\"]\ndeny_from: [10.9.0.0/16]";
    let config = Config::single(origin.address()).also(keys);
    let trusting = format!("trusted_proxies: [127.0.0.1]\n{}", config.yaml());
    let gateway = Gateway::start(&trusting).await?;
    for (forwarded, status) in [
        ("10.1.2.3", 200),
        ("2001:db8::7", 200),
        ("10.9.2.3", 403),
        ("192.0.2.1", 403),
        ("10.1.2.3, 192.0.2.1", 403),
    ] {
        let answer = gateway.get("/").header("x-forwarded-for", forwarded).send().await?;
        assert_eq!(answer.status, status, "{forwarded}");
    }
    gateway.counts(REJECTED, &[("reason", "forbidden")], 3.0).await?;
    gateway.stop().await?;
    // Nobody is believed.
    let gateway = Gateway::start(&config.yaml()).await?;
    let forged = gateway.get("/").header("x-forwarded-for", "10.1.2.3").send().await?;
    assert_eq!(forged.status, 403);
    gateway.stop().await
}

#[tokio::test]
async fn connections_over_the_limit_are_answered_and_closed() -> Result<()> {
    let origin = Origin::start("v1").await?;
    for limits in ["connections: 2", "connections_per_client: 2"] {
        let config =
            Config::single(origin.address()).listener("few", &format!("limits: {{ {limits} }}"));
        let gateway = Gateway::start(&config.yaml()).await?;
        let few = gateway.address("few");
        let call = Call::get(few, "/");
        let mut first = Connection::open(few).await?;
        let mut second = Connection::open(few).await?;
        for connection in [&mut first, &mut second] {
            assert_eq!(connection.send(&call).await?.status, 200);
        }
        let mut third = Connection::open(few).await?;
        let refused = third.send(&call).await?;
        assert_eq!((refused.status, refused.header("retry-after")), (503, "1"), "{limits}");
        assert!(third.closes_within(SOON).await, "{limits}");
        // Those that are in stay in, others are served elsewhere, and a place that is free is free.
        assert_eq!(first.send(&call).await?.status, 200);
        assert_eq!(gateway.get("/").send().await?.status, 200);
        drop(second);
        eventually("a place is free", async || {
            call.send().await.ok().filter(|answer| answer.status == 200)
        })
        .await?;
        drop(first);
        gateway.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn more_requests_than_the_process_may_have_are_turned_away_at_once() -> Result<()> {
    let origin = Origin::start("v1").await?;
    origin.behave(Behaviour::Delay(Duration::from_secs(2)));
    let yaml = Config::single(origin.address()).top("runtime: { max_requests: 2 }").yaml();
    let gateway = Gateway::start(&yaml).await?;
    let slow = [gateway.get("/1"), gateway.get("/2")];
    let accepted = tokio::spawn(async move { tokio::join!(slow[0].send(), slow[1].send()) });
    eventually("two are under way", async || (origin.hits() == 2).then_some(())).await?;
    let refused = gateway.get("/3").send().await?;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"));
    let (one, two) = accepted.await?;
    assert_eq!((one?.status, two?.status), (200, 200));
    gateway.counts(REJECTED, &[("reason", "overload")], 1.0).await?;
    assert_eq!(gateway.get("/4").send().await?.status, 200);
    gateway.stop().await
}

#[tokio::test]
async fn a_listener_has_time_limits_of_its_own() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let config = Config::single(origin.address())
        .listener("short", "timeouts: { head: 1s, idle: 1s, body: 1s }");
    let gateway = Gateway::start(&config.yaml()).await?;
    let short = gateway.address("short");
    let mut silent = RawClient::connect(short).await?;
    silent.send("GET / HT").await?;
    assert_eq!(silent.response(SOON).await?.status, 408);
    let mut stops = RawClient::connect(short).await?;
    stops.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc").await?;
    assert_eq!(stops.response(SOON).await?.status, 408);
    // It is not the variant's failure.
    let outcome = [("variant", "stable"), ("outcome", "client_aborted")];
    gateway.counts("tidegate_attempts_total", &outcome, 1.0).await?;
    let mut idle = Connection::open(short).await?;
    assert_eq!(idle.send(&Call::get(short, "/")).await?.status, 200);
    assert!(idle.closes_within(SOON).await);
    // A complete chunked request is not waited for, however long its answer takes.
    origin.behave(Behaviour::Delay(Duration::from_secs(3)));
    let slow = Call::new(short, "PUT", "/").chunked("body").send().await?;
    assert_eq!(slow.status, 200);
    gateway.stop().await
}

#[tokio::test]
async fn idle_connections_are_small() -> Result<()> {
    const CONNECTIONS: usize = 2_000;
    // 200 MB for 10,000.
    const EACH: u64 = 20_000;
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let call = gateway.get("/");
    call.send().await?;
    let before = gateway.memory("VmRSS")?;
    let mut idle = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::open(gateway.web()).await?;
        assert_eq!(connection.send(&call).await?.status, 200);
        idle.push(connection);
    }
    sleep(Duration::from_millis(500)).await;
    let each = gateway.memory("VmRSS")?.saturating_sub(before) / CONNECTIONS as u64;
    eprintln!("{each} bytes for an idle connection");
    assert!(each < EACH, "{each} bytes for an idle connection");
    gateway.counts("tidegate_client_connections", &[], CONNECTIONS as f64).await?;
    drop(idle);
    gateway.stop().await
}

//! What may happen around a gateway: services that freeze, retries that save a request, a process
//! without descriptors, a log on a full disk. Every request has its answer in its time, and what
//! is over is over.

use anyhow::Result;
use std::time::{Duration, Instant};
use tidegate_tests::*;

/// Two endpoints, the first of which is `bad`.
fn pair(bad: std::net::SocketAddr, good: std::net::SocketAddr) -> Config {
    let keys = format!("endpoints: [\"{bad}\", \"{good}\"], timeouts: {{ response: 1s }}");
    Config::new().upstream_with("both", &keys).route(
        "shop",
        "/",
        "[{ name: stable, upstream: both }]",
    )
}

#[tokio::test]
async fn a_retry_goes_to_another_endpoint() -> Result<()> {
    let (bad, good) = tokio::try_join!(Origin::start("bad"), Origin::start("good"))?;
    let retry = "retry: { attempts: 1, on: [connect_failure, reset, timeout, \"503\"], budget: 100%, \
                 backoff: 1ms, per_try_timeout: 300ms }";
    let gateway = Gateway::start(&pair(bad.address(), good.address()).also(retry).yaml()).await?;
    for trouble in [Behaviour::Status(503), Behaviour::Hangup, Behaviour::Never] {
        bad.behave(trouble);
        let before = bad.hits();
        for _ in 0..8 {
            let answer = gateway.get("/").send().await?;
            assert_eq!((answer.status, answer.origin()), (200, "good"), "{trouble:?}");
        }
        assert!(bad.hits() > before, "{trouble:?}: it was never asked");
        // A body goes with the retry.
        let body = vec![b'x'; 10_000];
        for _ in 0..2 {
            let answer = gateway.call("PUT", "/").body(body.clone()).send().await?;
            assert_eq!(answer.status, 200, "{trouble:?}");
            assert_eq!(good.last().body.len(), body.len());
        }
        // What may have been done is not done twice.
        let answers = [
            gateway.call("POST", "/").body("x").send().await?.status,
            gateway.call("POST", "/").body("x").send().await?.status,
        ];
        assert!(answers.contains(&200) && answers.iter().any(|one| *one >= 500), "{answers:?}");
    }
    // The first attempts are the variant's failures all the same.
    let metrics = gateway.metrics().await?;
    for outcome in ["server_error", "reset", "timeout"] {
        let labels = [("variant", "stable"), ("outcome", outcome)];
        assert!(metrics.sum("tidegate_attempts_total", &labels) >= 4.0, "{outcome}");
    }
    // What is not on the list is not retried.
    bad.behave(Behaviour::Status(500));
    let statuses = [gateway.get("/").send().await?.status, gateway.get("/").send().await?.status];
    assert!(statuses.contains(&500), "{statuses:?}");
    gateway.stop().await
}

#[tokio::test]
async fn retries_end_with_their_budget() -> Result<()> {
    let (one, two) = tokio::try_join!(Origin::start("one"), Origin::start("two"))?;
    for origin in [&one, &two] {
        origin.behave(Behaviour::Status(503));
    }
    let retry = "retry: { attempts: 1, on: [\"503\"], budget: 10%, backoff: 1ms }";
    let gateway = Gateway::start(&pair(one.address(), two.address()).also(retry).yaml()).await?;
    for _ in 0..200 {
        assert_eq!(gateway.get("/").send().await?.status, 503);
    }
    // Ten to begin with, and one for ten requests.
    let attempts = one.hits() + two.hits();
    assert!((225..=231).contains(&attempts), "{attempts}");
    gateway.stop().await
}

#[tokio::test]
async fn a_frozen_service_costs_its_time_limit_and_comes_back() -> Result<()> {
    let nginx = Nginx::start("v1").await?;
    let keys = format!("endpoints: [\"{}\"], timeouts: {{ response: 500ms }}", nginx.address());
    let config = Config::new().upstream_with("v1", &keys).route(
        "shop",
        "/",
        "[{ name: stable, upstream: v1 }]",
    );
    let gateway = Gateway::start(&config.yaml()).await?;
    assert_eq!(gateway.get("/").send().await?.status, 200);
    nginx.freeze()?;
    for _ in 0..3 {
        let began = Instant::now();
        assert_eq!(gateway.get("/").send().await?.status, 504);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    nginx.thaw()?;
    eventually("it is served from again", async || {
        gateway.get("/").send().await.ok().filter(|answer| answer.status == 200)
    })
    .await?;
    gateway.stop().await
}

#[tokio::test]
async fn without_descriptors_clients_are_answered_and_then_all_is_well() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let directory = tempfile::TempDir::new()?;
    let file = directory.path().join("tidegate.yaml");
    std::fs::write(&file, Config::single(origin.address()).yaml())?;
    let gateway = Gateway::start_through(&["prlimit", "--nofile=120:120"], &file).await?;
    let mut idle = Vec::new();
    let mut statuses = Vec::new();
    for _ in 0..110 {
        let Ok(mut connection) = Connection::open(gateway.web()).await else { continue };
        if let Ok(answer) = connection.send(&gateway.get("/")).await {
            statuses.push(answer.status);
            idle.push(connection);
        }
    }
    assert!(statuses.contains(&200) && statuses.contains(&503), "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    drop(idle);
    eventually("all is well again", async || {
        gateway.get("/").send().await.ok().filter(|answer| answer.status == 200)
    })
    .await?;
    Load::run(&gateway.get("/"), 4, 200).await.flawless()?;
    gateway.stop().await
}

#[tokio::test]
async fn a_full_disk_for_the_log_fails_no_request() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let yaml = Config::single(origin.address()).top("access_log: { path: /dev/full }").yaml();
    let gateway = Gateway::start(&yaml).await?;
    Load::run(&gateway.get("/"), 4, 400).await.flawless()?;
    gateway.stop().await
}

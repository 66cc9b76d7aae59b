//! Rollouts of gRPC services: what fails by its status, and streams that outlive their version.

use crate::grpc::{client, h2c, split};
use anyhow::Result;
use std::time::Duration;
use tidegate_tests::*;

/// To find a version that is as bad as those here, and to act.
const FOUND: Duration = Duration::from_secs(20);

const PLAN: &str = "steps: [{ weight: 50%, hold: 10m }]\n\
                    gates: [{ name: errors, metric: error_rate, max: 5% }]";

/// A gateway that rolls `v2` out, with its state where no disk holds it up.
async fn rolling(config: Config) -> Result<(Gateway, Rollout, tempfile::TempDir)> {
    let directory = quick_directory()?;
    let file = directory.path().join("tidegate.yaml");
    std::fs::write(&file, config.yaml())?;
    let gateway = Gateway::start_at(&file).await?;
    let rollout = Rollout::of(&gateway, "v2");
    Ok((gateway, rollout, directory))
}

#[tokio::test]
async fn a_version_that_answers_unavailable_goes() -> Result<()> {
    let (v1, v2) = tokio::try_join!(GrpcServer::start("v1"), GrpcServer::start("v2"))?;
    for code in [14, 13] {
        v2.fail(0.4, code).await?;
        let config = split(&v1, "100", &v2, "0").rollout("1", PLAN);
        let (gateway, rollout, _kept) = rolling(config).await?;
        let client = client(&gateway).await?;
        let (report, ended) = client.load_until(rollout.reaches("rolled_back", FOUND)).await?;
        assert!(report.code(code.into()) > 0 && report.of("v1") > 0, "{report:?}");
        let why = ended["ended"]["why"].as_str().unwrap_or_default();
        assert!(why.starts_with("`errors` is bad: "), "{why}");
        let after = client.load(100, &[]).await?;
        assert_eq!((after.of("v1"), after.code(0)), (100, 100), "{after:?}");
        gateway.cut().await?;
    }
    Ok(())
}

/// What a caller does wrong says nothing about the version.
#[tokio::test]
async fn a_version_whose_callers_are_wrong_stays() -> Result<()> {
    let (v1, v2) = tokio::try_join!(GrpcServer::start("v1"), GrpcServer::start("v2"))?;
    v2.fail(0.5, 5).await?;
    let plan = PLAN.replace("hold: 10m", "hold: 1s, min_requests: 300");
    let (gateway, rollout, _kept) =
        rolling(split(&v1, "100", &v2, "0").rollout("1", &plan)).await?;
    let client = client(&gateway).await?;
    let (report, _) = client.load_until(rollout.reaches("promoted", FOUND)).await?;
    assert!(report.code(5) > 0, "{report:?}");
    gateway.cut().await
}

/// Opens streams until there is one on each server, and gives their numbers.
async fn one_on_each(client: &GrpcClient) -> Result<(u64, u64)> {
    let (mut stable, mut canary) = (None, None);
    for stream in 1..100 {
        match &*client.open(stream, &[]).await? {
            "v1" => stable.get_or_insert(stream),
            _ => canary.get_or_insert(stream),
        };
        if let (Some(stable), Some(canary)) = (stable, canary) {
            return Ok((stable, canary));
        }
    }
    anyhow::bail!("all on one: {stable:?}, {canary:?}")
}

#[tokio::test]
async fn streams_of_a_version_that_goes_are_closed_if_told() -> Result<()> {
    for drain in [true, false] {
        let (v1, v2) = tokio::try_join!(GrpcServer::start("v1"), GrpcServer::start("v2"))?;
        let told = if drain { "\non_streams: { drain: 1s }" } else { "" };
        let config = split(&v1, "100", &v2, "0").rollout("1", &format!("{PLAN}{told}"));
        let (gateway, rollout, _kept) = rolling(config).await?;
        rollout.until("half have it", SOON, |one| one["weight"] == 500_000).await?;
        let client = client(&gateway).await?;
        let (stable, canary) = one_on_each(&client).await?;
        let open = |variant| [("route", "shop"), ("variant", variant)];
        let metrics = gateway.metrics().await?;
        for variant in ["stable", "canary"] {
            let open = metrics.sum("tidegate_streams_open", &open(variant));
            assert!(open >= 1.0, "{variant}: {}", metrics.text);
        }
        assert_eq!(client.send(canary, "before").await?, "v2 before");
        v2.fail(1.0, 14).await?;
        client.load_until(rollout.reaches("rolled_back", FOUND)).await?;
        if drain {
            let ended = client.wait(canary, SOON).await?;
            assert_eq!(ended.code, 14, "{ended:?}");
            gateway.counts("tidegate_streams_open", &open("canary"), 0.0).await?;
        } else {
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(client.send(canary, "after").await?, "v2 after");
        }
        assert_eq!(client.send(stable, "after").await?, "v1 after");
        assert_eq!(client.end(stable).await?.code, 0);
        drop(client);
        gateway.stop().await?;
    }
    Ok(())
}

/// A stream of a user whom a pin sends there has nothing to do with the rollout.
#[tokio::test]
async fn a_pinned_stream_goes_on() -> Result<()> {
    let (v1, v2) = tokio::try_join!(GrpcServer::start("v1"), GrpcServer::start("v2"))?;
    let config = Config::new()
        .h2c("")
        .upstream_with("v1", &h2c(&v1))
        .upstream_with("v2", &h2c(&v2))
        .route(
            "shop",
            "/",
            "[{ name: stable, upstream: v1, weight: 100 }, \
             { name: canary, upstream: v2, weight: 0 }]",
        )
        .also("pins: [{ variant: canary, header: { name: x-canary, present: true } }]")
        .rollout("1", &format!("{PLAN}\non_streams: {{ drain: 1s }}"));
    let (gateway, rollout, _kept) = rolling(config).await?;
    rollout.until("half have it", SOON, |one| one["weight"] == 500_000).await?;
    let client = client(&gateway).await?;
    assert_eq!(client.open(1, &[("x-canary", "1")]).await?, "v2");
    rollout.does("abort").await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(client.send(1, "still here").await?, "v2 still here");
    drop(client);
    gateway.stop().await
}

//! A steady load for a long time, with everything that may happen meanwhile: a reload every second,
//! an upstream that flaps, clients that go away, and an upgrade. `make soak` takes 15 minutes; the
//! suite has some seconds of it.

use anyhow::{Context as _, Result, ensure};
use std::{
    env,
    time::{Duration, Instant},
};
use tidegate_tests::*;
use tokio::time::sleep;

/// Between two looks at what is there.
const ROUND: Duration = Duration::from_secs(4);

/// How long it takes, in seconds.
const SECONDS: &str = "TIDEGATE_SOAK_SECONDS";

/// Descriptors that may be more or fewer: connections to upstreams are kept for a minute.
const DESCRIPTORS: usize = 64;

fn yaml(stable: &Origin, flapping: &Origin, weight: u32) -> String {
    let (good, bad) = (stable.address(), flapping.address());
    // A retry of the canary's has somewhere to go.
    let canary = format!(
        "endpoints: [\"{bad}\", \"{good}\"], outlier_detection: {{ eject_for: 1s }}, \
         timeouts: {{ connect: 500ms, response: 2s }}"
    );
    Config::new()
        .h2c("")
        .upstream("v1", good)
        .upstream_with("v2", &canary)
        .route(
            "shop",
            "/",
            &format!(
                "[{{ name: stable, upstream: v1, weight: {} }}, \
                  {{ name: canary, upstream: v2, weight: {weight}, fallback: stable }}]",
                100 - weight
            ),
        )
        .also("retry: { attempts: 2, on: [connect_failure, reset, \"5xx\"], budget: 100%, backoff: 1ms }")
        .yaml()
}

/// Clients that hang up in the middle of it.
async fn abort(gateway: &Gateway) -> Result<()> {
    for sent in [
        "GET / HT",
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nab",
    ] {
        let mut client = RawClient::connect(gateway.web()).await?;
        client.send_some(sent).await;
    }
    Ok(())
}

fn descriptors(gateway: &Gateway) -> Result<usize> {
    let pid = gateway.pid().as_raw_nonzero();
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    memory: u64,
    descriptors: usize,
}

impl Held {
    fn by(gateway: &Gateway) -> Result<Self> {
        Ok(Self { memory: gateway.memory("VmRSS")?, descriptors: descriptors(gateway)? })
    }
}

/// One round of load and trouble, after which everything is quiet again.
async fn round(gateway: &Gateway, stable: &Origin, flapping: &Origin) -> Result<u64> {
    let kept = Load::start(&gateway.get("/"), 4);
    let fresh = Load::fresh(&gateway.get("/"), 1);
    let uploads = Load::start(&gateway.call("PUT", "/").chunked(vec![b'x'; 20_000]), 1);
    let end = Instant::now() + ROUND;
    let mut turn = 0u32;
    while Instant::now() < end {
        turn += 1;
        let trouble = match turn % 4 {
            0 => Behaviour::Status(500),
            2 => Behaviour::Hangup,
            _ => Behaviour::Echo,
        };
        flapping.behave(trouble);
        gateway.write(&yaml(stable, flapping, 10 + turn % 30))?;
        abort(gateway).await?;
        sleep(Duration::from_secs(1)).await;
    }
    let mut served = 0;
    for load in [kept, fresh, uploads] {
        served += load.stop().await.flawless()?.served();
    }
    // No request and no connection is left behind.
    gateway.counts("tidegate_requests_in_flight", &[], 0.0).await?;
    gateway.counts("tidegate_client_connections", &[], 0.0).await?;
    Ok(served)
}

#[tokio::test]
async fn soak() -> Result<()> {
    let seconds = match env::var(SECONDS) {
        Ok(seconds) => seconds.parse().with_context(|| format!("{SECONDS} is no number"))?,
        Err(_) => 24,
    };
    let long = seconds >= 600;
    let end = Instant::now() + Duration::from_secs(seconds);
    let (stable, flapping) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let mut first = Gateway::start(&yaml(&stable, &flapping, 20)).await?;
    let mut served = round(&first, &stable, &flapping).await?;
    let second = first.upgraded().await?;
    first.retires().await?;
    // The file is the first process's.
    let gateway = second;
    served += round(&gateway, &stable, &flapping).await?;
    if long {
        for _ in 0..30 {
            served += round(&gateway, &stable, &flapping).await?;
        }
    }
    let warm = Held::by(&gateway)?;
    let mut last = warm;
    let mut rounds = 0;
    while Instant::now() < end {
        served += round(&gateway, &stable, &flapping).await?;
        last = Held::by(&gateway)?;
        rounds += 1;
        if rounds % 15 == 0 {
            eprintln!("soak: {served} answers, {last:?}, warm {warm:?}");
        }
    }
    eprintln!("soak: {served} answers in {seconds} s; warm {warm:?}, at the end {last:?}");
    // A few seconds do not warm anything up.
    let most = if long { warm.memory / 20 * 21 } else { warm.memory * 2 };
    ensure!(last.memory <= most, "memory grew: {warm:?}, {last:?}");
    let most = warm.descriptors + DESCRIPTORS;
    ensure!(last.descriptors <= most, "descriptors leak: {warm:?}, {last:?}");
    gateway.stop().await
}

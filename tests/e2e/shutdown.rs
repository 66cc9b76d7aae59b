//! The end of a process: what was accepted is finished, nothing new is begun, exit code 0.

use anyhow::Result;
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tidegate_tests::*;
use tokio::{net::TcpStream, time::sleep};

#[tokio::test]
async fn requests_in_flight_are_finished() -> Result<()> {
    let origin = Origin::start("v1").await?;
    origin.behave(Behaviour::Delay(Duration::from_millis(1500)));
    let mut gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let web = gateway.web();
    let slow: Vec<_> = (0..3)
        .map(|_| {
            let call = gateway.get("/slow");
            tokio::spawn(async move {
                let mut connection = Connection::open(web).await?;
                let answer = connection.send(&call).await?;
                anyhow::Ok((answer.status, connection.is_over().await))
            })
        })
        .collect();
    eventually("they are on their way", async || (origin.hits() == 3).then_some(())).await?;
    gateway.signal(Signal::TERM)?;
    eventually("readiness goes", async || {
        gateway.admin_get("/readyz").await.ok().filter(|answer| answer.status == 503)
    })
    .await?;
    eventually("new connections are refused", async || {
        TcpStream::connect(web).await.err().map(drop)
    })
    .await?;
    assert_eq!(gateway.admin_get("/healthz").await?.status, 200, "it still lives");
    for one in slow {
        assert_eq!(one.await??, (200, true), "status, and whether the connection then ended");
    }
    assert_eq!(gateway.exit_code(SOON).await?, 0);
    Ok(())
}

#[tokio::test]
async fn idle_connections_hold_up_no_end() -> Result<()> {
    let origin = Origin::start("v1").await?;
    for signal in [Signal::TERM, Signal::INT] {
        let mut gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
        let mut kept = Connection::open(gateway.web()).await?;
        assert_eq!(kept.send(&gateway.get("/")).await?.status, 200);
        let mut silent = RawClient::connect(gateway.web()).await?;
        sleep(Duration::from_millis(50)).await;
        let begin = Instant::now();
        gateway.signal(signal)?;
        assert!(kept.closes_within(Duration::from_secs(3)).await);
        silent.until_closed(Duration::from_secs(3)).await?;
        assert_eq!(gateway.exit_code(SOON).await?, 0);
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
    Ok(())
}

#[tokio::test]
async fn the_drain_timeout_ends_what_never_ends() -> Result<()> {
    let origin = Origin::start("v1").await?;
    origin.behave(Behaviour::Never);
    let config = Config::single(origin.address()).top("runtime: { drain_timeout: 1s }");
    let mut gateway = Gateway::start(&config.yaml()).await?;
    let endless = gateway.get("/");
    let endless = tokio::spawn(async move { endless.send().await });
    eventually("it is on its way", async || (origin.hits() == 1).then_some(())).await?;
    let begin = Instant::now();
    gateway.signal(Signal::TERM)?;
    assert_eq!(gateway.exit_code(SOON).await?, 0);
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(4), "{took:?}");
    // Cut off, or told so; not served.
    assert!(endless.await?.map_or(true, |answer| answer.status >= 500));
    Ok(())
}

#[tokio::test]
async fn an_upload_in_flight_is_finished() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let mut gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let mut client = RawClient::connect(gateway.web()).await?;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst").await?;
    eventually("it is on its way", async || (origin.hits() == 1).then_some(())).await?;
    gateway.signal(Signal::TERM)?;
    sleep(Duration::from_millis(500)).await;
    client.send("later").await?;
    let answer = client.response(SOON).await?;
    assert_eq!((answer.status, &answer.json()?["body_bytes"]), (200, &10.into()));
    assert_eq!(gateway.exit_code(SOON).await?, 0);
    Ok(())
}

#[tokio::test]
async fn an_address_that_is_taken_ends_the_start() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let first = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let (port, taken) = ("web, address: 127.0.0.1:0", format!("web, address: {}", first.web()));
    let second = Config::single(origin.address()).yaml().replace(port, &taken);
    let directory = tempfile::TempDir::new()?;
    let file = directory.path().join("tidegate.yaml");
    std::fs::write(&file, second)?;
    let ended = tidegate(&["run".as_ref(), "-c".as_ref(), file.as_os_str()]).await?;
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    assert!(ended.stderr.contains(&first.web().to_string()), "{}", ended.stderr);
    first.stop().await
}

#[tokio::test]
async fn clients_are_taken_until_the_delay_is_over() -> Result<()> {
    const DELAY: Duration = Duration::from_secs(3);
    let origin = Origin::start("v1").await?;
    let config = Config::single(origin.address()).top("runtime: { drain_delay: 3s }");
    let mut gateway = Gateway::start(&config.yaml()).await?;
    let load = Load::fresh(&gateway.get("/"), 2);
    load.serves(20).await?;
    let begin = Instant::now();
    gateway.signal(Signal::TERM)?;
    let readiness_gone =
        async || gateway.admin_get("/readyz").await.ok().filter(|answer| answer.status == 503);
    eventually("readiness goes", readiness_gone).await?;
    // Whoever balances has not looked yet.
    load.serves(20).await?;
    load.stop().await.flawless()?;
    assert!(begin.elapsed() < DELAY, "too slow a machine for this test: {:?}", begin.elapsed());
    eventually("new connections are refused", async || {
        TcpStream::connect(gateway.web()).await.err().map(drop)
    })
    .await?;
    assert_eq!(gateway.exit_code(SOON).await?, 0);
    assert!(begin.elapsed() >= DELAY, "{:?}", begin.elapsed());
    Ok(())
}

#[tokio::test]
async fn who_asks_again_waits_no_longer() -> Result<()> {
    let origin = Origin::start("v1").await?;
    origin.behave(Behaviour::Never);
    // Once in the delay, once in the drain.
    for runtime in ["drain_delay: 1h", "drain_timeout: 1h"] {
        let config = Config::single(origin.address()).top(&format!("runtime: {{ {runtime} }}"));
        let mut gateway = Gateway::start(&config.yaml()).await?;
        let (before, endless) = (origin.hits(), gateway.get("/"));
        let endless = tokio::spawn(async move { endless.send().await });
        eventually("it is on its way", async || (origin.hits() > before).then_some(())).await?;
        gateway.signal(Signal::TERM)?;
        eventually("readiness goes", async || {
            gateway.admin_get("/readyz").await.ok().filter(|answer| answer.status == 503)
        })
        .await?;
        // Less than a second later it may be the same wish on two ways.
        sleep(Duration::from_secs(1)).await;
        gateway.signal(Signal::INT)?;
        assert_eq!(gateway.exit_code(SOON).await?, 0, "{runtime}");
        assert!(gateway.log().iter().any(|line| line.contains("told to stop again")), "{runtime}");
        assert!(endless.await?.map_or(true, |answer| answer.status >= 500), "{runtime}");
    }
    Ok(())
}

#[tokio::test]
async fn two_signals_at_once_are_one_wish() -> Result<()> {
    let origin = Origin::start("v1").await?;
    origin.behave(Behaviour::Delay(Duration::from_millis(1500)));
    let mut gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let slow = gateway.get("/slow");
    let slow = tokio::spawn(async move { slow.send().await });
    eventually("it is on its way", async || (origin.hits() == 1).then_some(())).await?;
    gateway.signal(Signal::INT)?;
    gateway.signal(Signal::TERM)?;
    assert_eq!(slow.await??.status, 200);
    assert_eq!(gateway.exit_code(SOON).await?, 0);
    Ok(())
}

//! Either process may be killed at any moment: one serves.

use super::{A_MOMENT, Words, serves, socket_beside};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::time::Duration;
use tidegate_tests::*;
use tokio::{io::AsyncWriteExt as _, time::sleep};

#[tokio::test]
async fn a_new_process_that_dies_before_it_serves() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let mut gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let load = Load::fresh(&gateway.get("/"), 2);
    // Killed: its end of the connection closes.
    for point in 0..3 {
        let mut words = eventually("it can be asked", async || {
            let mut words = Words::to(&gateway).ok()?;
            (point == 0 || words.begin().is_ok()).then_some(words)
        })
        .await?;
        if point == 2 {
            words.ask(&json!({ "say": "rollouts" }), "released")?;
        }
        drop(words);
        load.serves(10).await?;
        serves(&gateway).await?;
    }
    let next = eventually("an upgrade works", async || gateway.upgraded().await.ok()).await?;
    gateway.retires().await?;
    serves(&next).await?;
    load.serves(10).await?;
    load.stop().await.flawless()?;
    next.stop().await
}

#[tokio::test]
async fn a_new_process_that_is_killed_at_any_moment() -> Result<()> {
    const TRIES: u32 = 12;
    let origin = Origin::start("v1").await?;
    // Whoever drains has something to wait for.
    let config =
        Config::single(origin.address()).route("slow", "/slow", "[{ name: stable, upstream: v1 }]");
    let mut gateway = Gateway::start(&config.yaml()).await?;
    let web = gateway.web();
    let fresh = Load::fresh(&gateway.get("/"), 2);
    for attempt in 0..TRIES {
        // A request that never ends by itself keeps the old process in its drain.
        let mut held = RawClient::connect(web).await?;
        held.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").await?;
        eventually("it is on its way", async || {
            let metrics = gateway.metrics().await.ok()?;
            (metrics.sum("tidegate_requests_in_flight", &[("route", "slow")]) == 1.0).then_some(())
        })
        .await?;
        let mut next = Gateway::launch(&[], gateway.file(), &["--upgrade"])?;
        sleep(Duration::from_millis(u64::from(attempt) * 8)).await;
        next.kill().await?;
        sleep(A_MOMENT).await;
        serves(&gateway).await.with_context(|| format!("attempt {attempt}: {:#?}", next.log()))?;
        ensure!(socket_beside(gateway.file()).exists());
        held.send("hello").await?;
        ensure!(held.response(SOON).await?.status == 200, "attempt {attempt}");
    }
    // Requests that the killed process had accepted are lost with it; nobody is refused.
    let report = fresh.stop().await;
    let refused = report.failures.iter().filter(|why| why.contains("refused")).count();
    ensure!(refused == 0 && report.failed <= 2 * u64::from(TRIES), "{report:?}");
    let next = gateway.upgraded().await?;
    gateway.retires().await?;
    serves(&next).await?;
    next.stop().await
}

#[tokio::test]
async fn a_new_process_that_dies_while_the_old_one_drains() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let mut first = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let hold = async |gateway: &Gateway| {
        let mut held = RawClient::connect(gateway.web()).await?;
        held.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").await?;
        eventually("it is on its way", async || {
            let metrics = gateway.metrics().await.ok()?;
            (metrics.sum("tidegate_requests_in_flight", &[]) == 1.0).then_some(())
        })
        .await?;
        anyhow::Ok(held)
    };
    let mut held = hold(&first).await?;
    let mut second = first.upgraded().await?;
    serves(&second).await?;
    second.kill().await?;
    // Who comes now waits in the queue of the socket until the old process takes it up again.
    serves(&first).await?;
    let said = |line: &String| line.contains("this one serves again");
    ensure!(first.log().iter().any(said), "{:#?}", first.log());
    held.send("hello").await?;
    ensure!(held.response(SOON).await?.status == 200);
    first.healthy()?;
    // It can be taken over from again, and need not come back if the new one ends in order.
    let mut held = hold(&first).await?;
    let third = first.upgraded().await?;
    serves(&third).await?;
    let web = third.web();
    third.stop().await?;
    ensure!(tokio::net::TcpStream::connect(web).await.is_err(), "somebody listens still");
    held.send("hello").await?;
    ensure!(held.response(SOON).await?.status == 200);
    first.retires().await
}

#[tokio::test]
async fn an_old_process_that_dies_while_it_drains() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let mut first = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let load = Load::fresh(&first.get("/"), 2);
    let mut held = tokio::net::TcpStream::connect(first.web()).await?;
    held.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").await?;
    eventually("it is on its way", async || {
        let metrics = first.metrics().await.ok()?;
        (metrics.sum("tidegate_client_connections", &[]) >= 1.0).then_some(())
    })
    .await?;
    load.serves(20).await?;
    let mut second = first.upgraded().await?;
    // Who was accepted by the first has been answered: only `held` is left there.
    sleep(A_MOMENT).await;
    first.kill().await?;
    serves(&second).await?;
    load.serves(20).await?;
    load.stop().await.flawless()?;
    second.healthy()?;
    let third = second.upgraded().await?;
    second.retires().await?;
    serves(&third).await?;
    third.stop().await
}

#[tokio::test]
async fn an_old_process_that_dies_before_it_is_told() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let directory = tempfile::TempDir::new()?;
    let file = directory.path().join("tidegate.yaml");
    std::fs::write(&file, Config::single(origin.address()).yaml())?;
    // It offers no socket, and dies when it is asked for the rollouts.
    let dying = std::os::unix::net::UnixListener::bind(socket_beside(&file))?;
    let thread = std::thread::spawn(move || {
        use std::io::{BufRead as _, Write as _};
        let (mut stream, _) = dying.accept()?;
        let mut lines = std::io::BufReader::new(stream.try_clone()?).lines();
        let hello = lines.next().transpose()?;
        let offer =
            json!({ "say": "sockets", "protocol": 1, "release": "0", "pid": 1, "count": 0 });
        writeln!(stream, "{offer}")?;
        let asked = lines.next().transpose()?;
        anyhow::Ok((hello, asked))
    });
    let gateway = Gateway::start_with(&[], &file, &["--upgrade"]).await?;
    let said = thread.join().expect("it ends")?;
    ensure!(said.1.as_deref() == Some(r#"{"say":"rollouts"}"#), "{said:?}");
    serves(&gateway).await?;
    gateway.stop().await
}

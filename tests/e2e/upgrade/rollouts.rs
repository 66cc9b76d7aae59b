//! Rollouts go on over an upgrade: the same step, the same evidence, the same weights.

use super::Words;
use crate::rollout_state::{Place, weighs, weight};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;
use tidegate_tests::*;

const A_WHILE: Duration = Duration::from_secs(20);

/// A step that nothing ends but a bad candidate.
const LONG_STEP: &str = "steps: [{ weight: 50%, hold: 1h }, { weight: 100% }]
gates: [{ name: errors, metric: error_rate, max: 5% }]";

/// Sends a request of each of these users.
async fn ask(gateway: &Gateway, users: std::ops::Range<u32>) -> Result<()> {
    let mut connection = Connection::open(gateway.web()).await?;
    for user in users {
        let call = gateway.get("/").header("x-user", &format!("user-{user}"));
        connection.send(&call).await?;
    }
    Ok(())
}

/// Users without number.
fn crowd(gateway: &Gateway, clients: usize) -> Load {
    let (web, next) = (gateway.web(), std::sync::atomic::AtomicU32::new(1_000_000));
    Load::start_each(clients, move || {
        let user = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Call::get(web, "/").header("x-user", &format!("user-{user}"))
    })
}

fn counted(rollout: &Value) -> u64 {
    let both = rollout["gates"][0]["run"]["requests"].as_array();
    both.map_or(0, |both| both.iter().filter_map(Value::as_u64).sum())
}

#[tokio::test]
async fn nothing_is_forgotten() -> Result<()> {
    let place = Place::new().await?;
    place.write(&place.config().rollout("1", LONG_STEP))?;
    let mut gateway = place.start().await?;
    let rollout = Rollout::of(&gateway, "v2");
    let began = rollout.reaches("progressing", SOON).await?;
    weighs(&gateway, 0.5).await?;
    for number in 1..=3 {
        // These end within the tick in which the gateway is asked.
        ask(&gateway, (number - 1) * 200..number * 200).await?;
        let next = gateway.upgraded().await?;
        gateway.retires().await?;
        // From the first request on.
        ensure!(weight(&next).await? == 0.5);
        let counts = |now: &Value| counted(now) == u64::from(number) * 200;
        let now = rollout.until("every request is counted", SOON, counts).await?;
        ensure!(now["step"] == 1 && now["step_since"] == began["step_since"], "{now:#}");
        gateway = next;
    }
    ensure!(rollout.actions().await? == ["started"]);
    // What was learned by one process counts in the next.
    let load = crowd(&gateway, 3);
    load.serves(100).await?;
    let next = gateway.upgraded().await?;
    place.canary.fail(1.0);
    rollout.reaches("rolled_back", A_WHILE).await?;
    load.stop().await;
    gateway.retires().await?;
    weighs(&next, 0.0).await?;
    let last = next.upgraded().await?;
    ensure!(weight(&last).await? == 0.0);
    let shown = rollout.reaches("rolled_back", SOON).await?;
    ensure!(shown["run"] == began["run"], "{shown:#}");
    ensure!(rollout.actions().await? == ["started", "rolled_back"]);
    last.stop().await
}

#[tokio::test]
async fn a_new_process_that_dies_gives_them_back() -> Result<()> {
    let place = Place::new().await?;
    place.write(&place.config().rollout("1", LONG_STEP))?;
    let gateway = place.start().await?;
    let rollout = Rollout::of(&gateway, "v2");
    rollout.reaches("progressing", SOON).await?;
    weighs(&gateway, 0.5).await?;
    ask(&gateway, 0..100).await?;
    let mut words = Words::to(&gateway)?;
    words.begin()?;
    words.ask(&json!({ "say": "rollouts" }), "released")?;
    // Nobody has it: all is written.
    let kept = place.state().read().await?;
    let run = kept.runs.get("v2").context("no run")?;
    ensure!(run.to_string().contains("v2"), "{run}");
    let (status, body) = rollout.act("abort").await?;
    ensure!(status == 503 && body["detail"].as_str().is_some_and(|why| why.contains("takes")));
    ensure!(weight(&gateway).await? == 0.5);
    let (status, _) = rollout.freeze_all(true).await?;
    ensure!(status == 503, "{status}");
    // It serves on, and what it counts meanwhile is not lost.
    ask(&gateway, 100..200).await?;
    drop(words);
    let now = rollout.until("all is counted", SOON, |now| counted(now) == 200).await?;
    ensure!(now["state"] == "progressing" && now["step"] == 1, "{now:#}");
    let load = crowd(&gateway, 3);
    place.canary.fail(1.0);
    rollout.reaches("rolled_back", A_WHILE).await?;
    load.stop().await;
    weighs(&gateway, 0.0).await?;
    gateway.stop().await
}

#[tokio::test]
async fn an_old_process_follows_the_new_one() -> Result<()> {
    let place = Place::new().await?;
    place.write(&place.config().rollout("1", LONG_STEP))?;
    let mut old = place.start().await?;
    let rollout = Rollout::of(&old, "v2");
    rollout.reaches("progressing", SOON).await?;
    weighs(&old, 0.5).await?;
    // A connection of the old process that is still asked over, on the admin side and on its own.
    let mut held = RawClient::connect(old.web()).await?;
    held.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").await?;
    eventually("it is on its way", async || {
        let metrics = old.metrics().await.ok()?;
        (metrics.sum("tidegate_requests_in_flight", &[]) == 1.0).then_some(())
    })
    .await?;
    let mut new = old.upgraded().await?;
    // What the new process decides, and dies of.
    rollout.does("abort").await?;
    ensure!(weight(&new).await? == 0.0);
    new.kill().await?;
    weighs(&old, 0.0).await?;
    let shown = rollout.reaches("aborted", SOON).await?;
    ensure!(shown["state"] == "aborted", "{shown:#}");
    ensure!(rollout.actions().await? == ["started", "aborted"]);
    held.send("hello").await?;
    ensure!(held.response(SOON).await?.status == 200);
    // It has them again.
    eventually("it can be asked", async || {
        (rollout.act("retry").await.ok()?.0 == 200).then_some(())
    })
    .await?;
    weighs(&old, 0.5).await?;
    old.healthy()?;
    old.stop().await
}

#[tokio::test]
async fn what_is_not_on_the_disk_is_not_handed_over() -> Result<()> {
    let place = Place::new().await?;
    place.write(&place.config().rollout("1", LONG_STEP))?;
    let mut gateway = place.start().await?;
    let rollout = Rollout::of(&gateway, "v2");
    rollout.reaches("progressing", SOON).await?;
    weighs(&gateway, 0.5).await?;
    let locked = place.state().lock().await?;
    // It is in force, and cannot be written.
    let (status, _) = rollout.act("abort").await?;
    ensure!(status == 200, "{status}");
    weighs(&gateway, 0.0).await?;
    let file = gateway.file().as_os_str();
    let ended = tidegate(&["run".as_ref(), "--upgrade".as_ref(), "-c".as_ref(), file]).await?;
    ensure!(ended.code == Some(1) && ended.stderr.contains("not on the disk"), "{ended:?}");
    ensure!(weight(&gateway).await? == 0.0);
    gateway.healthy()?;
    drop(locked);
    let next = eventually("an upgrade works", async || gateway.upgraded().await.ok()).await?;
    gateway.retires().await?;
    ensure!(weight(&next).await? == 0.0);
    let last = rollout.reaches("aborted", SOON).await?;
    ensure!(last["state"] == "aborted", "{last:#}");
    next.stop().await
}

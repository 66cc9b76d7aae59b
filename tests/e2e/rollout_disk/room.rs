//! A disk that is full, and a file that somebody else has locked.

use super::{
    LONG_STEP, ask, complains, halfway, is_content, is_durable, is_taken_away, stays_rolled_back,
};
use crate::rollout_state::{Place, says, weighs, weight};
use anyhow::{Result, ensure};
use serde_json::Value;
use tidegate_tests::*;

/// A program that it does not kill may meet the limit of its files' sizes, and be told.
const UNKILLED: [&str; 3] = ["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""];

/// From now on files may be written up to so many bytes. Only the soft limit, so that more can be
/// allowed later.
async fn limit(gateway: &Gateway, bytes: &str) -> Result<()> {
    let pid = gateway.pid().as_raw_nonzero().to_string();
    let limit = format!("--fsize={bytes}:unlimited");
    let done = run("prlimit", &["--pid", pid.as_str(), limit.as_str()], b"").await?;
    ensure!(done.code == Some(0), "{done:?}");
    Ok(())
}

#[tokio::test]
async fn a_full_disk_stops_what_goes_up_and_nothing_else() -> Result<()> {
    let place = Place::new().await?;
    let steps = "steps: [{ weight: 50%, hold: 2s }, { weight: 100%, hold: 1h }]
gates: [{ name: errors, metric: error_rate, max: 5% }]";
    place.write(&place.config().rollout("1", steps))?;
    let gateway = Gateway::start_through(&UNKILLED, &place.file()).await?;
    weighs(&gateway, 0.5).await?;
    let load = Load::start(&gateway.get("/"), 1);
    limit(&gateway, "1").await?;
    complains(&gateway, &["tidegate.db"]).await?;
    says(&gateway, &["\"ERROR\"", "journal", "tidegate.db"]).await?;

    let rollout = Rollout::of(&gateway, "v2");
    let over = |now: &Value| now["held_seconds"].as_f64() > Some(5.0);
    let held = rollout.until("the step is over long ago", SOON, over).await?;
    ensure!(held["step"] == 1 && held["state"] == "progressing", "it went on: {held:#}");
    ensure!(weight(&gateway).await? == 0.5, "{} in force", weight(&gateway).await?);
    let (status, answer) = rollout.act("promote").await?;
    ensure!(status == 503 && answer["detail"].as_str().is_some_and(|why| why.contains("kept")));
    let lines = gateway.log().len();
    ensure!(lines < 40, "one error is said in {lines} lines");
    load.stop().await.flawless()?;

    is_taken_away(&place, &gateway).await?;
    let waiting = rollout.get().await?;
    ensure!(waiting["undurable"] == 1, "{waiting:#}");
    ensure!(place.state().read().await?.actions() == ["started"], "the limit limits nothing");

    limit(&gateway, "unlimited").await?;
    is_durable(&place).await?;
    is_content(&gateway).await?;
    rollout.until("nothing waits", SOON, |now| now["undurable"] == 0).await?;
    stays_rolled_back(&place, gateway).await
}

#[tokio::test]
async fn a_disk_that_is_full_from_the_start_starts_nothing() -> Result<()> {
    let place = Place::new().await?;
    place.write(&place.config().rollout("1", LONG_STEP))?;
    let through = ["sh", "-c", "trap '' XFSZ; ulimit -Sf 1; exec \"$0\" \"$@\""];
    let gateway = Gateway::start_through(&through, &place.file()).await?;
    complains(&gateway, &["tidegate.db"]).await?;
    ensure!(weight(&gateway).await? == 0.0 && ask(&gateway, 0..100).await? == 0);
    limit(&gateway, "unlimited").await?;
    is_content(&gateway).await?;
    weighs(&gateway, 0.5).await?;
    gateway.stop().await
}

/// Nobody can judge it, so nobody has it; with room, it goes on where it was.
#[tokio::test]
async fn a_restart_on_a_full_disk_leaves_everybody_at_the_baseline() -> Result<()> {
    let place = Place::new().await?;
    let mut gateway = halfway(&place).await?;
    gateway.kill().await?;
    let through = ["sh", "-c", "trap '' XFSZ; ulimit -Sf 1; exec \"$0\" \"$@\""];
    let gateway = Gateway::start_through(&through, &place.file()).await?;
    complains(&gateway, &["tidegate.db"]).await?;
    weighs(&gateway, 0.0).await?;
    ensure!(ask(&gateway, 0..100).await? == 0, "users get it");
    limit(&gateway, "unlimited").await?;
    is_content(&gateway).await?;
    weighs(&gateway, 0.5).await?;
    is_taken_away(&place, &gateway).await?;
    is_durable(&place).await?;
    stays_rolled_back(&place, gateway).await
}

#[tokio::test]
async fn a_locked_file_protects_no_bad_candidate() -> Result<()> {
    let place = Place::new().await?;
    let gateway = halfway(&place).await?;
    let lock = place.state().lock().await?;
    is_taken_away(&place, &gateway).await?;
    complains(&gateway, &["tidegate.db", "locked by another program"]).await?;
    ensure!(place.state().read().await?.actions() == ["started"], "the lock locks nothing");
    drop(lock);
    is_durable(&place).await?;
    is_content(&gateway).await?;
    stays_rolled_back(&place, gateway).await
}

#[tokio::test]
async fn a_start_while_the_file_is_locked_goes_on_where_it_was() -> Result<()> {
    let place = Place::new().await?;
    let mut gateway = halfway(&place).await?;
    gateway.kill().await?;
    let lock = place.state().lock().await?;
    let gateway = place.start().await?;
    ensure!(weight(&gateway).await? == 0.5, "it serves with other weights");
    Rollout::of(&gateway, "v2").reaches("progressing", SOON).await?;
    ensure!(weight(&gateway).await? == 0.5, "it serves with other weights");
    is_taken_away(&place, &gateway).await?;
    drop(lock);
    is_durable(&place).await?;
    stays_rolled_back(&place, gateway).await
}

//! Disks and files that fail: it is said, nothing advances, users are served with the weights that
//! were safe last, and a bad candidate goes all the same.

mod damage;
mod room;

use crate::rollout_state::{Place, weighs, weight};
use anyhow::{Result, ensure};
use std::time::Duration;
use tidegate_tests::*;

/// A step that users have and nothing ends.
const LONG_STEP: &str = "steps: [{ weight: 50%, hold: 1h }, { weight: 100% }]
gates: [{ name: errors, metric: error_rate, max: 5% }]";

/// Taking a bad version away takes a second from the evidence on; the rest is the machine's.
const TAKEN_AWAY: Duration = Duration::from_secs(4);

/// A gateway whose users have the candidate.
async fn halfway(place: &Place) -> Result<Gateway> {
    place.write(&place.config().rollout("1", LONG_STEP))?;
    let gateway = place.start().await?;
    weighs(&gateway, 0.5).await?;
    ask(&gateway, 0..100).await?;
    Ok(gateway)
}

/// Requests of a user each; gives how many the candidate had.
async fn ask(gateway: &Gateway, users: std::ops::Range<usize>) -> Result<u64> {
    let mut canary = 0;
    let mut connection = Connection::open(gateway.web()).await?;
    for user in users {
        let call = gateway.get("/").header("x-user", &format!("user-{user}"));
        let answer = connection.send(&call).await?;
        ensure!(["v1", "v2"].contains(&answer.origin()), "{}: {}", answer.status, answer.text());
        canary += u64::from(answer.origin() == "v2");
    }
    Ok(canary)
}

/// The candidate turns bad, users meet it, and it goes.
async fn is_taken_away(place: &Place, gateway: &Gateway) -> Result<()> {
    place.canary.fail(1.0);
    let mut user = 1000;
    let gone = async || {
        user += 50;
        ask(gateway, user - 50..user).await.ok()?;
        (weight(gateway).await.ok()? == 0.0).then_some(())
    };
    let taken_away = within(TAKEN_AWAY, "the bad candidate is taken away", gone).await;
    if taken_away.is_err() {
        anyhow::bail!("it is not taken away: {:#}", Rollout::of(gateway, "v2").get().await?);
    }
    ensure!(ask(gateway, 0..100).await? == 0, "it is asked all the same");
    Rollout::of(gateway, "v2").reaches("rolled_back", SOON).await?;
    Ok(())
}

/// Why state cannot be kept, as the API says it; the metric has to say the same.
async fn store_error(gateway: &Gateway) -> Result<Option<String>> {
    let board = gateway.admin_get("/api/v1/rollouts").await?.json()?;
    let error = board["store_error"].as_str().map(str::to_owned);
    Ok(error)
}

/// Waits until the API and the metric say that state cannot be kept, with all of `words`.
async fn complains(gateway: &Gateway, words: &[&str]) -> Result<()> {
    let mut last = None;
    let complains = eventually("", async || {
        last = store_error(gateway).await.ok()?;
        let said = last.as_ref().is_some_and(|error| words.iter().all(|word| error.contains(word)));
        let up = gateway.metrics().await.ok()?.sum("tidegate_rollout_store_up", &[]);
        (said && up == 0.0).then_some(())
    });
    let complained = complains.await;
    ensure!(complained.is_ok(), "the API says {last:?} and not {words:?}");
    Ok(())
}

/// Waits until the API and the metric say that all is well.
async fn is_content(gateway: &Gateway) -> Result<()> {
    let content = async || {
        let up = gateway.metrics().await.ok()?.sum("tidegate_rollout_store_up", &[]);
        (store_error(gateway).await.ok()?.is_none() && up == 1.0).then_some(())
    };
    eventually("the state can be kept again", content).await
}

/// After a kill and a start it is as it was: rolled back, and kept as that.
async fn stays_rolled_back(place: &Place, mut gateway: Gateway) -> Result<()> {
    gateway.kill().await?;
    let gateway = place.start().await?;
    ensure!(weight(&gateway).await? == 0.0, "it is back");
    let rollout = Rollout::of(&gateway, "v2").reaches("rolled_back", SOON).await?;
    ensure!(rollout["run"] == 1 && rollout["revision"] == "1", "{rollout:#}");
    ensure!(ask(&gateway, 0..100).await? == 0, "users get it");
    gateway.stop().await
}

/// Waits until the rollback is in the file.
async fn is_durable(place: &Place) -> Result<()> {
    let durable = async || {
        let kept = place.state().read().await.ok()?;
        (kept.actions().last() == Some(&"rolled_back")).then_some(())
    };
    eventually("the rollback is in the file", durable).await
}

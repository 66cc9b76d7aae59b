//! Ends and beginnings of gateways that share a state, one after the other and at once.

use super::{Place, checks, says, text, weighs, weight};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_tests::*;

/// A step that nothing ends.
const LONG_STEP: &str = "steps: [{ weight: 50%, hold: 1h }, { weight: 100% }]
gates: [{ name: errors, metric: error_rate, max: 5% }]";

/// Requests of a user each, so that each counts.
async fn ask(gateway: &Gateway, users: std::ops::Range<usize>) -> Result<u64> {
    let mut canary = 0;
    let mut connection = Connection::open(gateway.web()).await?;
    for user in users {
        let call = gateway.get("/").header("x-user", &format!("user-{user}"));
        canary += u64::from(connection.send(&call).await?.origin() == "v2");
    }
    Ok(canary)
}

/// What only time may change is left out.
fn evidence(rollout: &Value) -> Value {
    let mut gate = rollout["gates"][0].clone();
    for test in gate["tests"].as_array_mut().into_iter().flatten() {
        test["forecast"].take();
    }
    gate["why"].take();
    gate
}

#[tokio::test]
async fn a_clean_end_keeps_every_request_and_every_webhook() -> Result<()> {
    let place = Place::new().await?;
    let hook = Origin::start("hook").await?;
    hook.behave(Behaviour::Status(503));
    let notify = format!("notify: [{{ webhook: \"http://{}/hook\" }}]", hook.address());
    place.write(&place.config().rollout("1", &format!("{LONG_STEP}\n{notify}")))?;
    let gateway = place.start().await?;
    let rollout = Rollout::of(&gateway, "v2");
    rollout.reaches("progressing", SOON).await?;
    weighs(&gateway, 0.5).await?;
    eventually("the hook is called", async || (hook.hits() > 0).then_some(())).await?;
    ask(&gateway, 0..300).await?;
    let counts = |rollout: &Value| {
        rollout["gates"][0]["run"]["requests"]
            .as_array()
            .map(|both| both.iter().filter_map(Value::as_u64).sum())
    };
    let shown = rollout.until("300 are counted", SOON, |now| counts(now) == Some(300)).await?;
    // These end within the tick in which the gateway is told to end.
    let late = ask(&gateway, 300..400).await?;
    gateway.stop().await?;

    let kept = place.state().read().await?;
    let run = kept.runs.get("v2").context("no run")?;
    let [baseline, candidate] = checks::counted(run)?;
    ensure!(baseline + candidate == 400, "{baseline} + {candidate} of 400; {late} of the last 100");
    ensure!(kept.outbox.len() == 1 && kept.outbox[0]["delivered_ms"].is_null(), "{kept:#?}");
    ensure!(kept.outbox[0]["attempts"].as_u64() >= Some(1), "{kept:#?}");

    hook.behave(Behaviour::Echo);
    let gateway = place.start().await?;
    let rollout = Rollout::of(&gateway, "v2");
    let again = eventually("the rollout is there", async || rollout.get().await.ok()).await?;
    ensure!(counts(&again) == Some(400), "{again:#}");
    ensure!(again["step_since"] == shown["step_since"], "{again:#}");
    let held = |rollout: &Value| rollout["held_seconds"].as_f64();
    ensure!(held(&again) >= held(&shown), "{again:#}");
    let delivered = async || {
        let kept = place.state().read().await.ok()?;
        (!kept.outbox.first()?["delivered_ms"].is_null()).then_some(())
    };
    eventually("the webhook is delivered", delivered).await?;
    let last = hook.last();
    let body: Value = serde_json::from_slice(&last.body)?;
    ensure!(body["id"] == kept.decisions[0]["id"] && body["action"] == "started", "{body:#}");
    // Nothing was asked meanwhile, so what follows from the evidence is the same, too.
    let before = evidence(&rollout.get().await?);
    gateway.stop().await?;
    let gateway = place.start().await?;
    let rollout = Rollout::of(&gateway, "v2");
    let after = eventually("the rollout is there", async || rollout.get().await.ok()).await?;
    ensure!(evidence(&after) == before, "{after:#} was {before:#}");
    gateway.stop().await
}

#[tokio::test]
async fn a_freeze_outlives_the_process() -> Result<()> {
    let place = Place::new().await?;
    let steps = "steps: [{ weight: 10%, hold: 100ms }, { weight: 50%, hold: 1h }]
gates: [{ name: errors, metric: error_rate, max: 5% }]";
    place.write(&place.config().rollout("1", steps))?;
    let mut gateway = place.start().await?;
    Rollout::of(&gateway, "v2").reaches("progressing", SOON).await?;
    let answer = Call::new(gateway.admin(), "POST", "/api/v1/freeze").send().await?;
    ensure!(answer.status == 200, "{}", answer.text());
    gateway.kill().await?;

    let gateway = place.start().await?;
    let rollout = Rollout::of(&gateway, "v2");
    // What would be enough to go on, several times over.
    ask(&gateway, 0..200).await?;
    let held = |now: &Value| now["held_seconds"].as_f64() > Some(0.5) && now["requests"] != 0;
    let frozen = rollout.until("it was held for long enough", SOON, held).await?;
    ensure!(frozen["step"] == 1 && frozen["freeze"]["by"].is_string(), "{frozen:#}");
    weighs(&gateway, 0.1).await?;
    let answer = Call::new(gateway.admin(), "DELETE", "/api/v1/freeze").send().await?;
    ensure!(answer.status == 200, "{}", answer.text());
    rollout.until("it goes on", SOON, |now| now["step"] == 2).await?;
    gateway.stop().await
}

#[tokio::test]
async fn a_second_process_judges_nothing_until_the_first_is_gone() -> Result<()> {
    let place = Place::new().await?;
    place.write(&place.config().rollout("1", LONG_STEP))?;
    let mut first = place.start().await?;
    weighs(&first, 0.5).await?;
    let pid = first.pid().as_raw_nonzero().to_string();

    // Beside the first one's file, so of the same state.
    let file = place.path().join("second.yaml");
    std::fs::copy(place.file(), &file)?;
    let second = Gateway::start_at(&file).await?;
    ensure!(weight(&second).await? == 0.5, "it serves with other weights");
    says(&second, &["is held by process", &pid]).await?;
    let board = second.admin_get("/api/v1/rollouts").await?.json()?;
    let error = text(&board["store_error"])?;
    ensure!(error.contains(&pid) && error.contains("tidegate.db"), "{error}");
    ensure!(board["not_started"][0] == "v2", "{board:#}");
    let up = second.metrics().await?.sum("tidegate_rollout_store_up", &[]);
    ensure!(up == 0.0, "the metric says that all is well");
    // What is failed there is nothing that the first one counts.
    place.canary.fail(1.0);
    ensure!(ask(&second, 0..200).await? > 50, "the candidate is not asked");
    let (status, answer) = Rollout::of(&second, "v2").act("abort").await?;
    ensure!(status == 409 || status == 503, "{status}: {answer}");
    let kept = place.state().read().await?;
    ensure!(kept.actions() == ["started"], "{:?}", kept.actions());

    first.kill().await?;
    let rollout = Rollout::of(&second, "v2");
    let taken = rollout.reaches("progressing", SOON).await?;
    ensure!(taken["step"] == 1 && taken["run"] == 1, "{taken:#}");
    ask(&second, 200..400).await?;
    rollout.reaches("rolled_back", SOON).await?;
    weighs(&second, 0.0).await?;
    second.stop().await?;
    ensure!(place.state().read().await?.actions() == ["started", "rolled_back"]);
    Ok(())
}

/// A gateway that may not judge follows whoever does.
#[tokio::test]
async fn a_second_process_takes_away_what_the_first_rolls_back() -> Result<()> {
    let place = Place::new().await?;
    place.write(&place.config().rollout("1", LONG_STEP))?;
    let first = place.start().await?;
    weighs(&first, 0.5).await?;
    let file = place.path().join("second.yaml");
    std::fs::copy(place.file(), &file)?;
    let second = Gateway::start_at(&file).await?;
    ensure!(weight(&second).await? == 0.5, "it serves with other weights");
    place.canary.fail(1.0);
    ask(&first, 0..200).await?;
    weighs(&first, 0.0).await?;
    weighs(&second, 0.0).await.context("the second one")?;
    second.stop().await?;
    first.stop().await
}

/// How a rollout goes, before its end is removed from the file.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    RolledBack,
    Promoted,
}

/// The rollout ends, the file's weights are edited under it, it is taken out of the file; what is in
/// force then is in force after a restart.
async fn removed(way: Way, top: &str, edited: (&str, &str), expected: f64) -> Result<()> {
    let place = Place::new().await?;
    let config = |stable: &str, canary: &str| {
        let [v1, v2] = [&place.stable, &place.canary].map(|one| one.origin.address());
        let config = Config::split(v1, stable, v2, canary).top(top);
        config.also("bucket_by: { header: x-user }")
    };
    place.write(&config("30", "70").rollout("1", LONG_STEP))?;
    let mut gateway = place.start().await?;
    let rollout = Rollout::of(&gateway, "v2");
    rollout.reaches("progressing", SOON).await?;
    let verb = if way == Way::Promoted { "promote?full=true" } else { "abort" };
    let (status, answer) = rollout.act(verb).await?;
    ensure!(status == 200, "{answer:#}");
    let before = gateway.generation().await?;
    let (stable, canary) = edited;
    gateway.write(&config(stable, canary).rollout("1", LONG_STEP).yaml())?;
    ensure!(gateway.reload().await?.status == 200);
    gateway.write(&config(stable, canary).yaml())?;
    ensure!(gateway.reload().await?.status == 200);
    gateway.generation_after(before).await?;
    weighs(&gateway, expected).await.context("while it runs")?;
    // Nothing was decided, so nobody has waited for it to be kept.
    let weights = [stable, canary].map(|weight| weight.parse::<u64>().unwrap_or(0));
    let is_kept = async || {
        let kept = place.state().read().await.ok()?;
        let expected = match way {
            Way::RolledBack => serde_json::json!(weights),
            Way::Promoted => Value::Null,
        };
        (kept.settings.get("edge")?[0]["file_weights"] == expected).then_some(())
    };
    eventually("what it left is kept", is_kept).await?;
    gateway.kill().await?;
    for _ in 0..2 {
        let gateway = place.start().await?;
        ensure!(weight(&gateway).await? == expected, "{} after a restart", weight(&gateway).await?);
        gateway.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_was_rolled_back_and_removed_stays_away() -> Result<()> {
    removed(Way::RolledBack, "", ("30", "70"), 0.0).await
}

#[tokio::test]
async fn what_was_rolled_back_and_removed_stays_away_whatever_its_weights_were() -> Result<()> {
    removed(Way::RolledBack, "state: { path: tidegate.db }", ("50", "50"), 0.0).await
}

#[tokio::test]
async fn what_was_promoted_and_removed_has_the_files_weight() -> Result<()> {
    removed(Way::Promoted, "state: { path: tidegate.db }", ("30", "70"), 0.7).await
}

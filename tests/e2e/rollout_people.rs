//! What people decide, over the admin API.

use anyhow::Result;
use serde_json::{Value, json};
use std::time::Duration;
use tidegate_tests::*;

const A_WHILE: Duration = Duration::from_secs(15);

/// Three steps that nobody but a person leaves.
const LONG: &str = "\
steps: [{ weight: 10%, hold: 10m }, { weight: 50%, hold: 10m }, { weight: 100%, hold: 10m }]
gates: [{ name: errors, metric: error_rate, max: 5% }]";

/// A step that is over soon.
const SHORT: &str = "\
steps: [{ weight: 50%, hold: 300ms }]
gates: [{ name: errors, metric: error_rate, max: 5% }]";

const ANNA: &str = "the-token-of-anna";
const BOB: &str = "the-token-of-bob-b";

/// Asks for what is not possible; the problem says what the state is and what is possible.
async fn refused(rollout: &Rollout, verb: &str, state: &str, possible: &[&str]) -> Result<()> {
    let (status, problem) = rollout.act(verb).await?;
    assert_eq!(status, 409, "{verb}: {problem:#}");
    assert_eq!((&problem["state"], &problem["possible"]), (&json!(state), &json!(possible)));
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("is not possible: the rollout is"), "{detail}");
    assert_eq!(rollout.get().await?["state"], state, "it was done all the same");
    Ok(())
}

#[tokio::test]
async fn every_verb_has_its_states_and_its_actor() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Canary::start("v1"), Canary::start("v2"))?;
    let directory = quick_directory()?;
    let tokens = format!("# on call\nanna {ANNA}\nbob {BOB}\n");
    std::fs::write(directory.path().join("admin.token"), tokens)?;
    let config = Config::split(v1.origin.address(), "100", v2.origin.address(), "0");
    let yaml = config.rollout("1", LONG).yaml();
    let admin = "admin: { address: 127.0.0.1:0";
    let file = directory.path().join("tidegate.yaml");
    std::fs::write(&file, yaml.replace(admin, &format!("{admin}, token_file: admin.token")))?;
    let gateway = Gateway::start_at(&file).await?;
    let nobody = Rollout::of(&gateway, "v2");
    let (anna, bob) = (nobody.with_token(ANNA), nobody.with_token(BOB));
    assert_eq!(nobody.act("abort").await?.0, 401);
    assert_eq!(nobody.with_token("the-token-of-nobody").act("abort").await?.0, 401);

    let active = ["promote", "promote_full", "pause", "abort"];
    let paused = ["promote", "promote_full", "resume", "abort"];
    anna.reaches("progressing", SOON).await?;
    refused(&anna, "resume", "progressing", &active).await?;
    refused(&anna, "retry", "progressing", &active).await?;
    let rollout = anna.does("pause").await?;
    assert_eq!((&rollout["state"], &rollout["pause"]), (&json!("paused"), &json!("person")));
    refused(&bob, "pause", "paused", &paused).await?;
    assert_eq!(bob.does("resume").await?["state"], "progressing");
    let rollout = anna.does("promote").await?;
    assert_eq!((&rollout["step"], &rollout["weight"]), (&json!(2), &json!(500_000)));
    let rollout = bob.does("promote?full=true").await?;
    assert_eq!((&rollout["state"], &rollout["weight"]), (&json!("promoted"), &json!(1_000_000)));
    for verb in ["promote", "promote?full=true", "pause", "resume", "retry"] {
        refused(&anna, verb, "promoted", &["abort"]).await?;
    }
    let rollout = anna.does("abort").await?;
    assert_eq!((&rollout["state"], &rollout["weight"]), (&json!("aborted"), &json!(0)));
    for verb in ["promote", "pause", "resume", "abort"] {
        refused(&anna, verb, "aborted", &["retry"]).await?;
    }
    let rollout = bob.does("retry").await?;
    assert_eq!((&rollout["run"], &rollout["step"]), (&json!(2), &json!(1)));
    assert_eq!((&rollout["state"], &rollout["revision"]), (&json!("progressing"), &json!("1")));

    let decisions = anna.decisions().await?;
    let who: Vec<_> = decisions.iter().map(|one| json!([one["actor"], one["action"]])).collect();
    assert_eq!(
        json!(who),
        json!([
            ["configuration", "started"],
            ["anna", "paused"],
            ["bob", "resumed"],
            ["anna", "advanced"],
            ["bob", "promoted"],
            ["anna", "aborted"],
            ["bob", "started"],
        ])
    );
    assert_eq!(decisions[4]["why"], "bob asked for `promote --full`");
    gateway.stop().await
}

#[tokio::test]
async fn what_there_is_not_is_not_found() -> Result<()> {
    let shop = Shop::open(LONG).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    let other = Rollout::of(&shop.gateway, "v3");
    let (status, problem) = other.act("promote").await?;
    assert_eq!((status, &problem["known"]), (404, &json!(["v2"])), "{problem:#}");
    for target in ["/api/v1/rollouts/v3", "/api/v1/rollouts/v3/decisions"] {
        assert_eq!(shop.gateway.admin_get(target).await?.status, 404, "{target}");
    }
    assert_eq!(shop.rollout.act("explode").await?.0, 404);
    assert_eq!(shop.gateway.admin_get("/api/v1/rollouts/v2/promote").await?.status, 405);
    assert_eq!(shop.rollout.act("promote?ful=true").await?.0, 400);
    let body = Call::new(shop.gateway.admin(), "POST", "/api/v1/rollouts/v2/promote");
    assert_eq!(body.clone().body("{\"ful\":1}").send().await?.status, 400);
    let page = shop.gateway.admin_get("/api/v1/rollouts/v2/decisions?limit=0").await?;
    assert_eq!(page.status, 400);
    assert_eq!(shop.rollout.actions().await?, ["started"], "something of that was done");
    assert_eq!(body.body("{\"full\":true}").send().await?.json()?["state"], "promoted");
    shop.gateway.stop().await
}

#[tokio::test]
async fn decisions_come_in_pages() -> Result<()> {
    let shop = Shop::open(LONG).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    for verb in ["pause", "resume", "pause", "resume"] {
        shop.rollout.does(verb).await?;
    }
    let mut target = "/api/v1/rollouts/v2/decisions?limit=2".to_owned();
    let mut actions = Vec::new();
    for _ in 0..3 {
        let page = shop.gateway.admin_get(&target).await?.json()?;
        let decisions = page["decisions"].as_array().into_iter().flatten();
        actions.extend(decisions.map(|one| one["action"].clone()));
        let Some(before) = page["next_before"].as_i64() else { break };
        target = format!("/api/v1/rollouts/v2/decisions?limit=2&before={before}");
    }
    assert_eq!(json!(actions), json!(["resumed", "paused", "resumed", "paused", "started"]));
    shop.gateway.stop().await
}

#[tokio::test]
async fn nothing_advances_while_all_is_frozen() -> Result<()> {
    let shop = Shop::open(SHORT).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    let (status, answer) = shop.rollout.freeze_all(true).await?;
    assert_eq!((status, &answer["freeze"]["by"]), (200, &json!("local")), "{answer}");
    assert_eq!(shop.rollout.freeze_all(true).await?.0, 409);
    let load = shop.load(2);
    let held = |rollout: &Value| rollout["held_seconds"].as_f64() > Some(1.0);
    let rollout = shop.rollout.until("the step was held for long enough", SOON, held).await?;
    assert_eq!(rollout["state"], "progressing");
    assert_eq!(
        (&rollout["waits_for"][0], &rollout["freeze"]["by"]),
        (&json!("all rollouts are frozen"), &json!("local"))
    );
    refused(&shop.rollout, "promote", "progressing", &["pause", "abort"]).await?;
    assert_eq!(shop.weight().await?, 0.5);
    let (status, answer) = shop.rollout.freeze_all(false).await?;
    assert_eq!((status, &answer["freeze"]), (200, &Value::Null), "{answer}");
    assert_eq!(shop.rollout.freeze_all(false).await?.0, 409);
    shop.rollout.reaches("promoted", SOON).await?;
    load.stop().await.flawless()?;
    assert_eq!(shop.rollout.actions().await?, ["started", "frozen", "thawed", "promoted"]);
    shop.gateway.stop().await
}

#[tokio::test]
async fn a_bad_version_goes_even_while_all_is_frozen() -> Result<()> {
    let shop = Shop::open(LONG).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    shop.rollout.freeze_all(true).await?;
    shop.v2.fail(1.0);
    let load = shop.load(4);
    shop.rollout.reaches("rolled_back", A_WHILE).await?;
    assert_eq!(shop.weight().await?, 0.0);
    load.stop().await;
    refused(&shop.rollout, "retry", "rolled_back", &[]).await?;
    shop.gateway.stop().await
}

#[tokio::test]
async fn nothing_begins_while_all_is_frozen() -> Result<()> {
    let shop = Shop::open(LONG).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    shop.rollout.freeze_all(true).await?;
    let yaml = shop.config().rollout("1", LONG).yaml();
    let renamed = yaml.replace("- name: v2\n    route", "- name: other\n    route");
    assert_ne!(renamed, yaml);
    shop.gateway.write(&renamed)?;
    assert_eq!(shop.gateway.reload().await?.status, 200);
    let listed = eventually("the new one waits", async || {
        let all = shop.gateway.admin_get("/api/v1/rollouts").await.ok()?.json().ok()?;
        (all["not_started"] == json!(["other"])).then_some(all)
    })
    .await?;
    assert_eq!(listed["freeze"]["by"], "local");
    let new = Rollout::of(&shop.gateway, "other");
    assert_eq!(new.act("promote").await?.0, 409);
    shop.rollout.reaches("aborted", SOON).await?;
    assert_eq!(shop.weight().await?, 0.0);
    shop.rollout.freeze_all(false).await?;
    new.reaches("progressing", SOON).await?;
    assert_eq!(shop.weight().await?, 0.1);
    shop.gateway.stop().await
}

/// Of people who press the button at once, each that is told so has moved it by one step.
#[tokio::test]
async fn of_many_who_promote_at_once_each_moves_it_one_step_or_is_refused() -> Result<()> {
    let shop = Shop::open(LONG).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    let mut people = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let rollout = shop.rollout.clone();
        people.spawn(async move { rollout.act("promote").await });
    }
    let mut answers = std::collections::BTreeMap::<u16, u32>::new();
    while let Some(answer) = people.join_next().await {
        *answers.entry(answer??.0).or_default() += 1;
    }
    assert_eq!(answers, [(200, 3), (409, 7)].into());
    assert_eq!(shop.rollout.actions().await?, ["started", "advanced", "advanced", "promoted"]);
    shop.gateway.stop().await
}

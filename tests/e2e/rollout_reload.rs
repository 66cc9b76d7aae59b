//! Changes of the configuration under a rollout.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::time::Duration;
use tidegate_tests::*;

const A_WHILE: Duration = Duration::from_secs(15);

const GATES: &str = "gates: [{ name: errors, metric: error_rate, max: 5% }]";

/// Steps that nobody but a person leaves.
fn steps(weights: &[&str]) -> String {
    let steps = weights.iter().map(|weight| format!("{{ weight: {weight}, hold: 10m }}"));
    format!("steps: [{}]\n{GATES}", steps.collect::<Vec<_>>().join(", "))
}

fn requests(rollout: &Value) -> u64 {
    let both = rollout["gates"][0]["run"]["requests"].as_array().into_iter().flatten();
    both.filter_map(Value::as_u64).sum()
}

/// Sends `count` requests and waits until all that there were are counted.
async fn judged(shop: &Shop, count: u64, all: u64) -> Result<Value> {
    Load::run(&shop.gateway.get("/"), 2, count).await.flawless()?;
    shop.rollout.until("they are counted", SOON, |rollout| requests(rollout) == all).await
}

/// The configuration with other weights in the file.
fn weights(shop: &Shop, stable: &str, canary: &str) -> Config {
    let (v1, v2) = (shop.v1.origin.address(), shop.v2.origin.address());
    Config::split(v1, stable, v2, canary).top("access_log: { path: access.log }")
}

#[tokio::test]
async fn what_is_edited_elsewhere_changes_nothing() -> Result<()> {
    let plan = steps(&["20%", "50%"]);
    let shop = Shop::open(&plan).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    let before = judged(&shop, 100, 100).await?;
    let other = "[{ name: stable, upstream: v1 }]";
    let edits = [
        shop.config().route("blog", "/blog", other),
        shop.config().also("timeout: 9s").route("blog", "/blog", other),
        weights(&shop, "60", "40").route("blog", "/blog", other),
    ];
    for (edit, all) in edits.iter().zip([200, 300, 400]) {
        shop.becomes(&edit.clone().rollout("1", &plan)).await?;
        assert_eq!(shop.weight().await?, 0.2, "right after the reload");
        let after = judged(&shop, 100, all).await?;
        for key in ["run", "started", "step", "step_since", "state", "weight", "plan"] {
            assert_eq!(after[key], before[key], "{key}");
        }
        assert!(after["held_seconds"].as_f64() >= before["held_seconds"].as_f64());
    }
    assert_eq!(shop.gateway.get("/blog").send().await?.origin(), "v1");
    assert_eq!(shop.rollout.actions().await?, ["started"]);
    shop.gateway.stop().await
}

#[tokio::test]
async fn check_says_that_the_weights_of_the_file_are_not_used() -> Result<()> {
    let dead = DeadAddress::new()?;
    let directory = quick_directory()?;
    let file = directory.path().join("tidegate.yaml");
    for (canary, warned) in [("0", false), ("10", true)] {
        let config = Config::split(dead.address(), "90", dead.address(), canary);
        std::fs::write(&file, config.rollout("1", &steps(&["50%"])).yaml())?;
        let verdict = tidegate(&["check".as_ref(), file.as_os_str()]).await?;
        assert_eq!(verdict.code, Some(0), "{verdict:?}");
        let said =
            "the rollout `v2` owns the weights of `stable` and `canary`: the file's 90 and 10";
        assert_eq!(verdict.stderr.contains(said), warned, "{}", verdict.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn other_steps_hold_from_the_next_step_on() -> Result<()> {
    let shop = Shop::open(&steps(&["10%", "20%", "30%"])).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    shop.becomes(&shop.config().rollout("1", &steps(&["10%", "60%"]))).await?;
    let changes = |rollout: &Value| rollout["plan_changes"] == true;
    let rollout = shop.rollout.until("the plan changes", SOON, changes).await?;
    assert_eq!((&rollout["step"], &rollout["steps"]), (&json!(1), &json!(3)));
    assert_eq!(shop.weight().await?, 0.1);
    let decision = shop.rollout.decision("replanned").await?;
    assert_eq!(decision["actor"], "configuration");
    let rollout = shop.rollout.does("promote").await?;
    assert_eq!((&rollout["step"], &rollout["steps"]), (&json!(2), &json!(2)));
    assert_eq!((&rollout["plan_changes"], shop.weight().await?), (&json!(false), 0.6));
    assert_eq!(shop.rollout.does("promote").await?["state"], "promoted");
    assert_eq!(shop.rollout.actions().await?, ["started", "replanned", "advanced", "promoted"]);
    shop.gateway.stop().await
}

/// The file gives the candidate users, which it never had by the file alone.
#[tokio::test]
async fn a_rollout_that_is_taken_out_leaves_its_candidate_without_users() -> Result<()> {
    let shop = Shop::open(&steps(&["20%"])).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    shop.becomes(&weights(&shop, "70", "30").rollout("1", &steps(&["20%"]))).await?;
    let load = shop.load(2);
    shop.becomes(&weights(&shop, "70", "30")).await?;
    assert_eq!(shop.weight().await?, 0.0, "right after the reload");
    let ended =
        eventually("its end is recorded", async || shop.rollout.decision("aborted").await.ok())
            .await?;
    assert_eq!((&ended["actor"], &ended["weight"]), (&json!("configuration"), &json!(0)));
    assert_eq!(ended["why"], "the configuration does not have it any more");
    let rollout = shop.rollout.get().await?;
    assert_eq!((&rollout["removed"], &rollout["state"]), (&json!(true), &json!("aborted")));
    assert_eq!(shop.rollout.act("retry").await?.0, 404, "there is nothing to retry");
    let other = weights(&shop, "70", "30").route("blog", "/blog", "[{ name: a, upstream: v1 }]");
    shop.becomes(&other).await?;
    assert_eq!(shop.weight().await?, 0.0, "after an edit elsewhere");
    let hits = shop.v2.origin.hits();
    load.serves(200).await?;
    assert!(shop.v2.origin.hits() <= hits + 2, "users got it");
    load.stop().await.flawless()?;
    // Who changes the weights has decided.
    shop.becomes(&weights(&shop, "60", "40")).await?;
    assert_eq!(shop.weight().await?, 0.4);
    shop.gateway.stop().await
}

#[tokio::test]
async fn a_promoted_rollout_that_is_taken_out_leaves_the_weights_of_the_file() -> Result<()> {
    let shop = Shop::open(&steps(&["20%"])).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    shop.rollout.does("promote").await?;
    assert_eq!(shop.weight().await?, 1.0);
    shop.becomes(&weights(&shop, "0", "100")).await?;
    assert_eq!(shop.weight().await?, 1.0);
    shop.becomes(&weights(&shop, "50", "50")).await?;
    assert_eq!(shop.weight().await?, 0.5);
    assert_eq!(shop.rollout.actions().await?, ["started", "promoted"]);
    shop.gateway.stop().await
}

#[tokio::test]
async fn its_route_or_its_candidate_cannot_go_without_it() -> Result<()> {
    let plan = steps(&["20%"]);
    let shop = Shop::open(&plan).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    let without = Config::single(shop.v1.origin.address());
    let elsewhere = Config::new().upstream("v1", shop.v1.origin.address());
    let elsewhere = elsewhere.route("blog", "/", "[{ name: only, upstream: v1 }]");
    for config in [&without, &elsewhere] {
        shop.gateway.write(&config.clone().rollout("1", &plan).yaml())?;
        assert_eq!(shop.gateway.reload().await?.status, 422);
        assert_eq!(shop.weight().await?, 0.2);
    }
    assert_eq!(shop.rollout.actions().await?, ["started"]);
    for config in [without, elsewhere] {
        shop.becomes(&config).await?;
        assert_eq!(shop.gateway.get("/").send().await?.origin(), "v1");
        let rollout = shop.rollout.reaches("aborted", SOON).await?;
        assert_eq!(rollout["removed"], true);
    }
    assert_eq!(shop.rollout.actions().await?, ["started", "aborted"]);
    shop.gateway.stop().await
}

#[tokio::test]
async fn a_new_revision_begins_anew() -> Result<()> {
    let plan = steps(&["20%", "50%"]);
    let shop = Shop::open(&plan).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    shop.rollout.does("promote").await?;
    judged(&shop, 100, 100).await?;
    shop.becomes(&shop.config().rollout("2", &plan)).await?;
    let rollout = shop.rollout.until("the second run", SOON, |one| one["run"] == 2).await?;
    assert_eq!((&rollout["revision"], &rollout["step"]), (&json!("2"), &json!(1)));
    assert_eq!((requests(&rollout), shop.weight().await?), (0, 0.2));
    let decisions = shop.rollout.decisions().await?;
    let all: Vec<_> = decisions.iter().map(|one| json!([one["run"], one["action"]])).collect();
    assert_eq!(
        json!(all),
        json!([[1, "started"], [1, "advanced"], [1, "aborted"], [2, "started"]])
    );
    assert_eq!(decisions[2]["why"], "revision 2 takes its place");
    shop.gateway.stop().await
}

#[tokio::test]
async fn a_revision_that_was_rolled_back_comes_back_by_no_reload_and_no_restart() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Canary::start("v1"), Canary::start("v2"))?;
    let directory = quick_directory()?;
    let file = directory.path().join("tidegate.yaml");
    let config = |revision: &str, timeout: &str| {
        let config = Config::split(v1.origin.address(), "70", v2.origin.address(), "30");
        config.also(&format!("timeout: {timeout}")).rollout(revision, &steps(&["50%"])).yaml()
    };
    std::fs::write(&file, config("1", "10s"))?;
    let mut gateway = Gateway::start_at(&file).await?;
    v2.fail(1.0);
    let load = Load::start(&gateway.get("/"), 4);
    Rollout::of(&gateway, "v2").reaches("rolled_back", A_WHILE).await?;
    load.stop().await;
    v2.fail(0.0);
    std::fs::write(&file, config("1", "9s"))?;
    assert_eq!(gateway.reload().await?.status, 200);
    for restart in [false, true] {
        if restart {
            gateway.stop().await?;
            gateway = Gateway::start_at(&file).await?;
        }
        let report = Load::run(&gateway.get("/"), 2, 200).await.flawless()?;
        assert_eq!(report.of("v2"), 0, "restarted: {restart}");
        let rollout = Rollout::of(&gateway, "v2").reaches("rolled_back", SOON).await?;
        assert_eq!((&rollout["run"], &rollout["possible"]), (&json!(1), &json!(["retry"])));
    }
    std::fs::write(&file, config("2", "9s"))?;
    assert_eq!(gateway.reload().await?.status, 200);
    let rollout = Rollout::of(&gateway, "v2");
    rollout.reaches("progressing", SOON).await?;
    let last = rollout.decisions().await?.pop().context("no decision")?;
    assert_eq!((&last["run"], &last["action"]), (&json!(2), &json!("started")));
    gateway.stop().await
}

//! What a step waits for, and what it does not wait for.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::time::Duration;
use tidegate_tests::*;

const A_WHILE: Duration = Duration::from_secs(15);

const ERRORS: &str = "gates: [{ name: errors, metric: error_rate, max: 5% }]";

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn waits_for(rollout: &Value, what: &str) -> bool {
    texts(&rollout["waits_for"]).contains(&what)
}

/// Sends requests one after the other until the candidate has had `more`, whatever it answered.
async fn candidate_gets(shop: &Shop, more: usize) -> Result<()> {
    shop.rollout.reaches("progressing", SOON).await?;
    let mut connection = Connection::open(shop.gateway.web()).await?;
    let mut had = 0;
    for _ in 0..900 {
        let answer = connection.send(&shop.gateway.get("/")).await?;
        had += usize::from(answer.origin() == "v2");
        if had == more {
            return Ok(());
        }
    }
    bail!("the candidate got {had} requests and not {more}")
}

#[tokio::test]
async fn without_traffic_nothing_advances_and_it_says_since_when() -> Result<()> {
    let steps = "steps: [{ weight: 50%, hold: 300ms }]";
    let shop = Shop::open(&format!("{steps}\n{ERRORS}")).await?;
    let for_seconds = |rollout: &Value| {
        let why = rollout["gates"][0]["why"].as_str()?.strip_prefix("nothing measured for ")?;
        why.strip_suffix(" s")?.parse::<u64>().ok()
    };
    let silent = |rollout: &Value| for_seconds(rollout) >= Some(2);
    let rollout = shop.rollout.until("it was silent for two seconds", SOON, silent).await?;
    assert_eq!(rollout["gates"][0]["verdict"], "no_data");
    assert_eq!((&rollout["state"], &rollout["step"]), (&json!("progressing"), &json!(1)));
    assert_eq!(rollout["held_seconds"], 0.0);
    assert!(waits_for(&rollout, "`errors`: no data"), "{rollout:#}");
    assert!(waits_for(&rollout, "300 ms more"), "{rollout:#}");
    assert_eq!(shop.rollout.actions().await?, ["started"]);
    let load = shop.load(2);
    shop.rollout.reaches("promoted", A_WHILE).await?;
    load.stop().await.flawless()?;
    shop.gateway.stop().await
}

#[tokio::test]
async fn a_step_waits_for_its_requests() -> Result<()> {
    let steps = "steps: [{ weight: 50%, min_requests: 40 }, { weight: 60%, pause: true }]";
    let shop = Shop::open(&format!("{steps}\n{ERRORS}")).await?;
    candidate_gets(&shop, 39).await?;
    let counted = |rollout: &Value| rollout["requests"] == 39;
    let rollout = shop.rollout.until("39 requests are counted", SOON, counted).await?;
    assert_eq!(
        (&rollout["step"], rollout["waits_for"].clone()),
        (&json!(1), json!(["1 more requests"]))
    );
    assert_eq!(rollout["plan"][0]["min_requests"], 40);
    candidate_gets(&shop, 1).await?;
    let rollout = shop.rollout.until("the next step", SOON, |one| one["step"] == 2).await?;
    assert_eq!((&rollout["state"], &rollout["requests"]), (&json!("waiting"), &json!(0)));
    assert!(waits_for(&rollout, "somebody to `promote`"), "{rollout:#}");
    shop.gateway.stop().await
}

#[tokio::test]
async fn a_certified_step_waits_until_every_gate_is_good() -> Result<()> {
    let plan = "steps: [{ weight: 50% }]\nadvance_when: certified\nalpha: 0.01%\n\
                gates: [{ name: errors, metric: error_rate, max: 40%, worse_than_baseline: 300% }]";
    let shop = Shop::open(plan).await?;
    shop.v1.fail(0.1);
    shop.v2.fail(0.1);
    Load::run(&shop.gateway.get("/"), 1, 10).await;
    let counted = |rollout: &Value| {
        let requests = &rollout["gates"][0]["run"]["requests"];
        requests[0].as_u64().zip(requests[1].as_u64()).is_some_and(|(b, c)| b + c == 10)
    };
    let rollout = shop.rollout.until("they are counted", SOON, counted).await?;
    assert_eq!(rollout["step"], 1, "ten requests certify nothing");
    let load = shop.load(4);
    shop.rollout.reaches("promoted", A_WHILE).await?;
    load.stop().await;
    let decision = shop.rollout.decision("promoted").await?;
    let why = decision["why"].as_str().unwrap_or_default();
    assert!(why.ends_with("every gate is good"), "{why}");
    let gate = &decision["gates"][0];
    assert_eq!(gate["verdict"], "good");
    let tests = gate["tests"].as_array().context("no tests")?;
    assert_eq!(tests.len(), 2);
    for test in tests {
        let (certainty, good_at) = (test["certainty"].as_f64(), test["good_at"].as_f64());
        assert!(good_at == Some(20.0) && certainty >= good_at, "{test}");
    }
    shop.gateway.stop().await
}

#[tokio::test]
async fn a_budget_is_spent_by_one_more_failure() -> Result<()> {
    let plan = "steps: [{ weight: 50%, hold: 10m }]\nbudget: { failed_requests: 20 }";
    let shop = Shop::open(plan).await?;
    shop.v2.fail(1.0);
    candidate_gets(&shop, 20).await?;
    let counted = |rollout: &Value| rollout["failed_requests"] == 20;
    let rollout = shop.rollout.until("20 failures are counted", SOON, counted).await?;
    assert_eq!((&rollout["state"], &rollout["budget"]), (&json!("progressing"), &json!(20)));
    candidate_gets(&shop, 1).await?;
    let rollout = shop.rollout.reaches("rolled_back", SOON).await?;
    let why = "`budget` is bad: 21 requests failed, the budget is 20";
    assert_eq!((&rollout["ended"]["why"], shop.weight().await?), (&json!(why), 0.0));
    assert_eq!(texts(&rollout["samples"]).len(), 8);
    shop.gateway.stop().await
}

#[tokio::test]
async fn a_breach_may_wait_for_a_person() -> Result<()> {
    let steps = "steps: [{ weight: 50%, hold: 10m }]\non_breach: pause";
    let shop = Shop::open(&format!("{steps}\n{ERRORS}")).await?;
    let load = shop.load(4);
    for round in 1..=2 {
        shop.v2.fail(0.5);
        let rollout = shop.rollout.reaches("paused", A_WHILE).await?;
        assert_eq!(rollout["pause"], json!({ "breach": { "gate": "errors" } }));
        assert!(waits_for(&rollout, "paused: `errors` is bad"), "{rollout:#}");
        assert!(texts(&rollout["possible"]).contains(&"resume"), "{rollout:#}");
        assert_eq!((&rollout["step"], shop.weight().await?), (&json!(1), 0.5));
        let decision = shop.rollout.decision("paused").await?;
        assert_eq!(
            (&decision["actor"], &decision["weight"]),
            (&json!("controller"), &json!(500_000))
        );
        assert_eq!(decision["gates"][0]["verdict"], "bad");
        shop.v2.fail(0.0);
        // What was counted before a person looked at it is forgiven.
        let rollout = shop.rollout.does("resume").await?;
        let gate = &rollout["gates"][0];
        assert_eq!(
            (&rollout["state"], &gate["tests"][0]["evidence"]),
            (&json!("progressing"), &json!(1.0))
        );
        assert_eq!(gate["run"]["requests"], json!([0, 0]), "round {round}");
    }
    load.stop().await;
    assert_eq!(
        shop.rollout.actions().await?,
        ["started", "paused", "resumed", "paused", "resumed"]
    );
    shop.gateway.stop().await
}

//! Gates that ask a real Prometheus server.

use anyhow::Result;
use serde_json::{Value, json};
use std::time::Duration;
use tidegate_tests::*;

/// A query each second, by servers that share a busy machine.
const A_WHILE: Duration = Duration::from_secs(20);

/// A gate that asks `query` each second; `keys` are its bounds and the rest.
fn gate(server: &Prometheus, name: &str, query: &str, keys: &str) -> String {
    let url = server.url();
    format!(
        "{{ name: {name}, prometheus: {{ url: \"{url}\", query: '{query}' }}, every: 1s, {keys} }}"
    )
}

fn plan(hold: &str, gates: &[String]) -> String {
    format!("steps: [{{ weight: 50%, hold: {hold} }}]\ngates: [{}]", gates.join(", "))
}

fn says(rollout: &Value, gate: usize, verdict: &str) -> bool {
    rollout["gates"][gate]["verdict"] == verdict
}

#[tokio::test]
async fn a_number_within_its_bounds_lets_the_step_pass() -> Result<()> {
    let server = Prometheus::start().await?;
    let gates = [
        gate(&server, "saturation", "vector(0.5)", "max: 80%"),
        gate(&server, "workers", "scalar(vector(7))", "min: 3, max: 9"),
    ];
    let shop = Shop::open(&plan("500ms", &gates)).await?;
    let good = |rollout: &Value| says(rollout, 0, "good") && says(rollout, 1, "good");
    let rollout = shop.rollout.until("both numbers are good", A_WHILE, good).await?;
    assert_eq!(rollout["held_seconds"], 0.0, "time passes without anybody having the candidate");
    let waits_for = rollout["waits_for"].to_string();
    assert!(waits_for.contains("\"no requests for "), "{waits_for}");
    let load = shop.load(2);
    shop.rollout.reaches("promoted", A_WHILE).await?;
    load.stop().await.flawless()?;
    let decision = shop.rollout.decision("promoted").await?;
    for (gate, value, asks) in
        [(0, 0.5, "vector(0.5): at most 0.8"), (1, 7.0, "scalar(vector(7)): between 3 and 9")]
    {
        let gate = &decision["gates"][gate];
        assert_eq!((&gate["verdict"], &gate["value"]), (&json!("good"), &json!(value)));
        assert_eq!(gate["asks"], asks);
    }
    shop.gateway.stop().await
}

/// The whole way: the gateway counts, Prometheus scrapes, and the gate asks it.
#[tokio::test]
async fn a_number_out_of_its_bounds_takes_the_candidate_away() -> Result<()> {
    let server = Prometheus::start().await?;
    let failed = "sum(tidegate_requests_total{variant=\"canary\",code=\"5xx\"})";
    let gates = [gate(&server, "failed", failed, "max: 20")];
    let shop = Shop::open(&plan("10m", &gates)).await?;
    server.scrape(shop.gateway.admin())?;
    let load = shop.load(2);
    shop.rollout.until("the number is good", A_WHILE, |one| says(one, 0, "good")).await?;
    assert_eq!(shop.weight().await?, 0.5);
    shop.v2.fail(1.0);
    let rollout = shop.rollout.reaches("rolled_back", A_WHILE).await?;
    load.stop().await;
    assert_eq!(shop.weight().await?, 0.0);
    let decision = shop.rollout.decision("rolled_back").await?;
    let value = decision["gates"][0]["value"].as_f64();
    assert!(value > Some(20.0), "{decision:#}");
    let why = rollout["ended"]["why"].as_str().unwrap_or_default();
    assert!(why.starts_with("`failed` is bad: "), "{why}");
    shop.gateway.stop().await
}

#[tokio::test]
async fn several_answers_in_a_row_may_have_to_be_out_of_bounds() -> Result<()> {
    let server = Prometheus::start().await?;
    let gates = [gate(&server, "saturation", "vector(0.9)", "max: 80%, failures: 3")];
    let shop = Shop::open(&plan("10m", &gates)).await?;
    let out =
        |rollout: &Value| says(rollout, 0, "undecided") && rollout["gates"][0]["value"] == 0.9;
    let rollout = shop.rollout.until("the first answer is not enough", A_WHILE, out).await?;
    assert_eq!(rollout["state"], "progressing");
    shop.rollout.reaches("rolled_back", A_WHILE).await?;
    shop.gateway.stop().await
}

#[tokio::test]
async fn what_is_no_number_holds_the_step_and_says_why() -> Result<()> {
    let server = Prometheus::start().await?;
    let two = "label_replace(vector(1), \"a\", \"x\", \"\", \"\") or \
               label_replace(vector(2), \"a\", \"y\", \"\", \"\")";
    let gates = [
        gate(&server, "nothing", "vector(1) > 2", "max: 80%"),
        gate(&server, "several", two, "max: 80%"),
        gate(&server, "nonsense", "sum(", "max: 80%"),
    ];
    let shop = Shop::open(&plan("200ms", &gates)).await?;
    let told =
        |rollout: &Value| says(rollout, 1, "source_broken") && says(rollout, 2, "source_broken");
    let rollout = shop.rollout.until("both are broken", A_WHILE, told).await?;
    let why = |gate: usize| rollout["gates"][gate]["why"].as_str().unwrap_or_default();
    assert_eq!(why(1), "the query returned 2 series; aggregate it, e.g. with sum()");
    assert!(
        why(2).starts_with("prometheus says: ") && why(2).contains("parse error"),
        "{}",
        why(2)
    );
    let silent = |rollout: &Value| {
        let why = rollout["gates"][0]["why"].as_str().unwrap_or_default();
        says(rollout, 0, "no_data")
            && why.starts_with("nothing measured for")
            && why.ends_with(" s")
    };
    let rollout = shop.rollout.until("there is no data", A_WHILE, silent).await?;
    assert_eq!((&rollout["state"], &rollout["held_seconds"]), (&json!("progressing"), &json!(0.0)));
    assert_eq!(shop.rollout.actions().await?, ["started"]);
    shop.gateway.stop().await
}

#[tokio::test]
async fn a_server_that_is_gone_holds_pauses_or_takes_away() -> Result<()> {
    let mut server = Prometheus::start().await?;
    let mut shops = Vec::new();
    for on in ["hold", "pause", "rollback"] {
        let keys = format!("max: 2, on_source_broken: {on}");
        let shop =
            Shop::open(&plan("10m", &[gate(&server, "saturation", "vector(1)", &keys)])).await?;
        shop.rollout.until("the number is good", A_WHILE, |one| says(one, 0, "good")).await?;
        shops.push(shop);
    }
    server.kill().await?;
    let expected = [("progressing", 0.5), ("paused", 0.5), ("rolled_back", 0.0)];
    for (shop, (state, weight)) in shops.iter().zip(expected) {
        let broken =
            |rollout: &Value| rollout["state"] == state && says(rollout, 0, "source_broken");
        let rollout = shop.rollout.until("the source is broken", A_WHILE, broken).await?;
        let why = rollout["gates"][0]["why"].as_str().unwrap_or_default();
        assert!(why.starts_with("prometheus cannot be reached: "), "{why}");
        assert_eq!(shop.weight().await?, weight, "{state}");
    }
    let rollout = shops[1].rollout.get().await?;
    assert_eq!(rollout["pause"], json!({ "source": { "gate": "saturation" } }));
    let rollout = shops[2].rollout.get().await?;
    let why = rollout["ended"]["why"].as_str().unwrap_or_default();
    assert!(why.starts_with("the source of `saturation` is broken: "), "{why}");
    for shop in shops {
        shop.gateway.stop().await?;
    }
    Ok(())
}

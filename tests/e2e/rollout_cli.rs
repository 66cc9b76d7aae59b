//! `tidegate rollout`, as people and scripts use it.

use anyhow::Result;
use serde_json::{Value, json};
use std::time::Duration;
use tidegate_tests::*;

const A_WHILE: Duration = Duration::from_secs(15);

const LONG: &str = "\
steps:
  - { weight: 10%, hold: 10m, min_requests: 5000 }
  - { weight: 50%, pause: true }
  - { weight: 100% }
gates:
  - { name: errors, metric: error_rate, max: 5%, worse_than_baseline: 50% }
  - { name: slow, metric: latency, over: 5s, max: 10% }
budget: { failed_requests: 500 }";

/// `tidegate rollout …` against the shop's gateway.
async fn rollout(shop: &Shop, arguments: &[&str]) -> Result<Finished> {
    let admin = format!("http://{}", shop.gateway.admin());
    tidegate(&[&["rollout"], arguments, &["--admin", &admin]].concat()).await
}

/// The same, which has to go well.
async fn says(shop: &Shop, arguments: &[&str]) -> Result<String> {
    let said = rollout(shop, arguments).await?;
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{arguments:?}: {said:?}");
    Ok(said.stdout)
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "colours, and no terminal:\n{text}");
}

#[tokio::test]
async fn show_and_list_say_how_it_goes() -> Result<()> {
    let shop = Shop::open(LONG).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    shop.v1.fail(0.05);
    let load = shop.load(2);
    let told = |rollout: &Value| {
        let gate = &rollout["gates"][0];
        let forecast = &gate["tests"][1]["forecast"][0]["seconds"];
        gate["run"]["against"][0].as_u64() >= Some(5) && forecast.is_f64()
    };
    shop.rollout.until("there is a forecast", A_WHILE, told).await?;
    let text = says(&shop, &["show", "v2"]).await?;
    load.stop().await;
    has(
        &text,
        &[
            "v2  ▶ progressing, step 1 of 3\n",
            "  revision   1, run 1\n",
            "  route      shop: canary against stable\n",
            "  weight     10%, actual ",
            " of 10 min with data; requests: ",
            " of 5000\n",
            " more requests",
            "  failed     requests of users: 0 of 500 at most\n",
            "  possible   promote, promote --full, pause, abort\n",
            "  ▶ 1  weight 10%, 10 min, 5000 requests\n",
            "  · 2  weight 50%, until somebody promotes\n",
            "  · 3  weight 100%\n",
            ": failures: at most 5% and no more than 50% worse than the baseline\n",
            "      candidate 0 of ",
            ", baseline ",
            "the baseline's + 50%",
            " of 300, good ",
            "× the baseline's rate would be found in about ",
            " slow  ",
            "slower than 5 s: at most 10%\n",
            "the baseline against itself: 0 false alarms in 0 trials\n",
            "configuration: revision 1 begins",
        ],
    );
    let text = says(&shop, &["list"]).await?;
    has(
        &text,
        &["NAME", "STATE", "STEP", "WEIGHT", "GATES", "v2    shop", "▶ progressing  1/3   10%"],
    );
    let json: Value = serde_json::from_str(&says(&shop, &["list", "--json"]).await?)?;
    assert_eq!(json["rollouts"][0]["rollout"], "v2");
    let json: Value = serde_json::from_str(&says(&shop, &["show", "v2", "--json"]).await?)?;
    assert_eq!((&json["state"], &json["weight"]), (&json!("progressing"), &json!(100_000)));
    shop.gateway.stop().await
}

#[tokio::test]
async fn verbs_say_what_became_of_it() -> Result<()> {
    let shop = Shop::open(LONG).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    for (arguments, said) in [
        (&["pause", "v2"][..], "v2 1 run 1: ‖ paused, step 1 of 3, weight 10%\n"),
        (&["resume", "v2"], "v2 1 run 1: ▶ progressing, step 1 of 3, weight 10%\n"),
        (&["promote", "v2"], "v2 1 run 1: ◇ waiting, step 2 of 3, weight 50%\n"),
        (&["pause", "--all"], "all rollouts are frozen: none starts or advances until"),
        (&["resume", "--all"], "all rollouts may go on\n"),
        (&["promote", "--full", "v2"], "v2 1 run 1: ✔ promoted, step 2 of 3, weight 100%\n"),
        (&["abort", "v2"], "v2 1 run 1: ■ aborted, step 2 of 3, weight 0%\n"),
        (&["retry", "v2"], "v2 1 run 2: ▶ progressing, step 1 of 3, weight 10%\n"),
    ] {
        has(&says(&shop, arguments).await?, &[said]);
    }
    let refused = rollout(&shop, &["resume", "v2"]).await?;
    assert_eq!((refused.code, &*refused.stdout), (Some(1), ""), "{refused:?}");
    has(&refused.stderr, &["`resume` is not possible: the rollout is progressing", "`promote`"]);
    let unknown = rollout(&shop, &["show", "v3"]).await?;
    assert_eq!((unknown.code, &*unknown.stdout), (Some(1), ""), "{unknown:?}");
    has(&unknown.stderr, &["there is no rollout `v3`", "`v2`"]);
    let json: Value = serde_json::from_str(&says(&shop, &["abort", "v2", "--json"]).await?)?;
    assert_eq!(json["state"], "aborted");

    let text = says(&shop, &["decisions", "v2"]).await?;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 10, "{text}");
    has(lines[0], &["aborted", "run 2 step 1/3 weight 10% → 0%", "local asked for `abort`"]);
    has(
        lines[9],
        &["started", "run 1 step 1/3 weight 0% → 10%", "configuration: revision 1 begins (#1)"],
    );
    let json: Value =
        serde_json::from_str(&says(&shop, &["decisions", "v2", "--limit", "3", "--json"]).await?)?;
    assert_eq!(json["decisions"].as_array().map(Vec::len), Some(3));
    shop.gateway.stop().await
}

#[tokio::test]
async fn who_watches_sees_it_end() -> Result<()> {
    let shop = Shop::open(LONG).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    let over = rollout(&shop, &["watch", "v2", "--timeout", "100ms"]).await?;
    assert_eq!(over.code, Some(3), "{over:?}");
    has(
        &over.stdout,
        &["v2 1 run 1: ▶ progressing, step 1 of 3, weight 10%; errors no data, slow no data\n"],
    );
    has(&over.stderr, &["the timeout is over"]);
    let unknown = rollout(&shop, &["watch", "v3"]).await?;
    assert_eq!(unknown.code, Some(4), "{unknown:?}");

    let watched = async {
        let (text, json) = tokio::join!(
            rollout(&shop, &["watch", "v2"]),
            rollout(&shop, &["watch", "v2", "--json"])
        );
        anyhow::Ok((text?, json?))
    };
    let spoilt = async {
        shop.v2.fail(1.0);
        let load = shop.load(4);
        shop.rollout.reaches("rolled_back", A_WHILE).await?;
        load.stop().await;
        anyhow::Ok(())
    };
    let ((text, json), ()) = tokio::try_join!(watched, spoilt)?;
    assert_eq!((text.code, json.code), (Some(1), Some(1)), "{text:?}");
    has(
        &text.stdout,
        &["✖ rolled back, step 1 of 3, weight 0%; errors bad, ", "; `errors` is bad: "],
    );
    let last = json.stdout.lines().last().unwrap_or_default();
    assert_eq!(serde_json::from_str::<Value>(last)?["state"], "rolled_back");

    shop.v2.fail(0.0);
    says(&shop, &["retry", "v2"]).await?;
    says(&shop, &["promote", "--full", "v2"]).await?;
    let good = rollout(&shop, &["watch", "v2"]).await?;
    assert_eq!((good.code, good.stdout.lines().count()), (Some(0), 1), "{good:?}");
    has(&good.stdout, &["v2 1 run 2: ✔ promoted"]);
    shop.gateway.stop().await
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_named() -> Result<()> {
    let dead = DeadAddress::new()?;
    let admin = format!("http://{}", dead.address());
    let said = tidegate(&["rollout", "list", "--admin", &admin]).await?;
    assert_eq!((said.code, &*said.stdout), (Some(1), ""), "{said:?}");
    has(&said.stderr, &["no answer from", &admin]);
    Ok(())
}

//! Each request has one outcome at each mirror, and whoever asks is told the same.

use crate::{
    access_log::{logging, read},
    metrics::promtool_is_content,
};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tempfile::TempDir;
use tidegate_tests::*;

const REQUESTS: &str = "tidegate_requests_total";
const MEMORY: &str = "tidegate_mirror_memory_bytes";
const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A client that goes away in the middle of its upload, once the gateway has the beginning.
async fn leave_midway(gateway: &Gateway, before: f64) -> Result<()> {
    let mut client = RawClient::connect(gateway.web()).await?;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly this").await?;
    gateway.counts("tidegate_requests_in_flight", &[], 1.0).await?;
    drop(client);
    gateway.counts(REQUESTS, &[("route", "shop")], before + 1.0).await
}

#[tokio::test]
async fn the_outcomes_of_a_mirror_add_up_to_the_requests() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    let config = Config::single(primary.address())
        .dark("dark", dark.address())
        .also("mirrors:\n  - { name: none, upstream: dark, percent: 0 }")
        .also("  - { name: dark, upstream: dark, methods: [GET, HEAD, POST], max_body: 1KiB }");
    let gateway = Gateway::start(&config.yaml()).await?;
    Load::run(&gateway.get("/"), 4, 200).await.flawless()?;
    for status in ["302", "404", "404", "503"] {
        gateway.get("/").header("x-want-status", status).send().await?;
    }
    let post = gateway.call("POST", "/");
    for size in [0, 10, 1024, 1025, 5000] {
        post.clone().body(vec![b'x'; size]).send().await?;
        post.clone().chunked(vec![b'x'; size]).send().await?;
    }
    gateway.call("PUT", "/").body("x").send().await?;
    gateway.call("HEAD", "/").send().await?;
    RawClient::exchange(gateway.web(), UPGRADE).await?;
    leave_midway(&gateway, 217.0).await?;

    let outcomes = [
        ("2xx", 207),
        ("3xx", 1),
        ("4xx", 2),
        ("5xx", 1),
        ("body_too_large", 4),
        ("method", 1),
        ("upgrade", 1),
        ("incomplete", 1),
    ];
    gateway.outcomes("dark", &outcomes).await?;
    gateway.outcomes("none", &[("not_sampled", 206), ("method", 12)]).await?;
    let metrics = gateway.metrics().await?;
    assert_eq!(metrics.sum(REQUESTS, &[("route", "shop")]), 218.0);
    assert_eq!(metrics.sum("tidegate_mirror_duration_seconds_count", &[]), 211.0);
    assert_eq!(metrics.sum("tidegate_mirror_in_flight", &[]), 0.0);
    assert_eq!(metrics.sum(MEMORY, &[]), 0.0);
    assert_eq!(dark.hits(), 211);
    promtool_is_content(&metrics.text).await?;

    let told = gateway.admin_get("/api/v1/mirrors").await?.json()?;
    let expected: BTreeMap<_, _> = outcomes.into_iter().collect();
    let mirror = &told["mirrors"][1];
    assert_eq!((&mirror["route"], &mirror["mirror"]), (&json!("shop"), &json!("dark")));
    assert_eq!((&mirror["requests"], &mirror["outcomes"]), (&json!(218), &json!(expected)));
    assert_eq!((&mirror["in_flight"], &mirror["compared"]), (&json!(0), &json!(false)));
    assert_eq!((&mirror["percent"], &mirror["today"]), (&json!(100.0), &Value::Null));
    assert!(mirror["mean_ms"].as_f64().is_some_and(|mean| mean > 0.0), "{mirror}");
    assert_eq!(told["memory"], json!({ "used": 0, "limit": 64 << 20 }));
    assert_eq!(gateway.admin_get("/api/v1/mirrors/shop/dark").await?.json()?, *mirror);

    let admin = format!("http://{}", gateway.admin());
    let printed = tidegate(&["mirror", "list", "--admin", &admin]).await?;
    assert_eq!((printed.code, &*printed.stderr), (Some(0), ""), "{printed:?}");
    let first = "shop/none to dark: 0 copies of 218 requests\n";
    assert!(printed.stdout.starts_with(first), "{}", printed.stdout);
    for line in ["shop/dark to dark: 211 copies of 218 requests", "207  2xx", "4  body too large"] {
        assert!(printed.stdout.contains(line), "no `{line}` in {}", printed.stdout);
    }
    let printed = tidegate(&["mirror", "list", "--json", "--admin", &admin]).await?;
    let printed = printed.json()?;
    assert_eq!(printed["mirrors"][1]["outcomes"], mirror["outcomes"]);
    assert_eq!(
        (&printed["generation"], &printed["memory"]),
        (&told["generation"], &told["memory"])
    );
    gateway.stop().await
}

/// Sends `requests` GETs, one after the other, and says what became of them.
async fn outcomes_of(config: &Config, requests: u64) -> Result<BTreeMap<String, u64>> {
    let gateway = Gateway::start(&config.yaml()).await?;
    for _ in 0..requests {
        let answer = gateway.get("/").limit(Duration::from_secs(2)).send().await?;
        assert_eq!((answer.status, answer.origin()), (200, "v1"));
    }
    let outcomes = gateway.all_outcomes("dark", requests).await?;
    gateway.counts("tidegate_mirror_in_flight", &[], 0.0).await?;
    gateway.counts(MEMORY, &[], 0.0).await?;
    gateway.stop().await?;
    Ok(outcomes)
}

fn counts<const N: usize>(of: [(&str, u64); N]) -> BTreeMap<String, u64> {
    of.into_iter().map(|(label, count)| (label.to_owned(), count)).collect()
}

#[tokio::test]
async fn a_dark_upstream_that_fails_is_an_outcome() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    let dead = DeadAddress::new()?;
    let down = Config::mirrored(primary.address(), dead.address(), "");
    assert_eq!(outcomes_of(&down, 3).await?, counts([("connect_failure", 3)]));
    let unknown = Config::single(primary.address())
        .upstream_with("dark", "endpoints: [\"nowhere.invalid:80\"]")
        .also("mirrors: [{ name: dark, upstream: dark }]");
    assert_eq!(outcomes_of(&unknown, 3).await?, counts([("no_endpoint", 3)]));
    dark.behave(Behaviour::Hangup);
    let broken = Config::mirrored(primary.address(), dark.address(), "");
    assert_eq!(outcomes_of(&broken, 3).await?, counts([("reset", 3)]));
    dark.behave(Behaviour::Never);
    let slow = Config::mirrored(primary.address(), dark.address(), "timeout: 300ms");
    assert_eq!(outcomes_of(&slow, 3).await?, counts([("timeout", 3)]));
    let keys = format!("endpoints: [\"{}\"], limits: {{ requests: 1 }}", dark.address());
    let busy = Config::single(primary.address())
        .upstream_with("dark", &keys)
        .also("mirrors: [{ name: dark, upstream: dark, timeout: 2s }]");
    assert_eq!(outcomes_of(&busy, 3).await?, counts([("timeout", 1), ("overloaded", 2)]));
    Ok(())
}

#[tokio::test]
async fn a_limit_that_is_reached_is_an_outcome() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    let config = |keys| Config::mirrored(primary.address(), dark.address(), keys);
    let spent = outcomes_of(&config("limits: { per_day: 3 }"), 5).await?;
    assert_eq!(spent, counts([("2xx", 3), ("day_budget", 2)]));
    // A slow machine may take seconds for these; they come 30 times as fast otherwise.
    let paced = outcomes_of(&config("limits: { per_second: 2 }"), 30).await?;
    assert!(paced["2xx"] >= 2 && paced["rate"] >= 10 && paced.len() == 2, "{paced:?}");
    dark.behave(Behaviour::Never);
    let few = outcomes_of(&config("timeout: 2s, limits: { concurrent: 2 }"), 5).await?;
    assert_eq!(few, counts([("timeout", 2), ("concurrent_limit", 3)]));
    Ok(())
}

#[tokio::test]
async fn memory_that_is_used_up_is_an_outcome_until_it_is_given_back() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    dark.behave(Behaviour::Never);
    let config =
        Config::mirrored(primary.address(), dark.address(), "methods: [POST], timeout: 2s")
            .top("runtime: { mirror_memory: 200KiB }");
    let gateway = Gateway::start(&config.yaml()).await?;
    let post = gateway.call("POST", "/").body(vec![b'x'; 60_000]);
    for call in [&post, &post, &post.clone().chunked(vec![b'x'; 60_000])] {
        assert_eq!(call.send().await?.json()?["body_bytes"], 60_000);
    }
    gateway.outcomes("dark", &[("memory_budget", 2)]).await?;
    let held = gateway.metrics().await?.sum(MEMORY, &[]);
    assert!((124_000.0..=204_800.0).contains(&held), "{held}");
    gateway.outcomes("dark", &[("memory_budget", 2), ("timeout", 1)]).await?;
    gateway.counts(MEMORY, &[], 0.0).await?;
    dark.behave(Behaviour::Echo);
    assert_eq!(post.send().await?.status, 200);
    gateway.outcomes("dark", &[("memory_budget", 2), ("timeout", 1), ("2xx", 1)]).await?;
    gateway.stop().await
}

#[tokio::test]
async fn a_request_that_never_went_out_has_no_copy() -> Result<()> {
    let (dead, dark) = (DeadAddress::new()?, Origin::start("dark").await?);
    let keys = "methods: [GET, POST]";
    let gateway =
        Gateway::start(&Config::mirrored(dead.address(), dark.address(), keys).yaml()).await?;
    assert_eq!(gateway.get("/").send().await?.status, 503);
    assert_eq!(gateway.call("POST", "/").body("x").send().await?.status, 503);
    gateway.outcomes("dark", &[("not_dispatched", 2)]).await?;
    assert_eq!(dark.hits(), 0);
    gateway.stop().await
}

/// The dark version gets what the variant got, whatever the variant made of it.
#[tokio::test]
async fn a_request_that_its_variant_failed_has_a_copy() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    primary.behave(Behaviour::Hangup);
    let keys = "methods: [GET, POST], compare: {}";
    let config = Config::mirrored(primary.address(), dark.address(), keys);
    let gateway = Gateway::start(&config.yaml()).await?;
    assert_eq!(gateway.get("/").send().await?.status, 502);
    assert_eq!(gateway.call("POST", "/").body("x").send().await?.status, 502);
    gateway.outcomes("dark", &[("2xx", 2)]).await?;
    gateway.comparisons("dark", &[("incomplete", 2)]).await?;
    gateway.stop().await
}

/// More than the route takes: the client is told so, in the middle of its upload.
#[tokio::test]
async fn a_refused_upload_has_no_copy() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    let config = Config::single(primary.address())
        .dark("dark", dark.address())
        .also("max_body: 1KiB\nmirrors: [{ name: dark, upstream: dark, methods: [POST] }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    let post = gateway.call("POST", "/");
    // Said beforehand, it is refused before it has a route.
    assert_eq!(post.clone().body(vec![b'x'; 2000]).send().await?.status, 413);
    assert_eq!(post.chunked(vec![b'x'; 2000]).send().await?.status, 413);
    gateway.outcomes("dark", &[("incomplete", 1)]).await?;
    gateway.counts(REQUESTS, &[("route", "shop")], 1.0).await?;
    assert_eq!(dark.hits(), 0);
    gateway.stop().await
}

#[tokio::test]
async fn the_log_has_a_line_for_the_request_and_one_for_its_copy() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    let config = Config::single(primary.address())
        .dark("dark", dark.address())
        .also("mirrors:\n  - { name: dark, upstream: dark, methods: [POST], timeout: 500ms }")
        .also("  - { name: none, upstream: dark, methods: [POST], percent: 0 }");
    let directory = TempDir::new()?;
    let gateway = logging(&directory, config, "100%").await?;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let call = gateway.call("POST", "/a/b?secret=1").host("shop.example").body("12345");
    let call = call.header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
    call.header("x-want-status", "418").send().await?;
    gateway.outcomes("dark", &[("4xx", 1)]).await?;
    dark.behave(Behaviour::Never);
    gateway.call("POST", "/late").body("12345").send().await?;
    gateway.outcomes("dark", &[("4xx", 1), ("timeout", 1)]).await?;
    gateway.get("/get").send().await?;
    gateway.outcomes("dark", &[("4xx", 1), ("timeout", 1), ("method", 1)]).await?;
    gateway.stop().await?;

    let lines = read(&directory.path().join("access.log"))?;
    let (copies, requests): (Vec<_>, Vec<_>) =
        lines.iter().partition(|line| line["mirror"].is_string());
    assert_eq!((copies.len(), requests.len()), (2, 3), "{lines:#?}");
    let fates: Vec<_> = requests.iter().map(|line| line["mirrors"].clone()).collect();
    let queued = json!({ "dark": "queued", "none": "not_sampled" });
    let method = json!({ "dark": "method", "none": "method" });
    assert_eq!(fates, [queued.clone(), queued, method]);
    for (copy, request) in copies.iter().zip(&requests) {
        assert_eq!((&copy["mirror"], &copy["mirrors"]), (&json!("dark"), &Value::Null));
        assert!(copy["request_id"].as_str().is_some_and(|id| id.len() == 32), "{copy}");
        for same in ["request_id", "trace_id", "method", "host", "path", "route", "client"] {
            assert_eq!(copy[same], request[same], "{same}");
        }
        assert_eq!((&copy["variant"], &copy["generation"]), (&json!("stable"), &json!(1)));
        assert_eq!(copy["upstream"], json!(dark.address().to_string()));
        assert_eq!(copy["bytes_in"], 5);
        assert!(copy["duration_ms"].as_f64().is_some_and(|time| time > 0.0), "{copy}");
        assert!(!copy.to_string().contains("secret"), "a query may hold secrets: {copy}");
    }
    assert_eq!((&copies[0]["status"], &copies[0]["outcome"]), (&json!(418), &json!("4xx")));
    assert_eq!((&copies[1]["status"], &copies[1]["outcome"]), (&json!(0), &json!("timeout")));
    assert_eq!(copies[0]["trace_id"], trace);
    assert!(copies[0]["bytes_out"].as_u64().is_some_and(|bytes| bytes > 100), "{}", copies[0]);
    Ok(())
}

#[tokio::test]
async fn a_copy_is_logged_when_its_request_is() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    let directory = TempDir::new()?;
    let config = Config::mirrored(primary.address(), dark.address(), "");
    let gateway = logging(&directory, config, "30%").await?;
    Load::run(&gateway.get("/"), 4, 200).await.flawless()?;
    gateway.outcomes("dark", &[("2xx", 200)]).await?;
    gateway.stop().await?;
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for line in read(&directory.path().join("access.log"))? {
        let id = line["request_id"].as_str().context("no id")?;
        *lines.entry(id.to_owned()).or_default() += 1;
    }
    assert!(lines.values().all(|lines| *lines == 2), "{lines:?}");
    assert_share(lines.len() as u64, 200, 0.3);
    Ok(())
}

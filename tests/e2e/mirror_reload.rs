//! Mirrors over retries, fallbacks and reloads, and mistakes in their configuration.

use crate::access_log::{logging, read};
use anyhow::{Context, Result};
use serde_json::json;
use std::time::Duration;
use tempfile::TempDir;
use tidegate_tests::*;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_request_that_fell_back_has_one_copy() -> Result<()> {
    let (stable, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    let dead = DeadAddress::new()?;
    let config = Config::new()
        .upstream("v1", stable.address())
        .upstream("v2", dead.address())
        .dark("dark", dark.address())
        .route(
            "shop",
            "/",
            "[{ name: canary, upstream: v2, weight: 1, fallback: stable }, \
             { name: stable, upstream: v1, weight: 0 }]",
        )
        .also("mirrors: [{ name: dark, upstream: dark, methods: [GET, POST] }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    Load::run(&gateway.get("/"), 2, 50).await.flawless()?;
    gateway.outcomes("dark", &[("2xx", 50)]).await?;
    let post = gateway.call("POST", "/");
    for call in [post.clone().body("whole body"), post.chunked("whole body")] {
        assert_eq!(call.send().await?.origin(), "v1");
    }
    gateway.outcomes("dark", &[("2xx", 52)]).await?;
    assert_eq!((stable.hits(), dark.hits()), (52, 52));
    assert_eq!(dark.last().body, "whole body");
    gateway.stop().await
}

/// The gateway sends a request again when a kept connection turns out to be closed.
#[tokio::test]
async fn a_request_that_was_sent_twice_has_one_copy() -> Result<()> {
    let dark = Origin::start("dark").await?;
    let primary = RawOrigin::start(|mut stream| async move {
        for _ in 0..3 {
            read_request(&mut stream).await?;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
        }
        // Without a word about it.
        Ok(Vec::new())
    })
    .await?;
    let keys = "methods: [GET, PUT], limits: { concurrent: 1000 }";
    let config = Config::mirrored(primary.address(), dark.address(), keys);
    let gateway = Gateway::start(&config.yaml()).await?;
    Load::run(&gateway.get("/"), 2, 200).await.flawless()?;
    gateway.outcomes("dark", &[("2xx", 200)]).await?;
    let put = gateway.call("PUT", "/").body("whole body");
    Load::run(&put, 2, 100).await.flawless()?;
    gateway.outcomes("dark", &[("2xx", 300)]).await?;
    assert_eq!(dark.hits(), 300);
    assert_eq!(dark.last().body, "whole body");
    gateway.stop().await
}

#[tokio::test]
async fn a_mirror_that_is_removed_stops_and_its_last_copy_finishes() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    dark.behave(Behaviour::Delay(Duration::from_millis(1500)));
    let directory = TempDir::new()?;
    let config = Config::mirrored(primary.address(), dark.address(), "");
    let gateway = logging(&directory, config, "100%").await?;
    let log = directory.path().join("access.log");
    gateway.get("/last").send().await?;
    eventually("the copy is on its way", async || (dark.hits() == 1).then_some(())).await?;
    let without = Config::single(primary.address()).top("access_log: { path: access.log }");
    gateway.write(&without.yaml())?;
    gateway.generation_after(1.0).await?;
    Load::run(&gateway.get("/after"), 2, 100).await.flawless()?;
    let copy = eventually("the copy's line", async || {
        read(&log).ok()?.into_iter().find(|line| line["mirror"] == "dark")
    })
    .await?;
    assert_eq!((&copy["path"], &copy["outcome"]), (&json!("/last"), &json!("2xx")));
    assert_eq!(dark.hits(), 1, "copies after the mirror was removed");
    let metrics = gateway.metrics().await?;
    let left = metrics.series.iter().find(|series| series.labels.contains_key("mirror"));
    assert_eq!(left, None);
    assert_eq!(gateway.admin_get("/api/v1/mirrors").await?.json()?["mirrors"], json!([]));
    gateway.stop().await
}

/// A request keeps the configuration that it began with, but for the copies it could still make.
#[tokio::test]
async fn an_upload_that_outlives_its_mirror_is_not_copied() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    let directory = TempDir::new()?;
    let config = Config::mirrored(primary.address(), dark.address(), "methods: [POST]");
    let gateway = logging(&directory, config, "100%").await?;
    let mut client = RawClient::connect(gateway.web()).await?;
    client.send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 10\r\n\r\n01234").await?;
    eventually("the request is at its variant", async || {
        let labels = [("route", "shop"), ("variant", "stable")];
        let metrics = gateway.metrics().await.ok()?;
        (metrics.sum("tidegate_requests_in_flight", &labels) == 1.0).then_some(())
    })
    .await?;
    let without = Config::single(primary.address()).top("access_log: { path: access.log }");
    gateway.write(&without.yaml())?;
    gateway.generation_after(1.0).await?;
    client.send("56789").await?;
    assert_eq!(client.response(SOON).await?.status, 200);
    assert_eq!(primary.last().body, "0123456789");
    let log = directory.path().join("access.log");
    let line = eventually("the request's line", async || read(&log).ok()?.pop()).await?;
    assert_eq!(line["mirrors"], json!({ "dark": "removed" }));
    assert_eq!(dark.hits(), 0);
    gateway.stop().await
}

#[tokio::test]
async fn a_mirror_that_is_changed_keeps_its_counts_and_its_budget() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    let with = |percent: u32, per_day: u32| {
        let keys = format!("percent: {percent}, limits: {{ per_day: {per_day} }}");
        Config::mirrored(primary.address(), dark.address(), &keys).yaml()
    };
    let gateway = Gateway::start(&with(100, 5)).await?;
    let mut generation = gateway.generation().await?;
    for (percent, per_day, expected) in [
        (100, 5, &[("2xx", 3)][..]),
        (0, 5, &[("2xx", 3), ("not_sampled", 3)]),
        (100, 5, &[("2xx", 5), ("not_sampled", 3), ("day_budget", 1)]),
        (100, 7, &[("2xx", 7), ("not_sampled", 3), ("day_budget", 2)]),
    ] {
        if expected.len() > 1 {
            gateway.write(&with(percent, per_day))?;
            generation = gateway.generation_after(generation).await?;
        }
        for _ in 0..3 {
            gateway.get("/").send().await?;
        }
        gateway.outcomes("dark", expected).await?;
    }
    let told = gateway.admin_get("/api/v1/mirrors/shop/dark").await?.json()?;
    assert_eq!((&told["today"], &told["requests"]), (&json!(7), &json!(12)));
    gateway.stop().await
}

#[tokio::test]
async fn a_mirror_can_be_added_moved_and_given_other_memory() -> Result<()> {
    let (primary, a) = tokio::try_join!(Origin::start("v1"), Origin::start("a"))?;
    let b = Origin::start("b").await?;
    let gateway = Gateway::start(&Config::single(primary.address()).yaml()).await?;
    let mut generation = gateway.generation().await?;
    let load = Load::start(&gateway.get("/"), 2);
    for (dark, memory, kibibytes) in [(&a, "1MiB", 1024), (&b, "2MiB", 2048)] {
        let config = Config::mirrored(primary.address(), dark.address(), "");
        let config = config.top(&format!("runtime: {{ mirror_memory: {memory} }}"));
        gateway.write(&config.yaml())?;
        generation = gateway.generation_after(generation).await?;
        let hits = dark.hits();
        eventually("copies", async || (dark.hits() > hits + 20).then_some(())).await?;
        let told = gateway.admin_get("/api/v1/mirrors").await?.json()?;
        assert_eq!(told["memory"]["limit"], kibibytes * 1024);
    }
    let settled = a.hits();
    Load::run(&gateway.get("/"), 1, 50).await.flawless()?;
    assert_eq!(a.hits(), settled, "copies to the dark upstream before");
    load.stop().await.flawless()?;
    gateway.stop().await
}

/// The line and column of `text` in the configuration.
fn place(yaml: &str, text: &str) -> Result<String> {
    let mirrors = yaml.find("mirrors:").unwrap_or(0);
    let at = mirrors + yaml[mirrors..].find(text).with_context(|| text.to_owned())?;
    let start = yaml[..at].rfind('\n').map_or(0, |newline| newline + 1);
    Ok(format!(":{}:{} (", yaml[..at].matches('\n').count() + 1, at - start + 1))
}

#[tokio::test]
async fn mistakes_are_named_with_their_place() -> Result<()> {
    let dead = DeadAddress::new()?;
    let directory = TempDir::new()?;
    let file = directory.path().join("tidegate.yaml");
    for (keys, at, said) in [
        ("upstream: drak", "drak", "did you mean `dark`"),
        ("upstream: dark, percent: 101", "101", "100"),
        ("upstream: dark, methods: []", "[] }", "copies nothing"),
        ("upstream: dark, max_body: 65MiB", "65MiB", "mirror_memory"),
        ("upstream: dark, timeout: 0s", "0s", "0s"),
        ("upstream: dark, limits: { concurrent: 0 }", "0 }", "0"),
        ("upstream: dark, limits: { per_hour: 1 }", "per_hour", "per_hour"),
        ("upstream: dark, headers: { set: { host: a } }", "host: a", "host"),
        ("upstream: dark, headers: { remove: [content-length] }", "content-length", "itself"),
        ("upstream: dark, headers: { add: { x-tidegate-shadow: a } }", "x-tidegate-shadow", "own"),
        ("upstream: dark, compare: { noise_upstream: v3 }", "v3", "v1"),
        ("upstream: dark, compare: { noise_upstream: dark }", "dark } }", "the mirror's own"),
        ("upstream: dark, compare: { ignore: [timestamp] }", "timestamp", "$"),
        ("upstream: dark, compare: { headers: [\"a b\"] }", "\"a b\"", "a b"),
        ("upstream: dark, compare: { max_body: 40MiB }", "40MiB", "mirror_memory"),
        ("upstream: dark }, { name: dark, upstream: dark", "dark, upstream: dark }]", "dark"),
    ] {
        let yaml = Config::single(dead.address())
            .dark("dark", dead.address())
            .also(&format!("mirrors: [{{ name: dark, {keys} }}]"))
            .yaml();
        std::fs::write(&file, &yaml)?;
        let verdict = tidegate(&["check".as_ref(), file.as_os_str()]).await?;
        assert_eq!(verdict.code, Some(78), "{keys}: {verdict:?}");
        let place = place(&yaml, at)?;
        assert!(verdict.stderr.contains(&place), "{keys}: not at {place} {}", verdict.stderr);
        assert!(verdict.stderr.contains(said), "{keys}: no `{said}` in {}", verdict.stderr);
        assert_eq!(verdict.stderr.matches("error: ").count(), 1, "{}", verdict.stderr);
    }
    Ok(())
}

//! The access log.

use anyhow::{Context, Result};
use rustix::{
    fs::{CWD, Mode, OFlags, mkfifoat, open},
    process::Signal,
};
use serde_json::{Value, json};
use std::{fs, path::Path};
use tempfile::TempDir;
use tidegate_tests::*;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The lines of a log, each of which has to be one JSON object.
pub(crate) fn read(file: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(file)?;
    text.lines().map(|line| serde_json::from_str(line).context(line.to_owned())).collect()
}

/// A gateway that logs into `access.log` beside its file.
pub(crate) async fn logging(directory: &TempDir, config: Config, sample: &str) -> Result<Gateway> {
    let file = directory.path().join("tidegate.yaml");
    let log = format!("access_log: {{ path: access.log, format: json, sample: {sample} }}");
    fs::write(&file, config.top(&log).yaml())?;
    Gateway::start_at(&file).await
}

#[tokio::test]
async fn each_request_is_a_line_that_says_what_became_of_it() -> Result<()> {
    let (v1, dead) = (Origin::start("v1").await?, DeadAddress::new()?);
    let config = Config::new()
        .upstream("v1", v1.address())
        .upstream("v2", dead.address())
        .route(
            "shop",
            "/",
            "[{ name: stable, upstream: v1, weight: 1 }, \
             { name: canary, upstream: v2, weight: 0, fallback: stable }]",
        )
        .also("bucket_by: [{ header: x-user-id }]")
        .also("pins:\n  - { variant: canary, header: { name: x-canary, exact: \"1\" } }")
        .also("  - { variant: stable, header: { name: x-canary, exact: \"0\" } }");
    let directory = TempDir::new()?;
    let gateway = logging(&directory, config, "100%").await?;
    let call = gateway.call("POST", "/a/b?secret=1").host("shop.example.com").body("12345");
    let call = call.header("traceparent", TRACE).header("x-user-id", "u1");
    let split = call.send().await?;
    call.clone().header("x-canary", "0").send().await?;
    call.clone().header("x-canary", "1").send().await?;
    call.header("x-want-status", "418").send().await?;
    gateway.stop().await?;

    let lines = read(&directory.path().join("access.log"))?;
    assert_eq!(lines.len(), 4, "{lines:#?}");
    let reasons: Vec<_> = lines.iter().map(|line| &line["reason"]).collect();
    assert_eq!(reasons, ["split", "pin", "fallback", "split"]);
    for line in &lines {
        assert_eq!((&line["route"], &line["variant"]), (&json!("shop"), &json!("stable")));
        assert_eq!((&line["generation"], &line["method"]), (&json!(1), &json!("POST")));
        assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(line["bucket"], lines[0]["bucket"], "one user, one bucket");
        let bucket = line["bucket"].as_f64().context("no bucket")?;
        assert!((0.0..1.0).contains(&bucket), "{bucket}");
        assert!(line["duration_ms"].as_f64().is_some_and(|time| time > 0.0), "{line}");
        assert!(line["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{line}");
        assert_eq!(line["bytes_in"], 5);
        assert!(line["retries"].is_u64(), "{line}");
        assert!(!line.to_string().contains("secret"), "a query may hold secrets: {line}");
    }
    assert_eq!((&lines[0]["status"], &lines[3]["status"]), (&json!(200), &json!(418)));
    assert_eq!(lines[0]["bytes_out"], split.body.len());
    let ids: std::collections::HashSet<_> =
        lines.iter().map(|line| line["request_id"].to_string()).collect();
    assert_eq!(ids.len(), 4, "two requests have one id");
    Ok(())
}

#[tokio::test]
async fn a_dash_is_standard_output() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let config = Config::single(origin.address());
    let gateway = Gateway::start(&config.top("access_log: { path: \"-\" }").yaml()).await?;
    gateway.get("/x").send().await?;
    let line = eventually("a line", async || gateway.stdout().pop()).await?;
    assert_eq!(serde_json::from_str::<Value>(&line)?["path"], "/x");
    gateway.stop().await
}

#[tokio::test]
async fn without_the_key_nothing_is_logged() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let before = gateway.log().len();
    Load::run(&gateway.get("/"), 1, 20).await.flawless()?;
    assert_eq!(gateway.stdout(), Vec::<String>::new());
    assert_eq!(gateway.log().len(), before, "a line a request: {:?}", gateway.log());
    gateway.stop().await
}

#[tokio::test]
async fn a_sample_is_the_share_that_it_says() -> Result<()> {
    let origin = Origin::start("v1").await?;
    for (sample, expected) in [("0%", 0.0), ("25%", 0.25), ("100%", 1.0)] {
        let directory = TempDir::new()?;
        let gateway = logging(&directory, Config::single(origin.address()), sample).await?;
        Load::run(&gateway.get("/"), 4, 800).await.flawless()?;
        gateway.stop().await?;
        let lines = read(&directory.path().join("access.log"))?.len() as u64;
        if expected > 0.0 && expected < 1.0 {
            assert_share(lines, 800, expected);
        } else {
            assert_eq!(lines as f64, 800.0 * expected, "{sample}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_log_that_was_moved_away_is_made_again_on_sighup() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let directory = TempDir::new()?;
    let gateway = logging(&directory, Config::single(origin.address()), "100%").await?;
    let (log, old) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
    gateway.get("/before").send().await?;
    eventually("a line", async || read(&log).ok().filter(|lines| lines.len() == 1)).await?;
    fs::rename(&log, &old)?;
    gateway.signal(Signal::HUP)?;
    eventually("a new file", async || log.exists().then_some(())).await?;
    gateway.get("/after").send().await?;
    gateway.stop().await?;
    let paths =
        |file| anyhow::Ok(read(file)?.iter().map(|line| line["path"].clone()).collect::<Vec<_>>());
    assert_eq!(paths(&old)?, ["/before"]);
    assert_eq!(paths(&log)?, ["/after"]);
    Ok(())
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_holds_up_no_request() -> Result<()> {
    let origin = Origin::start("v1").await?;
    for opened in [false, true] {
        let directory = TempDir::new()?;
        let pipe = directory.path().join("access.log");
        mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR)?;
        // Opened by a reader that never reads, the pipe is full after some 64 KiB.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let _reader = opened.then(|| open(&pipe, flags, Mode::empty())).transpose()?;
        let gateway = logging(&directory, Config::single(origin.address()), "100%").await?;
        let report = Load::run(&gateway.get("/"), 4, 2000).await.flawless()?;
        assert_eq!(report.served(), 2000);
        gateway.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_client_cannot_forge_a_line() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let directory = TempDir::new()?;
    let gateway = logging(&directory, Config::single(origin.address()), "100%").await?;
    let target = "/%0a{\"route\":\"forged\"}\"\\";
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = RawClient::exchange(gateway.web(), request).await?;
    gateway.stop().await?;
    let lines = read(&directory.path().join("access.log"))?;
    // Refused, it may leave no line at all.
    assert!(lines.len() == 1 || answer.status == 400, "{lines:?}");
    assert!(lines.iter().all(|line| line["route"] != "forged"), "{lines:?}");
    Ok(())
}

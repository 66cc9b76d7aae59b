//! Certificates are a part of the configuration: a change is a reload, and a bad one changes nothing.

use anyhow::{Context, Result};
use std::{fs, path::Path};
use tempfile::TempDir;
use tidegate_tests::*;

/// One that is good, by itself.
fn authority() -> Result<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/certs/edge.pem");
    Ok(fs::read_to_string(file)?)
}

#[tokio::test]
async fn a_certificate_that_changes_is_a_reload_and_a_bad_one_changes_nothing() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let directory = TempDir::new()?;
    let (file, ca) = (directory.path().join("tidegate.yaml"), directory.path().join("ca.pem"));
    let config = Config::single(origin.address())
        .upstream_with("private", "endpoints: [a.example:1], tls: { ca: ca.pem }")
        .route("private", "/private", "[{ name: only, upstream: private }]");
    fs::write(&file, config.yaml())?;
    fs::write(&ca, authority()?)?;
    let gateway = Gateway::start_at(&file).await?;
    let (first, errors) = (gateway.generation().await?, gateway.reloads("error").await?);

    fs::write(&ca, "-----BEGIN")?;
    gateway.errors_after(errors).await?;
    let status = gateway.status().await?;
    let message = status["config"]["last_error"]["errors"][0]["message"].as_str();
    assert!(message.context("an error")?.contains("ca.pem"), "{status:#}");
    assert_eq!(gateway.generation().await?, first);
    assert_eq!(gateway.get("/").send().await?.status, 200);

    fs::write(&ca, format!("# renewed\n{}", authority()?))?;
    gateway.generation_after(first).await?;
    assert_eq!(gateway.status().await?["config"]["last_error"], serde_json::Value::Null);
    let second = gateway.generation().await?;
    // By a name that another file takes, as most tools that renew certificates do it.
    let next = directory.path().join("next.pem");
    fs::write(&next, format!("# renewed again\n{}", authority()?))?;
    fs::rename(next, &ca)?;
    gateway.generation_after(second).await?;
    gateway.stop().await
}

#[tokio::test]
async fn what_needs_a_restart_is_told() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let text = Config::single(origin.address()).yaml();
    let gateway = Gateway::start(&text).await?;
    let told = async |text: &str| {
        gateway.write(text)?;
        let report = gateway.reload().await?.json()?;
        let told = report["restart_needed"].as_array().context("a list")?.clone();
        anyhow::Ok(
            told.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect::<Vec<_>>(),
        )
    };
    let listener = "name: web, address: 127.0.0.1:0";
    let limits = format!("{listener}, timeouts: {{ idle: 5s }}, limits: {{ connections: 100 }}");
    let same = told(&text.replace(listener, &limits)).await?;
    assert!(same.is_empty(), "{same:?}");
    let drain = told(&format!("{text}runtime: {{ drain_delay: 1s, max_requests: 5 }}\n")).await?;
    assert!(drain.is_empty(), "{drain:?}");
    let kind = told(&text.replace(listener, &format!("{listener}, protocol: h2c"))).await?;
    assert_eq!(kind, ["listener `web` goes on with http1: h2c needs a restart"]);
    let runtime = "runtime: { resolvers: [127.0.0.1:53], upgrade_socket: other.sock }\n";
    assert_eq!(
        told(&format!("{text}{runtime}")).await?,
        [
            "a change of `runtime.resolvers` needs a restart",
            "a change of `runtime.upgrade_socket` needs a restart",
        ]
    );
    gateway.stop().await
}

//! Upgrades that come to nothing: the running process goes on as if nothing had happened.

use super::{Words, serves, socket_beside};
use anyhow::{Result, ensure};
use rustix::process::Signal;
use serde_json::json;
use std::{fs, os::unix::net::UnixListener};
use tidegate_tests::*;

/// Runs an upgrade that has to fail.
async fn fails(gateway: &Gateway, code: i32) -> Result<String> {
    let file = gateway.file().as_os_str();
    let ended = tidegate(&["run".as_ref(), "--upgrade".as_ref(), "-c".as_ref(), file]).await?;
    ensure!(ended.code == Some(code), "{ended:?}");
    Ok(ended.stderr)
}

#[tokio::test]
async fn a_broken_file() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let yaml = Config::single(origin.address()).yaml();
    let mut gateway = Gateway::start(&yaml).await?;
    let load = Load::fresh(&gateway.get("/"), 2);
    // It does not even ask.
    gateway.write(&yaml.replace("upstream: v1", "upstream: v3"))?;
    let said = fails(&gateway, 78).await?;
    ensure!(said.contains("v3"), "{said}");
    // It asks, and finds out later: the access log cannot be opened.
    gateway.write(&format!("{yaml}access_log: {{ path: no/such/directory/access.log }}\n"))?;
    let said = fails(&gateway, 1).await?;
    ensure!(said.contains("access.log"), "{said}");
    // An address that somebody else has.
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let line = format!("listeners:\n  - {{ name: new, address: {} }}\n", taken.local_addr()?);
    gateway.write(&yaml.replace("listeners:\n", &line))?;
    let said = fails(&gateway, 1).await?;
    ensure!(said.contains(&taken.local_addr()?.to_string()), "{said}");
    serves(&gateway).await?;
    gateway.healthy()?;
    load.serves(10).await?;
    // And when it is good again, it works.
    gateway.write(&yaml)?;
    let next = gateway.upgraded().await?;
    gateway.retires().await?;
    serves(&next).await?;
    load.serves(10).await?;
    load.stop().await.flawless()?;
    next.stop().await
}

#[tokio::test]
async fn one_at_a_time() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let mut gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let mut first = Words::to(&gateway)?;
    first.begin()?;
    let said = fails(&gateway, 1).await?;
    ensure!(said.contains("another process is taking over already"), "{said}");
    drop(first);
    // Another language, and nonsense.
    let mut other = Words::to(&gateway)?;
    let later = json!({ "say": "upgrade", "protocols": [7, 8], "release": "9.9", "pid": 1 });
    let refused = eventually("it is told so", async || {
        other.say(&later).ok()?;
        let heard = other.hear().ok()?;
        if heard["why"].as_str()?.contains("in common") {
            return Some(());
        }
        // The first one's end was not noticed yet.
        other = Words::to(&gateway).ok()?;
        None
    });
    refused.await?;
    for nonsense in [json!("GET / HTTP/1.1"), json!({ "say": "serving", "kept": [] })] {
        eventually("nonsense ends", async || {
            let mut words = Words::to(&gateway).ok()?;
            words.say(&nonsense).ok()?;
            let heard = words.hear().ok()?;
            let why = heard["why"].as_str()?.to_owned();
            (!why.contains("already")).then_some(())
        })
        .await?;
    }
    let next = eventually("an upgrade works", async || gateway.upgraded().await.ok()).await?;
    gateway.retires().await?;
    serves(&next).await?;
    next.stop().await
}

#[tokio::test]
async fn nobody_to_take_over_from() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let directory = tempfile::TempDir::new()?;
    let file = directory.path().join("tidegate.yaml");
    fs::write(&file, Config::single(origin.address()).yaml())?;
    let start = async || Gateway::start_with(&[], &file, &["--upgrade"]).await;
    let warned = |gateway: &Gateway| {
        gateway.log().iter().any(|line| line.contains("no process to take over from"))
    };
    // Nothing there.
    let mut gateway = start().await?;
    ensure!(warned(&gateway), "{:#?}", gateway.log());
    serves(&gateway).await?;
    // A file that somebody left who was killed.
    gateway.kill().await?;
    ensure!(socket_beside(&file).exists());
    let gateway = start().await?;
    ensure!(warned(&gateway), "{:#?}", gateway.log());
    serves(&gateway).await?;
    gateway.stop().await?;
    // Somebody who dies at once.
    let dying = UnixListener::bind(socket_beside(&file))?;
    std::thread::spawn(move || drop(dying.accept()));
    let gateway = start().await?;
    ensure!(warned(&gateway), "{:#?}", gateway.log());
    serves(&gateway).await?;
    gateway.stop().await
}

#[tokio::test]
async fn a_process_without_a_socket_serves() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let directory = tempfile::TempDir::new()?;
    let file = directory.path().join("tidegate.yaml");
    fs::write(&file, Config::single(origin.address()).yaml())?;
    // A file of the user's is no socket, and stays.
    fs::write(socket_beside(&file), "mine")?;
    let gateway = Gateway::start_at(&file).await?;
    serves(&gateway).await?;
    ensure!(gateway.log().iter().any(|line| line.contains("no new process can take over")));
    ensure!(fs::read_to_string(socket_beside(&file))? == "mine");
    // And a second one beside it does not take the first one's place.
    fs::remove_file(socket_beside(&file))?;
    gateway.stop().await?;
    let first = Gateway::start_at(&file).await?;
    let second = Gateway::start_at(&file).await?;
    let said = |line: &String| line.contains("another process listens there");
    ensure!(second.log().iter().any(said), "{:#?}", second.log());
    second.stop().await?;
    ensure!(socket_beside(&file).exists());
    first.stop().await
}

#[tokio::test]
async fn a_process_that_ends_hands_nothing_over() -> Result<()> {
    let origin = Origin::start("v1").await?;
    origin.behave(Behaviour::Never);
    let config = Config::single(origin.address()).top("runtime: { drain_timeout: 2s }");
    let mut gateway = Gateway::start(&config.yaml()).await?;
    let endless = gateway.get("/");
    let endless = tokio::spawn(async move { endless.send().await });
    eventually("it is on its way", async || (origin.hits() == 1).then_some(())).await?;
    let mut words = Words::to(&gateway)?;
    words.begin()?;
    gateway.signal(Signal::TERM)?;
    eventually("nobody can ask", async || (!socket_beside(gateway.file()).exists()).then_some(()))
        .await?;
    gateway.retires().await?;
    let _ = endless.await?;
    Ok(())
}

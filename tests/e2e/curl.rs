//! curl, a client that somebody else wrote and everybody has.

use anyhow::{Context, Result};
use tempfile::TempDir;
use tidegate_tests::*;

/// Runs curl with `arguments` on `/` of the gateway; gives the status, the version of HTTP and how
/// many connections it made, in that order.
async fn curl(gateway: &Gateway, arguments: &[&str]) -> Result<String> {
    let url = format!("http://{}/", gateway.web());
    let told =
        ["-sS", "-m", "8", "-o", "/dev/null", "-w", "%{http_code} %{http_version} %{num_connects}"];
    let done = run("curl", &[&told[..], arguments, &[&url]].concat(), b"").await?;
    anyhow::ensure!(done.code == Some(0), "{arguments:?}: {done:?}");
    Ok(done.stdout)
}

#[tokio::test]
async fn every_way_of_asking_works() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    for arguments in [
        &["-X", "GET"][..],
        &["-I"],
        &["-X", "DELETE"],
        &["-X", "OPTIONS"],
        &["-X", "PURGE"],
        &["-H", "Connection: close"],
        &["-H", "Accept-Encoding: gzip", "--compressed"],
        &["--http1.0"],
        // Asks for an upgrade to HTTP/2 that this listener does not do.
        &["--http2"],
    ] {
        assert_eq!(curl(&gateway, arguments).await?, "200 1.1 1", "{arguments:?}");
    }
    gateway.stop().await
}

#[tokio::test]
async fn uploads_arrive_whole() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let directory = TempDir::new()?;
    let file = directory.path().join("upload");
    // More than 1 MiB: curl asks for `100 Continue` first.
    let body: Vec<u8> = (0..2_000_000u32).map(|i| (i % 253) as u8).collect();
    std::fs::write(&file, &body)?;
    let data = format!("@{}", file.to_str().context("a path that is no text")?);
    let path = &data[1..];
    for arguments in [
        &["--data-binary", data.as_str()][..],
        &["-T", path],
        &["-H", "Transfer-Encoding: chunked", "--data-binary", &data],
        &["-H", "Expect:", "--data-binary", &data],
    ] {
        assert_eq!(curl(&gateway, arguments).await?, "200 1.1 1", "{arguments:?}");
        assert!(origin.last().body == body, "{arguments:?} brought another body");
    }
    gateway.stop().await
}

#[tokio::test]
async fn a_connection_is_kept() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let again = format!("http://{}/again", gateway.web());
    // Two URLs, one connection: the second made none.
    let told = curl(&gateway, &["-o", "/dev/null", &again]).await?;
    assert_eq!(told, "200 1.1 1200 1.1 0");
    // A HEAD has no body, whatever its length says; the next answer is not taken for it.
    let told = curl(&gateway, &["-I", "-o", "/dev/null", &again]).await?;
    assert_eq!(told, "200 1.1 1200 1.1 0");
    gateway.stop().await
}

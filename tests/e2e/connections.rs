//! What happens on one client connection beyond a single request and its answer.

use crate::failures::trickling;
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};
use tidegate_tests::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

/// Far below the limits of the requests here, far above what a loaded machine needs.
const PROMPT: Duration = Duration::from_secs(4);

/// The bytes of a next request must not switch the deadlines of this one off.
#[tokio::test]
async fn a_client_that_pipelines_is_under_the_same_deadline() -> Result<()> {
    let origin = trickling().await?;
    let gateway =
        Gateway::start(&Config::single(origin.address()).also("timeout: 1s").yaml()).await?;
    let mut client = RawClient::connect(gateway.web()).await?;
    let begin = Instant::now();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    sleep(Duration::from_millis(200)).await;
    client.send("G").await?;
    assert_eq!(client.response(PROMPT).await?.status, 504);
    assert!(begin.elapsed() < PROMPT, "{:?}", begin.elapsed());
    gateway.counts("tidegate_attempts_total", &[("outcome", "timeout")], 1.0).await?;
    gateway.stop().await
}

/// A request that waits while the one before it is served comes whole, whenever its bytes come.
#[tokio::test]
async fn a_request_sent_early_waits_for_its_turn() -> Result<()> {
    let origin = Origin::start("v1").await?;
    origin.behave(Behaviour::Delay(Duration::from_millis(300)));
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let mut client = RawClient::connect(gateway.web()).await?;
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    for piece in ["G", "ET /2 HT", "TP/1.1\r\nHost: a\r\n\r", "\n"] {
        sleep(Duration::from_millis(50)).await;
        client.send(piece).await?;
    }
    for path in ["/1", "/2"] {
        let answer = client.response(SOON).await.with_context(|| path.to_owned())?;
        assert_eq!((answer.status, &answer.json()?["path"]), (200, &path.into()));
    }
    gateway.stop().await
}

/// The gateway answers before it has read the body; the answer has to reach a client that is still
/// sending.
#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() -> Result<()> {
    let dead = DeadAddress::new()?;
    let gateway = Gateway::start(&Config::single(dead.address()).yaml()).await?;
    for _ in 0..20 {
        let mut client = RawClient::connect(gateway.web()).await?;
        let body = "x".repeat(400_000);
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
        client.send(head).await?;
        client.send_some(&body).await;
        let answer = client.response(PROMPT).await?;
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    }
    gateway.stop().await
}

#[tokio::test]
async fn http_1_0_gets_no_chunks() -> Result<()> {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let origin = RawOrigin::answering(chunked).await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let mut client = RawClient::connect(gateway.web()).await?;
    client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await?;
    let all = String::from_utf8(client.until_closed(PROMPT).await?)?.to_lowercase();
    assert!(all.starts_with("http/1.1 200") && all.ends_with("\r\n\r\nabc"), "{all:?}");
    assert!(!all.contains("transfer-encoding"), "{all:?}");
    gateway.stop().await
}

/// An upgraded connection is a stream: no timeout of the route, no limit of a body, and nothing of
/// the gateway's own in it.
#[tokio::test]
async fn an_upgraded_connection_is_left_alone() -> Result<()> {
    let origin = RawOrigin::start(|mut stream| async move {
        let got = read_head(&mut stream).await?;
        let accepted = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        stream.write_all(accepted.as_bytes()).await?;
        let mut buffer = vec![0; 4096];
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok(got),
                read => stream.write_all(&buffer[..read]).await?,
            }
        }
    })
    .await?;
    let config = Config::single(origin.address()).also("timeout: 500ms").also("max_body: 1KiB");
    let gateway = Gateway::start(&config.yaml()).await?;
    let mut client = tokio::net::TcpStream::connect(gateway.web()).await?;
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(upgrade.as_bytes()).await?;
    let head = String::from_utf8(read_head(&mut client).await?)?;
    ensure!(head.starts_with("HTTP/1.1 101"), "{head}");
    let piece = vec![b'w'; 1000];
    for _ in 0..8 {
        client.write_all(&piece).await?;
        let mut echo = vec![0; piece.len()];
        tokio::time::timeout(PROMPT, client.read_exact(&mut echo)).await.context("no echo")??;
        ensure!(echo == piece, "something else came back");
        sleep(Duration::from_millis(150)).await;
    }
    drop(client);
    gateway.counts("tidegate_requests_total", &[("code", "1xx")], 1.0).await?;
    gateway.stop().await
}

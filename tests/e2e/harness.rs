//! The harness itself, without a gateway: a test bed that lies makes every other test lie.

use anyhow::Result;
use bytes::Bytes;
use tidegate_tests::*;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn an_origin_echoes_and_remembers() -> Result<()> {
    let origin = Origin::start("one").await?;
    let body = Bytes::from(vec![7; 100_000]);
    let call = Call::new(origin.address(), "POST", "/a/b?c=d")
        .host("shop.example.com")
        .header("x-a", "1")
        .header("x-a", "2");
    for call in [call.clone().body(body.clone()), call.chunked(body.clone())] {
        let answer = call.send().await?;
        assert_eq!((answer.status, answer.origin()), (200, "one"));
        let echo = answer.json()?;
        assert_eq!((&echo["method"], &echo["path"]), (&"POST".into(), &"/a/b".into()));
        assert_eq!(echo["body_bytes"], 100_000);
        let got = origin.last();
        assert_eq!(got.all("x-a"), ["1", "2"]);
        assert_eq!(got.header("host"), "shop.example.com");
        assert_eq!(got.body, body);
    }
    assert_eq!(origin.last().header("transfer-encoding"), "chunked");
    assert_eq!((origin.hits(), origin.connections()), (2, 2));
    Ok(())
}

#[tokio::test]
async fn an_origin_misbehaves_as_told() -> Result<()> {
    let origin = Origin::start("bad").await?;
    let call = Call::get(origin.address(), "/").limit(std::time::Duration::from_millis(300));
    origin.behave(Behaviour::Status(503));
    assert_eq!(call.send().await?.status, 503);
    origin.behave(Behaviour::Never);
    assert!(call.send().await.is_err());
    origin.behave(Behaviour::Hangup);
    assert!(call.send().await.is_err());
    origin.behave(Behaviour::Echo);
    assert_eq!(call.header("x-want-status", "418").send().await?.status, 418);
    assert_eq!(origin.hits(), 4);
    Ok(())
}

#[tokio::test]
async fn a_load_counts_what_fails() -> Result<()> {
    let origin = Origin::start("one").await?;
    let call = Call::get(origin.address(), "/");
    let report = Load::run(&call, 4, 400).await.flawless()?;
    assert_eq!((report.served(), report.of("one"), report.connections), (400, 400, 4));
    origin.behave(Behaviour::Status(500));
    assert_eq!(Load::run(&call, 2, 10).await.failed, 10);
    origin.behave(Behaviour::Hangup);
    assert_eq!(Load::run(&call, 2, 10).await.failed, 10);
    let dead = DeadAddress::new()?;
    assert_eq!(Load::run(&Call::get(dead.address(), "/"), 2, 10).await.failed, 10);
    Ok(())
}

#[tokio::test]
async fn a_raw_client_reads_every_framing() -> Result<()> {
    let origin = RawOrigin::start(|mut stream| async move {
        let got = read_request(&mut stream).await?;
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab").await?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
        stream.write_all(b"1\r\nc\r\n2\r\nde\r\n0\r\n\r\n").await?;
        stream.write_all(b"HTTP/1.0 200 OK\r\nX-A: b\r\n\r\nfg").await?;
        Ok(got)
    })
    .await?;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nxyz";
    let mut client = RawClient::connect(origin.address()).await?;
    client.send(request).await?;
    for body in ["ab", "cde", "fg"] {
        assert_eq!(client.response(SOON).await?.text(), body);
    }
    assert!(client.until_closed(SOON).await?.is_empty());
    let kept = eventually("the origin keeps it", async || origin.received().pop()).await?;
    assert_eq!(kept, request);
    Ok(())
}

#[tokio::test]
async fn two_versions_of_nginx_answer_until_killed() -> Result<()> {
    let (mut one, two) = tokio::try_join!(Nginx::start("v1"), Nginx::start("v2"))?;
    assert_eq!(Call::get(one.address(), "/").send().await?.text(), "v1");
    let report = Load::run(&Call::get(two.address(), "/x"), 2, 100).await.flawless()?;
    assert_eq!(report.of("v2"), 100);
    one.kill().await?;
    assert!(Call::get(one.address(), "/").send().await.is_err());
    Ok(())
}

#[test]
fn chance_is_told_from_bias() {
    assert_share(500, 1000, 0.5);
    assert!(sigma(580, 1000, 0.5) > 5.0);
}

//! Upstreams that fail, and who is charged for it.

use anyhow::Result;
use bytes::Bytes;
use std::time::{Duration, Instant};
use tidegate_tests::*;
use tokio::{io::AsyncWriteExt, time::sleep};

const ATTEMPTS: &str = "tidegate_attempts_total";
/// Far below the 15 s that an upstream gets by default: the configured limit was the one.
const PROMPT: Duration = Duration::from_secs(4);

/// The labels of one outcome of one variant of the route `shop`.
fn outcome<'a>(variant: &'a str, outcome: &'a str) -> [(&'static str, &'a str); 3] {
    [("route", "shop"), ("variant", variant), ("outcome", outcome)]
}

#[tokio::test]
async fn a_dead_canary_is_served_by_its_fallback_and_charged() -> Result<()> {
    let (stable, dead) = (Origin::start("v1").await?, DeadAddress::new()?);
    let config = Config::new().upstream("v1", stable.address()).upstream("v2", dead.address());
    let config = config.route(
        "shop",
        "/",
        "[{ name: stable, upstream: v1, weight: 1 }, \
         { name: canary, upstream: v2, weight: 1, fallback: stable }]",
    );
    let gateway = Gateway::start(&config.also("expose_variant: true").yaml()).await?;
    let report = Load::run(&gateway.get("/"), 4, 200).await.flawless()?;
    assert_eq!(report.of("v1"), 200);
    gateway.counts(ATTEMPTS, &[("route", "shop"), ("variant", "stable")], 200.0).await?;
    let metrics = gateway.metrics().await?;
    let saved = metrics.sum("tidegate_fallbacks_total", &outcome("canary", "")[..2]);
    assert!((50.0..150.0).contains(&saved), "{saved} of 200 at one half");
    assert_eq!(metrics.sum(ATTEMPTS, &outcome("canary", "connect_failure")), saved);
    assert_eq!(metrics.sum(ATTEMPTS, &outcome("stable", "connect_failure")), 0.0);
    assert_eq!(metrics.sum("tidegate_requests_total", &[("code", "2xx")]), 200.0);
    gateway.stop().await
}

#[tokio::test]
async fn a_body_survives_the_fallback() -> Result<()> {
    let (stable, dead) = (Origin::start("v1").await?, DeadAddress::new()?);
    let config = Config::new().upstream("v1", stable.address()).upstream("v2", dead.address());
    let config = config.route(
        "shop",
        "/",
        "[{ name: canary, upstream: v2, weight: 1, fallback: stable }, \
         { name: stable, upstream: v1, weight: 0 }]",
    );
    let gateway = Gateway::start(&config.yaml()).await?;
    let body = Bytes::from((0..300_000u32).map(|i| (i % 251) as u8).collect::<Vec<_>>());
    let post = gateway.call("POST", "/");
    for call in [post.clone().body(body.clone()), post.chunked(body.clone())] {
        assert_eq!(call.send().await?.origin(), "v1");
        assert!(stable.last().body == body, "the fallback got another body");
    }
    gateway.stop().await
}

#[tokio::test]
async fn a_dead_variant_without_fallback_is_503() -> Result<()> {
    let dead = DeadAddress::new()?;
    let gateway = Gateway::start(&Config::single(dead.address()).yaml()).await?;
    assert_eq!(gateway.get("/").send().await?.status, 503);
    gateway.counts(ATTEMPTS, &outcome("stable", "connect_failure"), 1.0).await?;
    gateway.counts("tidegate_requests_total", &[("code", "5xx")], 1.0).await?;
    gateway.stop().await
}

#[tokio::test]
async fn a_dead_endpoint_costs_no_more_than_its_share() -> Result<()> {
    let (live, dead) = (Origin::start("v1").await?, DeadAddress::new()?);
    let endpoints = format!("endpoints: [\"{}\", \"{}\"]", live.address(), dead.address());
    let config = Config::new().upstream_with("v1", &endpoints).route(
        "shop",
        "/",
        "[{ name: stable, upstream: v1 }]",
    );
    let gateway = Gateway::start(&config.yaml()).await?;
    let report = Load::run(&gateway.get("/"), 2, 100).await;
    // Without `retry` a refused connection is the request's end; it has to be a 503 all the same.
    assert!(report.failures.iter().all(|why| why.starts_with("503")), "{report:?}");
    assert_eq!(report.of("v1") + report.failed, 100);
    assert!(report.of("v1") >= 40, "{report:?}");
    gateway.stop().await
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_504_in_its_time() -> Result<()> {
    let origin = Origin::start("v1").await?;
    origin.behave(Behaviour::Never);
    let keys = format!("endpoints: [\"{}\"], timeouts: {{ response: 300ms }}", origin.address());
    let config = Config::new().upstream_with("v1", &keys);
    let config = config.route("shop", "/", "[{ name: stable, upstream: v1 }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    let begin = Instant::now();
    assert_eq!(gateway.get("/").send().await?.status, 504);
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(290) && took < PROMPT, "{took:?}");
    gateway.counts(ATTEMPTS, &outcome("stable", "timeout"), 1.0).await?;
    gateway.stop().await
}

#[tokio::test]
async fn an_upstream_that_cannot_be_connected_in_time_is_503() -> Result<()> {
    // A listener whose queue is full: the system drops further attempts without a word.
    let full = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = full.local_addr()?;
    rustix::net::listen(&full, 0)?;
    let _waiting = std::net::TcpStream::connect(address)?;
    let keys = format!("endpoints: [\"{address}\"], timeouts: {{ connect: 300ms }}");
    let config = Config::new().upstream_with("v1", &keys);
    let config = config.route("shop", "/", "[{ name: stable, upstream: v1 }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    let begin = Instant::now();
    let status = gateway.get("/").send().await?.status;
    assert!([503, 504].contains(&status), "{status}");
    assert!(begin.elapsed() < PROMPT, "{:?}", begin.elapsed());
    gateway.counts(ATTEMPTS, &outcome("stable", "connect_failure"), 1.0).await?;
    gateway.stop().await
}

/// An upstream whose head comes a byte at a time, so that no single read ever waits long.
pub(crate) async fn trickling() -> Result<RawOrigin> {
    RawOrigin::start(|mut stream| async move {
        let got = read_request(&mut stream).await?;
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: ".iter().chain(&[b'a'; 400]) {
            stream.write_all(&[*byte]).await?;
            sleep(Duration::from_millis(50)).await;
        }
        Ok(got)
    })
    .await
}

#[tokio::test]
async fn the_route_timeout_holds_against_a_trickled_head() -> Result<()> {
    let origin = trickling().await?;
    let config = Config::single(origin.address()).also("timeout: 500ms");
    let gateway = Gateway::start(&config.yaml()).await?;
    let begin = Instant::now();
    assert_eq!(gateway.get("/").send().await?.status, 504);
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(490) && took < PROMPT, "{took:?}");
    gateway.counts(ATTEMPTS, &outcome("stable", "timeout"), 1.0).await?;
    gateway.stop().await
}

#[tokio::test]
async fn the_response_timeout_holds_against_a_trickled_head() -> Result<()> {
    let origin = trickling().await?;
    let keys = format!("endpoints: [\"{}\"], timeouts: {{ response: 500ms }}", origin.address());
    let config = Config::new().upstream_with("v1", &keys);
    let config = config.route("shop", "/", "[{ name: stable, upstream: v1 }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    let begin = Instant::now();
    assert_eq!(gateway.get("/").send().await?.status, 504);
    assert!(begin.elapsed() < PROMPT, "{:?}", begin.elapsed());
    gateway.stop().await
}

#[tokio::test]
async fn the_route_timeout_ends_a_body_that_never_ends() -> Result<()> {
    let origin = RawOrigin::start(|mut stream| async move {
        let got = read_request(&mut stream).await?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await?;
        while stream.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
        Ok(got)
    })
    .await?;
    let config = Config::single(origin.address()).also("timeout: 500ms");
    let gateway = Gateway::start(&config.yaml()).await?;
    let begin = Instant::now();
    // The head was sent; all that can be done is to cut the body short.
    assert!(gateway.get("/").send().await.is_err());
    assert!(begin.elapsed() < PROMPT, "{:?}", begin.elapsed());
    gateway.counts(ATTEMPTS, &outcome("stable", "timeout"), 1.0).await?;
    gateway.counts("tidegate_requests_in_flight", &[], 0.0).await?;
    gateway.stop().await
}

#[tokio::test]
async fn a_slow_upload_is_not_the_variants_failure() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let config = Config::single(origin.address()).also("timeout: 500ms");
    let gateway = Gateway::start(&config.yaml()).await?;
    let mut client = RawClient::connect(gateway.web()).await?;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").await?;
    assert_eq!(client.response(PROMPT).await?.status, 408);
    gateway.counts(ATTEMPTS, &outcome("stable", "client_aborted"), 1.0).await?;
    gateway.counts(ATTEMPTS, &outcome("stable", "timeout"), 0.0).await?;
    gateway.stop().await
}

#[tokio::test]
async fn an_upstream_that_hangs_up_is_502() -> Result<()> {
    let origin = Origin::start("v1").await?;
    origin.behave(Behaviour::Hangup);
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    assert_eq!(gateway.get("/").send().await?.status, 502);
    assert_eq!(origin.hits(), 1, "sent again although nobody asked for retries");
    gateway.counts(ATTEMPTS, &outcome("stable", "reset"), 1.0).await?;
    gateway.stop().await
}

#[tokio::test]
async fn a_request_that_was_sent_is_not_sent_to_the_fallback_as_well() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    v2.behave(Behaviour::Hangup);
    let config = Config::new().upstream("v1", v1.address()).upstream("v2", v2.address()).route(
        "shop",
        "/",
        "[{ name: canary, upstream: v2, weight: 1, fallback: stable }, \
         { name: stable, upstream: v1, weight: 0 }]",
    );
    let gateway = Gateway::start(&config.yaml()).await?;
    assert_eq!(gateway.call("POST", "/").body("pay").send().await?.status, 502);
    assert_eq!((v1.hits(), v2.hits()), (0, 1));
    gateway.stop().await
}

#[tokio::test]
async fn garbage_from_an_upstream_is_502() -> Result<()> {
    for garbage in [
        &b"\x00\x01\x02 nonsense\r\n\r\n"[..],
        b"HTTP/1.1 200",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ] {
        let origin = RawOrigin::answering(garbage).await?;
        let mut gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
        let answer = gateway.get("/").send().await?;
        assert_eq!(answer.status, 502, "{:?}", String::from_utf8_lossy(garbage));
        gateway.healthy()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_body_cut_short_is_not_passed_off_as_whole() -> Result<()> {
    let origin =
        RawOrigin::answering("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    assert!(gateway.get("/").send().await.is_err());
    gateway.counts(ATTEMPTS, &outcome("stable", "reset"), 1.0).await?;
    gateway.stop().await
}

#[tokio::test]
async fn beyond_an_upstream_limit_is_503_with_retry_after() -> Result<()> {
    for limit in ["requests: 2", "connections: 2"] {
        let origin = Origin::start("v1").await?;
        origin.behave(Behaviour::Delay(Duration::from_millis(1500)));
        let keys = format!("endpoints: [\"{}\"], limits: {{ {limit} }}", origin.address());
        let config = Config::new().upstream_with("v1", &keys);
        let config = config.route("shop", "/", "[{ name: stable, upstream: v1 }]");
        let gateway = Gateway::start(&config.yaml()).await?;
        let slow = gateway.get("/");
        let accepted = tokio::spawn(async move { tokio::join!(slow.send(), slow.send()) });
        eventually("both are on their way", async || (origin.hits() == 2).then_some(())).await?;
        let refused = gateway.get("/").send().await?;
        assert_eq!(refused.status, 503, "{limit}");
        assert!(refused.header("retry-after").parse::<u32>().is_ok(), "{refused:?}");
        let (a, b) = accepted.await?;
        assert_eq!((a?.status, b?.status), (200, 200), "an accepted request was lost");
        gateway.counts(ATTEMPTS, &outcome("stable", "overloaded"), 1.0).await?;
        origin.behave(Behaviour::Echo);
        assert_eq!(gateway.get("/").send().await?.status, 200, "the limit was not given back");
        gateway.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_hangs_up_is_not_charged_to_the_variant() -> Result<()> {
    let origin = Origin::start("v1").await?;
    origin.behave(Behaviour::Delay(Duration::from_secs(2)));
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let mut client = RawClient::connect(gateway.web()).await?;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    eventually("the origin has it", async || (origin.hits() == 1).then_some(())).await?;
    drop(client);
    gateway.counts(ATTEMPTS, &outcome("stable", "client_aborted"), 1.0).await?;
    let mut half = RawClient::connect(gateway.web()).await?;
    half.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly this").await?;
    drop(half);
    gateway.counts(ATTEMPTS, &outcome("stable", "client_aborted"), 2.0).await?;
    let metrics = gateway.metrics().await?;
    assert_eq!(metrics.sum(ATTEMPTS, &[]), 2.0, "charged: {}", metrics.text);
    gateway.counts("tidegate_requests_in_flight", &[], 0.0).await?;
    gateway.stop().await
}

#[tokio::test]
async fn five_mebibytes_go_through_byte_for_byte() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let mut state = 1u32;
    let body: Bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(5 << 20)
    .collect();
    let post = gateway.call("POST", "/upload");
    for call in [post.clone().body(body.clone()), post.chunked(body.clone())] {
        let answer = call.send().await?;
        assert_eq!((answer.status, &answer.json()?["body_bytes"]), (200, &(5 << 20).into()));
        assert!(origin.last().body == body, "the body changed on its way");
    }
    gateway.stop().await
}

#[tokio::test]
async fn five_mebibytes_come_back_byte_for_byte() -> Result<()> {
    let body: Vec<u8> =
        (0..5u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut plain =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    plain.extend(&body);
    let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(100_000) {
        chunked.extend(format!("{:x}\r\n", chunk.len()).bytes());
        chunked.extend(chunk);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    for answer in [plain, chunked] {
        let origin = RawOrigin::answering(answer).await?;
        let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
        let got = gateway.get("/").send().await?;
        assert!(got.status == 200 && got.body == body, "the body changed on its way");
        gateway.stop().await?;
    }
    Ok(())
}

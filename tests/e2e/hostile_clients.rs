//! Clients that send what they should not: each gets the status that fits, none hangs the gateway,
//! and the next request is served as if nothing had been.

use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};
use tidegate_tests::*;
use tokio::time::sleep;

/// Every test here ends with this: an ordinary request, and a process that never panicked.
async fn still_serves(mut gateway: Gateway) -> Result<()> {
    assert_eq!(gateway.get("/").send().await?.status, 200);
    gateway.healthy()?;
    gateway.stop().await
}

/// Sends each of `requests` over a connection of its own; each must be answered with its status,
/// and the connection closed. All that go otherwise are told together.
async fn refused(requests: &[(String, u16)]) -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let mut wrong = Vec::new();
    for (request, status) in requests {
        if let Err(error) = refuse(&gateway, request, *status).await {
            let shown: String = request.chars().take(100).collect();
            wrong.push(format!("{shown:?} of {} bytes: {error:#}", request.len()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(origin.hits(), 0, "something hostile reached the origin");
    still_serves(gateway).await
}

async fn refuse(gateway: &Gateway, request: &str, status: u16) -> Result<()> {
    let mut client = RawClient::connect(gateway.web()).await?;
    client.send_some(request).await;
    let answer = client.response(SOON).await?;
    ensure!(answer.status == status, "{} and not {status}", answer.status);
    client.until_closed(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn garbage_is_400() -> Result<()> {
    let lines = [
        "nonsense\r\n\r\n",
        "\x01\x02\x03\x04\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 extra\r\nHost: a\r\n\r\n",
        "G\x7fT / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nbad name: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nname : x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nx: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nx: 1\r\n folded\r\n\r\n",
        "GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET no-slash HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    refused(&lines.map(|line| (line.to_owned(), 400))).await
}

/// A path that the gateway would match on one reading and an upstream serve on another.
#[tokio::test]
async fn a_path_with_dot_segments_is_400() -> Result<()> {
    let paths = ["/..", "/a/../admin", "/a/./b", "/a/%2e%2E/admin", "/.%2e/x"];
    refused(&paths.map(|path| (format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"), 400))).await
}

#[tokio::test]
async fn a_host_that_is_none_is_400() -> Result<()> {
    let hosts = [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: a,b\r\n",
        "Host: a/b\r\n",
        "Host: a b\r\n",
        "Host: user@a\r\n",
        "Host: a:port\r\n",
        "Host: a:99999\r\n",
        "Host: [::1\r\n",
    ];
    refused(&hosts.map(|host| (format!("GET / HTTP/1.1\r\n{host}\r\n"), 400))).await
}

#[tokio::test]
async fn framing_that_two_parsers_could_read_in_two_ways_is_400() -> Result<()> {
    let framings = [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: xchunked\r\n",
    ];
    refused(&framings.map(|framing| {
        (format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n5\r\nabcde\r\n0\r\n\r\n"), 400)
    }))
    .await
}

/// Both framings in one message: RFC 9112 §6.3 lets a server refuse it, or take the chunks and
/// close; never take the length.
#[tokio::test]
async fn length_and_chunks_together_smuggle_nothing() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\
        \r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = RawClient::connect(gateway.web()).await?;
    client.send(request).await?;
    let answer = client.response(SOON).await?;
    assert!([200, 400].contains(&answer.status), "{}", answer.status);
    client.until_closed(SOON).await?;
    assert!(origin.recorded().iter().all(|got| got.uri.path() == "/" && got.body.is_empty()));
    still_serves(gateway).await
}

/// What the grammar allows, or a lenient parser takes, but the next one may read otherwise: refused,
/// or sent on in a form with one reading.
#[tokio::test]
async fn odd_framing_is_refused_or_made_plain() -> Result<()> {
    let length = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\nabcde");
    let chunks = |body: &str| {
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    };
    let requests = [
        length("Content-Length: 5\r\nContent-Length: 5"),
        length("Content-Length: 5, 5"),
        chunks("5\r\nabcde\r\n0\r\n\r\n").replacen(
            "\r\n\r\n",
            "\r\nTransfer-Encoding: chunked\r\n\r\n",
            1,
        ),
        chunks("5;name=\"value\"\r\nabcde\r\n0\r\n\r\n"),
        chunks("5;a\nb\r\nabcde\r\n0\r\n\r\n"),
        chunks("5;a\0b\r\nabcde\r\n0\r\n\r\n"),
        chunks("5 \r\nabcde\r\n0\r\n\r\n"),
        chunks("005\r\nabcde\r\n000\r\n\r\n"),
        chunks("5\r\nabcde\r\n0\r\nX-Trailer: junk\r\n\r\n"),
    ];
    let mut wrong = Vec::new();
    for request in requests {
        if let Err(error) = plain_or_refused(&request).await {
            wrong.push(format!("{request:?}: {error:#}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

async fn plain_or_refused(request: &str) -> Result<()> {
    let origin = RawOrigin::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
    let mut gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let answer = RawClient::exchange(gateway.web(), request).await?;
    gateway.healthy()?;
    if answer.status == 200 {
        let sent = eventually("it arrived", async || origin.received().pop()).await?;
        let sent = String::from_utf8_lossy(&sent).to_lowercase();
        let plain = sent.matches("content-length: 5\r\n").count() == 1
            && sent.matches("content-length").count() == 1
            && sent.ends_with("\r\n\r\nabcde");
        let chunked = sent.matches("transfer-encoding: chunked\r\n").count() == 1
            && !sent.contains("content-length")
            && sent.ends_with("\r\n\r\n5\r\nabcde\r\n0\r\n\r\n");
        ensure!(plain || chunked, "became {sent:?}");
    } else {
        ensure!(answer.status == 400, "{}", answer.status);
        ensure!(origin.received().is_empty(), "refused, and sent on as well");
    }
    Ok(())
}

#[tokio::test]
async fn too_many_or_too_large_fields_are_431() -> Result<()> {
    let request = |fields: String| (format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), 431);
    let many = |count: usize| request((0..count).map(|i| format!("x-{i}: 1\r\n")).collect());
    let large = |bytes: usize| request(format!("x: {}\r\n", "a".repeat(bytes)));
    refused(&[
        many(100),
        many(150),
        many(300),
        many(1000),
        large(66_000),
        large(200_000),
        large(2 << 20),
        request((0..50).map(|i| format!("x-{i}: {}\r\n", "a".repeat(2000))).collect()),
    ])
    .await
}

#[tokio::test]
async fn a_long_target_is_414() -> Result<()> {
    let request =
        |bytes: usize| (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(bytes)), 414);
    refused(&[request(17 << 10), request(80 << 10), request(2 << 20)]).await
}

#[tokio::test]
async fn what_is_just_within_the_limits_passes() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let target = format!("/{}", "a".repeat((16 << 10) - 1));
    assert_eq!(gateway.get(&target).send().await?.status, 200);
    assert_eq!(origin.last().uri.path(), target);
    let mut many = gateway.get("/");
    // Together with `host`: 100.
    for i in 0..99 {
        many = many.header(&format!("x-{i}"), "1");
    }
    assert_eq!(many.send().await?.status, 200);
    let large = gateway.get("/").header("x-large", &"a".repeat(60_000));
    assert_eq!(large.send().await?.status, 200);
    still_serves(gateway).await
}

#[tokio::test]
async fn connect_is_405() -> Result<()> {
    refused(&[("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n".to_owned(), 405)]).await
}

#[tokio::test]
async fn a_body_beyond_the_route_limit_is_413() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let config = Config::single(origin.address()).also("max_body: 64KiB");
    let gateway = Gateway::start(&config.yaml()).await?;
    // Announced: refused before the body, and before the origin.
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n";
    assert_eq!(RawClient::exchange(gateway.web(), head).await?.status, 413);
    assert_eq!(origin.hits(), 0);
    // Chunked: refused when it has grown too large.
    let mut client = RawClient::connect(gateway.web()).await?;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    for _ in 0..9 {
        client.send_some(format!("2000\r\n{}\r\n", "a".repeat(8192))).await;
    }
    assert_eq!(client.response(SOON).await?.status, 413);
    client.until_closed(SOON).await?;
    assert!(origin.recorded().is_empty(), "the origin took half a body for a whole one");
    for body in [vec![0; 65_536], vec![0; 10]] {
        let post = gateway.call("POST", "/");
        assert_eq!(post.clone().body(body.clone()).send().await?.status, 200);
        assert_eq!(post.chunked(body).send().await?.status, 200);
    }
    let metrics = gateway.metrics().await?;
    let refused = [("reason", "body_too_large")];
    assert!(metrics.sum("tidegate_rejected_requests_total", &refused) >= 1.0);
    still_serves(gateway).await
}

#[tokio::test]
async fn a_head_that_takes_ten_seconds_is_408() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    // One that sends a byte a second, one that stops in the middle, and one that does so on a
    // connection that already served a request.
    let trickle = async {
        let mut client = RawClient::connect(gateway.web()).await?;
        let begin = Instant::now();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").await?;
        let answer = loop {
            client.send_some("a").await;
            if let Ok(answer) = client.response(Duration::from_secs(1)).await {
                break answer;
            }
            ensure!(begin.elapsed() < Duration::from_secs(16), "no end");
        };
        anyhow::Ok((answer.status, begin.elapsed()))
    };
    let stop = async {
        let mut client = RawClient::connect(gateway.web()).await?;
        let begin = Instant::now();
        client.send("GET / HT").await?;
        let status = client.response(Duration::from_secs(16)).await?.status;
        anyhow::Ok((status, begin.elapsed()))
    };
    let second = async {
        let mut client = RawClient::connect(gateway.web()).await?;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
        ensure!(client.response(SOON).await?.status == 200, "the first request");
        let begin = Instant::now();
        client.send("GET / HTTP/1.1\r\nHo").await?;
        let status = client.response(Duration::from_secs(16)).await?.status;
        anyhow::Ok((status, begin.elapsed()))
    };
    let (a, b, c) = tokio::join!(trickle, stop, second);
    for (name, result) in [("a byte a second", a), ("stops", b), ("second request", c)] {
        let (status, took) = result.context(name)?;
        assert_eq!(status, 408, "{name}");
        assert!(
            took > Duration::from_secs(8) && took < Duration::from_secs(14),
            "{name}: {took:?}"
        );
    }
    still_serves(gateway).await
}

#[tokio::test]
async fn a_head_cut_off_is_over_at_once() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    for part in ["", "G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        let mut client = RawClient::connect(gateway.web()).await?;
        client.send(part).await?;
        client.half_close().await?;
        let end = client.until_closed(Duration::from_secs(3)).await.context(part)?;
        let end = String::from_utf8_lossy(&end).into_owned();
        assert!(end.is_empty() || end.starts_with("HTTP/1.1 400"), "{part:?}: {end}");
    }
    assert_eq!(origin.hits(), 0);
    still_serves(gateway).await
}

#[tokio::test]
async fn tls_on_the_plain_port_does_not_hang() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    // A ClientHello's record header, the handshake header, and the rest of the announced length.
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.resize(5 + 512, 0xab);
    let mut client = RawClient::connect(gateway.web()).await?;
    client.send(&hello).await?;
    client.until_closed(Duration::from_secs(14)).await?;
    still_serves(gateway).await
}

#[tokio::test]
async fn a_connection_serves_a_thousand_requests_and_is_then_closed() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let mut connection = Connection::open(gateway.web()).await?;
    for number in 1..=1000 {
        let answer =
            connection.send(&gateway.get("/")).await.with_context(|| number.to_string())?;
        assert_eq!(answer.status, 200);
        let last = answer.header("connection").eq_ignore_ascii_case("close");
        assert_eq!(last, number == 1000, "request {number}");
    }
    assert!(connection.is_over().await);
    assert!(origin.connections() < 10, "{} upstream connections", origin.connections());
    still_serves(gateway).await
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let mut client = RawClient::connect(gateway.web()).await?;
    let requests: String = (0..10)
        .map(|i| format!("POST /{i} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"))
        .collect();
    client.send(requests).await?;
    for i in 0..10 {
        let answer = client.response(SOON).await.with_context(|| format!("answer {i}"))?;
        assert_eq!(answer.json()?["path"], format!("/{i}"));
        assert_eq!(answer.json()?["body_bytes"], 4);
    }
    still_serves(gateway).await
}

/// The head of a request may come in any pieces, some of them with the request before it.
#[tokio::test]
async fn a_pipelined_head_may_come_in_pieces() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let first = "POST /0 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
    let second = "GET /1 HTTP/1.1\r\nHost: a\r\nx-note: a b c d\r\n\r\n";
    for cut in 1..second.len() {
        let mut client = RawClient::connect(gateway.web()).await?;
        client.send(format!("{first}{}", &second[..cut])).await?;
        assert_eq!(client.response(SOON).await?.json()?["path"], "/0", "cut at {cut}");
        client.send(second[cut..].to_owned()).await?;
        let answer = client.response(SOON).await.with_context(|| format!("cut at {cut}"))?;
        assert_eq!((answer.status, &answer.json()?["path"]), (200, &"/1".into()), "cut at {cut}");
    }
    still_serves(gateway).await
}

#[tokio::test]
async fn two_hundred_silent_connections_hold_up_nobody() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(RawClient::connect(gateway.web()).await?);
    }
    let report = Load::run(&gateway.get("/"), 2, 200).await.flawless()?;
    assert_eq!(report.served(), 200);
    drop(silent);
    still_serves(gateway).await
}

#[tokio::test]
async fn expect_continue_and_http_1_0_work() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let mut client = RawClient::connect(gateway.web()).await?;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    client.send(head).await?;
    sleep(Duration::from_millis(100)).await;
    client.send("ab").await?;
    assert_eq!(client.response(SOON).await?.json()?["body_bytes"], 2);
    let mut old = RawClient::connect(gateway.web()).await?;
    old.send("GET /old HTTP/1.0\r\nHost: a\r\n\r\n").await?;
    let answer = String::from_utf8_lossy(&old.until_closed(SOON).await?).into_owned();
    assert!(answer.contains(" 200 ") && !answer.contains("chunked"), "{answer}");
    still_serves(gateway).await
}

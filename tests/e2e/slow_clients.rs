//! Clients that take their time, on purpose: slowhttptest's, and some of HTTP/2.

use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};
use tidegate_tests::*;
use tokio::time::sleep;

/// Limits that are over soon.
const SHORT: &str = "timeouts: { head: 2s, idle: 5s, body: 2s }";

/// Connections of an attack.
const SLOW: u64 = 200;

/// What slowhttptest says when it is done.
#[derive(Debug)]
struct Told {
    /// Connections that the gateway closed, and that are open.
    closed: u64,
    connected: u64,
    /// Whether its own probe was answered to the end.
    available: bool,
}

/// Attacks `url` for at most `seconds` while others are served by `gateway`.
async fn attack(gateway: &Gateway, url: &str, seconds: u32, arguments: &[&str]) -> Result<Told> {
    let (count, seconds) = (SLOW.to_string(), seconds.to_string());
    let common = ["-u", url, "-c", &count, "-r", &count, "-l", &seconds, "-p", "5"];
    let words = [arguments, &common].concat();
    let others = Load::paced(&gateway.get("/"), 50);
    let said = run_within(6 * SOON, "slowhttptest", &words, b"").await?;
    let report = others.stop().await.flawless()?;
    ensure!(report.served() > 20, "{report:?}");
    // `closed: N` and the like, in colours, once in five seconds and at the end.
    let plain = uncoloured(&format!("{}{}", said.stdout, said.stderr));
    let number = |key: &str| {
        let (_, after) = plain.rsplit_once(key)?;
        after.split_whitespace().next()?.parse().ok()
    };
    let number = |key: &str| number(key).with_context(|| format!("no {key} in {plain}"));
    let (_, available) = plain.rsplit_once("service available:").context("no verdict")?;
    Ok(Told {
        closed: number("closed:")?,
        connected: number("connected:")?,
        available: available.trim_start().starts_with("YES"),
    })
}

fn uncoloured(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    plain
}

/// A gateway with short limits on `web`'s neighbour `slow` and on `tls`; its origin has a large
/// answer.
async fn gateway(authority: &Authority) -> Result<(Gateway, Origin)> {
    let origin = Origin::serving("v1", |got| {
        let large = got.uri.path() == "/large";
        let mut answer = http::Response::new(vec![b'x'; if large { 4 << 20 } else { 2 }].into());
        answer.headers_mut().insert("x-origin", http::HeaderValue::from_static("v1"));
        answer
    })
    .await?;
    let pair = authority.server(&["127.0.0.1"])?;
    let config = Config::single(origin.address())
        .listener("slow", SHORT)
        .listener("tls", &format!("tls: {{ certificates: [{}] }}, {SHORT}", pair.yaml()))
        .h2c(SHORT);
    Ok((Gateway::start(&config.yaml()).await?, origin))
}

/// All of them are gone, and so is what they took.
async fn is_over(mut gateway: Gateway) -> Result<()> {
    gateway.counts("tidegate_requests_in_flight", &[], 0.0).await?;
    gateway.counts("tidegate_client_connections", &[], 0.0).await?;
    gateway.healthy()?;
    gateway.stop().await
}

#[tokio::test]
async fn slow_heads_are_cut_off() -> Result<()> {
    let authority = Authority::new("CA")?;
    let (gateway, origin) = gateway(&authority).await?;
    let urls = [
        format!("http://{}/", gateway.address("slow")),
        format!("https://{}/", gateway.address("tls")),
    ];
    for url in urls {
        // A line of a head each second.
        let told = attack(&gateway, &url, 20, &["-H", "-i", "1"]).await?;
        assert_eq!(told.connected, 0, "{url}");
        assert!(told.available, "{url}");
    }
    assert!(origin.recorded().iter().all(|got| got.method == "GET"));
    is_over(gateway).await
}

#[tokio::test]
async fn slow_bodies_are_cut_off() -> Result<()> {
    let authority = Authority::new("CA")?;
    let (gateway, origin) = gateway(&authority).await?;
    // Some bytes of a body every three seconds.
    let url = format!("http://{}/", gateway.address("slow"));
    let told = attack(&gateway, &url, 20, &["-B", "-i", "3", "-s", "8192", "-x", "10"]).await?;
    assert!(told.closed > SLOW / 2, "{told:?}");
    assert!(told.available);
    assert!(origin.recorded().iter().all(|got| got.body.is_empty()), "half a body was whole");
    let aborted = [("outcome", "client_aborted")];
    let metrics = gateway.metrics().await?;
    let all = metrics.sum("tidegate_attempts_total", &[]);
    let fine = metrics.sum("tidegate_attempts_total", &[("outcome", "success")]);
    assert_eq!(metrics.sum("tidegate_attempts_total", &aborted), all - fine, "{}", metrics.text);
    is_over(gateway).await
}

#[tokio::test]
async fn slow_readers_hold_up_nobody() -> Result<()> {
    let authority = Authority::new("CA")?;
    let (gateway, _origin) = gateway(&authority).await?;
    let before = gateway.memory("VmRSS")?;
    let url = format!("http://{}/large", gateway.address("slow"));
    // 32 bytes every five seconds, out of a window of some hundred.
    let slow = ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "1"];
    let told = attack(&gateway, &url, 12, &slow).await?;
    assert!(told.available);
    let most = gateway.memory("VmHWM")?;
    assert!(most < before + (192 << 20), "{} MiB more", (most - before) >> 20);
    is_over(gateway).await
}

#[tokio::test]
async fn ranges_without_number_cost_nothing() -> Result<()> {
    let authority = Authority::new("CA")?;
    let (gateway, _origin) = gateway(&authority).await?;
    let url = format!("http://{}/", gateway.address("slow"));
    let told = attack(&gateway, &url, 10, &["-R", "-a", "10", "-b", "3000"]).await?;
    assert!(told.available);
    is_over(gateway).await
}

/// The same over HTTP/2: each stream has the limits of a request, and the others go on.
#[tokio::test]
async fn slow_streams_are_cut_off() -> Result<()> {
    let authority = Authority::new("CA")?;
    let (gateway, origin) = gateway(&authority).await?;
    let mut frames = Frames::connect(gateway.address("h2c")).await?;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let stream = frames.stream();
        frames.headers(stream, &Frames::request("POST", "/"), false).await?;
        frames.data(stream, b"only this", false).await?;
        slow.push(stream);
    }
    let begin = Instant::now();
    for stream in &slow {
        let answer = frames.answer(*stream).await?;
        let reset = matches!(answer.end, Some(End::Reset(_)));
        assert!(reset || answer.status() == 408, "{answer:?}");
    }
    assert!(begin.elapsed() > Duration::from_secs(1), "{:?}", begin.elapsed());
    // What goes on at its own pace is no attack.
    let steady = frames.stream();
    frames.headers(steady, &Frames::request("POST", "/"), false).await?;
    for _ in 0..8 {
        frames.data(steady, b"a piece", false).await?;
        sleep(Duration::from_millis(500)).await;
    }
    frames.data(steady, b"", true).await?;
    assert_eq!(frames.answer(steady).await?.status(), 200);
    assert_eq!(origin.last().body.len(), 56);
    let aborted = [("outcome", "client_aborted")];
    gateway.counts("tidegate_attempts_total", &aborted, 50.0).await?;
    drop(frames);
    is_over(gateway).await
}

/// 64 bytes a second is what a body has to have on average, from its 30th second on.
#[tokio::test]
async fn a_trickle_is_cut_off_after_half_a_minute() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let config = Config::single(origin.address()).h2c("").listener("any", "min_body_rate: 0B");
    let gateway = Gateway::start(&config.yaml()).await?;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    let old = |address| async move {
        let mut client = RawClient::connect(address).await?;
        client.send(head).await?;
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(40) {
            client.send_some("a").await;
            if let Ok(answer) = client.response(Duration::from_secs(1)).await {
                ensure!(answer.status == 408, "{answer:?}");
                return Ok(Some(begin.elapsed()));
            }
        }
        anyhow::Ok(None)
    };
    let new = async {
        let mut frames = Frames::connect(gateway.address("h2c")).await?;
        let stream = frames.stream();
        frames.headers(stream, &Frames::request("POST", "/"), false).await?;
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(40) {
            frames.data(stream, b"a", false).await?;
            let second = Duration::from_secs(1);
            if frames.answer_within(second, stream).await.is_ok() {
                return Ok(Some(begin.elapsed()));
            }
        }
        anyhow::Ok(None)
    };
    let (web, any) = (gateway.web(), gateway.address("any"));
    let (old, new, any) = tokio::try_join!(old(web), new, old(any))?;
    for took in [old, new] {
        let took = took.context("a byte a second is let in")?;
        assert!(took > Duration::from_secs(28) && took < Duration::from_secs(37), "{took:?}");
    }
    assert!(any.is_none(), "any pace was allowed: {any:?}");
    gateway.stop().await
}

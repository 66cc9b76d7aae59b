//! Dark upstreams that speak HTTP/2.

use crate::mirrors::ALL;
use anyhow::{Context, Result};
use bytes::Bytes;
use http::Response;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tidegate_tests::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// `dark` spoken to by `h2c`.
fn h2c(primary: std::net::SocketAddr, dark: std::net::SocketAddr, keys: &str) -> Config {
    let dark = format!("endpoints: [\"{dark}\"], protocol: h2c, timeouts: {{ connect: 10s }}");
    Config::single(primary)
        .upstream_with("dark", &dark)
        .also(&format!("mirrors: [{{ name: dark, upstream: dark, {ALL}, {keys} }}]"))
}

/// Answers as nghttpd does, so that a comparison says whether nghttpd got what it should.
async fn like_nghttpd() -> Result<Origin> {
    Origin::serving("v1", |got| {
        Response::new(match got.method.as_str() {
            "GET" => Nghttpd::FILE.into(),
            _ => got.body.clone(),
        })
    })
    .await
}

#[tokio::test]
async fn copies_arrive_over_http_2() -> Result<()> {
    let (primary, dark) = tokio::try_join!(like_nghttpd(), Nghttpd::start())?;
    let keys = "max_body: 1MiB, compare: { max_body: 1MiB }, headers: { set: { X-Env: dark } }";
    let gateway = Gateway::start(&h2c(primary.address(), dark.address(), keys).yaml()).await?;
    let call = gateway.get("/file?a=b").host("shop.example").header("X-Odd-Case", "1");
    assert_eq!(call.header("connection", "x-hop").header("x-hop", "1").send().await?.status, 200);
    gateway.comparisons("dark", &[("match", 1)]).await?;
    let received = |name| dark.received(name);
    eventually("nghttpd says so", async || (!received(":path").is_empty()).then_some(())).await?;
    for (name, value) in [
        (":method", "GET"),
        (":path", "/file?a=b"),
        (":scheme", "http"),
        (":authority", "shop.example"),
        ("x-odd-case", "1"),
        ("x-env", "dark"),
        ("x-tidegate-shadow", "dark"),
        ("x-request-id", primary.last().header("x-request-id")),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(dark.received(name), [value], "{name}");
    }
    for name in ["host", "connection", "x-hop", "transfer-encoding"] {
        assert_eq!(dark.received(name), [""; 0], "{name}");
    }
    // nghttpd gives each of these its own body back, as the primary does.
    let body: Bytes = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    let post = gateway.call("POST", "/echo");
    let calls = [post.clone().body("small"), post.clone().body(body.clone()), post.chunked(body)];
    for (i, call) in calls.into_iter().enumerate() {
        assert_eq!(call.send().await?.status, 200);
        gateway.comparisons("dark", &[("match", 2 + i as u64)]).await?;
    }
    gateway.outcomes("dark", &[("2xx", 4)]).await?;
    gateway.stop().await
}

#[tokio::test]
async fn many_copies_share_a_connection() -> Result<()> {
    let (primary, dark) = tokio::try_join!(like_nghttpd(), Nghttpd::start())?;
    let gateway = Gateway::start(&h2c(primary.address(), dark.address(), "").yaml()).await?;
    assert_eq!(gateway.get("/file").send().await?.status, 200);
    gateway.outcomes("dark", &[("2xx", 1)]).await?;
    // Fewer at once than a connection takes.
    for batch in 1..=5 {
        Load::run(&gateway.get("/file"), 8, 40).await.flawless()?;
        gateway.outcomes("dark", &[("2xx", 1 + batch * 40)]).await?;
    }
    eventually("nghttpd has logged all", async || {
        (dark.received(":path").len() == 201).then_some(())
    })
    .await?;
    let settings = |line: &&String| {
        line.contains("recv SETTINGS frame <length=") && !line.contains("length=0,")
    };
    let connections = dark.log().iter().filter(settings).count();
    assert!(connections < 10, "{connections} connections for 201 copies");
    gateway.stop().await
}

/// The other side speaks HTTP/1.1, or nothing at all: no copy arrives, and nobody waits.
#[tokio::test]
async fn what_is_no_http_2_is_an_outcome() -> Result<()> {
    let (primary, http1) = tokio::try_join!(like_nghttpd(), Origin::start("dark"))?;
    let dead = DeadAddress::new()?;
    let silent = RawOrigin::start(|stream| async move {
        tokio::time::sleep(Duration::from_secs(20)).await;
        drop(stream);
        Ok(Vec::new())
    })
    .await?;
    for (dark, expected) in [
        (http1.address(), &["connect_failure", "reset"][..]),
        (dead.address(), &["connect_failure"]),
        (silent.address(), &["timeout", "connect_failure"]),
    ] {
        let gateway = Gateway::start(&h2c(primary.address(), dark, "timeout: 1s").yaml()).await?;
        let report = Load::run(&gateway.get("/file").limit(Duration::from_secs(2)), 2, 20).await;
        assert_eq!(report.flawless()?.served(), 20);
        let outcomes = gateway.all_outcomes("dark", 20).await?;
        assert!(outcomes.keys().all(|outcome| expected.contains(&&**outcome)), "{outcomes:?}");
        assert_eq!(http1.hits(), 0);
        gateway.stop().await?;
    }
    Ok(())
}

/// Answers the first request on a connection with 200 and refuses every further one, as a server
/// that restarts does; counts the requests.
async fn refusing(requests: Arc<AtomicU64>) -> Result<RawOrigin> {
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    RawOrigin::start(move |mut stream| {
        let requests = Arc::clone(&requests);
        async move {
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await?;
            stream.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await?;
            let mut answered = false;
            loop {
                let mut frame = [0; 9];
                stream.read_exact(&mut frame).await?;
                let [a, b, c, kind, flags, id @ ..] = frame;
                let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
                stream.read_exact(&mut payload).await?;
                let mut reply = Vec::new();
                match kind {
                    SETTINGS if flags == 0 => reply.extend([0, 0, 0, SETTINGS, 1, 0, 0, 0, 0]),
                    HEADERS => {
                        requests.fetch_add(1, Relaxed);
                        if answered {
                            // RST_STREAM, REFUSED_STREAM
                            reply.extend([0, 0, 4, 3, 0]);
                            reply.extend(id);
                            reply.extend([0, 0, 0, 7]);
                        } else {
                            // END_HEADERS and END_STREAM, `:status: 200`
                            reply.extend([0, 0, 1, HEADERS, 5]);
                            reply.extend(id);
                            reply.push(0x88);
                            answered = true;
                        }
                    }
                    _ => {}
                }
                stream.write_all(&reply).await?;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_refused_stream_is_not_tried_without_end() -> Result<()> {
    let requests = Arc::new(AtomicU64::new(0));
    let (primary, dark) = tokio::try_join!(like_nghttpd(), refusing(Arc::clone(&requests)))?;
    let config = h2c(primary.address(), dark.address(), "timeout: 2s");
    let gateway = Gateway::start(&config.yaml()).await?;
    gateway.get("/file").send().await?;
    gateway.outcomes("dark", &[("2xx", 1)]).await?;
    gateway.get("/file").send().await?;
    let outcomes = gateway.all_outcomes("dark", 2).await?;
    let seen = requests.load(Relaxed);
    assert!(seen <= 3, "{seen} copies of 2 requests: {outcomes:?}");
    gateway.stop().await
}

/// HTTP/1.0 has requests without a host, and hosts have characters that an authority has not.
#[tokio::test]
async fn a_request_without_a_proper_host_stops_no_other_copy() -> Result<()> {
    let (primary, dark) = tokio::try_join!(like_nghttpd(), Nghttpd::start())?;
    let config = h2c(primary.address(), dark.address(), "timeout: 1s");
    let gateway = Gateway::start(&config.yaml()).await?;
    gateway.get("/file").send().await?;
    let mut copies = 1;
    gateway.outcomes("dark", &[("2xx", 1)]).await?;
    for odd in ["GET /file HTTP/1.0\r\n\r\n", "GET /file HTTP/1.1\r\nHost: a%zz:\r\n\r\n"] {
        let mut client = RawClient::connect(gateway.web()).await?;
        client.send(odd).await?;
        // Refusing such a request is as good.
        let status = client.response(SOON).await?.status;
        assert!([200, 400].contains(&status), "{status}");
        copies += u64::from(status == 200);
        gateway.all_outcomes("dark", copies).await.context(odd)?;
    }
    let before = gateway.metrics().await?.by_outcome("tidegate_mirror_requests_total", "dark");
    gateway.get("/file").send().await?;
    let after = gateway.all_outcomes("dark", copies + 1).await?;
    assert_eq!(after["2xx"], before["2xx"] + 1, "{after:?}");
    gateway.stop().await
}

//! Clients that speak HTTP/2, and upstreams that speak either version.

use anyhow::{Context, Result};
use bytes::Bytes;
use std::net::SocketAddr;
use tidegate_tests::*;
use tokio::io::AsyncWriteExt;

const ATTEMPTS: &str = "tidegate_attempts_total";
const REQUESTS: &str = "tidegate_requests_total";

/// A listener `h2c` beside `web`, and one upstream.
pub(crate) fn single(address: SocketAddr, protocol: &str) -> Config {
    Config::new()
        .h2c("")
        .upstream_with("v1", &format!("endpoints: [\"{address}\"], protocol: {protocol}"))
        .route("shop", "/", "[{ name: stable, upstream: v1 }]")
}

/// An origin of either version.
pub(crate) async fn origin(name: &str, protocol: &str) -> Result<Origin> {
    match protocol {
        "h2c" => Origin::h2c(name).await,
        _ => Origin::start(name).await,
    }
}

fn body(length: u32) -> Bytes {
    (0..length).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[tokio::test]
async fn clients_that_somebody_else_wrote_are_served() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&single(origin.address(), "http1").yaml()).await?;
    let address = gateway.address("h2c");
    let url = format!("http://{address}/a?b=c");
    let curl = Curl::new(&url).with(&["--http2-prior-knowledge"]);
    for options in [&[][..], &["-X", "DELETE"], &["-d", "x=y"], &["-I"], &["-X", "PURGE"]] {
        let answer = curl.clone().with(options).send().await?;
        assert_eq!(answer.both(), (200, "2"), "{options:?}: {answer:?}");
        assert_eq!(answer.header("x-origin"), "v1");
    }
    let again = curl.with(&["-o", "/dev/null"]).then(&url).send_all().await?;
    assert_eq!(again.iter().map(|one| one.connections).collect::<Vec<_>>(), [1, 0]);
    let got = origin.last();
    assert_eq!(
        (got.header("host"), got.header("x-forwarded-proto")),
        (&*address.to_string(), "http")
    );
    assert_eq!(got.uri, "/a?b=c");

    let told = run("nghttp", &["-nv", "-m10", &url], b"").await?;
    assert_eq!(told.stdout.matches(":status: 200").count(), 10, "{told:?}");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let told = run("nghttp", &["-v", "-H:method: POST", "-d", file, &url], b"").await?;
    assert!(told.stdout.contains(":status: 200"), "{told:?}");
    gateway.stop().await
}

/// Many streams at once, whatever is spoken on either side: all are served, the split is by stream,
/// and each variant's numbers are its own.
#[tokio::test]
async fn every_stream_is_a_request_of_its_own() -> Result<()> {
    for protocol in ["http1", "h2c"] {
        let (v1, v2) = tokio::try_join!(origin("v1", protocol), origin("v2", protocol))?;
        let upstream = |origin: &Origin| {
            format!("endpoints: [\"{}\"], protocol: {protocol}", origin.address())
        };
        let config = Config::new()
            .h2c("")
            .upstream_with("v1", &upstream(&v1))
            .upstream_with("v2", &upstream(&v2))
            .route(
                "shop",
                "/",
                "[{ name: stable, upstream: v1, weight: 70 }, \
                 { name: canary, upstream: v2, weight: 30 }]",
            )
            .also("pins: [{ variant: canary, header: { name: x-canary, present: true } }]");
        let gateway = Gateway::start(&config.yaml()).await?;
        let url = format!("http://{}/", gateway.address("h2c"));
        let load = h2load(&url, &["-n4000", "-c4", "-m80"]).await?;
        assert_eq!((load.ok, load.failed), (4000, 0), "{protocol}: {load:?}");
        gateway.counts(REQUESTS, &[("code", "2xx")], 4000.0).await?;
        let canary = gateway.metrics().await?.sum(REQUESTS, &[("variant", "canary")]);
        assert_share(canary as u64, 4000, 0.3);
        assert_eq!(v2.hits(), canary as u64);
        gateway.counts(ATTEMPTS, &[("variant", "canary"), ("outcome", "success")], canary).await?;
        if protocol == "h2c" {
            let connections = v1.connections() + v2.connections();
            // Four times eighty at once is what there ever was; each might have found none at first.
            assert!(connections <= 320, "{connections} connections to two HTTP/2 upstreams");
        }

        let pinned = h2load(&url, &["-n200", "-c2", "-m20", "-Hx-canary: 1"]).await?;
        assert_eq!(pinned.ok, 200);
        assert_eq!(v2.hits(), canary as u64 + 200);
        // The same from clients of HTTP/1.1.
        let before = v2.hits();
        let report = Load::run(&gateway.get("/"), 4, 1000).await.flawless()?;
        assert_share(report.of("v2"), 1000, 0.3);
        assert_eq!(v2.hits() - before, report.of("v2"));
        gateway.counts("tidegate_requests_in_flight", &[], 0.0).await?;
        gateway.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn bodies_go_both_ways_byte_for_byte() -> Result<()> {
    let sent = body(5 << 20);
    for protocol in ["http1", "h2c"] {
        let back = sent.clone();
        let download = RawOrigin::start(move |mut stream| {
            let back = back.clone();
            async move {
                let got = read_request(&mut stream).await?;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", back.len());
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&back).await?;
                Ok(got)
            }
        })
        .await?;
        let origin = origin("v1", protocol).await?;
        let config = single(origin.address(), protocol).upstream("down", download.address()).route(
            "down",
            "/down",
            "[{ name: stable, upstream: down }]",
        );
        let gateway = Gateway::start(&config.yaml()).await?;
        let http2 = Http2::open(gateway.address("h2c")).await?;
        let post = gateway.call("POST", "/upload").host("shop");
        for call in [post.clone().body(sent.clone()), post.chunked(sent.clone())] {
            for answer in [http2.send(&call).await?, call.send().await?] {
                assert_eq!(
                    (answer.status, &answer.json()?["body_bytes"]),
                    (200, &(5 << 20).into())
                );
                assert!(origin.last().body == sent, "{protocol}: the body changed on its way");
            }
        }
        let answer = http2.send(&gateway.get("/down").host("shop")).await?;
        assert!(answer.status == 200 && answer.body == sent, "the body changed on its way");
        gateway.stop().await?;
    }
    Ok(())
}

/// Four ways to say that there is no body, or how long it is.
#[tokio::test]
async fn requests_are_framed_for_their_upstream() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&single(origin.address(), "http1").yaml()).await?;
    let mut frames = Frames::connect(gateway.address("h2c")).await?;
    let post = Frames::request("POST", "/").to_vec();
    let with = |length| [&post[..], &[("content-length", length)]].concat();

    let stream = frames.stream();
    frames.headers(stream, &with("4"), false).await?;
    frames.data(stream, b"body", true).await?;
    assert_eq!(frames.answer(stream).await?.status(), 200);
    let got = origin.last();
    assert_eq!((got.header("content-length"), &*got.body), ("4", &b"body"[..]));
    assert_eq!(got.all("transfer-encoding"), [""; 0]);

    let stream = frames.stream();
    frames.headers(stream, &post, false).await?;
    frames.data(stream, b"bo", false).await?;
    frames.data(stream, b"dy", false).await?;
    frames.headers(stream, &[("x-trailer", "1")], true).await?;
    assert_eq!(frames.answer(stream).await?.status(), 200);
    let got = origin.last();
    assert_eq!((got.header("transfer-encoding"), &*got.body), ("chunked", &b"body"[..]));
    assert_eq!(got.all("content-length"), [""; 0]);

    for fields in [post.clone(), with("0")] {
        for empty_data in [false, true] {
            let stream = frames.stream();
            frames.headers(stream, &fields, !empty_data).await?;
            if empty_data {
                frames.data(stream, b"", true).await?;
            }
            let answer = frames.answer(stream).await?;
            assert_eq!((answer.status(), answer.end), (200, Some(End::Whole)));
            assert!(origin.last().body.is_empty());
        }
    }
    gateway.stop().await
}

#[tokio::test]
async fn answers_without_a_body_have_none() -> Result<()> {
    for protocol in ["http1", "h2c"] {
        let origin = origin("v1", protocol).await?;
        let gateway = Gateway::start(&single(origin.address(), protocol).yaml()).await?;
        let mut frames = Frames::connect(gateway.address("h2c")).await?;
        for (method, want) in [("HEAD", "200"), ("GET", "204"), ("GET", "304"), ("HEAD", "404")] {
            let stream = frames.stream();
            let fields = [&Frames::request(method, "/")[..], &[("x-want-status", want)]].concat();
            frames.headers(stream, &fields, true).await?;
            let answer = frames.answer(stream).await?;
            assert_eq!(answer.header(":status"), want, "{protocol}, {method}: {answer:?}");
            assert!(answer.body.is_empty() && answer.end == Some(End::Whole), "{answer:?}");
        }
        assert!(frames.is_alive().await);
        gateway.stop().await?;
    }
    // A HEAD has the length that a GET would have.
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&single(origin.address(), "http1").yaml()).await?;
    let mut frames = Frames::connect(gateway.address("h2c")).await?;
    let stream = frames.stream();
    frames.headers(stream, &Frames::request("HEAD", "/"), true).await?;
    let length = frames.answer(stream).await?.header("content-length").to_owned();
    assert!(length.parse::<u32>().is_ok_and(|length| length > 50), "{length:?}");
    gateway.stop().await
}

#[tokio::test]
async fn fields_become_those_of_the_other_version() -> Result<()> {
    let (old, new) = tokio::try_join!(Origin::start("v1"), Origin::h2c("v2"))?;
    let config = single(old.address(), "http1")
        .upstream_with("v2", &format!("endpoints: [\"{}\"], protocol: h2c", new.address()))
        .route("new", "/new", "[{ name: stable, upstream: v2 }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    // Crumbs of a cookie are one field again (RFC 9113 §8.2.3), an authority is a host.
    let mut frames = Frames::connect(gateway.address("h2c")).await?;
    for (path, origin) in [("/", &old), ("/new", &new)] {
        let stream = frames.stream();
        let mut fields = Frames::request("GET", path).to_vec();
        fields.extend([("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("x-a", "2")]);
        fields.push(("te", "trailers"));
        frames.headers(stream, &fields, true).await?;
        assert_eq!(frames.answer(stream).await?.status(), 200);
        let got = origin.last();
        assert_eq!(got.all("cookie").join("; "), "a=1; b=2", "{path}");
        assert_eq!(got.all("x-a"), ["1", "2"]);
        let host = got.uri.authority().map_or(got.header("host"), |host| host.as_str()).to_owned();
        assert_eq!(host, "shop", "{path}");
    }
    assert_eq!(old.last().all("cookie"), ["a=1; b=2"]);
    // What is about one connection stays there.
    let call = gateway.get("/new").host("shop").header("x-hop", "1").header("keep-alive", "1");
    let call = call.header("connection", "x-hop, keep-alive").header("proxy-connection", "close");
    assert_eq!(call.send().await?.status, 200);
    let got = new.last();
    assert_eq!(got.uri.authority().map(|host| host.as_str()), Some("shop"));
    for name in ["connection", "x-hop", "keep-alive", "proxy-connection", "transfer-encoding"] {
        assert_eq!(got.all(name), [""; 0], "{name}");
    }
    gateway.stop().await
}

/// Answers of HTTP/1.1 have fields that HTTP/2 forbids.
#[tokio::test]
async fn answers_become_those_of_the_other_version() -> Result<()> {
    let origin = RawOrigin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive, x-hop\r\n\
         X-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nX-Odd-CASE: yes\r\n\
         Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nX-Trailer: 1\r\n\r\n",
    )
    .await?;
    let gateway = Gateway::start(&single(origin.address(), "http1").yaml()).await?;
    let mut frames = Frames::connect(gateway.address("h2c")).await?;
    let stream = frames.get("/").await?;
    let answer = frames.answer(stream).await?;
    assert_eq!((answer.status(), &*answer.text(), answer.end), (200, "abc", Some(End::Whole)));
    assert_eq!(answer.header("x-odd-case"), "yes");
    let cookies = answer.head.iter().filter(|(name, _)| name == "set-cookie").count();
    assert_eq!(cookies, 2, "{answer:?}");
    for (name, _) in &answer.head {
        let forbidden =
            ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "x-hop"];
        assert!(!forbidden.contains(&name.as_str()), "{answer:?}");
        assert_eq!(*name, name.to_lowercase());
    }
    gateway.stop().await
}

#[tokio::test]
async fn an_old_client_on_the_port_is_closed() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let config = Config::single(origin.address()).h2c("timeouts: { head: 2s }");
    let mut gateway = Gateway::start(&config.yaml()).await?;
    for bytes in
        ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET /", "", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"]
    {
        let mut client = RawClient::connect(gateway.address("h2c")).await?;
        client.send(bytes).await?;
        client.until_closed(SOON).await.with_context(|| format!("{bytes:?}"))?;
    }
    assert_eq!(origin.hits(), 0);
    gateway.counts("tidegate_client_connections", &[], 0.0).await?;
    gateway.healthy()?;
    gateway.stop().await
}

#[tokio::test]
async fn a_dead_variant_falls_back() -> Result<()> {
    let (dead, stable) = (DeadAddress::new()?, Origin::start("v1").await?);
    for protocol in ["http1", "h2c"] {
        let config = Config::new()
            .h2c("")
            .upstream("v1", stable.address())
            .upstream_with(
                "v2",
                &format!("endpoints: [\"{}\"], protocol: {protocol}", dead.address()),
            )
            .route(
                "shop",
                "/",
                "[{ name: stable, upstream: v1, weight: 0 }, \
                 { name: canary, upstream: v2, weight: 1, fallback: stable }]",
            );
        let gateway = Gateway::start(&config.yaml()).await?;
        let http2 = Http2::open(gateway.address("h2c")).await?;
        let post = gateway.call("POST", "/").host("shop").body(body(100_000));
        for answer in [http2.send(&post).await?, post.send().await?] {
            assert_eq!((answer.status, answer.origin()), (200, "v1"), "{protocol}");
            assert_eq!(answer.json()?["body_bytes"], 100_000);
        }
        gateway.counts("tidegate_fallbacks_total", &[("variant", "canary")], 2.0).await?;
        let failed = [("variant", "canary"), ("outcome", "connect_failure")];
        gateway.counts(ATTEMPTS, &failed, 2.0).await?;
        gateway.stop().await?;
    }
    Ok(())
}

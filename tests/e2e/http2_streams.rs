//! How streams and connections of HTTP/2 end: in order, too early, or not at all.

use crate::http2::{origin, single};
use anyhow::{Context, Result};
use rustix::process::Signal;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tidegate_tests::*;
use tokio::{io::AsyncWriteExt, time::sleep};

const ATTEMPTS: &str = "tidegate_attempts_total";

#[tokio::test]
async fn a_connection_has_a_hundred_streams_at_once() -> Result<()> {
    let origin = Origin::start("v1").await?;
    origin.behave(Behaviour::Delay(Duration::from_secs(2)));
    let gateway = Gateway::start(&single(origin.address(), "http1").yaml()).await?;
    let mut frames = Frames::connect(gateway.address("h2c")).await?;
    let told = |frames: &mut Frames| frames.settings.get(&setting::MAX_CONCURRENT_STREAMS).copied();
    assert_eq!(frames.until(SOON, "settings", told).await?, 100);
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(frames.get("/").await?);
    }
    eventually("all are under way", async || (origin.hits() == 100).then_some(())).await?;
    // One too many is refused, which says that it can be sent again; or the connection ends.
    let more = frames.get("/").await?;
    let refused = frames.answer(more).await?;
    assert_eq!(refused.end, Some(End::Reset(error::REFUSED_STREAM)), "{refused:?}");
    for stream in streams {
        let answer = frames.answer(stream).await?;
        assert_eq!((answer.status(), answer.end), (200, Some(End::Whole)));
    }
    assert_eq!(origin.hits(), 100);
    origin.behave(Behaviour::Echo);
    let later = frames.get("/").await?;
    assert_eq!(frames.answer(later).await?.status(), 200);
    gateway.stop().await
}

#[tokio::test]
async fn streams_are_finished_when_the_process_ends() -> Result<()> {
    for protocol in ["http1", "h2c"] {
        let origin = origin("v1", protocol).await?;
        origin.behave(Behaviour::Delay(Duration::from_millis(1500)));
        let mut gateway = Gateway::start(&single(origin.address(), protocol).yaml()).await?;
        let mut frames = Frames::connect(gateway.address("h2c")).await?;
        let slow = [frames.get("/1").await?, frames.get("/2").await?];
        let upload = frames.stream();
        frames.headers(upload, &Frames::request("POST", "/3"), false).await?;
        frames.data(upload, b"first", false).await?;
        eventually("they are under way", async || (origin.hits() == 3).then_some(())).await?;
        let mut idle = Frames::connect(gateway.address("h2c")).await?;
        assert!(idle.is_alive().await);
        gateway.signal(Signal::TERM)?;
        let told = |frames: &mut Frames| frames.goaway;
        assert_eq!(frames.until(SOON, "GOAWAY", told).await?, error::NO_ERROR, "{protocol}");
        frames.data(upload, b"later", true).await?;
        for stream in [slow[0], slow[1], upload] {
            let answer = frames.answer(stream).await?;
            assert_eq!((answer.status(), answer.end), (200, Some(End::Whole)), "{answer:?}");
        }
        assert_eq!(frames.until_closed(SOON).await?, Some(error::NO_ERROR));
        assert_eq!(idle.until_closed(SOON).await?, Some(error::NO_ERROR));
        assert_eq!(gateway.exit_code(SOON).await?, 0);
    }
    Ok(())
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_good_order() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let config = Config::single(origin.address()).h2c("timeouts: { idle: 1s }");
    let gateway = Gateway::start(&config.yaml()).await?;
    let mut frames = Frames::connect(gateway.address("h2c")).await?;
    // A stream that takes longer than that is no idleness.
    origin.behave(Behaviour::Delay(Duration::from_millis(2500)));
    let stream = frames.get("/").await?;
    assert_eq!(frames.answer(stream).await?.status(), 200);
    let begin = Instant::now();
    assert_eq!(frames.until_closed(SOON).await?, Some(error::NO_ERROR));
    assert!(begin.elapsed() > Duration::from_millis(700), "{:?}", begin.elapsed());
    gateway.stop().await
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_early() -> Result<()> {
    for protocol in ["http1", "h2c"] {
        let origin = origin("v1", protocol).await?;
        let config = single(origin.address(), protocol).also("max_body: 64KiB");
        let gateway = Gateway::start(&config.yaml()).await?;
        let mut frames = Frames::connect(gateway.address("h2c")).await?;
        let post = Frames::request("POST", "/");
        // Announced: no byte of it is waited for.
        let announced = frames.stream();
        let fields = [&post[..], &[("content-length", "1000000")]].concat();
        frames.headers(announced, &fields, false).await?;
        assert_eq!(frames.answer(announced).await?.status(), 413);
        assert_eq!(origin.hits(), 0);
        // Not announced: when it has grown too large.
        let grown = frames.stream();
        frames.headers(grown, &post, false).await?;
        for _ in 0..8 {
            frames.data(grown, &[0; 8192], false).await?;
        }
        frames.data(grown, b"x", false).await?;
        let answer = frames.answer(grown).await?;
        let reset = matches!(answer.end, Some(End::Reset(_))) && answer.head.is_empty();
        assert!(answer.status() == 413 || reset, "{answer:?}");
        assert!(origin.recorded().is_empty(), "the origin took half a body for a whole one");
        // The connection has suffered nothing, and all its window is there.
        for _ in 0..10 {
            let stream = frames.stream();
            frames.headers(stream, &post, false).await?;
            frames.data(stream, &[0; 16_000], true).await?;
            assert_eq!(frames.answer(stream).await?.status(), 200);
        }
        gateway.stop().await?;
    }
    Ok(())
}

/// An upstream may have heard enough.
#[tokio::test]
async fn an_answer_may_come_before_the_request_is_over() -> Result<()> {
    let early = RawOrigin::start(|mut stream| async move {
        let got = read_head(&mut stream).await?;
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nenough").await?;
        sleep(Duration::from_secs(5)).await;
        Ok(got)
    })
    .await?;
    let gateway = Gateway::start(&single(early.address(), "http1").yaml()).await?;
    let mut frames = Frames::connect(gateway.address("h2c")).await?;
    let stream = frames.stream();
    frames.headers(stream, &Frames::request("POST", "/"), false).await?;
    frames.data(stream, &[0; 1000], false).await?;
    let answer = frames.answer(stream).await?;
    assert_eq!((answer.status(), &*answer.text(), answer.end), (403, "enough", Some(End::Whole)));
    assert!(frames.is_alive().await);
    gateway.stop().await
}

#[tokio::test]
async fn a_stream_that_the_client_resets_is_no_failure() -> Result<()> {
    for protocol in ["http1", "h2c"] {
        let origin = origin("v1", protocol).await?;
        origin.behave(Behaviour::Never);
        let gateway = Gateway::start(&single(origin.address(), protocol).yaml()).await?;
        let mut frames = Frames::connect(gateway.address("h2c")).await?;
        for number in 1..=5 {
            let stream = frames.get("/").await?;
            eventually("it arrived", async || (origin.hits() == number).then_some(())).await?;
            frames.reset(stream, error::CANCEL).await?;
        }
        // One in the middle of its body.
        let half = frames.stream();
        frames.headers(half, &Frames::request("POST", "/"), false).await?;
        frames.data(half, b"only this", false).await?;
        frames.reset(half, error::CANCEL).await?;
        let aborted = [("variant", "stable"), ("outcome", "client_aborted")];
        let counted = async || {
            let metrics = gateway.metrics().await.ok()?;
            // The last one may have been over before it was begun.
            let (aborted, all) = (metrics.sum(ATTEMPTS, &aborted), metrics.sum(ATTEMPTS, &[]));
            (aborted >= 5.0 && aborted == all).then_some(())
        };
        eventually("they count as the client's", counted).await.context(protocol)?;
        gateway.counts("tidegate_requests_in_flight", &[], 0.0).await?;
        origin.behave(Behaviour::Echo);
        let stream = frames.get("/").await?;
        assert_eq!(frames.answer(stream).await?.status(), 200);
        gateway.stop().await?;
    }
    Ok(())
}

/// A client must be able to tell half a body from a whole one.
#[tokio::test]
async fn an_answer_that_breaks_off_is_a_reset() -> Result<()> {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nzz\r\n",
    ] {
        let origin = RawOrigin::answering(answer).await?;
        breaks_off(&single(origin.address(), "http1")).await.context(answer)?;
    }
    for clean in [false, true] {
        let origin = RawOrigin::start(move |stream| async move {
            let mut frames = Frames::accept(stream).await?;
            let mut stream = 1;
            loop {
                let arrived = |frames: &mut Frames| frames.ended(stream).then_some(());
                frames.until(4 * SOON, "a request", arrived).await?;
                let head = [(":status", "200"), ("content-length", "100")];
                frames.headers(stream, &head, false).await?;
                // Its end comes where its length does not.
                frames.data(stream, b"only this", clean).await?;
                if !clean {
                    frames.reset(stream, error::INTERNAL_ERROR).await?;
                }
                stream += 2;
            }
        })
        .await?;
        breaks_off(&single(origin.address(), "h2c")).await.context(clean)?;
    }
    Ok(())
}

async fn breaks_off(config: &Config) -> Result<()> {
    let gateway = Gateway::start(&config.yaml()).await?;
    let mut frames = Frames::connect(gateway.address("h2c")).await?;
    let stream = frames.get("/").await?;
    let got = frames.answer(stream).await?;
    anyhow::ensure!(matches!(got.end, Some(End::Reset(code)) if code > 0), "{got:?}");
    anyhow::ensure!(frames.is_alive().await, "the other streams lost their connection");
    // A client of HTTP/1.1 is not fooled, either.
    anyhow::ensure!(gateway.get("/").send().await.is_err());
    gateway.counts(ATTEMPTS, &[("variant", "stable"), ("outcome", "reset")], 2.0).await?;
    gateway.stop().await
}

/// A server of HTTP/2 that restarts says which requests it will not look at.
#[tokio::test]
async fn an_upstream_that_says_goodbye_loses_no_request() -> Result<()> {
    let connections = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&connections);
    let origin = RawOrigin::start(move |stream| {
        counted.fetch_add(1, Relaxed);
        async move {
            let mut frames = Frames::accept(stream).await?;
            for stream in [1, 3, 5] {
                let arrived = |frames: &mut Frames| frames.ended(stream).then_some(());
                frames.until(4 * SOON, "a request", arrived).await?;
                if stream == 5 {
                    let last = [5u32.to_be_bytes(), error::NO_ERROR.to_be_bytes()].concat();
                    frames.send(kind::GOAWAY, flag::NONE, 0, last).await?;
                }
                frames.headers(stream, &[(":status", "200"), ("x-origin", "v1")], false).await?;
                frames.data(stream, b"ok", true).await?;
            }
            frames.until_closed(SOON).await?;
            Ok(Vec::new())
        }
    })
    .await?;
    let gateway = Gateway::start(&single(origin.address(), "h2c").yaml()).await?;
    let report = Load::run(&gateway.get("/"), 1, 60).await.flawless()?;
    assert_eq!(report.of("v1"), 60);
    let connections = connections.load(Relaxed);
    assert!((20..=30).contains(&connections), "{connections} connections");
    gateway.counts(ATTEMPTS, &[("outcome", "success")], 60.0).await?;
    gateway.stop().await
}

/// RFC 9113 §8.7: a stream that was refused has not been looked at.
#[tokio::test]
async fn a_stream_that_an_upstream_refuses_does_not_hang() -> Result<()> {
    let origin = RawOrigin::start(|stream| async move {
        let mut frames = Frames::accept(stream).await?;
        loop {
            let Some(frame) = frames.read().await? else { return Ok(Vec::new()) };
            if frame.kind == kind::HEADERS {
                frames.reset(frame.stream, error::REFUSED_STREAM).await?;
            }
        }
    })
    .await?;
    let gateway = Gateway::start(&single(origin.address(), "h2c").yaml()).await?;
    for call in [gateway.get("/"), gateway.call("POST", "/").body("x")] {
        let status = call.send().await?.status;
        assert!([502, 503].contains(&status), "{status}");
    }
    let charged = gateway.metrics().await?.sum(ATTEMPTS, &[("outcome", "reset")]);
    assert!((2.0..=8.0).contains(&charged), "{charged} attempts of 2 requests");
    gateway.stop().await
}

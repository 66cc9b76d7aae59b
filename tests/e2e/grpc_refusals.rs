//! What callers of gRPC hear from the gateway itself: statuses of gRPC, not of HTTP.

use crate::grpc::{ATTEMPTS, call, client, h2c, single};
use anyhow::{Context, Result};
use std::time::Duration;
use tidegate_tests::*;

/// Calls `Unary` as frames, and checks that the answer is this status and nothing else.
async fn hears(gateway: &Gateway, metadata: &[(&str, &str)], status: &str) -> Result<()> {
    let mut frames = Frames::connect(gateway.address("h2c")).await?;
    let stream = call(&mut frames, "Unary", metadata).await?;
    let answer = frames.answer(stream).await?;
    is_refusal(&answer, status)
}

/// The call is late, whether its head was there or not.
async fn is_late(gateway: &Gateway, metadata: &[(&str, &str)]) -> Result<()> {
    let mut frames = Frames::connect(gateway.address("h2c")).await?;
    let stream = call(&mut frames, "Unary", metadata).await?;
    let answer = frames.answer(stream).await?;
    let late = [answer.header("grpc-status"), answer.trailer("grpc-status")].contains(&"4");
    anyhow::ensure!(answer.status() == 200 && late, "{answer:?}");
    Ok(())
}

/// A head that is all there is (`Trailers-Only` in gRPC's protocol).
fn is_refusal(answer: &Answer, status: &str) -> Result<()> {
    anyhow::ensure!(
        answer.status() == 200
            && answer.header("content-type") == "application/grpc"
            && answer.header("grpc-status") == status
            && answer.trailers.is_empty()
            && answer.body.is_empty()
            && answer.end == Some(End::Whole),
        "not {status}: {answer:?}"
    );
    Ok(())
}

/// The same for somebody who speaks HTTP and not gRPC.
async fn plainly(gateway: &Gateway, fields: &[(&str, &str)]) -> Result<u16> {
    let mut call = gateway.call("POST", "/tidegate.test.Echo/Unary").host("shop").body("x");
    for (name, value) in fields {
        call = call.header(name, value);
    }
    Ok(Http2::open(gateway.address("h2c")).await?.send(&call).await?.status)
}

#[tokio::test]
async fn no_route_is_unimplemented() -> Result<()> {
    let server = GrpcServer::start("v1").await?;
    let config = Config::new().h2c("").upstream_with("v1", &h2c(&server)).route(
        "shop",
        "/elsewhere",
        "[{ name: stable, upstream: v1 }]",
    );
    let gateway = Gateway::start(&config.yaml()).await?;
    hears(&gateway, &[], "12").await?;
    assert_eq!(client(&gateway).await?.unary(&[]).await?.code, 12);
    assert_eq!(plainly(&gateway, &[]).await?, 404);
    gateway.stop().await
}

#[tokio::test]
async fn no_server_is_unavailable() -> Result<()> {
    let dead = DeadAddress::new()?;
    let garbage = RawOrigin::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
    for (address, http) in [(dead.address(), 503), (garbage.address(), 502)] {
        let keys = format!("endpoints: [\"{address}\"], protocol: h2c");
        let config = Config::new().h2c("").upstream_with("v1", &keys).route(
            "shop",
            "/",
            "[{ name: stable, upstream: v1 }]",
        );
        let gateway = Gateway::start(&config.yaml()).await?;
        hears(&gateway, &[], "14").await.with_context(|| http.to_string())?;
        let answer = client(&gateway).await?.unary(&[]).await?;
        assert_eq!(answer.code, 14, "{answer:?}");
        let status = plainly(&gateway, &[]).await?;
        assert!([502, 503].contains(&status), "{status} and not {http}");
        gateway.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn too_late_is_deadline_exceeded() -> Result<()> {
    let server = GrpcServer::start("v1").await?;
    let slow = [("x-want-pause", "5000")];
    let gateway = Gateway::start(&single(&server).also("timeout: 400ms").yaml()).await?;
    is_late(&gateway, &slow).await?;
    let answer = client(&gateway).await?.unary(&slow).await?;
    assert_eq!(answer.code, 4, "{answer:?}");
    gateway.counts(ATTEMPTS, &[("outcome", "timeout")], 2.0).await?;
    gateway.stop().await?;

    let keys = format!("{}, timeouts: {{ response: 400ms }}", h2c(&server));
    let config = Config::new().h2c("").upstream_with("v1", &keys).route(
        "shop",
        "/",
        "[{ name: stable, upstream: v1 }]",
    );
    let gateway = Gateway::start(&config.yaml()).await?;
    // The server sends its head at once, and that is all that `response` waits for.
    let client = client(&gateway).await?;
    assert_eq!(client.unary(&[]).await?.code, 0);
    // A stream has begun, and then may take its time.
    client.open(1, &[("x-want-pause", "700")]).await?;
    assert_eq!(client.send(1, "a").await?, "v1 a");
    assert_eq!(client.end(1).await?.code, 0);
    gateway.stop().await
}

#[tokio::test]
async fn too_large_is_resource_exhausted() -> Result<()> {
    let server = GrpcServer::start("v1").await?;
    let gateway = Gateway::start(&single(&server).also("max_body: 64KiB").yaml()).await?;
    hears(&gateway, &[("content-length", "100000")], "8").await.or_else(|error| {
        // A length that is not the body's: refused as malformed is right, too.
        if format!("{error:#}").contains("Reset(1)") { Ok(()) } else { Err(error) }
    })?;
    let large = "x".repeat(200_000);
    let answer = client(&gateway).await?.call("Unary", &[&large], &[]).await?;
    assert_eq!(answer.code, 8, "{answer:?}");
    assert_eq!(client(&gateway).await?.unary(&[]).await?.code, 0);
    gateway.stop().await
}

#[tokio::test]
async fn who_may_not_is_told_in_grpc() -> Result<()> {
    let server = GrpcServer::start("v1").await?;
    for (keys, code, status, http) in [
        ("deny_from: [127.0.0.0/8]", 7, "7", 403),
        ("allow_from: [10.0.0.0/8]", 7, "7", 403),
        ("rate_limit: { requests: 1, per: 1h, burst: 1 }", 14, "14", 429),
    ] {
        let gateway = Gateway::start(&single(&server).also(keys).yaml()).await?;
        if http == 429 {
            assert_eq!(client(&gateway).await?.unary(&[]).await?.code, 0);
        }
        hears(&gateway, &[], status).await.context(keys)?;
        assert_eq!(client(&gateway).await?.unary(&[]).await?.code, code, "{keys}");
        assert_eq!(plainly(&gateway, &[]).await?, http, "{keys}");
        gateway.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_malformed_is_internal() -> Result<()> {
    let server = GrpcServer::start("v1").await?;
    let gateway = Gateway::start(&single(&server).yaml()).await?;
    let mut frames = Frames::connect(gateway.address("h2c")).await?;
    let stream = frames.stream();
    let mut fields = Frames::request("POST", "/a/../b").to_vec();
    fields.extend([("content-type", "application/grpc+proto"), ("te", "trailers")]);
    frames.headers(stream, &fields, true).await?;
    let answer = frames.answer(stream).await?;
    is_refusal(&answer, "13")?;
    gateway.stop().await
}

#[tokio::test]
async fn others_on_the_same_listener_hear_http() -> Result<()> {
    let server = GrpcServer::start("v1").await?;
    let config = single(&server).also("timeout: 500ms\nmax_body: 64KiB");
    let gateway = Gateway::start(&config.yaml()).await?;
    let http2 = Http2::open(gateway.address("h2c")).await?;
    // Not gRPC, though it looks a bit like it.
    for content_type in ["application/grpc-web", "application/grpcx", "text/plain"] {
        let call = gateway.call("POST", "/a/../b").host("shop");
        let answer = http2.send(&call.header("content-type", content_type)).await?;
        assert_eq!((answer.status, answer.header("grpc-status")), (400, ""), "{content_type}");
    }
    let large = gateway.call("POST", "/").host("shop").body(vec![0; 100_000]);
    assert_eq!(http2.send(&large).await?.status, 413);
    gateway.stop().await
}

#[tokio::test]
async fn a_retry_may_be_by_status() -> Result<()> {
    let (bad, good) = tokio::try_join!(GrpcServer::start("v1"), GrpcServer::start("v1"))?;
    let endpoints =
        format!("endpoints: [\"{}\", \"{}\"], protocol: h2c", bad.address(), good.address());
    let config = Config::new()
        .h2c("")
        .upstream_with("v1", &endpoints)
        .route("shop", "/", "[{ name: stable, upstream: v1 }]")
        .also("retry: { attempts: 1, on: [\"grpc:unavailable\"], budget: 100%, backoff: 1ms }");
    let gateway = Gateway::start(&config.yaml()).await?;
    let client = client(&gateway).await?;
    bad.fail(1.0, 14).await?;
    // Each that fails at one is tried at the other.
    let report = client.load(60, &[]).await?;
    assert_eq!((report.code(0), good.calls().await?), (60, 60), "{report:?}");
    let failed = [("variant", "stable"), ("outcome", "server_error")];
    gateway.counts(ATTEMPTS, &failed, bad.calls().await? as f64).await?;
    assert!(bad.calls().await? >= 20);
    // What was not asked for is not tried again.
    bad.fail(1.0, 9).await?;
    let before = bad.calls().await? + good.calls().await?;
    let report = client.load(20, &[]).await?;
    assert!(report.code(9) > 0 && report.code(0) + report.code(9) == 20, "{report:?}");
    assert_eq!(bad.calls().await? + good.calls().await? - before, 20);
    drop(client);
    gateway.stop().await
}

/// A server that answers no gRPC at all: the caller's library makes a status of it, and it counts.
#[tokio::test]
async fn an_answer_without_a_status_is_a_failure() -> Result<()> {
    let origin = Origin::h2c("v1").await?;
    let keys = format!("endpoints: [\"{}\"], protocol: h2c", origin.address());
    let config = Config::new().h2c("").upstream_with("v1", &keys).route(
        "shop",
        "/",
        "[{ name: stable, upstream: v1 }]",
    );
    let gateway = Gateway::start(&config.yaml()).await?;
    let mut frames = Frames::connect(gateway.address("h2c")).await?;
    for (want, outcome) in [("200", "server_error"), ("503", "server_error"), ("404", "success")] {
        let before = gateway.metrics().await?.sum(ATTEMPTS, &[("outcome", outcome)]);
        let stream = call(&mut frames, "Unary", &[("x-want-status", want)]).await?;
        let answer = frames.answer_within(Duration::from_secs(8), stream).await?;
        assert!(answer.end == Some(End::Whole) && answer.status() > 0, "{answer:?}");
        gateway.counts(ATTEMPTS, &[("outcome", outcome)], before + 1.0).await.context(want)?;
    }
    gateway.stop().await
}

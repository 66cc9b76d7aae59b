//! gRPC through the gateway, between clients and servers of gRPC's own library.

use anyhow::{Context, Result};
use std::{collections::BTreeMap, time::Duration};
use tidegate_tests::*;

pub(crate) const ATTEMPTS: &str = "tidegate_attempts_total";
const RESPONSES: &str = "tidegate_grpc_responses_total";

/// The keys of an upstream that is this server.
pub(crate) fn h2c(server: &GrpcServer) -> String {
    format!("endpoints: [\"{}\"], protocol: h2c", server.address())
}

/// A listener `h2c`, and one route to this server.
pub(crate) fn single(server: &GrpcServer) -> Config {
    Config::new().h2c("").upstream_with("v1", &h2c(server)).route(
        "shop",
        "/",
        "[{ name: stable, upstream: v1 }]",
    )
}

/// `stable` and `canary` with these weights.
pub(crate) fn split(v1: &GrpcServer, weight_1: &str, v2: &GrpcServer, weight_2: &str) -> Config {
    Config::new().h2c("").upstream_with("v1", &h2c(v1)).upstream_with("v2", &h2c(v2)).route(
        "shop",
        "/",
        &format!(
            "[{{ name: stable, upstream: v1, weight: {weight_1} }}, \
             {{ name: canary, upstream: v2, weight: {weight_2} }}]"
        ),
    )
}

pub(crate) async fn client(gateway: &Gateway) -> Result<GrpcClient> {
    GrpcClient::new(gateway.address("h2c")).await
}

/// Every kind of call, as it is without a gateway.
async fn every_kind(client: &GrpcClient, server: &GrpcServer) -> Result<()> {
    let answer = client.unary(&[("x-echo", "1"), ("x-echo-too", "bytes")]).await?;
    assert_eq!((answer.code, answer.replies.as_slice()), (0, &["v1 hello".to_owned()][..]));
    assert_eq!((&*answer.initial("x-server"), &*answer.trailing("x-trailer")), ("v1", "v1"));
    assert_eq!((&*answer.initial("x-echo"), &*answer.trailing("x-echo")), ("1", "1"));
    assert!(server.deadline().await? > 1.0);

    let many = [("x-want-messages", "50")];
    let many = client.call("ServerStream", &["a"], &many).await?;
    assert_eq!((many.code, many.replies.len()), (0, 50));
    assert_eq!(many.replies[49], "v1 49 a");
    let sum = client.call("ClientStream", &["a", "bc", "def"], &[]).await?;
    assert_eq!((sum.code, sum.replies.as_slice()), (0, &["v1 3 6".to_owned()][..]));
    let both = client.call("Bidi", &["a", "b", "c"], &[]).await?;
    assert_eq!((both.code, both.replies.join(",")), (0, "v1 a,v1 b,v1 c".to_owned()));
    let empty = client.call("ServerStream", &[""], &[("x-want-messages", "0")]).await?;
    assert_eq!((empty.code, empty.replies.len()), (0, 0));

    // A message at a time, each answered before the next is sent.
    assert_eq!(client.open(1, &[]).await?, "v1");
    for message in ["one", "two", "three"] {
        assert_eq!(client.send(1, message).await?, format!("v1 {message}"));
    }
    assert_eq!(client.end(1).await?.code, 0);

    let large = "x".repeat(2 << 20);
    let large = client.call("Unary", &[&large], &[("x-want-bytes", "3000000")]).await?;
    assert_eq!((large.code, large.replies[0].len()), (0, 3_000_000), "{}", large.details);
    assert_eq!(client.call("Nothing", &["a"], &[]).await?.code, 12);
    assert_eq!(client.health("").await?, "SERVING");
    Ok(())
}

#[tokio::test]
async fn every_kind_of_call_goes_through() -> Result<()> {
    let authority = Authority::new("CA")?;
    let pair = authority.server(&["grpc.test", "dark.test"])?;
    let (plain, secure) =
        tokio::try_join!(GrpcServer::start("v1"), GrpcServer::secure("v1", &pair))?;
    let tls = format!(
        "endpoints: [\"{}\"], protocol: h2, tls: {{ sni: dark.test, ca: {} }}",
        secure.address(),
        authority.path()
    );
    for (server, keys) in [(&plain, h2c(&plain)), (&secure, tls)] {
        let config = Config::new().h2c("").tls(&[&pair], "").upstream_with("v1", &keys).route(
            "shop",
            "/",
            "[{ name: stable, upstream: v1 }]",
        );
        let gateway = Gateway::start(&config.yaml()).await?;
        let (one, two) = tokio::try_join!(
            client(&gateway),
            GrpcClient::secure(gateway.address("tls"), &authority, "grpc.test", None)
        )?;
        every_kind(&one, server).await.context("without TLS")?;
        every_kind(&two, server).await.context("with TLS")?;
        // Ten calls of each client; one of each is the server's own UNIMPLEMENTED.
        let status = |status| [("variant", "stable"), ("grpc_status", status)];
        gateway.counts(RESPONSES, &status("0"), 16.0).await?;
        gateway.counts(RESPONSES, &status("12"), 2.0).await?;
        gateway.counts("tidegate_requests_in_flight", &[], 0.0).await?;
        gateway.stop().await?;
    }
    Ok(())
}

/// Every status, as the only thing in an answer and after messages: the client gets it as it is,
/// and it says whether the variant failed.
#[tokio::test]
async fn statuses_are_counted_by_number() -> Result<()> {
    const FAILURES: [u64; 6] = [2, 4, 12, 13, 14, 15];
    let server = GrpcServer::start("v1").await?;
    let gateway = Gateway::start(&single(&server).yaml()).await?;
    let client = client(&gateway).await?;
    let mut expected = BTreeMap::from([("success", 0.0), ("server_error", 0.0)]);
    for code in 0..=16 {
        let want = code.to_string();
        let alone = client.unary(&[("x-want-status", &want)]).await?;
        let after = [("x-want-status", &*want), ("x-want-messages", "2")];
        let after = client.call("ServerStream", &["a"], &after).await?;
        assert_eq!((alone.code, after.code, after.replies.len()), (code, code, 2));
        if code > 0 {
            assert_eq!(alone.details, format!("as told: {code}"));
        }
        gateway.counts(RESPONSES, &[("variant", "stable"), ("grpc_status", &want)], 2.0).await?;
        let outcome = if FAILURES.contains(&code) { "server_error" } else { "success" };
        *expected.entry(outcome).or_default() += 2.0;
    }
    for (outcome, count) in expected {
        gateway.counts(ATTEMPTS, &[("variant", "stable"), ("outcome", outcome)], count).await?;
    }
    // To HTTP all of them were fine.
    gateway.counts("tidegate_requests_total", &[("code", "2xx")], 34.0).await?;
    gateway.stop().await
}

#[tokio::test]
async fn the_split_is_by_call_and_a_key_in_the_metadata_holds() -> Result<()> {
    let (v1, v2) = tokio::try_join!(GrpcServer::start("v1"), GrpcServer::start("v2"))?;
    let gateway = Gateway::start(&split(&v1, "60", &v2, "40").yaml()).await?;
    let report = client(&gateway).await?.load(1000, &[]).await?;
    assert_eq!(report.code(0), 1000, "{report:?}");
    assert_share(report.of("v2"), 1000, 0.4);
    gateway.counts(RESPONSES, &[("grpc_status", "0")], 1000.0).await?;
    gateway.stop().await?;

    let keys = "bucket_by: [{ header: x-user-id }]\n\
                pins: [{ variant: canary, header: { name: x-canary, present: true } }]";
    let config = split(&v1, "60", &v2, "40").also(keys);
    let gateway = Gateway::start(&config.yaml()).await?;
    let client = client(&gateway).await?;
    let mut on_v2 = 0;
    for user in 0..60 {
        let user = format!("user-{user}");
        let report = client.load(8, &[("x-user-id", &user)]).await?;
        assert!(report.of("v1") == 8 || report.of("v2") == 8, "{user}: {report:?}");
        on_v2 += u64::from(report.of("v2") == 8);
    }
    assert_share(on_v2, 60, 0.4);
    assert_eq!(client.load(20, &[("x-canary", "1")]).await?.of("v2"), 20);
    gateway.stop().await
}

/// A method of a service is a path: each can have its own route.
#[tokio::test]
async fn a_route_may_be_one_method() -> Result<()> {
    let (v1, v2) = tokio::try_join!(GrpcServer::start("v1"), GrpcServer::start("v2"))?;
    let config = single(&v1).upstream_with("v2", &h2c(&v2)).route_block(
        "- name: unary\n  match: { path: { exact: /tidegate.test.Echo/Unary } }\n  \
         variants: [{ name: stable, upstream: v2 }]",
    );
    let gateway = Gateway::start(&config.yaml()).await?;
    let client = client(&gateway).await?;
    assert_eq!(client.unary(&[]).await?.server(), "v2");
    assert_eq!(client.call("Bidi", &["a"], &[]).await?.server(), "v1");
    gateway.stop().await
}

/// A caller that says how long it waits is answered when that is over, whether it still looks at its
/// watch or not.
#[tokio::test]
async fn a_deadline_is_kept_for_the_caller() -> Result<()> {
    // A server that does not look at deadlines.
    let silent = Origin::h2c("v1").await?;
    silent.behave(Behaviour::Never);
    let gateway = Gateway::start(&crate::http2::single(silent.address(), "h2c").yaml()).await?;
    let mut frames = Frames::connect(gateway.address("h2c")).await?;
    let stream = call(&mut frames, "Unary", &[("grpc-timeout", "400m")]).await?;
    let answer = frames.answer_within(Duration::from_secs(4), stream).await?;
    // The server keeps the time, too, and may be first.
    let trailer = answer.trailers.iter().any(|field| field.0 == "grpc-status" && field.1 == "4");
    assert!(answer.status() == 200 && answer.body.is_empty(), "{answer:?}");
    assert!(answer.header("grpc-status") == "4" || trailer, "{answer:?}");
    assert_eq!(answer.end, Some(End::Whole));
    gateway.counts(RESPONSES, &[("variant", "stable"), ("grpc_status", "4")], 1.0).await?;
    gateway.counts(ATTEMPTS, &[("variant", "stable"), ("outcome", "timeout")], 1.0).await?;
    drop(frames);
    gateway.stop().await?;

    let server = GrpcServer::start("v1").await?;
    let gateway = Gateway::start(&single(&server).yaml()).await?;
    let mut frames = Frames::connect(gateway.address("h2c")).await?;
    // Within a stream it cannot be the head any more.
    let pauses = [("grpc-timeout", "1S"), ("x-want-pause", "300"), ("x-want-messages", "100")];
    let stream = call(&mut frames, "ServerStream", &pauses).await?;
    let answer = frames.answer_within(Duration::from_secs(5), stream).await?;
    let reset = matches!(answer.end, Some(End::Reset(_)));
    assert!(reset || answer.trailer("grpc-status") == "4", "{answer:?}");
    assert!(!answer.body.is_empty());
    // The server has heard of it.
    assert!(server.deadline().await? <= 1.0);
    // And the library sees it the same way.
    let client = client(&gateway).await?;
    let limit = Duration::from_millis(400);
    let late = client.call_within(limit, "Unary", &["a"], &[("x-want-pause", "5000")]).await?;
    assert_eq!(late.code, 4);
    let cancelled = async || server.cancelled().await.ok().filter(|count| *count >= 1);
    eventually("the server is told to stop", cancelled).await?;
    drop((frames, client));
    gateway.stop().await
}

/// A unary call as frames, so that nothing but the gateway keeps the time.
pub(crate) async fn call(
    frames: &mut Frames,
    method: &str,
    metadata: &[(&str, &str)],
) -> Result<u32> {
    let stream = frames.stream();
    let path = format!("/tidegate.test.Echo/{method}");
    let mut fields = Frames::request("POST", &path).to_vec();
    fields.extend([("content-type", "application/grpc"), ("te", "trailers")]);
    fields.extend(metadata);
    frames.headers(stream, &fields, false).await?;
    frames.data(stream, &[0, 0, 0, 0, 1, b'a'], true).await?;
    Ok(stream)
}

#[tokio::test]
async fn who_goes_away_is_noticed_on_either_side() -> Result<()> {
    let server = GrpcServer::start("v1").await?;
    let gateway = Gateway::start(&single(&server).yaml()).await?;
    let client = client(&gateway).await?;
    for stream in 1..=5 {
        client.open(stream, &[]).await?;
        assert_eq!(client.send(stream, "a").await?, "v1 a");
    }
    client.cancel(1).await?;
    let aborted = [("variant", "stable"), ("outcome", "client_aborted")];
    gateway.counts(ATTEMPTS, &aborted, 1.0).await?;
    assert_eq!(client.send(2, "still here").await?, "v1 still here");
    server.kill().await?;
    for stream in 2..=5 {
        let answer = client.wait(stream, SOON).await?;
        assert_eq!(answer.code, 14, "{answer:?}");
    }
    assert_eq!(client.unary(&[]).await?.code, 14);
    gateway.counts(ATTEMPTS, &[("variant", "stable"), ("outcome", "reset")], 4.0).await?;
    gateway.counts("tidegate_streams_open", &[("variant", "stable")], 0.0).await?;
    gateway.stop().await
}

#[tokio::test]
async fn the_health_service_takes_an_endpoint_out() -> Result<()> {
    let (v1, v2) = tokio::try_join!(GrpcServer::start("v1"), GrpcServer::start("v2"))?;
    for service in ["", "shop.Shop"] {
        for server in [&v1, &v2] {
            server.serving(service, "SERVING").await?;
        }
        let keys = format!(
            "endpoints: [\"{}\", \"{}\"], protocol: h2c, health_check: {{ grpc: \"{service}\", \
             interval: 200ms, timeout: 2s, unhealthy_after: 1, healthy_after: 1 }}",
            v1.address(),
            v2.address()
        );
        let config = Config::new().h2c("").upstream_with("both", &keys).route(
            "shop",
            "/",
            "[{ name: stable, upstream: both }]",
        );
        let gateway = Gateway::start(&config.yaml()).await?;
        let client = client(&gateway).await?;
        let report = client.load(40, &[]).await?;
        assert!(report.of("v1") > 0 && report.of("v2") > 0, "{report:?}");
        v2.serving(service, "NOT_SERVING").await?;
        let only = async || {
            let report = client.load(20, &[]).await.ok()?;
            assert_eq!(report.code(0), 20, "{report:?}");
            (report.of("v1") == 20).then_some(())
        };
        eventually("the other one serves alone", only).await?;
        v2.serving(service, "SERVING").await?;
        let both = async || {
            let report = client.load(20, &[]).await.ok()?;
            (report.of("v2") > 0).then_some(())
        };
        eventually("both serve again", both).await?;
        gateway.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn unary_calls_are_copied_to_a_dark_server() -> Result<()> {
    let (v1, dark) = tokio::try_join!(GrpcServer::start("v1"), GrpcServer::start("v1"))?;
    let keys = format!("{}, timeouts: {{ connect: 10s }}", h2c(&dark));
    let config = single(&v1)
        .upstream_with("dark", &keys)
        .also("mirrors: [{ name: dark, upstream: dark, methods: [POST], compare: {} }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    let client = client(&gateway).await?;
    let report = client.load(20, &[("x-user-id", "u1")]).await?;
    assert_eq!((report.code(0), report.of("v1")), (20, 20));
    gateway.outcomes("dark", &[("2xx", 20)]).await?;
    gateway.comparisons("dark", &[("match", 20)]).await?;
    assert_eq!((v1.calls().await?, dark.calls().await?), (20, 20));
    assert_eq!(dark.metadata("x-tidegate-shadow").await?, "dark");
    assert_eq!(dark.metadata("x-user-id").await?, "u1");
    assert_eq!(v1.metadata("x-tidegate-shadow").await?, "");
    // A dark server that is down, or fails, changes nothing.
    dark.fail(1.0, 13).await?;
    assert_eq!(client.load(10, &[]).await?.code(0), 10);
    dark.kill().await?;
    assert_eq!(client.load(10, &[]).await?.code(0), 10);
    gateway.stop().await
}

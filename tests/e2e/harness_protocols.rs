//! The parts of the harness for TLS, HTTP/2, gRPC and WebSocket, with each other and without a
//! gateway.

use anyhow::Result;
use std::time::Duration;
use tidegate_tests::*;

#[tokio::test]
async fn certificates_are_what_curl_and_nginx_take() -> Result<()> {
    let authority = Authority::new("Test CA")?;
    let other = Authority::new("Other CA")?;
    let pair = authority.server(&["a.test", "*.b.test"])?;
    let more = format!("ssl_verify_client on; ssl_client_certificate {};", authority.path());
    let nginx = Nginx::secure("v1", &pair, &more).await?;
    let client = authority.client("someone")?;
    let ask = |host| Curl::https(nginx.address(), authority.file(), host, "/").showing(&client);
    for host in ["a.test", "x.b.test"] {
        for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
            let answer = ask(host).with(&[option]).send().await?;
            assert_eq!(answer.both(), (200, version), "{answer:?}");
            assert_eq!((answer.body.as_str(), &*answer.header("x-server-name")), ("v1", host));
            assert_eq!(answer.header("x-client"), "CN=someone");
        }
    }
    // 60: the certificate is not for this name, or of nobody known.
    assert_eq!(ask("c.test").send().await?.exit, 60);
    assert_eq!(ask("a.test").trusting(other.file()).send().await?.exit, 60);
    let stranger = ask("a.test").showing(&other.client("someone")?).send().await?;
    assert_eq!(stranger.status, 400, "{stranger:?}");
    pair.become_like(&authority.expired(&["a.test"])?)?;
    let expired = Nginx::secure("v1", &pair, "").await?;
    let answer = Curl::https(expired.address(), authority.file(), "a.test", "/").send().await?;
    assert!(answer.error.contains("expired"), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn http_2_clients_and_servers_agree() -> Result<()> {
    let (nghttpd, origin) = tokio::try_join!(Nghttpd::start(), Origin::h2c("v1"))?;
    let client = Http2::open(origin.address()).await?;
    let call = Call::new(origin.address(), "POST", "/x").host("shop").header("x-a", "1");
    let answer = client.send(&call.body(vec![1; 300_000])).await?;
    assert_eq!((answer.status, &answer.json()?["body_bytes"]), (200, &300_000.into()));
    assert_eq!(origin.last().uri.authority().map(|a| a.as_str()), Some("shop"));
    assert!(!client.is_over());

    for address in [nghttpd.address(), origin.address()] {
        let mut frames = Frames::connect(address).await?;
        let (one, two) = (frames.get("/file").await?, frames.get("/file").await?);
        for stream in [two, one] {
            let answer = frames.answer(stream).await?;
            assert_eq!((answer.status(), answer.end), (200, Some(End::Whole)), "{answer:?}");
            assert!(!answer.body.is_empty());
        }
        assert!(frames.is_alive().await);
        // What nobody may send ends the connection.
        frames.data(99, b"x", true).await?;
        assert!(frames.until_closed(SOON).await?.is_some_and(|code| code > 0));
    }
    let load = h2load(&format!("http://{}/", origin.address()), &["-n100", "-c2", "-m10"]).await?;
    assert_eq!((load.done, load.ok, load.failed), (100, 100, 0), "{load:?}");
    Ok(())
}

#[tokio::test]
async fn grpc_client_and_server_agree() -> Result<()> {
    let authority = Authority::new("Test CA")?;
    let pair = authority.server(&["grpc.test"])?;
    let (plain, secure) =
        tokio::try_join!(GrpcServer::start("plain"), GrpcServer::secure("secure", &pair))?;
    let (one, two) = tokio::try_join!(
        GrpcClient::new(plain.address()),
        GrpcClient::secure(secure.address(), &authority, "grpc.test", None)
    )?;
    for (client, server, name) in [(&one, &plain, "plain"), (&two, &secure, "secure")] {
        let answer = client.unary(&[("x-echo", "1")]).await?;
        assert_eq!((answer.code, answer.server()), (0, name), "{answer:?}");
        assert_eq!((&*answer.initial("x-server"), &*answer.trailing("x-trailer")), (name, name));
        assert_eq!((&*answer.initial("x-echo"), &*answer.trailing("x-echo")), ("1", "1"));
        assert_eq!(server.metadata("x-echo").await?, "1");
        assert!(server.deadline().await? > 1.0);
        assert_eq!(client.health("").await?, "SERVING");
        server.serving("shop", "NOT_SERVING").await?;
        assert_eq!(client.health("shop").await?, "NOT_SERVING");
    }
    let many = one.call("ServerStream", &["a"], &[("x-want-messages", "3")]).await?;
    assert_eq!(many.replies, ["plain 0 a", "plain 1 a", "plain 2 a"]);
    let sum = one.call("ClientStream", &["a", "bc"], &[]).await?;
    assert_eq!(sum.replies, ["plain 2 3"]);
    let both = one.call("Bidi", &["a", "b"], &[]).await?;
    assert_eq!((both.code, both.replies.len()), (0, 2));
    assert_eq!(one.unary(&[("x-want-status", "9")]).await?.code, 9);
    let half = [("x-want-status", "14"), ("x-want-messages", "2")];
    let half = one.call("ServerStream", &["a"], &half).await?;
    assert_eq!((half.code, half.replies.len()), (14, 2));
    assert_eq!(one.call("Nothing", &["a"], &[]).await?.code, 12);
    let late = Duration::from_millis(200);
    let late = one.call_within(late, "Unary", &["a"], &[("x-want-pause", "3000")]).await?;
    assert_eq!(late.code, 4);

    assert_eq!(one.open(1, &[]).await?, "plain");
    assert_eq!(one.send(1, "x").await?, "plain x");
    assert_eq!((one.end(1).await?.code, plain.cancelled().await?), (0, 1));
    one.open(2, &[]).await?;
    one.cancel(2).await?;
    let heard = async || plain.cancelled().await.ok().filter(|cancelled| *cancelled >= 1);
    eventually("the server hears of it", heard).await?;
    plain.fail(1.0, 14).await?;
    let report = one.load(50, &[]).await?;
    assert_eq!((report.code(14), report.code(0)), (50, 0));
    Ok(())
}

/// An error without a message is one header block; with messages it comes after them.
#[tokio::test]
async fn grpc_errors_come_in_both_forms() -> Result<()> {
    let server = GrpcServer::start("v1").await?;
    for (want, whole) in [(&[("x-want-status", "5")][..], true), (&[], false)] {
        let mut frames = Frames::connect(server.address()).await?;
        let stream = frames.stream();
        let mut fields = Frames::request("POST", "/tidegate.test.Echo/ServerStream").to_vec();
        fields.extend([("content-type", "application/grpc"), ("te", "trailers")]);
        fields.extend(want);
        frames.headers(stream, &fields, false).await?;
        frames.data(stream, &[0, 0, 0, 0, 1, b'a'], true).await?;
        let answer = frames.answer(stream).await?;
        assert_eq!((answer.status(), answer.trailers.is_empty()), (200, whole), "{answer:?}");
        assert_eq!(answer.trailer("grpc-status"), if whole { "5" } else { "0" }, "{answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn websocket_client_and_server_agree() -> Result<()> {
    let server = WebSocketServer::start("v1").await?;
    let client = WebSocketClient::start().await?;
    let opened = client.open(1, server.address(), "/", &[("x-user-id", "u")]).await?;
    assert_eq!((opened.status, &*opened.header("x-origin")), (101, "v1"));
    assert_eq!(server.header("x-user-id").await?, "u");
    assert_eq!(client.send(1, "hello").await?, "hello");
    assert!(client.send_bytes(1, 1 << 20).await?);
    client.ping(1).await?;
    client.open(2, server.address(), "/", &[]).await?;
    assert_eq!(server.connections().await?, (2, 2));
    assert_eq!(client.close(1, 4001, "enough").await?, 4001);
    client.vanish(2).await?;
    let closed = || async { server.closed().await.ok().filter(|closed| closed.len() == 2) };
    let closed = eventually("the server saw both ends", closed).await?;
    assert_eq!(closed, [(4001, "enough".to_owned()), (1006, String::new())]);
    client.open(3, server.address(), "/", &[]).await?;
    server.kill().await?;
    assert_eq!(client.wait(3, SOON).await?.0, 1006);
    Ok(())
}

#[tokio::test]
async fn a_browser_loads_a_page() -> Result<()> {
    let authority = Authority::new("Test CA")?;
    let pair = authority.server(&["shop.test"])?;
    let nginx = Nginx::secure("v1", &pair, "default_type text/plain;").await?;
    let browser = Browser::start("shop.test", nginx.address(), &pair).await?;
    let page = browser.load("https://shop.test/").await?;
    let response = &page["responses"][0];
    assert_eq!((&page["text"], &response["status"]), (&"v1".into(), &200.into()), "{page}");
    assert_eq!(response["protocol"], "h2", "{page}");
    assert_eq!(browser.evaluate("1 + 1").await?, 2);
    Ok(())
}

//! What a copy is: the request as its variant got it, marked, and invisible to the client.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tidegate_tests::*;
use tokio::{io::AsyncWriteExt, time::sleep};

/// For mirrors that copy more than what is safe.
pub(crate) const ALL: &str = "methods: [GET, HEAD, POST, PUT, DELETE, OPTIONS]";

/// Any answer.
const OK: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

/// A request's start line, its header lines and its body, out of the bytes on the wire.
fn taken_apart(raw: &[u8]) -> Result<(String, Vec<String>, Vec<u8>)> {
    let end = find(raw, b"\r\n\r\n").context("no head")?;
    let head = String::from_utf8(raw[..end].to_vec())?;
    let mut lines = head.split("\r\n").map(str::to_owned);
    let start = lines.next().context("no start line")?;
    let lines: Vec<_> = lines.collect();
    let chunked = lines.iter().any(|line| line.to_lowercase() == "transfer-encoding: chunked");
    let mut rest = &raw[end + 4..];
    if !chunked {
        return Ok((start, lines, rest.to_vec()));
    }
    let mut body = Vec::new();
    loop {
        let line = find(rest, b"\r\n").context("no chunk")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line])?, 16)?;
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 2 + size + 2..];
        if size == 0 {
            ensure!(rest.is_empty(), "more than the body");
            return Ok((start, lines, body));
        }
    }
}

#[tokio::test]
async fn a_copy_is_the_request_to_the_last_byte() -> Result<()> {
    let fields = "Host: Shop.Example:81\r\nX-Odd-CASE: One\r\nx-odd-case: two\r\nX-Odd-case: \r\n\
        Cookie: a=b\r\ncookie: c=d\r\nAuthorization: Basic eA==\r\nAccept: */*\r\n";
    let requests = [
        format!("GET /a/b;c=%2F//d?x=1&y=%20&z HTTP/1.1\r\n{fields}\r\n"),
        format!("HEAD /?{{}}|[] HTTP/1.1\r\n{fields}\r\n"),
        format!("OPTIONS /o HTTP/1.1\r\n{fields}\r\n"),
        format!("POST /p HTTP/1.1\r\n{fields}Content-Length: 7\r\n\r\n\0a\r\n\r\nb"),
        format!("POST /p HTTP/1.1\r\n{fields}Content-Length: 0\r\n\r\n"),
        format!("POST /p HTTP/1.1\r\n{fields}\r\n"),
        format!(
            "PUT /p HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;e=1\r\n\r\n\r\n0\r\n\r\n"
        ),
        format!("PUT /p HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("DELETE /p HTTP/1.1\r\n{fields}Content-Length: 1\r\n\r\nx"),
        "GET /old HTTP/1.0\r\nHost: a\r\n\r\n".to_owned(),
    ];
    let (primary, dark) = (RawOrigin::answering(OK).await?, RawOrigin::answering(OK).await?);
    let config = Config::mirrored(primary.address(), dark.address(), ALL);
    let gateway = Gateway::start(&config.yaml()).await?;
    for (number, request) in requests.iter().enumerate() {
        let mut client = RawClient::connect(gateway.web()).await?;
        client.send(request).await?;
        let nth = async |origin: &RawOrigin| {
            eventually(request, async || origin.received().get(number).cloned()).await
        };
        let (original, copy) = tokio::try_join!(nth(&primary), nth(&dark))?;
        let (start, mut lines, body) = taken_apart(&original)?;
        let (copied_start, mut copied_lines, copied_body) = taken_apart(&copy)?;
        let marks: Vec<_> = copied_lines
            .extract_if(.., |line| line.to_lowercase().starts_with("x-tidegate-shadow:"))
            .collect();
        assert_eq!(marks.len(), 1, "{copied_lines:?}");
        assert!(marks[0].ends_with(": dark"), "{marks:?}");
        // The order of different fields means nothing, that of equal ones does: the sort is stable.
        let name = |line: &String| line.split(':').next().map(str::to_lowercase);
        lines.sort_by_key(name);
        copied_lines.sort_by_key(name);
        assert_eq!((copied_start, copied_lines), (start, lines), "{request}");
        assert!(copied_body == body, "{request}");
    }
    gateway.outcomes("dark", &[("2xx", requests.len() as u64)]).await?;
    gateway.stop().await
}

#[tokio::test]
async fn large_bodies_arrive_whole() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    let keys = format!("{ALL}, max_body: 1MiB");
    let config = Config::mirrored(primary.address(), dark.address(), &keys);
    let gateway = Gateway::start(&config.yaml()).await?;
    let mut copies = 0;
    for size in [1, 4095, 4096, 4097, 65_537, 1 << 20] {
        let body: Bytes =
            (0..size).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let post = gateway.call("POST", "/upload");
        for call in [post.clone().body(body.clone()), post.chunked(body.clone())] {
            assert_eq!(call.send().await?.status, 200);
            copies += 1;
            gateway.outcomes("dark", &[("2xx", copies)]).await?;
            assert!(primary.last().body == body && dark.last().body == body, "{size}");
        }
    }
    gateway.stop().await
}

/// A body in pieces that are smaller than what the gateway puts together, with pauses.
#[tokio::test]
async fn a_trickled_body_is_put_together() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    let config = Config::mirrored(primary.address(), dark.address(), ALL);
    let gateway = Gateway::start(&config.yaml()).await?;
    let mut client = RawClient::connect(gateway.web()).await?;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n").await?;
    for piece in 0..91 {
        client.send([b'a' + piece % 26; 11]).await?;
        sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(client.response(SOON).await?.status, 200);
    gateway.outcomes("dark", &[("2xx", 1)]).await?;
    assert_eq!(dark.last().body, primary.last().body);
    assert_eq!(dark.last().body.len(), 1001);
    gateway.stop().await
}

#[tokio::test]
async fn a_copy_is_what_the_variant_got_and_then_the_mirrors_changes() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    let config = Config::new()
        .upstream("v1", primary.address())
        .dark("dark", dark.address())
        .route("shop", "/shop", "[{ name: stable, upstream: v1 }]")
        .also("rewrite: { path_prefix: /v2 }")
        .also("headers: { request: { set: { x-env: live }, add: { x-via: edge }, remove: [x-gone] } }")
        .also("mirrors:\n  - name: dark\n    upstream: dark")
        .also("    headers: { set: { x-env: dark }, add: { x-via: mirror }, remove: [cookie, x-off] }");
    let gateway = Gateway::start(&config.yaml()).await?;
    let call = gateway.get("/shop/a?b=c").header("cookie", "a=b").header("x-off", "1");
    assert_eq!(call.header("x-gone", "1").send().await?.status, 200);
    gateway.outcomes("dark", &[("2xx", 1)]).await?;
    let (original, copy) = (primary.last(), dark.last());
    assert_eq!((&copy.uri, &copy.method), (&original.uri, &original.method));
    assert_eq!(copy.uri, "/v2/a?b=c");
    let seen = |name| (original.header(name).to_owned(), copy.header(name).to_owned());
    let is = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(seen("x-env"), is("live", "dark"));
    assert_eq!((original.all("x-via"), copy.all("x-via")), (vec!["edge"], vec!["edge", "mirror"]));
    assert_eq!((seen("cookie"), seen("x-off")), (is("a=b", ""), is("1", "")));
    assert_eq!((seen("x-gone"), seen("x-tidegate-shadow")), (is("", ""), is("", "dark")));
    assert_eq!(original.header("x-request-id"), copy.header("x-request-id"));
    assert_eq!(copy.header("x-request-id").len(), 32);
    assert_eq!(copy.header("x-forwarded-for"), "127.0.0.1");
    gateway.stop().await
}

#[tokio::test]
async fn only_the_gateway_says_what_is_a_copy() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    let config = Config::mirrored(primary.address(), dark.address(), "");
    for trusted in [false, true] {
        let top = if trusted { "trusted_proxies: [127.0.0.1/32]" } else { "" };
        let gateway = Gateway::start(&config.clone().top(top).yaml()).await?;
        let call = gateway.get("/").header("x-tidegate-shadow", "forged");
        let call = call.header("x-request-id", "mine").header("x-tidegate-shadow", "twice");
        assert_eq!(call.send().await?.status, 200);
        gateway.outcomes("dark", &[("2xx", 1)]).await?;
        if !trusted {
            assert_eq!(primary.last().all("x-tidegate-shadow"), [""; 0]);
        }
        assert_eq!(dark.last().all("x-tidegate-shadow"), ["dark"]);
        let ids = (primary.last(), dark.last());
        assert_eq!((ids.0.header("x-request-id"), ids.1.header("x-request-id")), ("mine", "mine"));
        gateway.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_client_gets_the_answer_of_its_variant_alone() -> Result<()> {
    let primary = RawOrigin::answering(
        "HTTP/1.1 201 Fine\r\nX-Own: 1\r\nSet-Cookie: own=1\r\nContent-Length: 3\r\n\r\nown",
    )
    .await?;
    for (answer, outcome) in [
        ("200 OK\r\nSet-Cookie: dark=1\r\nX-Dark: 1\r\nContent-Length: 4\r\n\r\ndark", "2xx"),
        ("200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndark\r\n0\r\n\r\n", "2xx"),
        ("200 OK\r\n\r\ndark until the end", "2xx"),
        ("204 No Content\r\n\r\n", "2xx"),
        ("103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "2xx"),
        ("302 Found\r\nLocation: /dark\r\nContent-Length: 0\r\n\r\n", "3xx"),
        ("304 Not Modified\r\nContent-Length: 9\r\n\r\n", "3xx"),
        ("404 Not Found\r\nContent-Length: 4\r\n\r\ndark", "4xx"),
        ("500 No\r\nConnection: close\r\nContent-Length: 4\r\n\r\ndark", "5xx"),
        ("200 OK\r\nContent-Length: 100\r\n\r\ndark", "reset"),
        ("101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "reset"),
    ] {
        let dark = RawOrigin::answering(format!("HTTP/1.1 {answer}")).await?;
        let config = Config::mirrored(primary.address(), dark.address(), ALL);
        let gateway = Gateway::start(&config.yaml()).await?;
        // In this order: a GET is sent again when its kept connection turns out to be closed.
        let post = gateway.call("POST", "/").body("body").send().await?;
        let get = gateway.get("/").send().await?;
        for seen in [post, get] {
            assert_eq!((seen.status, seen.text().as_str()), (201, "own"), "{answer}");
            let cookies = seen.headers.get_all("set-cookie").iter();
            let cookies: Vec<_> = cookies.filter_map(|cookie| cookie.to_str().ok()).collect();
            assert_eq!(
                (cookies.as_slice(), seen.header("x-own")),
                (&["own=1"][..], "1"),
                "{answer}"
            );
            assert!(!format!("{:?}", seen.headers).to_lowercase().contains("dark"), "{answer}");
        }
        gateway.outcomes("dark", &[(outcome, 2)]).await.context(answer)?;
        gateway.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn each_mirror_has_one_copy_and_limits_of_its_own() -> Result<()> {
    let primary = Origin::start("v1").await?;
    let (a, b, c) = tokio::try_join!(Origin::start("a"), Origin::start("b"), Origin::start("c"))?;
    let config = Config::single(primary.address())
        .dark("a", a.address())
        .dark("b", b.address())
        .dark("c", c.address())
        .also("mirrors:\n  - { name: safe, upstream: a }")
        .also("  - { name: small, upstream: b, methods: [GET, POST], max_body: 1KiB }")
        .also("  - { name: large, upstream: c, methods: [POST], max_body: 1MiB }");
    let gateway = Gateway::start(&config.yaml()).await?;
    assert_eq!(gateway.get("/1").send().await?.status, 200);
    assert_eq!(gateway.call("HEAD", "/2").send().await?.status, 200);
    let post = gateway.call("POST", "/3");
    for size in [1024, 1025] {
        let body = vec![b'x'; size];
        assert_eq!(post.clone().body(body.clone()).send().await?.status, 200);
        assert_eq!(post.clone().chunked(body).send().await?.status, 200);
    }
    assert_eq!(gateway.call("PUT", "/4").body("x").send().await?.status, 200);
    gateway.outcomes("safe", &[("2xx", 2), ("method", 5)]).await?;
    let small = [("2xx", 3), ("method", 2), ("body_too_large", 2)];
    gateway.outcomes("small", &small).await?;
    gateway.outcomes("large", &[("2xx", 4), ("method", 3)]).await?;
    assert_eq!((a.hits(), b.hits(), c.hits(), primary.hits()), (2, 3, 4, 7));
    for (origin, name) in [(&a, "safe"), (&b, "small"), (&c, "large")] {
        assert!(origin.recorded().iter().all(|got| got.all("x-tidegate-shadow") == [name]));
    }
    gateway.stop().await
}

#[tokio::test]
async fn an_nginx_may_be_dark() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Nginx::start("dark"))?;
    let config = Config::mirrored(primary.address(), dark.address(), ALL);
    let gateway = Gateway::start(&config.yaml()).await?;
    assert_eq!(gateway.get("/a?b=c").send().await?.origin(), "v1");
    gateway.outcomes("dark", &[("2xx", 1)]).await?;
    assert_eq!(gateway.call("POST", "/p").body("12345").send().await?.origin(), "v1");
    gateway.outcomes("dark", &[("2xx", 2)]).await?;
    let logged =
        eventually("both are logged", async || dark.log().ok().filter(|lines| lines.len() == 2));
    assert_eq!(logged.await?, ["GET /a?b=c - dark", "POST /p 5 dark"]);
    Load::run(&gateway.get("/x"), 4, 200).await.flawless()?;
    gateway.outcomes("dark", &[("2xx", 202)]).await?;
    gateway.stop().await
}

#[tokio::test]
async fn connections_to_the_dark_upstream_are_kept() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    let config = Config::mirrored(primary.address(), dark.address(), ALL);
    let gateway = Gateway::start(&config.yaml()).await?;
    let mut connection = Connection::open(gateway.web()).await?;
    // HEAD answers have a length and no body: whoever waited for one would lose the connection.
    for number in 1..=30 {
        let call = match number % 3 {
            0 => gateway.get("/"),
            1 => gateway.call("HEAD", "/"),
            _ => gateway.call("POST", "/").chunked("body"),
        };
        assert_eq!(connection.send(&call).await?.status, 200);
        gateway.outcomes("dark", &[("2xx", number)]).await?;
    }
    assert!(dark.connections() < 5, "{} connections for 30 copies", dark.connections());
    gateway.stop().await
}

/// As an upstream of clients may: it closes a kept connection whenever it likes.
#[tokio::test]
async fn a_dark_connection_that_was_closed_is_replaced() -> Result<()> {
    let primary = Origin::start("v1").await?;
    let dark = RawOrigin::start(|mut stream| async move {
        read_request(&mut stream).await?;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
        // Without a word about it.
        Ok(Vec::new())
    })
    .await?;
    let config = Config::mirrored(primary.address(), dark.address(), "");
    let gateway = Gateway::start(&config.yaml()).await?;
    Load::run(&gateway.get("/"), 2, 200).await.flawless()?;
    gateway.outcomes("dark", &[("2xx", 200)]).await?;
    gateway.stop().await
}

/// A request that ends the connection it comes on does so once or, as that may have been a kept
/// connection's own end, twice; not once for each kept connection.
#[tokio::test]
async fn a_request_that_the_dark_upstream_cannot_stand_is_not_repeated_without_end() -> Result<()> {
    let primary = Origin::start("v1").await?;
    let poison = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&poison);
    let dark = RawOrigin::start(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            while find(&read_request(&mut stream).await?, b"/poison").is_none() {
                sleep(Duration::from_millis(300)).await;
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
            }
            count.fetch_add(1, Relaxed);
            Ok(Vec::new())
        }
    })
    .await?;
    let config = Config::mirrored(primary.address(), dark.address(), "");
    let gateway = Gateway::start(&config.yaml()).await?;
    Load::run(&gateway.get("/"), 1, 20).await.flawless()?;
    gateway.outcomes("dark", &[("2xx", 20)]).await?;
    gateway.get("/poison").send().await?;
    gateway.outcomes("dark", &[("2xx", 20), ("reset", 1)]).await?;
    let seen = poison.load(Relaxed);
    assert!(seen <= 2, "{seen} copies of one request");
    gateway.stop().await
}

#[tokio::test]
async fn a_body_that_waits_for_a_100_is_copied_without_waiting() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    let config = Config::mirrored(primary.address(), dark.address(), ALL);
    let gateway = Gateway::start(&config.yaml()).await?;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let mut client = RawClient::connect(gateway.web()).await?;
    client.send(request).await?;
    client.send("body").await?;
    assert_eq!(client.response(SOON).await?.status, 200);
    gateway.outcomes("dark", &[("2xx", 1)]).await?;
    assert_eq!((dark.last().header("expect"), &*dark.last().body), ("", &b"body"[..]));
    gateway.stop().await
}

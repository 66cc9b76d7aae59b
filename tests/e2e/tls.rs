//! TLS with clients: versions, names, and what is no TLS.

use anyhow::{Context, Result};
use serde_json::json;
use std::time::{Duration, Instant};
use tidegate_tests::*;

/// A gateway in front of `origin` with a listener `tls`; `keys` go into its `tls`.
pub(crate) async fn secure(origin: &Origin, pairs: &[&Pair], keys: &str) -> Result<Gateway> {
    Gateway::start(&Config::single(origin.address()).tls(pairs, keys).yaml()).await
}

#[tokio::test]
async fn curl_speaks_both_versions_of_http() -> Result<()> {
    let (origin, authority) = (Origin::start("v1").await?, Authority::new("CA")?);
    let gateway = secure(&origin, &[&authority.server(&["shop.test"])?], "").await?;
    let curl = Curl::https(gateway.address("tls"), authority.file(), "shop.test", "/a?b=c");
    for (options, version) in [
        (&[][..], "2"),
        (&["--http2"], "2"),
        (&["--http1.1"], "1.1"),
        (&["--no-alpn"], "1.1"),
        (&["--tlsv1.2", "--tls-max", "1.2"], "2"),
        (&["--tlsv1.3"], "2"),
    ] {
        let answer = curl.clone().with(options).send().await?;
        assert_eq!(answer.both(), (200, version), "{options:?}: {answer:?}");
        assert_eq!(answer.header("x-origin"), "v1");
        let got = origin.last();
        assert_eq!(got.uri.path_and_query().map(|target| target.as_str()), Some("/a?b=c"));
        assert_eq!(got.header("x-forwarded-proto"), "https", "{options:?}");
        assert_eq!(got.header("host"), "shop.test", "{options:?}");
        assert_eq!(got.header("x-forwarded-for"), "127.0.0.1", "{options:?}");
    }
    assert_eq!(gateway.get("/").send().await?.status, 200);
    assert_eq!(origin.last().header("x-forwarded-proto"), "http");
    gateway.stop().await
}

#[tokio::test]
async fn bodies_go_through_and_connections_are_kept() -> Result<()> {
    let (origin, authority) = (Origin::start("v1").await?, Authority::new("CA")?);
    let gateway = secure(&origin, &[&authority.server(&["shop.test"])?], "").await?;
    let directory = tempfile::TempDir::new()?;
    let file = directory.path().join("upload");
    let body: Vec<u8> = (0..2_000_000u32).map(|i| (i % 253) as u8).collect();
    std::fs::write(&file, &body)?;
    let file = file.display().to_string();
    for version in ["--http1.1", "--http2"] {
        let curl = Curl::https(gateway.address("tls"), authority.file(), "shop.test", "/");
        // pingora closes after an upload that asked whether it may come.
        let curl = curl.with(&[version, "-H", "Expect:", "-T", &file]);
        let answers = curl.then("https://shop.test/again").send_all().await?;
        let told: Vec<_> = answers.iter().map(|one| (one.status, one.connections)).collect();
        assert_eq!(told, [(200, 1), (200, 0)], "{version}: {answers:?}");
        let uploads = origin.recorded().into_iter().rev().filter(|got| got.method == "PUT");
        assert!(uploads.take(1).all(|got| got.body == body), "{version}: another body");
    }
    gateway.stop().await
}

#[tokio::test]
async fn the_lowest_version_can_be_raised() -> Result<()> {
    let (origin, authority) = (Origin::start("v1").await?, Authority::new("CA")?);
    let pair = authority.server(&["shop.test"])?;
    let gateway = secure(&origin, &[&pair], "min_version: \"1.3\"").await?;
    let curl = Curl::https(gateway.address("tls"), authority.file(), "shop.test", "/");
    let old = curl.clone().with(&["--tlsv1.2", "--tls-max", "1.2"]).send().await?;
    // 35: the handshake failed.
    assert_eq!((old.exit, old.status), (35, 0), "{old:?}");
    assert_eq!(curl.send().await?.status, 200);
    let refused = [("reason", "tls_handshake")];
    gateway.counts("tidegate_rejected_requests_total", &refused, 1.0).await?;
    gateway.stop().await?;

    // TLS 1.1 is never spoken.
    let gateway = secure(&origin, &[&pair], "").await?;
    let address = gateway.address("tls").to_string();
    let words = ["s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-connect", &address];
    let done = run("openssl", &words, b"").await?;
    assert!(!done.stdout.contains("Server certificate"), "{done:?}");
    gateway.stop().await
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_that_is_asked_for() -> Result<()> {
    let (origin, authority) = (Origin::start("v1").await?, Authority::new("CA")?);
    let pairs = [
        authority.server(&["first.test", "127.0.0.1"])?,
        authority.server(&["a.test", "b.test"])?,
        authority.server(&["*.wild.test"])?,
        authority.server(&["exact.wild.test"])?,
    ];
    let pairs: Vec<_> = pairs.iter().collect();
    let gateway = secure(&origin, &pairs, "").await?;
    let address = gateway.address("tls");
    for host in [
        "first.test",
        "a.test",
        "b.test",
        "A.TEST",
        "x.wild.test",
        "y.wild.test",
        "exact.wild.test",
    ] {
        let answer = Curl::https(address, authority.file(), host, "/").send().await?;
        assert_eq!(answer.status, 200, "{host}: {answer:?}");
    }
    // Nobody has these: the first is shown, which is for another name.
    for host in ["c.test", "x.y.wild.test", "wild.test"] {
        let curl = Curl::https(address, authority.file(), host, "/");
        assert_eq!(curl.send().await?.exit, 60, "{host}");
        assert_eq!(curl.with(&["-k"]).send().await?.status, 200, "{host}");
    }
    // An address is no name to ask for: the first one, too.
    let plain = Curl::new(&format!("https://{address}/")).trusting(authority.file());
    assert_eq!(plain.send().await?.status, 200);
    // The one that is for just this name.
    let words = ["s_client", "-servername", "exact.wild.test", "-connect", &address.to_string()]
        .map(String::from);
    let shown = run("openssl", &words, b"").await?.stdout;
    let pem = std::fs::read_to_string(&pairs[3].cert)?;
    assert!(shown.contains(pem.trim()), "{shown}");
    gateway.stop().await
}

/// The host in the request decides about the route, whatever name the handshake had.
#[tokio::test]
async fn routes_are_by_host_over_tls_too() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let authority = Authority::new("CA")?;
    let pair = authority.server(&["one.test", "two.test"])?;
    let config = Config::new().upstream("v1", v1.address()).upstream("v2", v2.address());
    let route = |name: &str, upstream: &str| {
        format!(
            "- name: {name}\n  match: {{ hosts: [{name}.test] }}\n  \
             variants: [{{ name: stable, upstream: {upstream} }}]"
        )
    };
    let config = config.route_block(&route("one", "v1")).route_block(&route("two", "v2"));
    let gateway = Gateway::start(&config.tls(&[&pair], "").yaml()).await?;
    for version in ["--http1.1", "--http2"] {
        let curl = Curl::https(gateway.address("tls"), authority.file(), "one.test", "/");
        let answers = curl.with(&[version]).then("https://two.test/").send_all().await?;
        let origins: Vec<_> = answers.iter().map(|one| one.header("x-origin")).collect();
        assert_eq!(origins, ["v1", "v2"], "{version}");
    }
    gateway.stop().await
}

#[tokio::test]
async fn what_is_no_tls_is_closed_without_a_fuss() -> Result<()> {
    let (origin, authority) = (Origin::start("v1").await?, Authority::new("CA")?);
    let mut gateway = secure(&origin, &[&authority.server(&["shop.test"])?], "").await?;
    let address = gateway.address("tls");
    let lines = gateway.log().len();
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.resize(5 + 512, 0xab);
    let garbage: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\0\0\0\0",
        &hello,
        &[0x16, 3, 1, 0xff, 0xff, 1, 2, 3],
        b"",
    ];
    for round in 0..200 {
        let mut client = RawClient::connect(address).await?;
        let bytes = garbage[round % garbage.len()];
        client.send_some(bytes).await;
        client.half_close().await.ok();
        let got = client.until_closed(Duration::from_secs(3)).await.context(round)?;
        // Nothing, or an alert.
        assert!(got.is_empty() || got[0] == 0x15, "{bytes:?} got {got:?}");
    }
    let curl = Curl::https(address, authority.file(), "shop.test", "/");
    assert_eq!(curl.send().await?.status, 200);
    let refused = [("reason", "tls_handshake")];
    gateway.counts("tidegate_rejected_requests_total", &refused, 200.0).await?;
    gateway.counts("tidegate_client_connections", &[], 0.0).await?;
    let new = gateway.log().len() - lines;
    assert!(new < 10, "{new} lines for 200 broken handshakes");
    gateway.healthy()?;
    gateway.stop().await
}

#[tokio::test]
async fn a_handshake_that_stops_is_over_in_time() -> Result<()> {
    let (origin, authority) = (Origin::start("v1").await?, Authority::new("CA")?);
    let pair = authority.server(&["shop.test"])?;
    let config = Config::single(origin.address()).listener(
        "tls",
        &format!("tls: {{ certificates: [{}] }}, timeouts: {{ head: 1s }}", pair.yaml()),
    );
    let gateway = Gateway::start(&config.yaml()).await?;
    let begin = Instant::now();
    let mut stalled = Vec::new();
    for part in [&b""[..], &[0x16], &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]] {
        let mut client = RawClient::connect(gateway.address("tls")).await?;
        client.send(part).await?;
        stalled.push(client);
    }
    for client in &mut stalled {
        client.until_closed(SOON).await?;
    }
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(700) && took < Duration::from_secs(6), "{took:?}");
    // A handshake, and then no request.
    let words =
        ["s_client", "-quiet", "-connect", &gateway.address("tls").to_string()].map(String::from);
    let mut idle = tokio::process::Command::new("openssl")
        .args(&words)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    tokio::time::timeout(SOON, idle.wait()).await.context("a silent client is kept")??;
    gateway.counts("tidegate_client_connections", &[], 0.0).await?;
    gateway.stop().await
}

/// What people have: a browser, over TLS and HTTP/2, through a split.
#[tokio::test]
async fn a_browser_gets_both_versions() -> Result<()> {
    let page = |name: &'static str| {
        Origin::serving(name, move |got| {
            let mut answer = http::Response::new(format!("<p>{name} {}</p>", got.uri).into());
            let headers = answer.headers_mut();
            headers.insert("content-type", http::HeaderValue::from_static("text/html"));
            headers.insert("x-origin", http::HeaderValue::from_static(name));
            answer
        })
    };
    let (v1, v2) = tokio::try_join!(page("v1"), page("v2"))?;
    let authority = Authority::new("CA")?;
    let pair = authority.server(&["shop.test"])?;
    let cookie = "bucket_by: [{ cookie: uid, issue: { max_age: 1d } }]";
    let config = Config::split(v1.address(), "50", v2.address(), "50").tls(&[&pair], "");
    for (keyed, config) in [(false, config.clone()), (true, config.also(cookie))] {
        let gateway = Gateway::start(&config.yaml()).await?;
        let browser = Browser::start("shop.test", gateway.address("tls"), &pair).await?;
        let page = browser.load("https://shop.test/a").await?;
        let response = &page["responses"][0];
        assert_eq!((&response["status"], &response["protocol"]), (&json!(200), &json!("h2")));
        assert_eq!(response["security"], "TLS 1.3", "{page}");
        let first = response["headers"]["x-origin"].as_str().context("no origin")?.to_owned();
        assert_eq!(page["text"], format!("{first} /a"));
        let all = browser
            .evaluate(
                "Promise.all([...Array(40).keys()].map(i => fetch('/f' + i, { method: 'POST', body: 'x' })
                   .then(answer => answer.headers.get('x-origin')))).then(all => [...new Set(all)].sort())",
            )
            .await?;
        // Each request is drawn for itself, or this user has one version.
        assert_eq!(all, if keyed { json!([first]) } else { json!(["v1", "v2"]) }, "{keyed}");
        gateway
            .counts("tidegate_client_connections", &[], 1.0)
            .await
            .or_else(|_| anyhow::Ok(()))?;
        gateway.stop().await?;
    }
    Ok(())
}

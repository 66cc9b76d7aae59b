//! Header fields: which go through, which do not, which are set.

use anyhow::Result;
use std::collections::BTreeSet;
use tidegate_tests::*;

#[tokio::test]
async fn hop_by_hop_fields_of_a_request_end_here() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Private, close\r\n\
        X-Private: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nTE: gzip\r\n\
        Proxy-Authorization: Basic eA==\r\nTrailer: x-t\r\nUpgrade: h2c\r\nX-Public: 2\r\n\r\n";
    let answer = RawClient::exchange(gateway.web(), request).await?;
    assert_eq!(answer.status, 200);
    let got = origin.last();
    for name in [
        "x-private",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "proxy-authorization",
    ] {
        assert_eq!(got.header(name), "", "{name}");
    }
    assert!(!got.header("connection").to_lowercase().contains("x-private"));
    assert_eq!(got.header("x-public"), "2");
    gateway.stop().await
}

#[tokio::test]
async fn connection_cannot_nominate_what_the_gateway_adds() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let request = "GET / HTTP/1.1\r\nHost: shop.example.com\r\n\
        Connection: close, host, x-forwarded-for, x-forwarded-proto\r\n\r\n";
    let answer = RawClient::exchange(gateway.web(), request).await?;
    // Refusing such a request is as good.
    if answer.status == 200 {
        let got = origin.last();
        assert_eq!(got.header("host"), "shop.example.com");
        assert_eq!(got.header("x-forwarded-for"), "127.0.0.1");
        assert_eq!(got.header("x-forwarded-proto"), "http");
    } else {
        assert_eq!(answer.status, 400);
    }
    gateway.stop().await
}

#[tokio::test]
async fn hop_by_hop_fields_of_a_response_end_here() -> Result<()> {
    let origin = RawOrigin::answering(
        "HTTP/1.1 200 OK\r\nConnection: close, X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=9\r\n\
         Proxy-Authenticate: Basic\r\nProxy-Connection: close\r\nUpgrade: h2c\r\nX-Public: 2\r\n\
         Content-Length: 2\r\n\r\nok",
    )
    .await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let answer = gateway.get("/").send().await?;
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    for name in ["x-private", "proxy-connection", "upgrade", "proxy-authenticate"] {
        assert_eq!(answer.header(name), "", "{name}");
    }
    assert_ne!(answer.header("keep-alive"), "timeout=9");
    assert_eq!(answer.header("x-public"), "2");
    gateway.stop().await
}

#[tokio::test]
async fn an_untrusted_client_cannot_say_where_it_comes_from() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let mut call = gateway.get("/").host("shop.example.com:8080");
    for (name, value) in [
        ("x-forwarded-for", "10.1.2.3"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-anything", "1"),
        ("forwarded", "for=10.1.2.3"),
        ("x-real-ip", "10.1.2.3"),
        ("x-tidegate-shadow", "dark"),
        ("x-tidegate-variant", "canary"),
        ("x-tidegates", "not ours"),
    ] {
        call = call.header(name, value);
    }
    assert_eq!(call.send().await?.status, 200);
    let got = origin.last();
    assert_eq!(got.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(got.all("x-forwarded-proto"), ["http"]);
    assert_eq!(got.all("x-forwarded-host"), ["shop.example.com:8080"]);
    assert_eq!(got.header("host"), "shop.example.com:8080");
    assert_eq!(got.header("x-tidegates"), "not ours");
    for name in ["x-forwarded-anything", "forwarded", "x-tidegate-shadow", "x-tidegate-variant"] {
        assert_eq!(got.header(name), "", "{name}");
    }
    assert_ne!(got.header("x-real-ip"), "10.1.2.3");
    assert_ne!(got.header("x-forwarded-port"), "443");
    gateway.stop().await
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_its_list_goes_on() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let config = Config::single(origin.address()).top("trusted_proxies: [127.0.0.1/32]");
    let gateway = Gateway::start(&config.yaml()).await?;
    let call = gateway
        .get("/")
        .header("x-forwarded-for", "10.1.2.3")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "shop.example.com")
        .header("x-forwarded-port", "443")
        .header("x-tidegate-hop", "1");
    assert_eq!(call.send().await?.status, 200);
    let got = origin.last();
    assert_eq!(got.all("x-forwarded-for").join(", "), "10.1.2.3, 127.0.0.1");
    assert_eq!(got.all("x-forwarded-proto"), ["https"]);
    assert_eq!(got.all("x-forwarded-host"), ["shop.example.com"]);
    assert_eq!(got.all("x-forwarded-port"), ["443"]);
    assert_eq!(got.all("x-tidegate-hop"), ["1"]);
    // What the proxy did not say is set as for anybody.
    assert_eq!(gateway.get("/").host("b.example").send().await?.status, 200);
    let got = origin.last();
    assert_eq!(got.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(got.all("x-forwarded-proto"), ["http"]);
    assert_eq!(got.all("x-forwarded-host"), ["b.example"]);
    gateway.stop().await
}

#[tokio::test]
async fn request_fields_are_removed_then_set_then_added() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let config = Config::single(origin.address()).also(
        "headers:
  request:
    remove: [x-gone, x-both]
    set: { x-set: new, x-both: back }
    add: { x-add: second, x-set: more }",
    );
    let gateway = Gateway::start(&config.yaml()).await?;
    let call = gateway
        .get("/")
        .header("x-gone", "1")
        .header("x-both", "1")
        .header("x-set", "old")
        .header("x-set", "older")
        .header("x-add", "first")
        .header("x-other", "kept");
    assert_eq!(call.send().await?.status, 200);
    let got = origin.last();
    assert_eq!(got.header("x-gone"), "");
    assert_eq!(got.all("x-both"), ["back"]);
    assert_eq!(got.all("x-set"), ["new", "more"]);
    assert_eq!(got.all("x-add"), ["first", "second"]);
    assert_eq!(got.header("x-other"), "kept");
    gateway.stop().await
}

#[tokio::test]
async fn response_fields_are_removed_then_set_then_added() -> Result<()> {
    let origin = RawOrigin::answering(
        "HTTP/1.1 200 OK\r\nServer: secret\r\nX-Add: first\r\nX-Set: old\r\nX-Set: older\r\n\
         Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 0\r\n\r\n",
    )
    .await?;
    let config = Config::single(origin.address()).also(
        "headers: { response: { remove: [server], set: { x-set: new }, add: { x-add: second } } }",
    );
    let gateway = Gateway::start(&config.yaml()).await?;
    let answer = gateway.get("/").send().await?;
    let all = |name: &str| -> Vec<_> {
        answer.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    };
    assert_eq!(answer.status, 200);
    assert_eq!(all("server"), [""; 0]);
    assert_eq!(all("x-set"), ["new"]);
    assert_eq!(all("x-add"), ["first", "second"]);
    assert_eq!(all("set-cookie"), ["a=b", "c=d"]);
    gateway.stop().await
}

#[tokio::test]
async fn the_variant_is_shown_where_asked_for() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let split = Config::split(v1.address(), "1", v2.address(), "1");
    let gateway = Gateway::start(&split.clone().also("expose_variant: true").yaml()).await?;
    let mut seen = BTreeSet::new();
    for _ in 0..60 {
        let answer = gateway.get("/").send().await?;
        let shown = answer.header("x-tidegate-variant").to_owned();
        assert_eq!(shown, if answer.origin() == "v1" { "stable" } else { "canary" });
        seen.insert(shown);
    }
    assert_eq!(seen.len(), 2);
    gateway.stop().await?;
    let gateway = Gateway::start(&split.yaml()).await?;
    assert_eq!(gateway.get("/").send().await?.header("x-tidegate-variant"), "");
    gateway.stop().await
}

#[tokio::test]
async fn what_is_not_ours_goes_through_untouched() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let target = "/a.b/%2F%41//c;d=..e?x=%41&y=a+b&z=/../";
    let call = gateway
        .get(target)
        .header("traceparent", traceparent)
        .header("authorization", "Bearer secret")
        .header("cookie", "a=b; c=\"d\"")
        .header("accept-encoding", "gzip, br;q=0.5");
    assert_eq!(call.send().await?.status, 200);
    let got = origin.last();
    assert_eq!(got.uri.to_string(), target);
    assert_eq!(got.header("traceparent"), traceparent);
    assert_eq!(got.header("authorization"), "Bearer secret");
    assert_eq!(got.header("cookie"), "a=b; c=\"d\"");
    assert_eq!(got.header("accept-encoding"), "gzip, br;q=0.5");
    gateway.stop().await
}

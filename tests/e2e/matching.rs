//! Which route a request takes: the cases of the Gateway API's conformance suite that apply.

use anyhow::Result;
use tidegate_tests::*;

/// A gateway whose routes, given as `(name, match)` in this order, each say their name in `x-route`.
async fn routes(origin: &Origin, routes: &[(&str, &str)]) -> Result<Gateway> {
    let mut config = Config::new().upstream("all", origin.address());
    for (name, condition) in routes {
        config = config.route_block(&format!(
            "- name: {name}
  match: {condition}
  variants: [{{ name: only, upstream: all }}]
  headers: {{ response: {{ set: {{ x-route: {name} }} }} }}"
        ));
    }
    Gateway::start(&config.yaml()).await
}

/// Asserts which route each call takes; "" for none (404).
async fn expect(calls: &[(Call, &str)]) -> Result<()> {
    for (call, route) in calls {
        let answer = call.send().await?;
        assert_eq!(answer.header("x-route"), *route, "{call:?}");
        assert_eq!(answer.status, if route.is_empty() { 404 } else { 200 }, "{call:?}");
    }
    Ok(())
}

#[tokio::test]
async fn httproute_matching() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = routes(
        &origin,
        &[
            ("root", "{ path: { prefix: / } }"),
            ("version-two", "{ path: { prefix: / }, headers: [{ name: version, exact: two }] }"),
            ("v2", "{ path: { prefix: /v2 } }"),
        ],
    )
    .await?;
    expect(&[
        (gateway.get("/"), "root"),
        (gateway.get("/example"), "root"),
        (gateway.get("/").header("version", "one"), "root"),
        (gateway.get("/v2"), "v2"),
        (gateway.get("/v2/"), "v2"),
        (gateway.get("/v2/example"), "v2"),
        (gateway.get("/v2?a=b"), "v2"),
        // By path elements, not by characters.
        (gateway.get("/v2example"), "root"),
        (gateway.get("/foo/v2/example"), "root"),
        (gateway.get("/").header("version", "two"), "version-two"),
        (gateway.get("/").header("Version", "two"), "version-two"),
        // The longer path counts more than the header.
        (gateway.get("/v2").header("version", "two"), "v2"),
    ])
    .await
}

#[tokio::test]
async fn httproute_path_match_order() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = routes(
        &origin,
        &[
            ("prefix", "{ path: { prefix: /match } }"),
            ("longer", "{ path: { prefix: /match/prefix } }"),
            ("exact", "{ path: { exact: /match } }"),
            ("exact-one", "{ path: { exact: /match/exact/one } }"),
            ("longest", "{ path: { prefix: /match/prefix/one } }"),
            ("exact-slash", "{ path: { exact: /match/ } }"),
        ],
    )
    .await?;
    expect(&[
        (gateway.get("/match"), "exact"),
        (gateway.get("/match/"), "exact-slash"),
        (gateway.get("/match/exact/one"), "exact-one"),
        (gateway.get("/match/exact"), "prefix"),
        (gateway.get("/match/prefix"), "longer"),
        (gateway.get("/match/prefix/one/any"), "longest"),
        (gateway.get("/match/prefix/any"), "longer"),
        (gateway.get("/match/any"), "prefix"),
        (gateway.get("/matching"), ""),
        (gateway.get("/"), ""),
    ])
    .await
}

#[tokio::test]
async fn httproute_regular_expressions_match_the_whole_path() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = routes(&origin, &[("item", "{ path: { regex: \"/items/[0-9]+\" } }")]).await?;
    expect(&[
        (gateway.get("/items/42"), "item"),
        (gateway.get("/items/42?x"), "item"),
        (gateway.get("/items/"), ""),
        (gateway.get("/items/42/more"), ""),
        (gateway.get("/all/items/42"), ""),
    ])
    .await
}

#[tokio::test]
async fn httproute_header_matching() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = routes(
        &origin,
        &[
            ("one", "{ headers: [{ name: version, exact: one }] }"),
            ("two", "{ headers: [{ name: version, exact: two }] }"),
            (
                "two-orange",
                "{ headers: [{ name: version, exact: two }, { name: color, exact: orange }] }",
            ),
            ("blue", "{ headers: [{ name: color, exact: blue }] }"),
            ("shade", "{ headers: [{ name: color, regex: \"green|light-.*\" }] }"),
            ("traced", "{ headers: [{ name: x-trace, present: true }] }"),
        ],
    )
    .await?;
    let get = || gateway.get("/");
    expect(&[
        (get().header("version", "one"), "one"),
        (get().header("version", "two"), "two"),
        (get().header("version", "two").header("color", "orange"), "two-orange"),
        // Equally many headers: the route listed first.
        (get().header("version", "two").header("color", "blue"), "two"),
        (get().header("color", "blue"), "blue"),
        (get().header("color", "green"), "shade"),
        (get().header("color", "light-red"), "shade"),
        (get().header("color", "dark-light-red"), ""),
        (get().header("color", "greenish"), ""),
        (get().header("x-trace", ""), "traced"),
        (get().header("color", "orange"), ""),
        (get(), ""),
    ])
    .await
}

#[tokio::test]
async fn httproute_query_param_matching() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = routes(
        &origin,
        &[
            ("whale", "{ query: [{ name: animal, exact: whale }] }"),
            ("dolphin", "{ query: [{ name: animal, exact: dolphin }] }"),
            (
                "dolphin-blue",
                "{ query: [{ name: animal, exact: dolphin }, { name: color, exact: blue }] }",
            ),
            ("green", "{ query: [{ name: color, exact: \"a green\" }] }"),
        ],
    )
    .await?;
    expect(&[
        (gateway.get("/?animal=whale"), "whale"),
        (gateway.get("/?animal=dolphin"), "dolphin"),
        (gateway.get("/?animal=dolphin&color=blue"), "dolphin-blue"),
        (gateway.get("/?color=blue&animal=dolphin"), "dolphin-blue"),
        (gateway.get("/?color=a%20green"), "green"),
        (gateway.get("/?color=a+green"), "green"),
        (gateway.get("/?ANIMAL=whale"), ""),
        (gateway.get("/?animal=dog"), ""),
        (gateway.get("/?animal=dog&animal=whale"), ""),
        (gateway.get("/animal=whale"), ""),
        (gateway.get("/"), ""),
    ])
    .await
}

#[tokio::test]
async fn httproute_method_matching() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = routes(
        &origin,
        &[
            ("post", "{ methods: [POST] }"),
            ("get", "{ methods: [GET, HEAD] }"),
            ("path", "{ path: { prefix: /path5 } }"),
            ("patch", "{ path: { prefix: / }, methods: [PATCH] }"),
            ("put-header", "{ methods: [PUT], headers: [{ name: version, exact: four }] }"),
            ("header", "{ headers: [{ name: version, exact: four }] }"),
        ],
    )
    .await?;
    expect(&[
        (gateway.call("POST", "/"), "post"),
        (gateway.get("/"), "get"),
        (gateway.call("HEAD", "/"), "get"),
        (gateway.call("DELETE", "/"), ""),
        // Path before method, method before header.
        (gateway.call("PATCH", "/path5"), "path"),
        (gateway.call("PATCH", "/path4"), "patch"),
        (gateway.call("PATCH", "/").header("version", "four"), "patch"),
        (gateway.call("PUT", "/").header("version", "four"), "put-header"),
        (gateway.call("DELETE", "/").header("version", "four"), "header"),
    ])
    .await
}

#[tokio::test]
async fn hosts_exact_before_the_longest_wildcard() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = routes(
        &origin,
        &[
            ("any", "{ path: { prefix: /any } }"),
            ("wide", "{ hosts: [\"*.example.com\"] }"),
            ("narrow", "{ hosts: [\"*.shop.example.com\"] }"),
            ("exact", "{ hosts: [a.shop.example.com, other.example.net] }"),
        ],
    )
    .await?;
    let host = |host: &str| gateway.get("/").host(host);
    expect(&[
        (host("a.shop.example.com"), "exact"),
        (host("A.Shop.EXAMPLE.com"), "exact"),
        (host("a.shop.example.com:8080"), "exact"),
        (host("a.shop.example.com."), "exact"),
        (host("other.example.net"), "exact"),
        (host("b.shop.example.com"), "narrow"),
        (host("x.y.shop.example.com"), "narrow"),
        (host("shop.example.com"), "wide"),
        (host("a.b.c.example.com"), "wide"),
        (host("example.com"), ""),
        (host("badexample.com"), ""),
        (host("example.com.evil.net"), ""),
        (gateway.get("/any").host("example.com"), "any"),
        (host("[::1]:80"), ""),
    ])
    .await
}

#[tokio::test]
async fn httproute_weight() -> Result<()> {
    let (v1, v2, v3) =
        tokio::try_join!(Origin::start("v1"), Origin::start("v2"), Origin::start("v3"))?;
    let config = Config::new()
        .upstream("v1", v1.address())
        .upstream("v2", v2.address())
        .upstream("v3", v3.address())
        .route(
            "shop",
            "/",
            "[{ name: a, upstream: v1, weight: 70 }, { name: b, upstream: v2, weight: 30 }, \
             { name: c, upstream: v3, weight: 0 }]",
        );
    let gateway = Gateway::start(&config.yaml()).await?;
    let report = Load::run(&gateway.get("/"), 4, 2000).await.flawless()?;
    assert_share(report.of("v1"), 2000, 0.7);
    assert_share(report.of("v2"), 2000, 0.3);
    assert_eq!(v3.hits(), 0);
    gateway.stop().await
}

#[tokio::test]
async fn httproute_rewrite_path_prefix() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let only = "[{ name: only, upstream: v1 }]";
    let config = Config::new()
        .upstream("v1", origin.address())
        .route("one", "/prefix/one", only)
        .also("rewrite: { path_prefix: /one }")
        .route("strip", "/strip/", only)
        .also("rewrite: { path_prefix: / }")
        .route("full", "/full/one", only)
        .also("rewrite: { path_prefix: /x/y/ }");
    let gateway = Gateway::start(&config.yaml()).await?;
    for (from, to) in [
        ("/prefix/one", "/one"),
        ("/prefix/one/", "/one/"),
        ("/prefix/one/two?a=%20b&c", "/one/two?a=%20b&c"),
        ("/strip", "/"),
        ("/strip/", "/"),
        ("/strip/three", "/three"),
        ("/strip?q", "/?q"),
        ("/strip//three", "//three"),
        ("/full/one/two", "/x/y/two"),
        ("/full/one/t%2Fw", "/x/y/t%2Fw"),
    ] {
        assert_eq!(gateway.get(from).send().await?.status, 200, "{from}");
        assert_eq!(origin.last().uri.to_string(), to, "{from}");
    }
    gateway.stop().await
}

/// Clients that take the gateway for a forward proxy send the whole URL; origins get the path
/// alone (RFC 9112 §3.2.1).
#[tokio::test]
async fn a_target_in_absolute_form_is_the_same_request() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = routes(&origin, &[("a", "{ hosts: [a.example], path: { prefix: /a } }")]).await?;
    let request = "GET http://a.example/a/b?c=d HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let answer = RawClient::exchange(gateway.web(), request).await?;
    assert_eq!((answer.status, answer.header("x-route")), (200, "a"));
    assert_eq!(origin.last().uri.to_string(), "/a/b?c=d");
    assert_eq!(origin.last().header("host"), "a.example");
    let other = request.replace("Host: a.example", "Host: b.example");
    assert_eq!(RawClient::exchange(gateway.web(), other).await?.status, 400);
    gateway.stop().await
}

#[tokio::test]
async fn no_route_is_404_and_counted() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = routes(&origin, &[("a", "{ path: { prefix: /a } }")]).await?;
    let answer = gateway.get("/b").send().await?;
    assert_eq!((answer.status, origin.hits()), (404, 0));
    gateway.counts("tidegate_rejected_requests_total", &[("reason", "no_route")], 1.0).await?;
    gateway.stop().await
}

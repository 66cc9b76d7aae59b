//! TLS with upstreams: whose certificate is believed, what is shown, what is spoken.

use anyhow::Result;
use std::net::SocketAddr;
use tempfile::TempDir;
use tidegate_tests::*;

const ATTEMPTS: &str = "tidegate_attempts_total";

/// The keys of an upstream at `address`; `tls` goes into its `tls`.
fn keys(address: SocketAddr, protocol: &str, tls: &str) -> String {
    format!("endpoints: [\"{address}\"], protocol: {protocol}, tls: {{ {tls} }}")
}

/// One route to such an upstream, from clients of both versions of HTTP.
fn single(keys: &str) -> Config {
    Config::new()
        .upstream_with("v1", keys)
        .route("shop", "/", "[{ name: stable, upstream: v1 }]")
        .h2c("")
}

/// What a client of either version gets.
async fn ask(gateway: &Gateway) -> Result<[Response; 2]> {
    let call = gateway.get("/file").host("shop.test");
    let http2 = Http2::open(gateway.address("h2c")).await?;
    Ok([call.send().await?, http2.send(&call).await?])
}

#[tokio::test]
async fn a_server_that_is_known_is_served_from() -> Result<()> {
    let authority = Authority::new("CA")?;
    let pair = authority.server(&["dark.test"])?;
    let (nginx, nghttpd) =
        tokio::try_join!(Nginx::secure("v1", &pair, ""), Nghttpd::secure(&pair))?;
    let tls = format!("sni: dark.test, ca: {}", authority.path());
    for (protocol, spoken) in [("http1", "HTTP/1.1"), ("h2", "HTTP/2.0"), ("h2c", "HTTP/2.0")] {
        let gateway =
            Gateway::start(&single(&keys(nginx.address(), protocol, &tls)).yaml()).await?;
        for answer in ask(&gateway).await? {
            assert_eq!((answer.status, answer.origin()), (200, "v1"), "{protocol}");
            assert_eq!(answer.header("x-protocol"), spoken);
            assert_eq!(answer.header("x-server-name"), "dark.test");
        }
        Load::run(&gateway.get("/"), 4, 200).await.flawless()?;
        gateway.stop().await?;
    }
    let gateway = Gateway::start(&single(&keys(nghttpd.address(), "h2", &tls)).yaml()).await?;
    let body: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    let post = gateway.call("POST", "/echo").host("shop.test").body(body.clone());
    let http2 = Http2::open(gateway.address("h2c")).await?;
    for answer in [post.send().await?, http2.send(&post).await?] {
        assert!(answer.status == 200 && answer.body == body, "{}", answer.status);
    }
    gateway.stop().await
}

#[tokio::test]
async fn a_server_that_is_not_known_is_a_failure_of_its_variant() -> Result<()> {
    let (authority, stranger) = (Authority::new("CA")?, Authority::new("Stranger")?);
    let nginx = Nginx::secure("v1", &authority.server(&["dark.test"])?, "").await?;
    let expired = Nginx::secure("v1", &authority.expired(&["dark.test"])?, "").await?;
    let other = Nginx::secure("v1", &stranger.server(&["dark.test"])?, "").await?;
    let (fallback, plain) = tokio::try_join!(Origin::start("stable"), Origin::start("plain"))?;
    let ca = authority.path();
    for (what, address, tls) in [
        ("another name", nginx.address(), format!("sni: bright.test, ca: {ca}")),
        ("an unknown authority", other.address(), format!("sni: dark.test, ca: {ca}")),
        ("the system's authorities", nginx.address(), "sni: dark.test".to_owned()),
        ("over since 2021", expired.address(), format!("sni: dark.test, ca: {ca}")),
        ("no TLS at all", plain.address(), format!("sni: dark.test, ca: {ca}")),
    ] {
        for protocol in ["http1", "h2"] {
            let keys = keys(address, protocol, &tls);
            let gateway = Gateway::start(&single(&keys).yaml()).await?;
            for answer in ask(&gateway).await? {
                assert!([502, 503].contains(&answer.status), "{what}: {}", answer.status);
            }
            let failed = [("variant", "stable"), ("outcome", "connect_failure")];
            gateway.counts(ATTEMPTS, &failed, 2.0).await?;
            gateway.stop().await?;

            let config = Config::new()
                .upstream_with("v2", &keys)
                .upstream("v1", fallback.address())
                .h2c("")
                .route(
                    "shop",
                    "/",
                    "[{ name: stable, upstream: v1, weight: 0 }, \
                     { name: canary, upstream: v2, weight: 1, fallback: stable }]",
                );
            let gateway = Gateway::start(&config.yaml()).await?;
            for answer in ask(&gateway).await? {
                assert_eq!((answer.status, answer.origin()), (200, "stable"), "{what}");
            }
            let failed = [("variant", "canary"), ("outcome", "connect_failure")];
            gateway.counts(ATTEMPTS, &failed, 2.0).await?;
            gateway.counts("tidegate_fallbacks_total", &[("variant", "canary")], 2.0).await?;
            gateway.stop().await?;
        }
    }
    assert_eq!(plain.hits(), 0);
    Ok(())
}

#[tokio::test]
async fn a_certificate_is_shown_where_one_is_wanted() -> Result<()> {
    let (authority, clients) = (Authority::new("CA")?, Authority::new("Clients")?);
    let more = format!("ssl_verify_client on; ssl_client_certificate {};", clients.path());
    let nginx = Nginx::secure("v1", &authority.server(&["dark.test"])?, &more).await?;
    let (known, stranger) = (clients.client("gateway")?, authority.client("gateway")?);
    let server = format!("sni: dark.test, ca: {}", authority.path());
    let show = |pair: &Pair| {
        format!("{server}, cert: {}, key: {}", pair.cert.display(), pair.key.display())
    };
    for protocol in ["http1", "h2"] {
        for (tls, status) in [(show(&known), 200), (server.clone(), 400), (show(&stranger), 400)] {
            let keys = keys(nginx.address(), protocol, &tls);
            let gateway = Gateway::start(&single(&keys).yaml()).await?;
            for answer in ask(&gateway).await? {
                // nginx makes the handshake, and refuses each request with 400.
                assert_eq!(answer.status, status, "{protocol}, {tls}");
                if status == 200 {
                    assert_eq!(answer.header("x-client"), "CN=gateway");
                }
            }
            gateway.stop().await?;
        }
    }
    Ok(())
}

/// Connections are kept by what was verified, not by the address alone: what one upstream may use is
/// not what another one trusts.
#[tokio::test]
async fn upstreams_do_not_share_connections_that_they_would_not_make() -> Result<()> {
    let (authority, stranger) = (Authority::new("CA")?, Authority::new("Stranger")?);
    let clients = Authority::new("Clients")?;
    let more = format!("ssl_verify_client optional; ssl_client_certificate {};", clients.path());
    let nginx = Nginx::secure("v1", &authority.server(&["dark.test"])?, &more).await?;
    let known = clients.client("gateway")?;
    let trusting = |authority: &Authority| format!("sni: dark.test, ca: {}", authority.path());
    let (cert, key) = (known.cert.display(), known.key.display());
    let showing = format!("{}, cert: {cert}, key: {key}", trusting(&authority));
    for protocol in ["http1", "h2"] {
        let keys = |tls: &str| keys(nginx.address(), protocol, tls);
        let config = Config::new()
            .upstream_with("showing", &keys(&showing))
            .upstream_with("silent", &keys(&trusting(&authority)))
            .upstream_with("strict", &keys(&trusting(&stranger)))
            .route("showing", "/showing", "[{ name: stable, upstream: showing }]")
            .route("silent", "/silent", "[{ name: stable, upstream: silent }]")
            .route("strict", "/strict", "[{ name: stable, upstream: strict }]");
        let gateway = Gateway::start(&config.yaml()).await?;
        for _ in 0..20 {
            let showing = gateway.get("/showing").send().await?;
            assert_eq!((showing.status, showing.header("x-client")), (200, "CN=gateway"));
            let silent = gateway.get("/silent").send().await?;
            assert_eq!((silent.status, silent.header("x-client")), (200, ""));
            let strict = gateway.get("/strict").send().await?;
            assert!([502, 503].contains(&strict.status), "{protocol}: {}", strict.status);
        }
        gateway.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_name_is_the_endpoints_where_it_is_not_written() -> Result<()> {
    let authority = Authority::new("CA")?;
    let nginx = Nginx::secure("v1", &authority.server(&["localhost"])?, "").await?;
    let port = nginx.address().port();
    let keys = format!(
        "endpoints: [\"localhost:{port}\"], protocol: h2, tls: {{ ca: {} }}",
        authority.path()
    );
    let gateway = Gateway::start(&single(&keys).yaml()).await?;
    for answer in ask(&gateway).await? {
        assert_eq!((answer.status, answer.header("x-server-name")), (200, "localhost"));
    }
    gateway.stop().await
}

#[tokio::test]
async fn a_replaced_authority_is_believed_from_then_on() -> Result<()> {
    let (one, two) = (Authority::new("One")?, Authority::new("Two")?);
    let nginx = Nginx::secure("v1", &two.server(&["dark.test"])?, "").await?;
    let directory = TempDir::new()?;
    let file = directory.path().join("ca.pem");
    std::fs::copy(one.file(), &file)?;
    let keys = keys(nginx.address(), "h2", &format!("sni: dark.test, ca: {}", file.display()));
    let gateway = Gateway::start(&single(&keys).yaml()).await?;
    assert_ne!(gateway.get("/").send().await?.status, 200);
    let before = gateway.generation().await?;
    std::fs::copy(two.file(), &file)?;
    gateway.generation_after(before).await?;
    let call = gateway.get("/");
    let served = async || call.send().await.ok().filter(|answer| answer.status == 200);
    eventually("the new authority is believed", served).await?;
    gateway.stop().await
}

#[tokio::test]
async fn copies_go_over_tls_too() -> Result<()> {
    let (primary, authority) = (Origin::start("v1").await?, Authority::new("CA")?);
    let dark = Nghttpd::secure(&authority.server(&["dark.test"])?).await?;
    let wrong = Authority::new("Stranger")?;
    for (ca, outcome) in [(&authority, "2xx"), (&wrong, "connect_failure")] {
        let tls = format!("sni: dark.test, ca: {}", ca.path());
        let keys = format!("{}, timeouts: {{ connect: 10s }}", keys(dark.address(), "h2", &tls));
        let config = Config::single(primary.address())
            .upstream_with("dark", &keys)
            .also("mirrors: [{ name: dark, upstream: dark }]");
        let gateway = Gateway::start(&config.yaml()).await?;
        for _ in 0..3 {
            assert_eq!(gateway.get("/file").send().await?.status, 200);
        }
        gateway.outcomes("dark", &[(outcome, 3)]).await?;
        gateway.stop().await?;
    }
    assert_eq!(dark.received("x-tidegate-shadow").len(), 3);
    Ok(())
}

//! Health checks speak what the upstream speaks.

use anyhow::{Context, Result};
use serde_json::Value;
use std::net::SocketAddr;
use tidegate_tests::*;

const QUICK: &str = "interval: 50ms, timeout: 5s, unhealthy_after: 2, healthy_after: 1";

/// One route to an upstream at `address`; `check` goes into its health check.
fn config(address: SocketAddr, check: &str, keys: &str) -> Config {
    let check = format!("health_check: {{ {check}, {QUICK} }}");
    Config::new()
        .upstream_with("v1", &format!("endpoints: [\"{address}\"], {check}, {keys}"))
        .route("shop", "/", "[{ name: stable, upstream: v1 }]")
}

/// The state of the only endpoint, and why its last check failed.
async fn state(gateway: &Gateway) -> Result<(String, String)> {
    let upstreams = gateway.admin_get("/api/v1/upstreams").await?.json()?;
    let endpoint = &upstreams["upstreams"][0]["endpoints"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    endpoint["last_check"]["result"].as_str().context("not checked")?;
    Ok((text(&endpoint["state"]), text(&endpoint["last_check"]["reason"])))
}

async fn until(gateway: &Gateway, wanted: &str) -> Result<String> {
    eventually(&format!("the endpoint is {wanted}"), async || {
        state(gateway).await.ok().filter(|(state, _)| state == wanted)
    })
    .await
    .map(|(_, reason)| reason)
    .with_context(|| format!("log: {:#?}", gateway.log()))
}

/// The upstream is healthy after a check.
async fn is_healthy(config: &Config) -> Result<()> {
    let gateway = Gateway::start(&config.yaml()).await?;
    assert_eq!(until(&gateway, "healthy").await?, "");
    gateway.stop().await
}

/// The upstream is not; why.
async fn is_unhealthy(config: &Config) -> Result<String> {
    let gateway = Gateway::start(&config.yaml()).await?;
    let reason = until(&gateway, "unhealthy").await?;
    gateway.stop().await?;
    Ok(reason)
}

#[tokio::test]
async fn http_over_tls_and_both_versions() -> Result<()> {
    let authority = Authority::new("CA")?;
    let pair = authority.server(&["dark.test"])?;
    let (nginx, nghttpd) =
        tokio::try_join!(Nginx::secure("v1", &pair, ""), Nghttpd::secure(&pair))?;
    let good = format!("tls: {{ sni: dark.test, ca: {} }}", authority.path());
    for protocol in ["http1", "h2"] {
        for check in ["path: /file", "tcp: true"] {
            let keys = format!("protocol: {protocol}, {good}");
            is_healthy(&config(nginx.address(), check, &keys)).await?;
        }
    }
    is_healthy(&config(nghttpd.address(), "path: /file", &format!("protocol: h2, {good}"))).await?;
    let reason =
        is_unhealthy(&config(nghttpd.address(), "path: /no", &format!("protocol: h2, {good}")))
            .await?;
    assert_eq!(reason, "status 404");

    // Whoever is not known is not healthy, however it answers.
    for check in ["path: /file", "tcp: true"] {
        for keys in [
            "tls: { sni: dark.test }".to_owned(),
            format!("tls: {{ sni: bright.test, ca: {} }}", authority.path()),
        ] {
            let reason = is_unhealthy(&config(nginx.address(), check, &keys)).await?;
            assert!(reason.contains("certificate"), "{reason}");
        }
    }
    // A server that speaks only HTTP/1.1, where HTTP/2 is wanted.
    let old = Nginx::secure("old", &pair, "http2 off;").await;
    if let Ok(old) = old {
        let keys = format!("protocol: h2, {good}");
        let reason = is_unhealthy(&config(old.address(), "path: /", &keys)).await?;
        assert!(reason.contains("HTTP/2") || reason.contains("ALPN"), "{reason}");
    }
    Ok(())
}

#[tokio::test]
async fn a_name_that_is_an_address_is_verified_as_one() -> Result<()> {
    let authority = Authority::new("CA")?;
    let (here, elsewhere) =
        (authority.server(&["127.0.0.1"])?, authority.server(&["127.0.0.2", "127-0-0-1.test"])?);
    let tls = format!("tls: {{ sni: 127.0.0.1, ca: {} }}", authority.path());
    let nginx = Nginx::secure("v1", &here, "").await?;
    let gateway = Gateway::start(&config(nginx.address(), "path: /", &tls).yaml()).await?;
    until(&gateway, "healthy").await?;
    assert_eq!(gateway.get("/").send().await?.status, 200);
    gateway.stop().await?;
    let nginx = Nginx::secure("v1", &elsewhere, "").await?;
    let reason = is_unhealthy(&config(nginx.address(), "tcp: true", &tls)).await?;
    assert!(reason.contains("certificate"), "{reason}");
    Ok(())
}

#[tokio::test]
async fn http2_with_prior_knowledge() -> Result<()> {
    let (origin, nghttpd) = tokio::try_join!(Origin::h2c("v1"), Nghttpd::start())?;
    is_healthy(&config(origin.address(), "path: /healthz", "protocol: h2c")).await?;
    is_healthy(&config(nghttpd.address(), "path: /file", "protocol: h2c")).await?;
    let checks = nghttpd.received("user-agent");
    assert!(checks.iter().all(|agent| agent.starts_with("tidegate-health/")), "{checks:?}");
    let host = nghttpd.received(":authority");
    assert!(host.iter().all(|host| *host == nghttpd.address().to_string()), "{host:?}");
    origin.behave(Behaviour::Status(500));
    let reason = is_unhealthy(&config(origin.address(), "path: /healthz", "protocol: h2c")).await?;
    assert_eq!(reason, "status 500");
    let http1 = Origin::start("v1").await?;
    is_unhealthy(&config(http1.address(), "path: /healthz", "protocol: h2c")).await?;
    Ok(())
}

#[tokio::test]
async fn grpc_services_say_it_themselves() -> Result<()> {
    let server = GrpcServer::start("v1").await?;
    let whole = config(server.address(), "grpc: \"\"", "protocol: h2c");
    let part = config(server.address(), "grpc: shop.Shop", "protocol: h2c");
    server.serving("shop.Shop", "SERVING").await?;
    is_healthy(&whole).await?;
    let gateway = Gateway::start(&part.yaml()).await?;
    until(&gateway, "healthy").await?;
    server.serving("shop.Shop", "NOT_SERVING").await?;
    assert_eq!(until(&gateway, "unhealthy").await?, "it says NOT_SERVING");
    server.serving("shop.Shop", "SERVING").await?;
    until(&gateway, "healthy").await?;
    server.kill().await?;
    assert_eq!(until(&gateway, "unhealthy").await?, "connection refused");
    gateway.stop().await?;

    let authority = Authority::new("CA")?;
    let secure = GrpcServer::secure("v1", &authority.server(&["dark.test"])?).await?;
    let tls = format!("protocol: h2, tls: {{ sni: dark.test, ca: {} }}", authority.path());
    is_healthy(&config(secure.address(), "grpc: \"\"", &tls)).await?;
    let reason = is_unhealthy(&config(secure.address(), "grpc: shop.Unheard", &tls)).await?;
    assert_eq!(reason, "grpc-status 5");
    // No gRPC at all.
    let origin = Origin::h2c("v1").await?;
    let reason = is_unhealthy(&config(origin.address(), "grpc: \"\"", "protocol: h2c")).await?;
    assert_eq!(reason, "no grpc-status");
    Ok(())
}

#[tokio::test]
async fn a_connection_is_enough_where_nothing_else_is_asked() -> Result<()> {
    let origin = Origin::start("v1").await?;
    origin.behave(Behaviour::Status(500));
    is_healthy(&config(origin.address(), "tcp: true", "")).await?;
    assert_eq!(origin.hits(), 0);
    let dead = DeadAddress::new()?;
    assert_eq!(is_unhealthy(&config(dead.address(), "tcp: true", "")).await?, "connection refused");
    // It speaks no TLS.
    let keys = "tls: { sni: dark.test }";
    is_unhealthy(&config(origin.address(), "tcp: true", keys)).await?;
    Ok(())
}

/// An image `from scratch` has none.
#[tokio::test]
async fn a_system_without_authorities_has_those_of_this_program() -> Result<()> {
    let authority = Authority::new("CA")?;
    let nginx = Nginx::secure("v1", &authority.server(&["dark.test"])?, "").await?;
    let directory = tempfile::TempDir::new()?;
    let file = directory.path().join("tidegate.yaml");
    std::fs::write(&file, config(nginx.address(), "path: /", "tls: { sni: dark.test }").yaml())?;
    let start = async |authorities: &str| {
        let files = format!("SSL_CERT_FILE={authorities}");
        let through = ["env", &files, "SSL_CERT_DIR=/nowhere"];
        Gateway::start_through(&through, &file).await
    };
    let gateway = start("/nowhere").await?;
    let reason = until(&gateway, "unhealthy").await?;
    assert!(reason.contains("UnknownIssuer"), "{reason}");
    gateway.stop().await?;
    let gateway = start(&authority.path()).await?;
    until(&gateway, "healthy").await?;
    assert_eq!(gateway.get("/").send().await?.status, 200);
    gateway.stop().await
}

//! Rules that come before the split, and who may use them.

use anyhow::Result;
use std::net::SocketAddr;
use tidegate_tests::*;

/// Everything to `v1`, but for the pins.
fn config(v1: SocketAddr, v2: SocketAddr, pins: &str) -> Config {
    Config::split(v1, "100", v2, "0").also(&format!("pins:\n{pins}"))
}

#[tokio::test]
async fn the_first_pin_that_applies_wins() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let pins = "  - { variant: stable, cookie: { name: opt_out, present: true } }
  - { variant: canary, header: { name: x-canary, exact: always } }
  - { variant: canary, cookie: { name: beta, regex: \"1|yes\" } }
  - { variant: canary, query: { name: v, exact: \"2\" } }
  - { variant: canary, header: { name: x-team, present: true }, query: { name: dark, present: true } }";
    let gateway = Gateway::start(&config(v1.address(), v2.address(), pins).yaml()).await?;
    let get = |target: &str| gateway.get(target);
    for (call, origin) in [
        (get("/"), "v1"),
        (get("/").header("x-canary", "always"), "v2"),
        (get("/").header("X-Canary", "always"), "v2"),
        (get("/").header("x-canary", "ALWAYS"), "v1"),
        (get("/").header("x-canary", "always").header("cookie", "opt_out=1"), "v1"),
        (get("/").header("cookie", "a=b; beta=yes; c=d"), "v2"),
        (get("/").header("cookie", "a=b").header("cookie", "beta=1"), "v2"),
        (get("/").header("cookie", "beta=yesterday"), "v1"),
        (get("/").header("cookie", "notbeta=1"), "v1"),
        (get("/?v=2"), "v2"),
        (get("/?a=b&v=2"), "v2"),
        (get("/?v=22"), "v1"),
        (get("/?dark"), "v1"),
        (get("/?dark=").header("x-team", "a"), "v2"),
        (get("/").header("x-team", "a"), "v1"),
    ] {
        assert_eq!(call.send().await?.origin(), origin, "{call:?}");
    }
    gateway.stop().await
}

#[tokio::test]
async fn from_looks_at_the_peer() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let pins = |from: &str| {
        format!(
            "  - {{ variant: canary, header: {{ name: x-canary, present: true }}, from: {from} }}"
        )
    };
    for (from, origin) in [("[127.0.0.0/8]", "v2"), ("[10.0.0.0/8, \"fd00::/8\"]", "v1")] {
        let config = config(v1.address(), v2.address(), &pins(from));
        let gateway = Gateway::start(&config.yaml()).await?;
        let call = gateway.get("/").header("x-canary", "1");
        assert_eq!(call.send().await?.origin(), origin, "{from}");
        // Nobody is trusted, so what the client says of itself changes nothing.
        for forged in ["10.1.2.3", "127.0.0.1", "10.1.2.3, 10.4.5.6"] {
            let call = call.clone().header("x-forwarded-for", forged).header("x-real-ip", forged);
            assert_eq!(call.send().await?.origin(), origin, "{from} with {forged}");
        }
        gateway.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn from_looks_through_trusted_proxies_only() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let pins =
        "  - { variant: canary, header: { name: x-canary, present: true }, from: [10.0.0.0/8] }";
    let config = config(v1.address(), v2.address(), pins)
        .top("trusted_proxies: [127.0.0.1/32, 192.0.2.0/24]");
    let gateway = Gateway::start(&config.yaml()).await?;
    for (forwarded, origin) in [
        ("10.1.2.3", "v2"),
        ("10.1.2.3, 192.0.2.7", "v2"),
        // The last address that no trusted proxy vouches for is the client; what it says of others
        // further left is its own claim.
        ("10.1.2.3, 203.0.113.9", "v1"),
        ("10.1.2.3, 203.0.113.9, 192.0.2.7", "v1"),
        ("203.0.113.9", "v1"),
        ("nonsense", "v1"),
        ("10.1.2.3, nonsense", "v1"),
        ("", "v1"),
    ] {
        let call = gateway.get("/").header("x-canary", "1").header("x-forwarded-for", forwarded);
        assert_eq!(call.send().await?.origin(), origin, "{forwarded:?}");
    }
    // Several fields are one list.
    let call = gateway
        .get("/")
        .header("x-canary", "1")
        .header("x-forwarded-for", "10.1.2.3")
        .header("x-forwarded-for", "203.0.113.9");
    assert_eq!(call.send().await?.origin(), "v1");
    gateway.stop().await
}

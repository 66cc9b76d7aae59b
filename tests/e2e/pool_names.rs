//! Endpoints that are names: a DNS that changes its mind, fails, and comes back.

use anyhow::Result;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tidegate_tests::*;
use tokio::time::sleep;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Linux has all of 127.0.0.0/8.
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// One server on each of both addresses, on the same port.
async fn twins() -> Result<(Origin, Origin, u16)> {
    loop {
        let here = Origin::start("here").await?;
        let port = here.address().port();
        if let Ok(there) = Origin::at("there", SocketAddr::new(THERE, port)).await {
            return Ok((here, there, port));
        }
    }
}

fn config(dns: &Dns, port: u16, keys: &str) -> Config {
    Config::new()
        .top(&format!("runtime: {{ resolvers: [\"{}\"] }}", dns.address()))
        .upstream_with("v1", &format!("endpoints: [\"shop.test:{port}\"], {keys}"))
        .route("shop", "/", "[{ name: stable, upstream: v1 }]")
}

/// Waits until requests go to these and no others.
async fn served_by(gateway: &Gateway, wanted: &[&str]) -> Result<()> {
    eventually(&format!("{wanted:?} and nobody else"), async || {
        let report = Load::run(&gateway.get("/"), 1, 10).await;
        let origins: Vec<_> = report.by_origin.keys().map(String::as_str).collect();
        (report.failed == 0 && origins == wanted).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_changed_answer_is_followed_and_nothing_is_lost() -> Result<()> {
    let (here, _there, port) = twins().await?;
    let dns = Dns::start(&[("shop.test", &[HERE])]).await?;
    let gateway = Gateway::start(&config(&dns, port, "").yaml()).await?;
    assert_eq!(gateway.get("/").send().await?.origin(), "here");
    dns.answer(&[("shop.test", &[HERE, THERE])])?;
    served_by(&gateway, &["here", "there"]).await?;
    // What has begun at an address that goes away ends there.
    here.behave(Behaviour::Delay(Duration::from_secs(4)));
    let calls: Vec<_> = (0..2)
        .map(|_| gateway.get("/"))
        .map(|call| tokio::spawn(async move { call.send().await }))
        .collect();
    eventually("a request is under way", async || {
        let upstreams = gateway.admin_get("/api/v1/upstreams").await.ok()?.json().ok()?;
        (upstreams["upstreams"][0]["endpoints"][0]["in_flight"].as_u64()? > 0).then_some(())
    })
    .await?;
    dns.answer(&[("shop.test", &[THERE])])?;
    let draining = [("upstream", "v1"), ("state", "draining")];
    gateway.counts("tidegate_upstream_endpoints", &draining, 1.0).await?;
    served_by(&gateway, &["there"]).await?;
    for call in calls {
        assert_eq!(call.await??.status, 200);
    }
    gateway.counts("tidegate_upstream_endpoints", &draining, 0.0).await?;
    gateway.stop().await
}

#[tokio::test]
async fn a_dns_that_is_down_takes_no_upstream_away() -> Result<()> {
    let (_here, _there, port) = twins().await?;
    let mut dns = Dns::start(&[("shop.test", &[HERE])]).await?;
    let gateway = Gateway::start(&config(&dns, port, "").yaml()).await?;
    assert_eq!(gateway.get("/").send().await?.origin(), "here");
    dns.kill().await?;
    let said = async |text: &str| {
        eventually(text, async || gateway.log().join("\n").contains(text).then_some(())).await
    };
    said("cannot resolve an endpoint: shop.test").await?;
    Load::run(&gateway.get("/"), 2, 50).await.flawless()?;
    dns.revive().await?;
    said("an endpoint is resolved again").await?;
    // The name is unknown now, which may be a mistake: not yet.
    dns.answer(&[])?;
    said("it has no address").await?;
    Load::run(&gateway.get("/"), 2, 50).await.flawless()?;
    // A reload meanwhile keeps what is known, too.
    let before = gateway.generation().await?;
    gateway.write(&config(&dns, port, "limits: { requests: 99 }").yaml())?;
    gateway.generation_after(before).await?;
    Load::run(&gateway.get("/"), 2, 50).await.flawless()?;
    dns.answer(&[("shop.test", &[THERE])])?;
    served_by(&gateway, &["there"]).await?;
    gateway.stop().await
}

#[tokio::test]
async fn a_name_may_become_known_later() -> Result<()> {
    let (_here, _there, port) = twins().await?;
    let mut dns = Dns::start(&[("shop.test", &[HERE])]).await?;
    dns.kill().await?;
    let gateway = Gateway::start(&config(&dns, port, "").yaml()).await?;
    assert_eq!(gateway.get("/").send().await?.status, 503);
    dns.revive().await?;
    served_by(&gateway, &["here"]).await?;
    // Another server is asked from the next reload on.
    let other = Dns::start(&[("shop.test", &[THERE])]).await?;
    gateway.write(&config(&other, port, "").yaml())?;
    served_by(&gateway, &["there"]).await?;
    gateway.stop().await
}

#[tokio::test]
async fn one_family_of_addresses_is_enough() -> Result<()> {
    let (_here, _there, port) = twins().await?;
    let loopback = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let dns = Dns::start(&[("shop.test", &[loopback, HERE])]).await?;
    let gateway = Gateway::start(&config(&dns, port, "").yaml()).await?;
    // Nobody listens at ::1.
    Load::run(&gateway.get("/"), 2, 50).await.flawless()?;
    let upstreams = gateway.admin_get("/api/v1/upstreams").await?.text();
    assert!(!upstreams.contains("::1"), "{upstreams}");
    // A name that has no other address is used by that.
    dns.answer(&[("shop.test", &[loopback])])?;
    if let Ok(_six) = Origin::at("six", SocketAddr::new(loopback, port)).await {
        served_by(&gateway, &["six"]).await?;
    }
    gateway.stop().await
}

#[tokio::test]
async fn look_ups_end_with_their_upstream() -> Result<()> {
    let (here, _there, port) = twins().await?;
    let mut dns = Dns::start(&[("shop.test", &[HERE])]).await?;
    let gateway = Gateway::start(&config(&dns, port, "").yaml()).await?;
    let before = gateway.generation().await?;
    gateway.write(&Config::single(here.address()).yaml())?;
    gateway.generation_after(before).await?;
    dns.kill().await?;
    sleep(Duration::from_millis(2500)).await;
    let log = gateway.log().join("\n");
    assert!(!log.contains("cannot resolve"), "{log}");
    gateway.stop().await
}

//! Certificates of clients, and certificates that are replaced.

use crate::tls::secure;
use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;
use tidegate_tests::*;

#[tokio::test]
async fn a_client_without_a_certificate_may_be_refused() -> Result<()> {
    let (origin, authority) = (Origin::start("v1").await?, Authority::new("CA")?);
    let (clients, others) = (Authority::new("Clients")?, Authority::new("Others")?);
    let pair = authority.server(&["shop.test"])?;
    let keys = format!("client_ca: {}", clients.path());
    let gateway = secure(&origin, &[&pair], &keys).await?;
    let known = clients.client("anna")?;
    for version in ["--http1.1", "--http2"] {
        let curl = Curl::https(gateway.address("tls"), authority.file(), "shop.test", "/");
        let curl = curl.with(&[version]);
        let answer = curl.clone().showing(&known).send().await?;
        assert_eq!(answer.status, 200, "{version}: {answer:?}");
        assert_eq!(origin.last().all("client-cert"), [format!(":{}:", known.base64)]);
        let strangers = [others.client("anna")?, others.server(&["anna"])?];
        let mut refused = vec![curl.send().await?];
        for stranger in &strangers {
            refused.push(curl.clone().showing(stranger).send().await?);
        }
        for answer in refused {
            assert!(answer.status == 0 && answer.exit != 0, "{version}: {answer:?}");
        }
    }
    assert_eq!(origin.hits(), 2);
    let refused = [("reason", "tls_handshake")];
    gateway.counts("tidegate_rejected_requests_total", &refused, 6.0).await?;
    gateway.stop().await
}

#[tokio::test]
async fn a_certificate_may_be_optional() -> Result<()> {
    let (origin, authority) = (Origin::start("v1").await?, Authority::new("CA")?);
    let (clients, others) = (Authority::new("Clients")?, Authority::new("Others")?);
    let keys = format!("client_ca: {}, client_auth: optional", clients.path());
    let gateway = secure(&origin, &[&authority.server(&["shop.test"])?], &keys).await?;
    let curl = Curl::https(gateway.address("tls"), authority.file(), "shop.test", "/");
    assert_eq!(curl.send().await?.status, 200);
    assert_eq!(origin.last().all("client-cert"), [""; 0]);
    let known = clients.client("anna")?;
    assert_eq!(curl.clone().showing(&known).send().await?.status, 200);
    assert_eq!(origin.last().all("client-cert"), [format!(":{}:", known.base64)]);
    assert_eq!(curl.showing(&others.client("anna")?).send().await?.status, 0);
    assert_eq!(origin.hits(), 2);
    gateway.stop().await
}

/// RFC 9440 §2.4: what a client says of itself in these fields must not reach anybody who believes
/// it.
#[tokio::test]
async fn nobody_can_claim_a_certificate() -> Result<()> {
    let (origin, authority) = (Origin::start("v1").await?, Authority::new("CA")?);
    let clients = Authority::new("Clients")?;
    let pair = authority.server(&["shop.test"])?;
    let optional = format!("client_ca: {}, client_auth: optional", clients.path());
    for (top, keys) in [("", ""), ("trusted_proxies: [127.0.0.1/32]", ""), ("", &*optional)] {
        let config = Config::single(origin.address()).top(top).tls(&[&pair], keys).h2c("");
        let gateway = Gateway::start(&config.yaml()).await?;
        let claim = |curl: Curl| {
            curl.header("Client-Cert", ":bGllcw==:")
                .header("client-cert", ":bW9yZSBsaWVz:")
                .header("Client-Cert-Chain", ":bGllcw==:")
        };
        let secure = |version| {
            Curl::https(gateway.address("tls"), authority.file(), "shop.test", "/").with(&[version])
        };
        let plain = Curl::new("http://shop.test/");
        let known = clients.client("anna")?;
        for (curl, expected) in [
            (secure("--http1.1"), None),
            (secure("--http2"), None),
            (plain.clone().at(gateway.web()), None),
            (plain.at(gateway.address("h2c")).with(&["--http2-prior-knowledge"]), None),
            (secure("--http2").showing(&known), Some(format!(":{}:", known.base64))),
        ] {
            let answer = claim(curl).send().await?;
            assert_eq!(answer.status, 200, "{answer:?}");
            let expected = expected.filter(|_| !keys.is_empty());
            let got = origin.last();
            assert_eq!(got.all("client-cert"), expected.iter().collect::<Vec<_>>(), "{top} {keys}");
            assert_eq!(got.all("client-cert-chain"), [""; 0]);
        }
        gateway.stop().await?;
    }
    Ok(())
}

/// A gateway whose certificate is a copy that a test may change.
struct Replaced {
    origin: Origin,
    gateway: Gateway,
    /// In force at first.
    old: Authority,
    /// The files that the configuration names.
    pair: Pair,
    _directory: TempDir,
}

async fn replaceable() -> Result<Replaced> {
    let (origin, old) = (Origin::start("v1").await?, Authority::new("Old")?);
    let directory = TempDir::new()?;
    let pair = old.server(&["shop.test"])?.copy_into(directory.path())?;
    let gateway = secure(&origin, &[&pair], "").await?;
    Ok(Replaced { origin, gateway, old, pair, _directory: directory })
}

impl Replaced {
    /// Whether a new client that trusts `authority` is served.
    async fn serves(&self, authority: &Authority) -> Result<bool> {
        let address = self.gateway.address("tls");
        let answer = Curl::https(address, authority.file(), "shop.test", "/").send().await?;
        assert!(answer.exit == 0 || answer.exit == 60, "{answer:?}");
        Ok(answer.status == 200)
    }
}

#[tokio::test]
async fn a_replaced_certificate_is_for_new_connections() -> Result<()> {
    let (server, authority) = (GrpcServer::start("v1").await?, Authority::new("Old")?);
    let next = Authority::new("Next")?;
    let directory = TempDir::new()?;
    let pair = authority.server(&["shop.test"])?.copy_into(directory.path())?;
    let keys = format!("endpoints: [\"{}\"], protocol: h2c", server.address());
    let config = Config::new()
        .upstream_with("v1", &keys)
        .route("shop", "/", "[{ name: stable, upstream: v1 }]")
        .tls(&[&pair], "");
    let gateway = Gateway::start(&config.yaml()).await?;
    let address = gateway.address("tls");
    let old = GrpcClient::secure(address, &authority, "shop.test", None).await?;
    assert_eq!(old.open(1, &[]).await?, "v1");
    let before = gateway.generation().await?;
    pair.become_like(&next.server(&["shop.test"])?)?;
    gateway.generation_after(before).await?;
    // Who came before goes on, in the stream and with new ones.
    assert_eq!(old.send(1, "still here").await?, "v1 still here");
    assert_eq!(old.unary(&[]).await?.code, 0);
    // Who comes now sees the new one, and only that.
    let new = GrpcClient::secure(address, &next, "shop.test", None).await?;
    assert_eq!(new.unary(&[]).await?.code, 0);
    let late = GrpcClient::secure(address, &authority, "shop.test", None).await?;
    assert_eq!(late.unary(&[]).await?.code, 14);
    assert_eq!(old.end(1).await?.code, 0);
    gateway.stop().await
}

#[tokio::test]
async fn a_bad_pair_changes_nothing_and_is_shown() -> Result<()> {
    let set = replaceable().await?;
    let (gateway, good) = (&set.gateway, set.old.server(&["shop.test"])?);
    let stranger = Authority::new("Other")?;
    let other = stranger.server(&["shop.test"])?;
    let generation = gateway.generation().await?;
    for (what, file, bytes) in [
        ("another key", &set.pair.key, std::fs::read(&other.key)?),
        ("no key", &set.pair.key, std::fs::read(&good.cert)?),
        ("another certificate", &set.pair.cert, std::fs::read(&other.cert)?),
        ("garbage", &set.pair.cert, b"-----BEGIN CERTIFICATE-----\nnothing\n".to_vec()),
        ("nothing", &set.pair.cert, Vec::new()),
    ] {
        let kept = std::fs::read(file)?;
        let errors = gateway.reloads("error").await?;
        std::fs::write(file, bytes)?;
        gateway.errors_after(errors).await.context(what)?;
        assert!(set.serves(&set.old).await?, "{what}");
        let status = gateway.status().await?;
        let shown = status["config"]["last_error"]["errors"].to_string();
        let name = file.file_name().and_then(|name| name.to_str()).context("no name")?;
        let either = [name, &name.replace("pem", "key"), &name.replace("key", "pem")]
            .iter()
            .any(|name| shown.contains(*name));
        assert!(either, "{what}: {shown}");
        std::fs::write(file, kept)?;
        let healed = async || {
            let status = gateway.status().await.ok()?;
            (status["config"]["last_error"] == Value::Null).then_some(())
        };
        eventually("the error is gone", healed).await.context(what)?;
        assert!(set.serves(&set.old).await?, "{what}, and back");
    }
    // Then a good one.
    let next = Authority::new("Next")?;
    set.pair.become_like(&next.server(&["shop.test"])?)?;
    gateway.generation_after(generation).await?;
    let served = async || set.serves(&next).await.ok().filter(|served| *served);
    eventually("the next one serves", served).await?;
    assert!(!set.serves(&set.old).await?);
    assert!(set.origin.hits() > 0);
    set.gateway.stop().await
}

#[tokio::test]
async fn a_replaced_authority_of_clients_is_for_new_connections() -> Result<()> {
    let (origin, authority) = (Origin::start("v1").await?, Authority::new("CA")?);
    let (one, two) = (Authority::new("One")?, Authority::new("Two")?);
    let directory = TempDir::new()?;
    let file = directory.path().join("clients.pem");
    std::fs::copy(one.file(), &file)?;
    let keys = format!("client_ca: {}", file.display());
    let gateway = secure(&origin, &[&authority.server(&["shop.test"])?], &keys).await?;
    let curl = Curl::https(gateway.address("tls"), authority.file(), "shop.test", "/");
    let (anna, bert) = (one.client("anna")?, two.client("bert")?);
    assert_eq!(curl.clone().showing(&anna).send().await?.status, 200);
    assert_eq!(curl.clone().showing(&bert).send().await?.status, 0);
    let before = gateway.generation().await?;
    std::fs::copy(two.file(), &file)?;
    gateway.generation_after(before).await?;
    let bert = curl.clone().showing(&bert);
    let served = async || bert.send().await.ok().filter(|answer| answer.status == 200);
    eventually("bert is served", served).await?;
    assert_eq!(curl.showing(&anna).send().await?.status, 0);
    gateway.stop().await
}

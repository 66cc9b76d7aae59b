//! Whose requests are copied.

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::Response;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};
use tidegate_tests::*;

const KEYED: &str = "bucket_by: [{ header: x-user-id }]";
/// Mirrors yield to all other work; on a busy machine many copies wait for it, and all have to come.
const MANY: &str = "limits: { concurrent: 5000 }";

/// A dark upstream that notes whose copies it gets.
struct Dark {
    origin: Origin,
    seen: Arc<Mutex<BTreeSet<String>>>,
}

impl Dark {
    async fn start() -> Result<Self> {
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let noted = Arc::clone(&seen);
        let origin = Origin::serving("dark", move |got| {
            let user = got.header("x-user-id").to_owned();
            noted.lock().unwrap_or_else(PoisonError::into_inner).insert(user);
            Response::new(Bytes::new())
        });
        Ok(Self { origin: origin.await?, seen })
    }

    /// The users seen since the last time.
    fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Two variants and a mirror.
fn config(v1: &Origin, v2: &Origin, dark: &Dark, percent: &str) -> Config {
    Config::split(v1.address(), "90", v2.address(), "10")
        .dark("dark", dark.origin.address())
        .also(&format!("mirrors: [{{ name: dark, upstream: dark, percent: {percent}, {MANY} }}]"))
}

/// One request of each user; the variant that each got.
async fn ask_all(gateway: &Gateway, users: u64) -> Result<BTreeMap<String, String>> {
    let before = gateway.metrics().await?.by_outcome("tidegate_mirror_requests_total", "dark");
    let mut variants = BTreeMap::new();
    let mut connection = Connection::open(gateway.web()).await?;
    for user in 0..users {
        let user = format!("user-{user}");
        // A thousand requests end a connection.
        if connection.is_over().await {
            connection = Connection::open(gateway.web()).await?;
        }
        let answer = connection.send(&gateway.get("/").header("x-user-id", &user)).await?;
        ensure!(answer.status == 200, "{}", answer.status);
        variants.insert(user, answer.origin().to_owned());
    }
    gateway.all_outcomes("dark", before.values().sum::<u64>() + users).await?;
    Ok(variants)
}

#[tokio::test]
async fn ten_percent_of_the_users_of_each_variant_are_copied() -> Result<()> {
    const USERS: u64 = 3000;
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let dark = Dark::start().await?;
    let gateway = Gateway::start(&config(&v1, &v2, &dark, "10").also(KEYED).yaml()).await?;
    let variants = ask_all(&gateway, USERS).await?;
    let copied = dark.take();
    assert_share(copied.len() as u64, USERS, 0.1);
    for variant in ["v1", "v2"] {
        let users: Vec<_> = variants.iter().filter(|(_, of)| *of == variant).collect();
        let copied = users.iter().filter(|(user, _)| copied.contains(*user)).count();
        assert_share(copied as u64, users.len() as u64, 0.1);
    }
    // The same users again, whatever the replica.
    let replica = Gateway::start(&config(&v1, &v2, &dark, "10").also(KEYED).yaml()).await?;
    for gateway in [&gateway, &replica] {
        ask_all(gateway, USERS / 3).await?;
        let again = dark.take();
        let number = |user: &&String| user[5..].parse::<u64>().is_ok_and(|n| n < USERS / 3);
        assert!(again.iter().eq(copied.iter().filter(number)), "other users than before");
    }
    replica.stop().await?;
    gateway.stop().await
}

#[tokio::test]
async fn a_growing_share_keeps_the_users_that_it_had() -> Result<()> {
    const USERS: u64 = 500;
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let dark = Dark::start().await?;
    let with = |percent: &str| config(&v1, &v2, &dark, percent).also(KEYED).yaml();
    let gateway = Gateway::start(&with("0")).await?;
    ask_all(&gateway, USERS).await?;
    assert_eq!(dark.take().len(), 0);
    let mut copied = BTreeSet::new();
    for percent in ["5", "30.5", "80", "100"] {
        let before = gateway.generation().await?;
        gateway.write(&with(percent))?;
        gateway.generation_after(before).await?;
        ask_all(&gateway, USERS).await?;
        let now = dark.take();
        assert!(now.is_superset(&copied), "{percent}: {:?} left", copied.difference(&now));
        copied = now;
    }
    assert_eq!(copied.len() as u64, USERS);
    gateway
        .outcomes(
            "dark",
            &[("2xx", dark.origin.hits()), ("not_sampled", 5 * USERS - dark.origin.hits())],
        )
        .await?;
    gateway.stop().await
}

#[tokio::test]
async fn two_mirrors_have_samples_of_their_own() -> Result<()> {
    const USERS: u64 = 1000;
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let (one, two) = tokio::try_join!(Dark::start(), Dark::start())?;
    let config = Config::split(v1.address(), "90", v2.address(), "10")
        .dark("one", one.origin.address())
        .dark("two", two.origin.address())
        .also(KEYED)
        .also(&format!("mirrors:\n  - {{ name: dark, upstream: one, percent: 50, {MANY} }}"))
        .also(&format!("  - {{ name: other, upstream: two, percent: 50, {MANY} }}"));
    let gateway = Gateway::start(&config.yaml()).await?;
    ask_all(&gateway, USERS).await?;
    gateway.all_outcomes("other", USERS).await?;
    let (one, two) = (one.take(), two.take());
    assert_share(one.intersection(&two).count() as u64, USERS, 0.25);
    gateway.stop().await
}

/// Without a key each request is drawn by itself, and so is its copy.
#[tokio::test]
async fn without_a_key_it_is_a_share_of_requests() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let dark = Dark::start().await?;
    let gateway = Gateway::start(&config(&v1, &v2, &dark, "25").yaml()).await?;
    Load::run(&gateway.get("/").header("x-user-id", "one"), 4, 2000).await.flawless()?;
    let outcomes = gateway.all_outcomes("dark", 2000).await?;
    assert_share(outcomes["not_sampled"], 2000, 0.75);
    assert_eq!((outcomes["2xx"], outcomes.len()), (dark.origin.hits(), 2), "{outcomes:?}");
    gateway.stop().await
}

/// What `explain` says is what happens.
#[tokio::test]
async fn explain_tells_whose_requests_are_copied() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let dark = Dark::start().await?;
    let gateway = Gateway::start(&config(&v1, &v2, &dark, "50").also(KEYED).yaml()).await?;
    ask_all(&gateway, 20).await?;
    let copied = dark.take();
    let file = gateway.file().to_str().unwrap_or_default();
    for user in (0..20).map(|user| format!("user-{user}")) {
        let header = format!("x-user-id: {user}");
        let told = tidegate(&["explain", "-c", file, "--json", "-H", &header, "http://a/"]).await?;
        let mirrors = &told.json()?["mirrors"];
        let expected: &[&str] = if copied.contains(&user) { &["dark"] } else { &[] };
        assert_eq!(*mirrors, serde_json::json!(expected), "{user}");
    }
    gateway.stop().await
}

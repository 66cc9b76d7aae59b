//! Who gets which variant.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, HashSet};
use tidegate_tests::*;

const KEYED: &str = "bucket_by: [{ header: x-user-id }]";

#[tokio::test]
async fn ten_percent_of_requests_reach_the_second_nginx() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Nginx::start("v1"), Nginx::start("v2"))?;
    let config = Config::split(v1.address(), "90", v2.address(), "10");
    let gateway = Gateway::start(&config.yaml()).await?;
    let report = Load::run(&gateway.get("/"), 8, 4000).await.flawless()?;
    assert_eq!(report.of("v1") + report.of("v2"), 4000);
    assert_share(report.of("v2"), 4000, 0.10);
    gateway.stop().await
}

#[tokio::test]
async fn one_connection_sees_both_variants() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let config = Config::split(v1.address(), "50%", v2.address(), "50%");
    let gateway = Gateway::start(&config.yaml()).await?;
    let report = Load::run(&gateway.get("/"), 1, 900).await.flawless()?;
    assert_eq!(report.connections, 1);
    assert_share(report.of("v2"), 900, 0.5);
    gateway.stop().await
}

/// The variant that each of `users` gets.
async fn assignment(gateway: &Gateway, users: u32) -> Result<BTreeMap<u32, String>> {
    let mut seen = BTreeMap::new();
    let mut connection = Connection::open(gateway.web()).await?;
    for user in 0..users {
        let call = gateway.get("/").header("x-user-id", &format!("user-{user}"));
        let answer = connection.send(&call).await?;
        anyhow::ensure!(answer.status == 200, "{}", answer.status);
        seen.insert(user, answer.origin().to_owned());
    }
    Ok(seen)
}

#[tokio::test]
async fn a_user_keeps_the_variant_across_restarts_and_replicas() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let config = Config::split(v1.address(), "70", v2.address(), "30").also(KEYED).yaml();
    let first = Gateway::start(&config).await?;
    let before = assignment(&first, 900).await?;
    assert_eq!(assignment(&first, 900).await?, before, "a second request");
    first.stop().await?;
    let (again, replica) = tokio::try_join!(Gateway::start(&config), Gateway::start(&config))?;
    assert_eq!(assignment(&again, 900).await?, before, "a restart");
    assert_eq!(assignment(&replica, 900).await?, before, "a replica");
    let canary = before.values().filter(|origin| *origin == "v2").count();
    assert_share(canary as u64, 900, 0.3);
    again.stop().await?;
    replica.stop().await
}

#[tokio::test]
async fn a_growing_canary_loses_no_user() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let config = |canary: u32| {
        let (rest, canary) = (format!("{}%", 100 - canary), format!("{canary}%"));
        Config::split(v1.address(), &rest, v2.address(), &canary).also(KEYED).yaml()
    };
    let gateway = Gateway::start(&config(5)).await?;
    let mut on_canary = HashSet::new();
    for percent in [5, 20, 60, 100] {
        let before = gateway.generation().await?;
        if percent > 5 {
            gateway.write(&config(percent))?;
            gateway.generation_after(before).await?;
        }
        let now: HashSet<_> = assignment(&gateway, 400)
            .await?
            .into_iter()
            .filter_map(|(user, origin)| (origin == "v2").then_some(user))
            .collect();
        assert!(now.is_superset(&on_canary), "{percent}%: {:?} left", on_canary.difference(&now));
        on_canary = now;
    }
    assert_eq!(on_canary.len(), 400);
    gateway.stop().await
}

#[tokio::test]
async fn another_salt_gives_other_users() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let config = |salt: &str| {
        let keys = format!("{KEYED}\nsalt: {salt}");
        Config::split(v1.address(), "50", v2.address(), "50").also(&keys).yaml()
    };
    let (a, b) = (config("2026-11"), config("2026-12"));
    let (a, b) = tokio::try_join!(Gateway::start(&a), Gateway::start(&b))?;
    let (seen_a, seen_b) = (assignment(&a, 900).await?, assignment(&b, 900).await?);
    let same = seen_a.iter().filter(|(user, origin)| seen_b[*user] == **origin).count();
    assert_share(same as u64, 900, 0.5);
    Ok(())
}

#[tokio::test]
async fn weight_0_gets_no_user_but_a_pin_reaches_it() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let config = Config::split(v1.address(), "1", v2.address(), "0")
        .also("pins: [{ variant: canary, header: { name: x-canary, present: true } }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    let report = Load::run(&gateway.get("/"), 4, 1000).await.flawless()?;
    assert_eq!((report.of("v1"), v2.hits()), (1000, 0));
    let pinned = gateway.get("/").header("x-canary", "1").send().await?;
    assert_eq!(pinned.origin(), "v2");
    gateway.stop().await
}

#[tokio::test]
async fn an_issued_cookie_comes_once_and_sticks() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let config = Config::split(v1.address(), "50", v2.address(), "50")
        .also("bucket_by: [{ cookie: tg, issue: { max_age: 30d } }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    let mut ids = HashSet::new();
    let mut seen = HashSet::new();
    for _ in 0..30 {
        let first = gateway.get("/").send().await?;
        let cookie = first.header("set-cookie").to_owned();
        assert!(cookie.contains("Max-Age=2592000"), "{cookie:?}");
        let pair = cookie.split(';').next().context("no cookie")?.trim().to_owned();
        let id = pair.strip_prefix("tg=").context("another cookie")?;
        assert!(id.len() >= 16, "guessable: {id}");
        for _ in 0..3 {
            let again = gateway.get("/").header("cookie", &format!("a=b; {pair}")).send().await?;
            assert_eq!(again.origin(), first.origin(), "{pair}");
            assert_eq!(again.header("set-cookie"), "", "issued again");
        }
        ids.insert(id.to_owned());
        seen.insert(first.origin().to_owned());
    }
    assert_eq!(ids.len(), 30, "an id was given twice");
    assert_eq!(seen.len(), 2, "30 strangers all got one variant");
    gateway.stop().await
}

#[tokio::test]
async fn the_first_source_present_is_the_key() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let config = Config::split(v1.address(), "50", v2.address(), "50")
        .also("bucket_by: [{ header: x-user-id }, { cookie: uid }, client_ip]");
    let gateway = Gateway::start(&config.yaml()).await?;
    let by = async |name: &str, value: String| {
        anyhow::Ok(gateway.get("/").header(name, &value).send().await?.origin().to_owned())
    };
    let anonymous = gateway.get("/").send().await?.origin().to_owned();
    let mut seen = HashSet::new();
    for user in 0..40 {
        // The same key from another source lands in the same place: it is the same user.
        let header = by("x-user-id", format!("u{user}")).await?;
        assert_eq!(by("cookie", format!("uid=u{user}")).await?, header);
        assert_eq!(gateway.get("/").send().await?.origin(), anonymous, "the client's address");
        seen.insert(header);
    }
    assert_eq!(seen.len(), 2);
    gateway.stop().await
}

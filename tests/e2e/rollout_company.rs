//! A rollout beside other variants, other rollouts, pins and included files.

use anyhow::Result;
use serde_json::{Value, json};
use std::time::Duration;
use tidegate_tests::*;

const A_WHILE: Duration = Duration::from_secs(15);

fn plan(weight: &str) -> String {
    format!(
        "steps: [{{ weight: {weight}, hold: 10m }}]\n\
         gates: [{{ name: errors, metric: error_rate, max: 5% }}]"
    )
}

/// The share of each variant of the route `shop`, in force.
async fn shares(gateway: &Gateway, variants: [&str; 3]) -> Result<[f64; 3]> {
    let metrics = gateway.metrics().await?;
    let weight = |name: &str| {
        metrics.sum("tidegate_variant_weight", &[("route", "shop"), ("variant", name)])
    };
    let all: f64 = variants.iter().map(|name| weight(name)).sum();
    Ok(variants.map(|name| weight(name) / all))
}

#[tokio::test]
async fn what_other_variants_have_is_not_touched() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Canary::start("v1"), Canary::start("v2"))?;
    let third = Canary::start("v3").await?;
    let config = Config::new()
        .top("access_log: { path: access.log }")
        .upstream("v1", v1.origin.address())
        .upstream("v2", v2.origin.address())
        .upstream("v3", third.origin.address())
        .route(
            "shop",
            "/",
            "[{ name: stable, upstream: v1, weight: 60 }, \
             { name: canary, upstream: v2, weight: 0 }, \
             { name: other, upstream: v3, weight: 40 }]",
        );
    let shop = Shop::open_as(&config.rollout("1", &plan("50%")), v1, v2).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    let names = ["stable", "canary", "other"];
    assert_eq!(shares(&shop.gateway, names).await?, [0.3, 0.3, 0.4]);
    let report = Load::run(&shop.gateway.get("/"), 4, 1000).await.flawless()?;
    assert_share(report.of("v2"), 1000, 0.3);
    assert_share(report.of("v3"), 1000, 0.4);
    // One that is neither of the two may fail as it likes.
    third.fail(1.0);
    Load::run(&shop.gateway.get("/"), 4, 500).await;
    shop.v2.fail(1.0);
    let load = shop.load(4);
    shop.rollout.reaches("rolled_back", A_WHILE).await?;
    load.stop().await;
    assert_eq!(shares(&shop.gateway, names).await?, [0.6, 0.0, 0.4]);
    let counts = &shop.rollout.decision("rolled_back").await?["gates"][0]["run"];
    assert_eq!(
        counts["against"][0], 0,
        "the third variant's failures are the baseline's: {counts}"
    );
    shop.gateway.stop().await
}

#[tokio::test]
async fn pins_lead_to_a_version_that_was_taken_away() -> Result<()> {
    let pin = "pins: [{ variant: canary, header: { name: x-canary, present: true } }]";
    let shop = Shop::open_with(&plan("50%"), |config| config.also(pin)).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    shop.rollout.does("abort").await?;
    let report = Load::run(&shop.gateway.get("/"), 2, 100).await.flawless()?;
    assert_eq!(report.of("v1"), 100);
    let pinned = shop.gateway.get("/").header("x-canary", "1").send().await?;
    assert_eq!((pinned.status, pinned.origin()), (200, "v2"));
    shop.gateway.stop().await
}

/// A second route `blog` with the same versions, and its rollout.
fn with_blog(config: Config, revision: &str) -> String {
    let variants = "[{ name: stable, upstream: v1, weight: 100 }, \
                    { name: canary, upstream: v2, weight: 0 }]";
    let yaml = config.route("blog", "/blog", variants).rollout(revision, &plan("50%")).yaml();
    let other = Config::new().rollout(revision, &plan("40%")).yaml();
    let (_, other) = other.split_once("rollouts:\n").unwrap_or_default();
    let other = other.replace("name: v2", "name: blog-v2").replace("route: shop", "route: blog");
    yaml + &other
}

#[tokio::test]
async fn rollouts_of_two_routes_do_not_mind_each_other() -> Result<()> {
    let shop = Shop::open(&plan("50%")).await?;
    shop.gateway.write(&with_blog(shop.config(), "1"))?;
    assert_eq!(shop.gateway.reload().await?.status, 200);
    let blog = Rollout::of(&shop.gateway, "blog-v2");
    blog.reaches("progressing", SOON).await?;
    let of_blog = async || {
        let metrics = shop.gateway.metrics().await?;
        let by = |variant| [("route", "blog"), ("variant", variant)];
        let weight = |variant| metrics.sum("tidegate_variant_weight", &by(variant));
        anyhow::Ok(weight("canary") / (weight("canary") + weight("stable")))
    };
    assert_eq!((shop.weight().await?, of_blog().await?), (0.5, 0.4));
    // The same upstream, asked by the shop's users only.
    shop.v2.fail(1.0);
    let load = shop.load(4);
    shop.rollout.reaches("rolled_back", A_WHILE).await?;
    load.stop().await;
    assert_eq!((shop.weight().await?, of_blog().await?), (0.0, 0.4));
    let rollout = blog.get().await?;
    assert_eq!(
        (&rollout["state"], &rollout["failed_requests"]),
        (&json!("progressing"), &json!(0))
    );
    let all = shop.gateway.admin_get("/api/v1/rollouts").await?.json()?;
    let names: Vec<_> =
        all["rollouts"].as_array().into_iter().flatten().map(|one| &one["rollout"]).collect();
    assert_eq!(names, ["blog-v2", "v2"]);
    shop.gateway.stop().await
}

/// A file that somebody broke is no decision to end the rollout in it.
#[tokio::test]
async fn a_broken_file_ends_no_rollout() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Canary::start("v1"), Canary::start("v2"))?;
    let directory = quick_directory()?;
    let (main, part) = (directory.path().join("tidegate.yaml"), directory.path().join("shop.yaml"));
    let whole = Config::split(v1.origin.address(), "70", v2.origin.address(), "30");
    let whole = whole.rollout("1", &plan("50%")).yaml();
    let (top, rest) = whole.split_once("upstreams:").unwrap_or_default();
    std::fs::write(&main, format!("{top}include: shop.yaml\n"))?;
    std::fs::write(&part, format!("upstreams:{rest}"))?;
    let gateway = Gateway::start_at(&main).await?;
    let rollout = Rollout::of(&gateway, "v2");
    let started = rollout.reaches("progressing", SOON).await?;
    for (text, broken) in [("upstreams: [", true), ("", false)] {
        let before = gateway.reloads("error").await?;
        let text = if broken { text.to_owned() } else { format!("# again\nupstreams:{rest}") };
        std::fs::write(&part, text)?;
        gateway.reload().await?;
        if broken {
            gateway.errors_after(before).await?;
        }
        // The controller has looked since when it has counted what came since.
        let so_far = counted(&rollout.get().await?);
        Load::run(&gateway.get("/"), 2, 100).await.flawless()?;
        let enough = |now: &Value| counted(now) >= so_far + 100;
        let now = rollout.until("they are counted", SOON, enough).await?;
        for key in ["run", "started", "state", "weight", "removed"] {
            assert_eq!(now[key], started[key], "{key}");
        }
    }
    assert_eq!(rollout.actions().await?, ["started"]);
    gateway.stop().await
}

fn counted(rollout: &Value) -> u64 {
    let both = rollout["gates"][0]["run"]["requests"].as_array().into_iter().flatten();
    both.filter_map(Value::as_u64).sum()
}

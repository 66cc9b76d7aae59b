//! Which fields of a dark version's answers differ, and why.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};
use tidegate_tests::*;

/// A service whose answers are JSON made by `body`, with noise in it.
pub(crate) async fn service(
    name: &'static str,
    body: impl Fn(&Recorded, u64) -> String + Send + Sync + 'static,
) -> Result<Origin> {
    Origin::serving(name, move |got| {
        let mut answer = Response::new(Bytes::from(body(got, rand::random())));
        let json = http::HeaderValue::from_static("application/json");
        answer.headers_mut().insert("content-type", json);
        answer
    })
    .await
}

/// The old version.
async fn old(name: &'static str) -> Result<Origin> {
    service(name, |_, noise| {
        format!(
            r#"{{"at":{noise},"items":[{{"name":"a","price":10}},{{"name":"b","price":20}}],"id":"{noise:x}","open":true}}"#
        )
    })
    .await
}

/// The new version: the same in another order, but for prices a tenth too low.
async fn new(name: &'static str) -> Result<Origin> {
    service(name, |_, noise| {
        format!(
            r#"{{ "open": true, "id": "{noise:x}", "items": [ {{ "price": 9, "name": "a" }},
            {{ "price": 18, "name": "b" }} ], "at": {noise} }}"#
        )
    })
    .await
}

/// `old` on `v1` with a mirror on `new` that compares; `keys` are those of `compare`.
fn compared(old: &Origin, new: &Origin, keys: &str) -> Config {
    Config::mirrored(old.address(), new.address(), &format!("compare: {{ {keys} }}"))
}

/// `/api/v1/mirrors/shop/dark/diffs`.
pub(crate) async fn diffs(gateway: &Gateway) -> Result<Value> {
    let answer = gateway.admin_get("/api/v1/mirrors/shop/dark/diffs").await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Each field that differed, what it is taken for, and in how many answers it differed.
pub(crate) fn fields(diffs: &Value) -> Vec<(String, String, u64)> {
    let fields = diffs["fields"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let shown = |f: &Value| (text(&f["field"]), text(&f["verdict"]), f["differs"].as_u64());
    fields.map(shown).map(|(field, verdict, n)| (field, verdict, n.unwrap_or(0))).collect()
}

/// [`fields`] as written here.
pub(crate) fn are(expected: &[(&str, &str, u64)]) -> Vec<(String, String, u64)> {
    let owned = |(f, v, n): &(&str, &str, u64)| ((*f).to_owned(), (*v).to_owned(), *n);
    expected.iter().map(owned).collect()
}

/// What `tidegate mirror diffs` prints.
async fn printed(gateway: &Gateway, arguments: &[&str]) -> Result<Finished> {
    let admin = format!("http://{}", gateway.admin());
    let mut all = vec!["mirror", "diffs", "--admin", &admin];
    all.extend(arguments);
    tidegate(&all).await
}

#[tokio::test]
async fn one_wrong_field_is_found_among_noise() -> Result<()> {
    let (v1, twin) = tokio::try_join!(old("v1"), old("twin"))?;
    let v3 = new("v3").await?;
    let config = compared(&v1, &v3, "noise_upstream: twin").dark("twin", twin.address());
    let gateway = Gateway::start(&config.yaml()).await?;
    Load::run(&gateway.get("/prices?secret=1").header("x-request-id", "r-1"), 2, 60).await;
    gateway.comparisons("dark", &[("mismatch", 60)]).await?;
    let found = diffs(&gateway).await?;
    assert_eq!(
        fields(&found),
        are(&[("$.items[*].price", "different", 60), ("$.at", "noise", 60), ("$.id", "noise", 60)])
    );
    let counts = |name: &str| found[name].as_u64();
    assert_eq!((counts("compared"), counts("paired")), (Some(60), Some(60)));
    assert_eq!(
        (counts("identical"), counts("noise"), counts("mismatch")),
        (Some(0), Some(0), Some(60))
    );
    assert_eq!((&found["route"], &found["mirror"]), (&json!("shop"), &json!("dark")));
    assert_eq!(
        (&found["noise_upstream"], &found["outcomes"]),
        (&json!("twin"), &json!({ "mismatch": 60 }))
    );
    let price = &found["fields"][0];
    assert_eq!((&price["kind"], &price["rate"]), (&json!("changed"), &json!(1.0)));
    assert_eq!((&price["candidate_only"], &price["noise_only"]), (&json!(60), &json!(0)));
    assert!(price["log10_evidence"].as_f64().is_some_and(|e| e > 10.0), "{price}");
    let example = &price["examples"][0];
    for (name, value) in [
        ("at", "$.items[0].price"),
        ("expected", "10"),
        ("actual", "9"),
        ("method", "GET"),
        ("path", "/prices"),
        ("request_id", "r-1"),
    ] {
        assert_eq!(example[name], value, "{name}");
    }
    assert!(!found.to_string().contains("secret"), "a query may hold secrets");
    assert_eq!((v1.hits(), v3.hits(), twin.hits()), (60, 60, 60));
    assert_eq!(twin.last().header("x-tidegate-shadow"), "dark");
    let metrics = gateway.metrics().await?;
    let noise = metrics.by_outcome("tidegate_mirror_noise_requests_total", "dark");
    assert_eq!(noise.into_iter().collect::<Vec<_>>(), [("2xx".to_owned(), 60)]);

    for arguments in [&[][..], &["shop/dark"]] {
        let text = printed(&gateway, arguments).await?;
        assert_eq!((text.code, &*text.stderr), (Some(0), ""), "{text:?}");
        let lines: Vec<_> = text.stdout.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(
            lines[0],
            "shop/dark: 60 compared, 0 the same, 0 differ in noise alone, 60 mismatch"
        );
        assert_eq!(lines[1], "different  $.items[*].price changed");
        assert!(text.stdout.contains("expected 10, got 9 (request r-1)"), "{}", text.stdout);
        assert!(text.stdout.contains("noise      $.at changed"), "{}", text.stdout);
    }
    let text = printed(&gateway, &["--json"]).await?.json()?;
    assert_eq!((fields(&text), &text["outcomes"]), (fields(&found), &found["outcomes"]));
    for (name, said) in [("shop", "ROUTE/MIRROR"), ("shop/other", "there is no mirror `other`")] {
        let refused = printed(&gateway, &[name]).await?;
        assert!(refused.code.is_some_and(|code| code != 0), "{refused:?}");
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
    gateway.stop().await
}

#[tokio::test]
async fn without_a_wrong_field_there_is_only_noise() -> Result<()> {
    let (v1, twin) = tokio::try_join!(old("v1"), old("twin"))?;
    let v3 = old("v3").await?;
    let config = compared(&v1, &v3, "noise_upstream: twin").dark("twin", twin.address());
    let gateway = Gateway::start(&config.yaml()).await?;
    Load::run(&gateway.get("/"), 2, 40).await.flawless()?;
    gateway.comparisons("dark", &[("noise", 40)]).await?;
    let expected = are(&[("$.at", "noise", 40), ("$.id", "noise", 40)]);
    assert_eq!(fields(&diffs(&gateway).await?), expected);
    gateway.stop().await
}

/// A difference in a part of the answers is as sure as one in all of them, only later.
#[tokio::test]
async fn a_field_that_is_wrong_at_times_is_found() -> Result<()> {
    let (v1, twin) = tokio::try_join!(old("v1"), old("twin"))?;
    let v3 = service("v3", |_, noise| {
        let open = if noise % 4 == 0 { r#""yes""# } else { "true" };
        format!(
            r#"{{"at":{noise},"items":[{{"name":"a","price":10}},{{"name":"b","price":20}}],"id":"{noise:x}","open":{open}}}"#
        )
    })
    .await?;
    let config = compared(&v1, &v3, "noise_upstream: twin").dark("twin", twin.address());
    let gateway = Gateway::start(&config.yaml()).await?;
    Load::run(&gateway.get("/"), 2, 200).await.flawless()?;
    gateway.counts("tidegate_mirror_compare_total", &[], 200.0).await?;
    let found = diffs(&gateway).await?;
    let open = &found["fields"][0];
    assert_eq!((&open["field"], &open["kind"]), (&json!("$.open"), &json!("type_changed")));
    assert_eq!(open["verdict"], "different", "{open}");
    assert_share(open["differs"].as_u64().context("no count")?, 200, 0.25);
    assert_eq!(open["examples"][0]["actual"], "\"yes\"");
    assert_eq!(found["mismatch"], open["differs"]);
    gateway.stop().await
}

#[tokio::test]
async fn without_a_second_old_answer_nothing_is_judged() -> Result<()> {
    let (v1, v3) = tokio::try_join!(old("v1"), new("v3"))?;
    let gateway = Gateway::start(&compared(&v1, &v3, "").yaml()).await?;
    for _ in 0..3 {
        gateway.get("/").send().await?;
    }
    gateway.comparisons("dark", &[("mismatch", 3)]).await?;
    let found = diffs(&gateway).await?;
    let mut seen = fields(&found);
    seen.sort();
    let unjudged = ["$.at", "$.id", "$.items[*].price"].map(|field| (field, "unjudged", 3));
    assert_eq!(seen, are(&unjudged));
    assert_eq!((&found["paired"], &found["noise_upstream"]), (&json!(0), &Value::Null));
    assert_eq!(found["fields"][0]["log10_evidence"], Value::Null);
    let text = printed(&gateway, &[]).await?.stdout;
    assert!(text.contains("no `noise_upstream`") && text.contains("unjudged   $."), "{text}");
    gateway.stop().await
}

/// The noise upstream is no judge while it fails; the comparison goes on without it.
#[tokio::test]
async fn a_noise_upstream_that_is_down_takes_nothing_away() -> Result<()> {
    let (v1, v3) = tokio::try_join!(old("v1"), new("v3"))?;
    let dead = DeadAddress::new()?;
    let config = compared(&v1, &v3, "noise_upstream: twin").dark("twin", dead.address());
    let gateway = Gateway::start(&config.yaml()).await?;
    for _ in 0..3 {
        gateway.get("/").send().await?;
    }
    gateway.comparisons("dark", &[("mismatch", 3)]).await?;
    let found = diffs(&gateway).await?;
    assert_eq!((&found["compared"], &found["paired"]), (&json!(3), &json!(0)));
    let told = gateway.admin_get("/api/v1/mirrors/shop/dark").await?.json()?;
    assert_eq!(told["noise_outcomes"], json!({ "connect_failure": 3 }));
    assert_eq!(told["outcomes"], json!({ "2xx": 3 }));
    gateway.stop().await
}

#[tokio::test]
async fn what_is_ignored_is_gone_and_the_rest_stays() -> Result<()> {
    let (v1, v3) = tokio::try_join!(old("v1"), new("v3"))?;
    let gateway = Gateway::start(&compared(&v1, &v3, "ignore: [\"$.at\"]").yaml()).await?;
    gateway.get("/").send().await?;
    gateway.comparisons("dark", &[("mismatch", 1)]).await?;
    let sorted = async || {
        let mut seen = fields(&diffs(&gateway).await?);
        seen.sort();
        anyhow::Ok(seen)
    };
    assert_eq!(
        sorted().await?,
        are(&[("$.id", "unjudged", 1), ("$.items[*].price", "unjudged", 1)])
    );
    let generation = gateway.generation().await?;
    gateway.write(&compared(&v1, &v3, "ignore: [\"$.at\", \"$..id\"]").yaml())?;
    let generation = gateway.generation_after(generation).await?;
    assert_eq!(sorted().await?, are(&[("$.items[*].price", "unjudged", 1)]));
    gateway.get("/").send().await?;
    gateway.comparisons("dark", &[("mismatch", 2)]).await?;
    assert_eq!(sorted().await?, are(&[("$.items[*].price", "unjudged", 2)]));
    gateway.write(&compared(&v1, &v3, "ignore: [\"$.at\", \"$.id\", \"$.items[*]\"]").yaml())?;
    gateway.generation_after(generation).await?;
    gateway.get("/").send().await?;
    gateway.comparisons("dark", &[("mismatch", 2), ("match", 1)]).await?;
    assert_eq!(sorted().await?, []);
    let found = diffs(&gateway).await?;
    assert_eq!((&found["compared"], &found["identical"]), (&json!(3), &json!(1)));
    gateway.stop().await
}

#[tokio::test]
async fn a_new_dark_version_begins_anew() -> Result<()> {
    let (v1, v3) = tokio::try_join!(old("v1"), new("v3"))?;
    let config = compared(&v1, &v3, "");
    let config = config.route("plain", "/plain", "[{ name: stable, upstream: v1 }]");
    let config = config.also("mirrors: [{ name: dark, upstream: dark }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    gateway.get("/").send().await?;
    gateway.comparisons("dark", &[("mismatch", 1)]).await?;
    let since = diffs(&gateway).await?["since"].as_f64().context("no time")?;
    let forget = |path: &str| Call::new(gateway.admin(), "DELETE", path);
    let forgotten = forget("/api/v1/mirrors/shop/dark/diffs").send().await?;
    assert_eq!((forgotten.status, forgotten.text().as_str()), (204, ""));
    let found = diffs(&gateway).await?;
    assert_eq!((&found["compared"], &found["fields"]), (&json!(0), &json!([])));
    assert!(found["since"].as_f64().is_some_and(|now| now > since), "{found}");
    // Counters only ever grow.
    gateway.comparisons("dark", &[("mismatch", 1)]).await?;
    gateway.get("/").send().await?;
    gateway.comparisons("dark", &[("mismatch", 2)]).await?;
    assert_eq!(diffs(&gateway).await?["compared"], 1);

    let admin = format!("http://{}", gateway.admin());
    let said = tidegate(&["mirror", "forget", "shop/dark", "--admin", &admin]).await?;
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{said:?}");
    assert_eq!(diffs(&gateway).await?["compared"], 0);

    for (path, status) in [
        ("/api/v1/mirrors/plain/dark/diffs", 409),
        ("/api/v1/mirrors/shop/other/diffs", 404),
        ("/api/v1/mirrors/other/dark/diffs", 404),
    ] {
        for call in [Call::get(gateway.admin(), path), forget(path)] {
            let refused = call.send().await?;
            assert_eq!(refused.status, status, "{path}");
            assert_eq!(refused.header("content-type"), "application/problem+json");
            assert_eq!(refused.json()?["status"], status);
            assert!(refused.json()?["detail"].is_string(), "{}", refused.text());
        }
    }
    assert_eq!(gateway.admin_get("/api/v1/mirrors/shop/other").await?.status, 404);
    let elsewhere =
        forget("/api/v1/mirrors/shop/dark/diffs").header("origin", "http://evil.example");
    assert_eq!(elsewhere.send().await?.status, 403);
    gateway.stop().await
}

#[tokio::test]
async fn what_was_found_survives_a_reload() -> Result<()> {
    let (v1, twin) = tokio::try_join!(old("v1"), old("twin"))?;
    let v3 = new("v3").await?;
    let with = |timeout: &str| {
        Config::single(v1.address())
            .dark("dark", v3.address())
            .dark("twin", twin.address())
            .also("mirrors:\n  - name: dark\n    upstream: dark")
            .also(&format!("    timeout: {timeout}\n    compare: {{ noise_upstream: twin }}"))
            .yaml()
    };
    let gateway = Gateway::start(&with("2s")).await?;
    Load::run(&gateway.get("/"), 1, 30).await.flawless()?;
    gateway.comparisons("dark", &[("mismatch", 30)]).await?;
    let (before, generation) = (diffs(&gateway).await?, gateway.generation().await?);
    gateway.write(&with("3s"))?;
    gateway.generation_after(generation).await?;
    assert_eq!(diffs(&gateway).await?, before);
    Load::run(&gateway.get("/"), 1, 30).await.flawless()?;
    gateway.comparisons("dark", &[("mismatch", 60)]).await?;
    let found = diffs(&gateway).await?;
    assert_eq!(fields(&found)[0], are(&[("$.items[*].price", "different", 60)])[0]);
    gateway.stop().await
}

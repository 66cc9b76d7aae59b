//! Which answers can be compared, what of them, and what is never shown.

use crate::compare::{are, diffs, fields, service};
use anyhow::{Context, Result};
use bytes::Bytes;
use http::Response;
use serde_json::json;
use std::time::Duration;
use tempfile::TempDir;
use tidegate_tests::*;

/// Compressed, each of these is `{"a":1,"list":[1,2,3],"text":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}`.
const ENCODED: [(&str, &str); 4] = [
    (
        "gzip",
        "1f8b08000000000002ffab564a54b232d451cac92c2e51b28a36d431d2318ed5512a49ad007295120900a55a004e19025b40000000",
    ),
    (
        "deflate",
        "789cab564a54b232d451cac92c2e51b28a36d431d2318ed5512a49ad007295120900a55a00757914e8",
    ),
    (
        "br",
        "1b3f00f89d07b6a39d8b8e5072f52333b164e9da6b91b0ad98a5d3972232334d8724ba08a46e98238bf1f8e440a34a01",
    ),
    (
        "zstd",
        "28b52ffd204045010014027b2261223a312c226c697374223a5b312c322c335d2c2274657874223a2261227d010037c009",
    ),
];

/// Brotli for a JSON text of 1 MiB: 17 bytes.
const BOMB: &str = "9b010010f8a544c24a91cb0281b9f70f02";

fn bytes(hex: &str) -> Bytes {
    let digits = |at: usize| hex.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
    (0..hex.len()).step_by(2).filter_map(digits).collect()
}

/// An origin that always gives this answer: a status, header lines and a body.
async fn fixed(
    status: u16,
    headers: &[(&'static str, &str)],
    body: impl Into<Bytes>,
) -> Result<Origin> {
    let mut builder = Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let answer = builder.body(body.into())?;
    Origin::serving("fixed", move |_| answer.clone()).await
}

/// Compares one answer of `a` with one of `b`: the outcome, and what differs.
async fn once(a: &Origin, b: &Origin, keys: &str) -> Result<(String, Vec<(String, String, u64)>)> {
    let compare = format!("compare: {{ {keys} }}");
    let gateway =
        Gateway::start(&Config::mirrored(a.address(), b.address(), &compare).yaml()).await?;
    gateway.get("/").send().await?;
    gateway.counts("tidegate_mirror_compare_total", &[], 1.0).await?;
    let found = diffs(&gateway).await?;
    let outcome = found["outcomes"].as_object().and_then(|outcomes| outcomes.keys().next());
    let outcome = outcome.context("no outcome")?.clone();
    gateway.stop().await?;
    Ok((outcome, fields(&found)))
}

const JSON: (&str, &str) = ("content-type", "application/json");
const TEXT: (&str, &str) = ("content-type", "text/plain");

#[tokio::test]
async fn status_header_fields_and_bodies_are_compared() -> Result<()> {
    let a = fixed(200, &[TEXT, ("x-version", "1"), ("x-other", "1")], "one").await?;
    let same = fixed(200, &[TEXT, ("x-version", "1"), ("x-other", "2")], "one").await?;
    assert_eq!(once(&a, &same, "headers: [x-version]").await?, ("match".to_owned(), vec![]));
    for (status, headers, body, expected) in [
        (201, &[TEXT, ("x-version", "1")][..], "one", &["status"][..]),
        // A page and an error page have nothing in common.
        (500, &[TEXT, ("x-version", "1")], "an error", &["status"]),
        (200, &[TEXT, ("x-version", "2")], "one", &["header x-version"]),
        (200, &[TEXT], "one", &["header x-version"]),
        (200, &[TEXT, ("x-version", "1")], "two", &["body"]),
        (200, &[JSON, ("x-version", "1")], "{}", &["body"]),
        (203, &[TEXT], "two", &["body", "header x-version", "status"]),
    ] {
        let b = fixed(status, headers, body).await?;
        let (outcome, fields) = once(&a, &b, "headers: [x-version]").await?;
        let mut names: Vec<_> = fields.into_iter().map(|(field, ..)| field).collect();
        names.sort();
        assert_eq!(
            (&*outcome, names),
            ("mismatch", expected.iter().map(|s| (*s).to_owned()).collect())
        );
    }
    Ok(())
}

#[tokio::test]
async fn json_is_compared_by_its_structure() -> Result<()> {
    let a =
        fixed(200, &[JSON], r#"{"a":1.0,"list":[{"id":1,"n":1},{"id":2,"n":2}],"s":"ä"}"#).await?;
    let b = r#"{ "s": "\u00e4", "list": [ {"n": 1, "id": 1}, {"n": 2, "id": 2} ], "a": 1 }"#;
    let b = fixed(200, &[JSON], b).await?;
    assert_eq!(once(&a, &b, "").await?, ("match".to_owned(), vec![]));
    let moved = r#"{"a":1,"list":[{"id":2,"n":2},{"id":1,"n":1}],"s":"ä"}"#;
    let moved = fixed(200, &[JSON], moved).await?;
    assert_eq!(once(&a, &moved, "").await?.0, "mismatch");
    let keyed = once(&a, &moved, "array_keys: { \"$.list\": id }").await?;
    assert_eq!(keyed, ("match".to_owned(), vec![]));
    let other = r#"{"a":"1","list":[{"id":1}],"new":null}"#;
    let other = fixed(200, &[JSON], other).await?;
    let (_, mut fields) = once(&a, &other, "").await?;
    fields.sort();
    let expected = ["$.a", "$.list[*]", "$.list[*].n", "$.new", "$.s"];
    assert_eq!(fields, are(&expected.map(|field| (field, "unjudged", 1))));
    Ok(())
}

#[tokio::test]
async fn compressed_answers_are_decoded() -> Result<()> {
    let plain = r#"{"list":[1,2,3],"a":1,"text":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}"#;
    let (same, other) = tokio::try_join!(
        fixed(200, &[JSON], plain),
        fixed(200, &[JSON], plain.replace("[1,2,3]", "[1,2,4]"))
    )?;
    for (encoding, hex) in ENCODED {
        let encoded = fixed(200, &[JSON, ("content-encoding", encoding)], bytes(hex)).await?;
        assert_eq!(once(&encoded, &same, "").await?, ("match".to_owned(), vec![]), "{encoding}");
        assert_eq!(once(&same, &encoded, "").await?, ("match".to_owned(), vec![]), "{encoding}");
        let expected = ("mismatch".to_owned(), are(&[("$.list[*]", "unjudged", 1)]));
        assert_eq!(once(&other, &encoded, "").await?, expected, "{encoding}");
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_compared_is_counted() -> Result<()> {
    let a = fixed(200, &[JSON], "{}").await?;
    for (encoding, body, outcome) in [
        ("gzip", bytes("1f8b0800"), "undecodable"),
        ("gzip", Bytes::from_static(b"{}x"), "undecodable"),
        ("x-own", Bytes::from_static(b"{}x"), "undecodable"),
        ("br", bytes(BOMB), "too_large"),
        ("identity", vec![b'x'; (256 << 10) + 1].into(), "too_large"),
    ] {
        let b = fixed(200, &[JSON, ("content-encoding", encoding)], body).await?;
        assert_eq!(once(&a, &b, "").await?, (outcome.to_owned(), vec![]), "{encoding}");
        assert_eq!(once(&b, &a, "").await?, (outcome.to_owned(), vec![]), "{encoding}");
    }
    let large = fixed(200, &[JSON], vec![b' '; 2048]).await?;
    assert_eq!(once(&large, &large, "max_body: 1KiB").await?.0, "too_large");
    assert_eq!(once(&large, &large, "max_body: 2KiB").await?.0, "match");
    Ok(())
}

#[tokio::test]
async fn only_answers_of_the_first_variant_are_compared() -> Result<()> {
    let (stable, canary) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let dark = service("v3", |_, _| "{}".to_owned()).await?;
    let config = Config::split(stable.address(), "1", canary.address(), "0")
        .dark("dark", dark.address())
        .also("pins: [{ variant: canary, header: { name: x-canary, present: true } }]")
        .also("mirrors: [{ name: dark, upstream: dark, compare: {} }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    gateway.get("/").header("x-canary", "1").send().await?;
    gateway.comparisons("dark", &[("not_baseline", 1)]).await?;
    gateway.get("/").send().await?;
    gateway.comparisons("dark", &[("not_baseline", 1), ("mismatch", 1)]).await?;
    assert_eq!(diffs(&gateway).await?["compared"], 1);
    gateway.stop().await
}

/// Every copy that was sent is compared, or has one reason why not.
#[tokio::test]
async fn the_comparisons_add_up_to_the_copies() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    let keys = "timeout: 1s, methods: [GET, HEAD, POST], compare: { ignore: [\"$.origin\", \"$.headers\"] }";
    let config = Config::mirrored(primary.address(), dark.address(), keys);
    let gateway = Gateway::start(&config.yaml()).await?;
    let get = gateway.get("/");
    for method in ["GET", "HEAD", "POST", "PUT"] {
        gateway.call(method, "/").send().await?;
    }
    gateway.comparisons("dark", &[("match", 3)]).await?;
    dark.behave(Behaviour::Hangup);
    get.send().await?;
    gateway.comparisons("dark", &[("match", 3), ("incomplete", 1)]).await?;
    dark.behave(Behaviour::Status(404));
    get.send().await?;
    gateway.comparisons("dark", &[("match", 3), ("mismatch", 1), ("incomplete", 1)]).await?;
    // The client is gone before its answer is there, or it comes too late for the copy's.
    dark.behave(Behaviour::Echo);
    primary.behave(Behaviour::Delay(Duration::from_millis(1800)));
    let (mut client, hits) = (RawClient::connect(gateway.web()).await?, dark.hits());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    eventually("the copy is there", async || (dark.hits() > hits).then_some(())).await?;
    drop(client);
    get.send().await?;
    gateway.comparisons("dark", &[("match", 3), ("mismatch", 1), ("incomplete", 3)]).await?;
    let outcomes = gateway.all_outcomes("dark", 8).await?;
    assert_eq!(outcomes["method"], 1, "{outcomes:?}");
    let told = gateway.admin_get("/api/v1/mirrors/shop/dark").await?.json()?;
    assert_eq!(told["comparisons"], json!({ "match": 3, "mismatch": 1, "incomplete": 3 }));
    gateway.counts("tidegate_mirror_memory_bytes", &[], 0.0).await?;
    gateway.stop().await
}

#[tokio::test]
async fn no_secret_is_ever_shown() -> Result<()> {
    let secret = |version: &'static str| {
        service(version, move |got, _| {
            let (authorization, s) = (got.header("authorization"), format!("s3cret-{version}"));
            format!(
                r#"{{"authorization":"{authorization} {s}","password":{{"old":"{s}","list":["{s}"]}},
                "user":{{"email":"{s}","name":"{version}"}},"access_token":"{s}","cookies":["{s}"],
                "public":"{version}","items":[{{"card":"{s}"}}],"nested":{{"deep":[{{"session_id":"{s}"}}]}}}}"#
            )
        })
    };
    let (v1, v3) = tokio::try_join!(secret("v1"), secret("v3"))?;
    let keys = "headers: [set-cookie, x-api-key], redact: [\"$.user.email\", \"$.items[*].card\"]";
    let keys =
        format!("compare: {{ {keys} }}, headers: {{ add: {{ authorization: more-s3cret }} }}");
    let config = Config::mirrored(v1.address(), v3.address(), &keys);
    let directory = TempDir::new()?;
    let gateway = crate::access_log::logging(&directory, config, "100%").await?;
    let call = gateway.get("/path?token=s3cret").header("authorization", "Basic s3cret");
    let call = call.header("cookie", "id=s3cret");
    for _ in 0..3 {
        assert!(call.send().await?.text().contains("s3cret"));
    }
    gateway.comparisons("dark", &[("mismatch", 3)]).await?;
    let found = diffs(&gateway).await?;
    let field = |name: &str| {
        let fields = found["fields"].as_array()?.iter();
        Some(fields.into_iter().find(|field| field["field"] == name)?["examples"][0].clone())
    };
    for hidden in [
        "$.authorization",
        "$.password[*]",
        "$.user.email",
        "$.access_token",
        "$.items[*].card",
        "$.nested.deep[*].session_id",
    ] {
        let example = field(hidden).with_context(|| format!("no {hidden} in {found:#}"))?;
        assert_eq!(
            (&example["expected"], &example["actual"]),
            (&json!("[redacted]"), &json!("[redacted]")),
            "{hidden}"
        );
    }
    let shown = field("$.public").context("nothing public")?;
    assert_eq!((&shown["expected"], &shown["actual"]), (&json!("\"v1\""), &json!("\"v3\"")));
    let admin = format!("http://{}", gateway.admin());
    let mut all = found.to_string();
    for arguments in [&["diffs"][..], &["diffs", "--json"], &["list"], &["list", "--json"]] {
        let arguments =
            [&["mirror", "--admin", &admin][..0], &["mirror"], arguments, &["--admin", &admin]]
                .concat();
        all += &tidegate(&arguments).await?.stdout;
    }
    all += &gateway.metrics().await?.text;
    all += &gateway.log().join("\n");
    gateway.stop().await?;
    all += &std::fs::read_to_string(directory.path().join("access.log"))?;
    assert!(all.contains("$.public") && !all.contains("s3cret"), "{all}");
    Ok(())
}

#[tokio::test]
async fn header_fields_with_credentials_are_redacted() -> Result<()> {
    let a = fixed(200, &[("set-cookie", "id=s3cret-a"), ("x-api-key", "s3cret-a")], "").await?;
    let b = fixed(200, &[("set-cookie", "id=s3cret-b"), ("x-api-key", "s3cret-b")], "").await?;
    let keys = "compare: { headers: [set-cookie, x-api-key] }";
    let gateway = Gateway::start(&Config::mirrored(a.address(), b.address(), keys).yaml()).await?;
    gateway.get("/").send().await?;
    gateway.comparisons("dark", &[("mismatch", 1)]).await?;
    let found = diffs(&gateway).await?;
    assert_eq!(fields(&found).len(), 2, "{found}");
    assert!(!found.to_string().contains("s3cret"), "{found}");
    gateway.stop().await
}

//! The commands beside `run`.

use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use tidegate_tests::*;

/// A file of its own.
fn file(directory: &TempDir, name: &str, text: &str) -> Result<String> {
    let path: PathBuf = directory.path().join(name);
    fs::write(&path, text)?;
    Ok(path.to_str().context("a path that is no text")?.to_owned())
}

const GOOD: &str = "\
listeners:
  - { name: web, address: 127.0.0.1:0 }
upstreams:
  - { name: shop-v1, endpoints: [127.0.0.1:9001] }
  - { name: shop-v2, endpoints: [127.0.0.1:9002] }
routes:
  - name: shop
    match: { path: { prefix: /shop } }
    bucket_by: [{ header: x-user-id }]
    variants:
      - { name: stable, upstream: shop-v1, weight: 90 }
      - { name: canary, upstream: shop-v2, weight: 10 }
";

const FIVE_MISTAKES: &str = "\
listeners:
  - { name: web, address: 127.0.0.1:0 }
upstreams:
  - { name: shop-v1, endpoints: [127.0.0.1:9001], load_balance: least_requests }
  - { name: shop-next, endpoints: [127.0.0.1:9002], timeouts: { conect: 1s } }
routes:
  - name: shop
    match: { path: { prefix: /shop } }
    bucket_by: [{ header: x-user-id }]
    variants:
      - { name: stable, upstream: shop-v1, weight: 90 }
      - { name: canary, upstream: shop-nxt, weight: 10 }
    pins:
      - { variant: cannary, header: { name: x-canary, present: true }, from: [127.0.0.1] }
    timeout: 15
";

#[tokio::test]
async fn five_mistakes_are_five_errors_with_place_and_remedy() -> Result<()> {
    let directory = TempDir::new()?;
    let path = file(&directory, "five.yaml", FIVE_MISTAKES)?;
    let verdict = tidegate(&["check", &path]).await?;
    assert_eq!(verdict.code, Some(78), "{verdict:?}");
    let errors: Vec<_> = verdict.stderr.split("error: ").skip(1).collect();
    assert_eq!(errors.len(), 5, "{}", verdict.stderr);
    for (wrong, right) in [
        ("least_requests", "least_request`"),
        ("conect", "connect"),
        ("shop-nxt", "shop-next"),
        ("cannary", "canary"),
        ("15\n", "15s"),
    ] {
        let at = FIVE_MISTAKES.find(wrong).context(wrong)?;
        let line = FIVE_MISTAKES[..at].lines().count();
        let column = at - FIVE_MISTAKES[..at].rfind('\n').unwrap_or(0);
        let place = format!("{path}:{line}:{column}");
        let error = errors.iter().find(|error| error.contains(&place));
        let error = error.with_context(|| format!("nothing at {place}:\n{}", verdict.stderr))?;
        let text = FIVE_MISTAKES.lines().nth(line - 1).context("no such line")?;
        assert!(error.contains(text.trim()), "no pointer into the text: {error}");
        assert!(error.contains('^'), "no pointer into the text: {error}");
        assert!(error.contains(right), "no suggestion of {right}: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn check_tells_programs_the_same() -> Result<()> {
    let directory = TempDir::new()?;
    let bad = file(&directory, "bad.yaml", FIVE_MISTAKES)?;
    let good = file(&directory, "good.yaml", GOOD)?;
    let verdict = tidegate(&["check", "--json", &good, &bad]).await?;
    assert_eq!(verdict.code, Some(78), "{verdict:?}");
    let reports = verdict.json()?;
    assert_eq!(reports[0]["errors"], Value::Array(vec![]));
    assert_eq!(reports[1]["errors"].as_array().map(Vec::len), Some(5), "{reports:#}");
    assert_eq!(reports[1]["errors"][0]["line"], 4);
    assert_eq!(reports[1]["file"], *bad);
    Ok(())
}

#[tokio::test]
async fn check_is_content_with_what_is_right_and_warns() -> Result<()> {
    let directory = TempDir::new()?;
    let good = file(&directory, "good.yaml", GOOD)?;
    let verdict = tidegate(&["check", &good]).await?;
    assert_eq!((verdict.code, &*verdict.stderr), (Some(0), ""));
    let unused =
        GOOD.replace("routes:", "  - { name: idle, endpoints: [127.0.0.1:9003] }\nroutes:");
    let unused = file(&directory, "unused.yaml", &unused)?;
    let verdict = tidegate(&["check", &unused]).await?;
    assert_eq!(verdict.code, Some(0));
    assert!(verdict.stderr.contains("warning") && verdict.stderr.contains("idle"), "{verdict:?}");
    let missing = tidegate(&["check", "/nowhere/tidegate.yaml"]).await?;
    assert_eq!(missing.code, Some(78));
    assert!(missing.stderr.contains("/nowhere/tidegate.yaml"), "{missing:?}");
    Ok(())
}

#[tokio::test]
async fn semantic_mistakes_are_errors() -> Result<()> {
    let directory = TempDir::new()?;
    for (from, to, said) in [
        ("weight: 90", "weight: 0", None),
        ("weight: 10", "weight: 0", None),
        ("name: canary", "name: stable", Some("stable")),
        ("name: shop-v2", "name: shop-v1", Some("shop-v1")),
        ("weight: 90", "weight: 1000001", Some("1,000,000")),
        ("weight: 90", "weight: -1", Some("weight")),
        ("prefix: /shop", "prefix: shop", Some("/")),
        ("prefix: /shop", "regex: \"/(\"", Some("regex")),
        ("[127.0.0.1:9001]", "[]", Some("endpoint")),
        ("[127.0.0.1:9001]", "[127.0.0.1]", Some("port")),
        ("weight: 10", "weight: 10, fallback: canary", Some("fallback")),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD);
        let path = file(&directory, "tidegate.yaml", &text)?;
        let verdict = tidegate(&["check", &path]).await?;
        // One weight of two may be 0.
        let expected = if said.is_none() { 0 } else { 78 };
        assert_eq!(verdict.code, Some(expected), "{to}: {}", verdict.stderr);
        let said = said.unwrap_or_default();
        assert!(verdict.stderr.contains(said), "{to}: {}", verdict.stderr);
    }
    let none = GOOD.replace("weight: 90", "weight: 0").replace("weight: 10", "weight: 0");
    let path = file(&directory, "tidegate.yaml", &none)?;
    assert_eq!(tidegate(&["check", &path]).await?.code, Some(78), "a sum of 0");
    Ok(())
}

#[tokio::test]
async fn check_reads_certificates_and_diff_shows_no_key() -> Result<()> {
    let directory = TempDir::new()?;
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/certs");
    for name in ["edge.pem", "edge.key"] {
        fs::copy(examples.join(name), directory.path().join(name))?;
    }
    let tls = GOOD.replacen(
        "address: 127.0.0.1:0",
        "address: 127.0.0.1:0, tls: { certificates: [{ cert: edge.pem, key: edge.key }] }",
        1,
    );
    let (plain, path) =
        (file(&directory, "plain.yaml", GOOD)?, file(&directory, "tls.yaml", &tls)?);
    let verdict = tidegate(&["check", &path]).await?;
    assert_eq!((verdict.code, &*verdict.stderr), (Some(0), ""));
    let told = tidegate(&["diff", &plain, &path]).await?;
    assert!(told.stdout.contains("listeners"), "{told:?}");

    let key = fs::read_to_string(directory.path().join("edge.key"))?;
    file(&directory, "edge.key", &key[..key.len() / 2])?;
    let verdict = tidegate(&["check", &path]).await?;
    assert_eq!(verdict.code, Some(78), "{verdict:?}");
    for word in ["tls.yaml:2:", "edge.key", "not valid PEM"] {
        assert!(verdict.stderr.contains(word), "no {word}: {}", verdict.stderr);
    }
    let secret = key.lines().nth(1).context("a key")?;
    for told in [verdict, told] {
        assert!(!told.stdout.contains(secret) && !told.stderr.contains(secret));
    }
    Ok(())
}

#[tokio::test]
async fn run_refuses_what_check_refuses() -> Result<()> {
    let directory = TempDir::new()?;
    let path = file(&directory, "five.yaml", FIVE_MISTAKES)?;
    let (check, run) = (tidegate(&["check", &path]).await?, tidegate(&["run", "-c", &path]).await?);
    assert_eq!(run.code, Some(78));
    assert_eq!(run.stderr.matches("error: ").count(), check.stderr.matches("error: ").count());
    Ok(())
}

#[tokio::test]
async fn explain_agrees_with_the_running_gateway() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let config = Config::split(v1.address(), "60", v2.address(), "40")
        .also("bucket_by: [{ header: x-user-id }]\nexpose_variant: true")
        .also("pins: [{ variant: canary, query: { name: beta, exact: \"1\" } }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    let config = gateway.file().to_str().context("a path that is no text")?;
    let url = format!("http://{}/a", gateway.web());
    let mut canary = 0;
    for _ in 0..200 {
        let user = format!("{:x}", rand::random::<u64>());
        let served = gateway.get("/a").header("x-user-id", &user).send().await?;
        let header = format!("x-user-id: {user}");
        let told =
            tidegate(&["explain", "-c", config, "-H", &header, "--json", &url]).await?.json()?;
        assert_eq!(told["variant"], served.header("x-tidegate-variant"), "{user}");
        assert_eq!((&told["route"], &told["reason"]), (&"shop".into(), &"split".into()));
        canary += u64::from(told["variant"] == "canary");
    }
    assert_share(canary, 200, 0.4);
    let pinned = tidegate(&["explain", "-c", config, "--json", &format!("{url}?beta=1")]).await?;
    assert_eq!(pinned.json()?["reason"], "pin");
    let words = tidegate(&["explain", "-c", config, "-H", "x-user-id: u1", &url]).await?;
    assert_eq!(words.code, Some(0));
    for word in ["shop", "bucket", "60 %", "40 %"] {
        assert!(words.stdout.contains(word), "no {word}: {}", words.stdout);
    }
    gateway.stop().await
}

#[tokio::test]
async fn explain_looks_at_method_client_and_host() -> Result<()> {
    let directory = TempDir::new()?;
    let text = GOOD.replace(
        "match: { path: { prefix: /shop } }",
        "match: { hosts: [shop.example.com], methods: [POST] }
    pins: [{ variant: canary, from: [10.0.0.0/8] }]",
    );
    let path = file(&directory, "tidegate.yaml", &text)?;
    let explain = async |arguments: &[&str]| {
        let all = [&["explain", "-c", &path, "--json"], arguments].concat();
        tidegate(&all).await?.json()
    };
    let url = "http://shop.example.com/x";
    assert_eq!(explain(&["-X", "POST", "--client", "10.1.2.3", url]).await?["variant"], "canary");
    assert_eq!(explain(&["-X", "POST", "--client", "192.0.2.1", url]).await?["route"], "shop");
    assert_eq!(explain(&[url]).await?["route"], Value::Null);
    assert_eq!(explain(&["-X", "POST", "http://a.example/x"]).await?["route"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn diff_tells_which_routes_change_and_how_many_users_move() -> Result<()> {
    let directory = TempDir::new()?;
    let old = file(&directory, "old.yaml", GOOD)?;
    let ramp = GOOD.replace("weight: 90", "weight: 75").replace("weight: 10", "weight: 25");
    let ramp = format!(
        "{ramp}  - name: cart\n    match: {{ path: {{ prefix: /cart }} }}\n    \
         variants: [{{ name: only, upstream: shop-v1 }}]\n"
    );
    let new = file(&directory, "new.yaml", &ramp)?;
    let told = tidegate(&["diff", &old, &new]).await?;
    assert!(told.code.is_some_and(|code| code < 2), "{told:?}");
    for word in ["shop", "cart", "90 %", "75 %", "of users"] {
        assert!(told.stdout.contains(word), "no {word}: {}", told.stdout);
    }
    let json = tidegate(&["diff", "--json", &old, &new]).await?.json()?;
    // 15 % by the weights, told from a sample of users.
    let moved = json["changed"][0]["moved_users"].as_f64().with_context(|| format!("{json:#}"))?;
    assert!((moved - 0.15).abs() < 0.02, "{moved}");
    assert_eq!(json["added"], serde_json::json!(["cart"]));
    let same = tidegate(&["diff", "--json", &new, &new]).await?;
    assert_eq!(same.code, Some(0));
    assert!(!same.stdout.contains("cart"), "{}", same.stdout);
    let broken = file(&directory, "broken.yaml", FIVE_MISTAKES)?;
    assert_eq!(tidegate(&["diff", &old, &broken]).await?.code, Some(78));
    Ok(())
}

#[tokio::test]
async fn the_schema_accepts_and_refuses_as_check_does() -> Result<()> {
    let schema = tidegate(&["schema"]).await?;
    assert_eq!(schema.code, Some(0));
    let validator = jsonschema::validator_for(&schema.json()?)?;
    let value = |text: &str| serde_yaml::from_str::<Value>(text);
    assert!(validator.is_valid(&value(GOOD)?));
    for (from, to) in [
        ("weight: 90", "wieght: 90"),
        ("weight: 90", "weight: [90]"),
        ("    variants:", "    variant:"),
        ("listeners:", "listener:"),
    ] {
        assert!(!validator.is_valid(&value(&GOOD.replacen(from, to, 1))?), "{to}");
    }
    Ok(())
}

#[tokio::test]
async fn completions_are_scripts() -> Result<()> {
    let script = tidegate(&["completions", "bash"]).await?;
    assert_eq!(script.code, Some(0));
    assert!(script.stdout.contains("tidegate") && script.stdout.contains("explain"));
    let syntax = run("bash", &["-n"], script.stdout.as_bytes()).await?;
    assert_eq!((syntax.code, &*syntax.stderr), (Some(0), ""));
    Ok(())
}

//! The admin API.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tidegate_tests::*;

async fn start(origin: &Origin) -> Result<Gateway> {
    let config = Config::split(origin.address(), "3", origin.address(), "1")
        .also("pins: [{ variant: canary, header: { name: x-canary, present: true } }]");
    Gateway::start(&config.yaml()).await
}

/// An RFC 9457 problem with this status.
fn assert_problem(answer: &Response, status: u16) -> Result<()> {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json()?;
    assert_eq!(problem["status"], status);
    assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
    Ok(())
}

#[tokio::test]
async fn health_and_readiness_are_200() -> Result<()> {
    let gateway = start(&Origin::start("v1").await?).await?;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(gateway.admin_get(path).await?.status, 200, "{path}");
    }
    gateway.stop().await
}

#[tokio::test]
async fn everything_under_v1_is_json() -> Result<()> {
    let gateway = start(&Origin::start("v1").await?).await?;
    for path in ["status", "routes", "routes/shop", "upstreams", "config"] {
        let answer = gateway.admin_get(&format!("/api/v1/{path}")).await?;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").starts_with("application/json"), "{path}");
        answer.json().context(path)?;
    }
    gateway.stop().await
}

#[tokio::test]
async fn the_route_shows_variants_and_weights() -> Result<()> {
    let gateway = start(&Origin::start("v1").await?).await?;
    let route = gateway.admin_get("/api/v1/routes/shop").await?.json()?;
    assert_eq!(route["name"], "shop", "{route}");
    let variants = route["variants"].as_array().context("no variants")?;
    let shown: Vec<_> =
        variants.iter().map(|variant| (&variant["name"], &variant["weight"])).collect();
    assert_eq!(shown, [(&json!("stable"), &json!(3)), (&json!("canary"), &json!(1))]);
    let all = gateway.admin_get("/api/v1/routes").await?.text();
    assert!(all.contains("\"shop\""), "{all}");
    let upstreams = gateway.admin_get("/api/v1/upstreams").await?.text();
    assert!(upstreams.contains("\"v1\"") && upstreams.contains("\"v2\""), "{upstreams}");
    gateway.stop().await
}

#[tokio::test]
async fn the_status_shows_the_generation() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = start(&origin).await?;
    assert_eq!(gateway.status().await?["config"]["generation"], 1);
    gateway.write(&Config::single(origin.address()).yaml())?;
    gateway.generation_after(1.0).await?;
    assert_eq!(gateway.status().await?["config"]["generation"], 2);
    gateway.stop().await
}

#[tokio::test]
async fn explain_decides_as_the_gateway_does() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let config = Config::split(v1.address(), "1", v2.address(), "1")
        .also("bucket_by: [{ header: x-user-id }]\nexpose_variant: true");
    let gateway = Gateway::start(&config.yaml()).await?;
    let explain = Call::new(gateway.admin(), "POST", "/api/v1/explain")
        .header("content-type", "application/json");
    let mut seen = BTreeSet::new();
    for user in 0..30 {
        let user = format!("u{user}");
        let url = format!("http://{}/x", gateway.web());
        let question = json!({ "url": url, "headers": [["x-user-id", user]] });
        let answer = explain.clone().body(question.to_string()).send().await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let served = gateway.get("/x").header("x-user-id", &user).send().await?;
        let variant = served.header("x-tidegate-variant");
        assert_eq!(answer.json()?["variant"], variant, "{user}");
        seen.insert(variant.to_owned());
    }
    assert_eq!(seen.len(), 2);
    for nonsense in ["", "[]", "{\"url\": 1}", "{\"url\": \"no url at all\"}"] {
        let answer = explain.clone().body(nonsense).send().await?;
        assert!((400..500).contains(&answer.status), "{nonsense:?}: {}", answer.status);
        assert_problem(&answer, answer.status)?;
    }
    gateway.stop().await
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() -> Result<()> {
    let gateway = start(&Origin::start("v1").await?).await?;
    for path in ["/nothing", "/api/v1/nothing", "/api/v1/routes/nothing", "/api/v2/status"] {
        assert_problem(&gateway.admin_get(path).await?, 404)?;
    }
    for (method, path) in [("POST", "/api/v1/status"), ("GET", "/api/v1/config/reload")] {
        assert_problem(&Call::new(gateway.admin(), method, path).send().await?, 405)?;
    }
    gateway.stop().await
}

#[tokio::test]
async fn a_rejected_reload_is_a_problem_that_says_where() -> Result<()> {
    let gateway = start(&Origin::start("v1").await?).await?;
    gateway.write("listeners: [{ name: web, adress: 127.0.0.1:0 }]\n")?;
    let answer = gateway.reload().await?;
    assert!((400..500).contains(&answer.status), "{}", answer.text());
    assert_problem(&answer, answer.status)?;
    assert!(answer.text().contains("adress"), "{}", answer.text());
    gateway.stop().await
}

/// A page in a browser on this machine may not speak to the API, whatever name it gave the address.
#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() -> Result<()> {
    let gateway = start(&Origin::start("v1").await?).await?;
    let admin = gateway.admin();
    for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil"] {
        for path in ["/api/v1/config", "/metrics", "/"] {
            let answer = Call::get(admin, path).host(host).send().await?;
            assert!((400..500).contains(&answer.status), "{host} {path}: {}", answer.status);
        }
        let post = Call::new(admin, "POST", "/api/v1/config/reload").host(host).send().await?;
        assert!((400..500).contains(&post.status), "{host}: {}", post.status);
    }
    for host in [format!("localhost:{}", admin.port()), format!("[::1]:{}", admin.port())] {
        assert_eq!(Call::get(admin, "/api/v1/status").host(&host).send().await?.status, 200);
    }
    let reload = Call::new(admin, "POST", "/api/v1/config/reload");
    for origin in ["http://evil.example", "null", "https://127.0.0.1.evil.example"] {
        let answer = reload.clone().header("origin", origin).send().await?;
        assert_problem(&answer, 403)?;
    }
    let own = format!("http://{admin}");
    assert_eq!(reload.clone().header("origin", &own).send().await?.status, 200);
    assert_eq!(reload.send().await?.status, 200, "a client that is no browser");
    gateway.stop().await
}

#[tokio::test]
async fn a_token_is_asked_for_where_there_is_one() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let directory = tempfile::TempDir::new()?;
    let file = directory.path().join("tidegate.yaml");
    std::fs::write(directory.path().join("admin.token"), "a-long-secret-token\n")?;
    let admin = "admin: { address: 127.0.0.1:0 }";
    let with = "admin: { address: 127.0.0.1:0, token_file: admin.token }";
    let config = Config::single(origin.address()).yaml().replace(admin, with);
    std::fs::write(&file, config)?;
    let gateway = Gateway::start_at(&file).await?;
    let status = Call::get(gateway.admin(), "/api/v1/status");
    let wrong =
        ["", "Bearer", "Bearer a-long-secret-toke", "Bearer a-long-secret-token2", "Basic eA=="];
    assert_problem(&status.send().await?, 401)?;
    for value in wrong {
        let answer = status.clone().header("authorization", value).send().await?;
        assert_problem(&answer, 401)?;
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{answer:?}");
    }
    let right = status.header("authorization", "Bearer a-long-secret-token").send().await?;
    assert_eq!(right.status, 200);
    let reload = Call::new(gateway.admin(), "POST", "/api/v1/config/reload");
    assert_eq!(reload.send().await?.status, 401);
    // A prober has no token.
    assert_eq!(Call::get(gateway.admin(), "/healthz").send().await?.status, 200);
    let shown = Call::get(gateway.admin(), "/api/v1/config")
        .header("authorization", "Bearer a-long-secret-token")
        .send()
        .await?;
    assert!(!shown.text().contains("a-long-secret-token"));
    gateway.stop().await
}

#[tokio::test]
async fn beyond_loopback_a_token_is_required() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let directory = tempfile::TempDir::new()?;
    let file = directory.path().join("tidegate.yaml");
    let config = Config::single(origin.address()).yaml();
    for address in ["0.0.0.0:0", "\"[::]:0\"", "192.0.2.1:0"] {
        let admin = format!("admin: {{ address: {address} }}");
        std::fs::write(&file, config.replace("admin: { address: 127.0.0.1:0 }", &admin))?;
        let path = file.to_str().context("a path that is no text")?;
        let verdict = tidegate(&["check", path]).await?;
        assert_eq!(verdict.code, Some(78), "{address}: {}", verdict.stderr);
        assert!(verdict.stderr.contains("token_file"), "{}", verdict.stderr);
    }
    Ok(())
}

/// A concrete path for a template of the description.
fn concrete(path: &str) -> String {
    path.replace("{name}", "shop").replace("{route}", "shop").replace("{mirror}", "dark")
}

#[tokio::test]
async fn the_description_names_exactly_what_is_served() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let config = Config::split(origin.address(), "1", origin.address(), "0")
        .also("mirrors: [{ name: dark, upstream: v1, compare: {} }]")
        .rollout("1", "steps: [{ weight: 1%, pause: true }]\nbudget: { failed_requests: 1 }");
    let yaml = config.yaml().replace("name: v2\n    route", "name: shop\n    route");
    let gateway = Gateway::start(&yaml).await?;
    Rollout::of(&gateway, "shop").reaches("waiting", SOON).await?;
    let description = gateway.admin_get("/openapi.json").await?.json()?;
    let version = description["openapi"].as_str().unwrap_or_default();
    assert!(version.starts_with("3."), "{version:?}");
    let paths = description["paths"].as_object().context("no paths")?;
    let mut described = BTreeSet::new();
    for (path, item) in paths {
        for method in item.as_object().into_iter().flat_map(|item| item.keys()) {
            described.insert(format!("{} {path}", method.to_uppercase()));
            if path == "/api/v1/events" {
                // It never ends: `rollout_metrics` listens to it.
                continue;
            }
            let served = Call::new(gateway.admin(), &method.to_uppercase(), &concrete(path));
            let status = served.send().await?.status;
            assert!(![404, 405, 500, 501].contains(&status), "{method} {path}: {status}");
        }
        if item.get("delete").is_none() {
            let wrong = Call::new(gateway.admin(), "DELETE", &concrete(path)).send().await?;
            assert_eq!(wrong.status, 405, "DELETE {path}");
        }
    }
    let contract = [
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "GET /openapi.json",
        "GET /api/v1/status",
        "GET /api/v1/routes",
        "GET /api/v1/routes/{name}",
        "GET /api/v1/upstreams",
        "GET /api/v1/config",
        "POST /api/v1/config/reload",
        "POST /api/v1/explain",
        "GET /api/v1/mirrors",
        "GET /api/v1/mirrors/{route}/{mirror}",
        "GET /api/v1/mirrors/{route}/{mirror}/diffs",
        "DELETE /api/v1/mirrors/{route}/{mirror}/diffs",
        "GET /api/v1/rollouts",
        "GET /api/v1/rollouts/{name}",
        "GET /api/v1/rollouts/{name}/decisions",
        "POST /api/v1/rollouts/{name}/promote",
        "POST /api/v1/rollouts/{name}/pause",
        "POST /api/v1/rollouts/{name}/resume",
        "POST /api/v1/rollouts/{name}/abort",
        "POST /api/v1/rollouts/{name}/retry",
        "POST /api/v1/freeze",
        "DELETE /api/v1/freeze",
        "GET /api/v1/events",
    ];
    let contract: BTreeSet<_> = contract.map(str::to_owned).into();
    let missing: Vec<_> = contract.difference(&described).collect();
    assert!(missing.is_empty(), "not described: {missing:?}");
    // A dark corner: answers under the API that the description does not know.
    for path in ["/", "/api/v1", "/api/v1/rollouts", "/api/v1/events", "/debug"] {
        if described.contains(&format!("GET {path}")) {
            continue;
        }
        let answer = gateway.admin_get(path).await?;
        assert_eq!(answer.status, 404, "{path} answers undescribed");
    }
    assert_ne!(description["info"]["version"], Value::Null);
    gateway.stop().await
}

//! What an edge has besides routes: listeners with limits and TLS, upstreams with health checks.

use serde_json::json;
use std::{path::Path, time::Duration};
use tidegate_config::{
    Loaded, compile_text, diff, effective, load,
    plan::{
        Access, ClientRate, HealthCheck, ListenerProtocol, OutlierDetection, Probe, Protocol,
        RateKey, Retry, RetryOn, TlsVersion,
    },
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn edge() -> Result<Loaded, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/edge.yaml");
    load(&path, None).map_err(|failure| failure.render(false))
}

#[test]
fn listeners() -> Outcome {
    let loaded = edge()?;
    assert_eq!(loaded.warnings, []);
    let [web, grpc, tls] = &loaded.plan.listeners[..] else { return Err("three".into()) };
    assert_eq!((&web.protocol, web.protocol.kind()), (&ListenerProtocol::Http1, "http1"));
    assert_eq!(grpc.protocol, ListenerProtocol::H2c);
    assert_eq!(tls.limits.connections.map(|n| n.get()), Some(10_000));
    assert_eq!(tls.limits.connections_per_client.map(|n| n.get()), Some(100));
    assert_eq!((tls.timeouts.head, tls.timeouts.idle), (5 * SECOND, 60 * SECOND));
    assert_eq!((tls.timeouts.body, tls.timeouts.min_body_rate), (30 * SECOND, 1024));
    let ListenerProtocol::Tls(tls) = &tls.protocol else { return Err("TLS".into()) };
    assert_eq!(tls.min_version, TlsVersion::V13);
    let names: Vec<Vec<&str>> = tls
        .certificates
        .iter()
        .map(|certificate| certificate.names.iter().map(|name| &**name).collect())
        .collect();
    assert_eq!(names, [vec!["localhost"], vec!["edge.example.com", "*.shop.example.com"]]);
    assert_eq!(tls.certificates[1].chain.len(), 2, "with its intermediate");
    let auth = tls.client_auth.as_ref().ok_or("clients are asked")?;
    assert!(auth.optional && auth.authorities.len() == 1);
    Ok(())
}

#[test]
fn the_process() -> Outcome {
    let runtime = edge()?.plan.runtime;
    assert_eq!((runtime.drain_delay, runtime.drain_timeout), (5 * SECOND, 60 * SECOND));
    assert_eq!(runtime.max_requests.get(), 5_000);
    assert_eq!(runtime.resolvers, ["127.0.0.1:5353".parse()?, "[::1]:53".parse()?]);
    assert!(runtime.upgrade_socket.ends_with("tests/data/run/tidegate.sock"));
    Ok(())
}

#[test]
fn upstreams() -> Outcome {
    let loaded = edge()?;
    let [named, private, plain] = &loaded.plan.upstreams[..] else { return Err("three".into()) };
    assert_eq!((named.protocol, private.protocol), (Protocol::Http2, Protocol::Http2));
    let tls = named.tls.as_ref().ok_or("TLS")?;
    assert_eq!(&*tls.sni, "shop.internal", "the name of all endpoints");
    assert!(tls.authorities.is_none() && tls.certificate.is_none());
    assert_eq!(named.slow_start, Some(30 * SECOND));
    let grpc = Probe::Grpc { service: "".into() };
    assert_eq!(named.health_check, Some(check(grpc, 2 * SECOND, SECOND / 2, 4, 1)?));
    let outliers = |failures: u32, seconds, max_ejected| -> Result<_, std::num::TryFromIntError> {
        let consecutive_failures = failures.try_into()?;
        Ok(Some(OutlierDetection {
            consecutive_failures,
            eject_for: seconds * SECOND,
            max_ejected,
        }))
    };
    assert_eq!(named.outlier_detection, outliers(3, 10, 333_000)?);
    assert_eq!(private.outlier_detection, outliers(5, 30, 500_000)?);

    let tls = private.tls.as_ref().ok_or("TLS")?;
    assert_eq!(&*tls.sni, "dark.internal");
    assert_eq!(tls.authorities.as_ref().map(|list| list.len()), Some(1));
    assert_eq!(tls.certificate.as_ref().map(|one| one.names.len()), Some(0));
    let http =
        Probe::Http { path: "/healthz?deep=1".into(), host: Some("shop.internal:80".into()) };
    assert_eq!(private.health_check, Some(check(http, 5 * SECOND, SECOND, 3, 2)?));
    assert_eq!(plain.protocol, Protocol::Http1);
    assert_eq!(plain.tls.as_ref().map(|tls| &*tls.sni), Some("127.0.0.1"));
    assert_eq!(plain.health_check, Some(check(Probe::Tcp, 5 * SECOND, SECOND, 3, 2)?));
    Ok(())
}

#[test]
fn routes() -> Outcome {
    let loaded = edge()?;
    let [shop, other, failing] = &loaded.plan.routes[..] else { return Err("three".into()) };
    let on = RetryOn {
        connect_failure: false,
        reset: true,
        timeout: true,
        statuses: vec![503, 599],
        grpc_statuses: vec![8, 14],
    };
    let retry = Retry {
        attempts: 3,
        on,
        budget: 125_000,
        per_try_timeout: Some(2 * SECOND),
        backoff: Duration::ZERO,
        non_idempotent: true,
    };
    assert_eq!(shop.retry, Some(retry));
    let by = RateKey::Header("x-api-key".parse()?);
    let (requests, burst) = (100.try_into()?, 20.try_into()?);
    assert_eq!(shop.rate_limit, Some(ClientRate { requests, per: 60 * SECOND, burst, by }));
    let allow = vec!["10.0.0.0/8".parse()?, "fd00::/8".parse()?];
    assert_eq!(shop.access, Access { allow, deny: vec!["10.9.0.0/16".parse()?] });

    let on = RetryOn { connect_failure: true, reset: true, ..RetryOn::default() };
    let retry = Retry {
        attempts: 1,
        on,
        budget: 200_000,
        per_try_timeout: None,
        backoff: Duration::from_millis(25),
        non_idempotent: false,
    };
    assert_eq!(other.retry, Some(retry));
    let (requests, burst) = (5.try_into()?, 5.try_into()?);
    let rate = ClientRate { requests, per: SECOND, burst, by: RateKey::ClientIp };
    assert_eq!((other.rate_limit.as_ref(), &other.access), (Some(&rate), &Access::default()));
    let on = failing.retry.as_ref().map(|retry| &retry.on).ok_or("a retry")?;
    let statuses: Vec<u16> = std::iter::once(404).chain(500..600).collect();
    assert_eq!((on.connect_failure, on.reset, &on.statuses), (true, false, &statuses));
    Ok(())
}

#[test]
fn the_effective_configuration_has_paths_and_no_keys() -> Outcome {
    let loaded = edge()?;
    let shown = effective(&loaded);
    let tls = &shown["listeners"][2]["tls"];
    assert_eq!(tls["certificates"][1]["key"], "certs/edge.key");
    assert_eq!((&tls["client_auth"], &tls["min_version"]), (&json!("optional"), &json!("1.3")));
    assert_eq!(shown["listeners"][0]["timeouts"]["head"], "10s");
    assert_eq!(shown["listeners"][0]["min_body_rate"], "64B");
    assert_eq!(shown["upstreams"][0]["protocol"], "h2");
    assert_eq!(shown["upstreams"][1]["health_check"]["interval"], "5s");
    assert_eq!(shown["routes"][0]["retry"]["on"][1], 599);
    assert_eq!(shown["routes"][0]["rate_limit"]["by"]["header"], "X-Api-Key");
    assert_eq!(shown["routes"][1]["rate_limit"]["by"], "client_ip");
    // Neither there nor in what is printed while looking for a fault.
    let secret = std::fs::read_to_string("tests/data/certs/edge.key")?;
    let line = secret.lines().nth(1).ok_or("a line")?;
    let printed = format!("{loaded:?}");
    assert!(printed.contains("edge.key") && !printed.contains(line));
    assert!(printed.contains("secret key elided"), "DER is not printed either");
    assert!(!shown.to_string().contains(line));
    Ok(())
}

#[test]
fn what_changed_is_told() -> Outcome {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("tidegate.yaml");
    let certs = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/certs/");
    let text = include_str!("data/edge.yaml").replace("certs/", certs);
    let load = |text: &str| {
        std::fs::write(&file, text)?;
        Ok::<_, Box<dyn std::error::Error>>(load(&file, None)?.plan)
    };
    let old = load(&text)?;
    let after = |edits: &[(&str, &str)]| {
        let mut text = text.clone();
        for (from, to) in edits {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        Ok::<_, Box<dyn std::error::Error>>(diff(&old, &load(&text)?))
    };
    assert!(after(&[])?.is_empty());

    let found = after(&[
        ("attempts: 3", "attempts: 2"),
        ("burst: 20, by: { header: X-Api-Key }", "burst: 30"),
        ("[10.9.0.0/16]", "[10.9.0.0/16, 10.8.0.0/16]"),
        ("retry: {}", "retry: { on: [5xx, 404] }"),
    ])?;
    let [shop, other] = &found.changed[..] else { return Err(format!("{found:?}").into()) };
    assert_eq!(
        shop.what,
        [
            "retry: 3 on [reset] [timeout] [503] [599] [grpc 8] [grpc 14], budget 12.5%, each 2s, \
             backoff 0ns, any method -> 2 on [reset] [timeout] [503] [599] [grpc 8] [grpc 14], \
             budget 12.5%, each 2s, backoff 0ns, any method",
            "rate_limit: 100 in 60s, burst 20, by header x-api-key -> 100 in 60s, burst 30, by \
             client_ip",
            "deny_from: [10.9.0.0/16] -> [10.9.0.0/16] [10.8.0.0/16]",
        ]
    );
    assert_eq!(
        other.what,
        ["retry: 1 on [connect_failure] [reset], budget 20%, backoff 25ms -> 1 on [404] \
             [500-599], budget 20%, backoff 25ms"]
    );
    assert!(found.other.is_empty() && found.restart.is_empty());

    let found = after(&[
        ("min_version: 1.3", "min_version: 1.2"),
        ("interval: 2s", "interval: 3s"),
        ("sni: Dark.internal.", "sni: light.internal"),
        ("drain_delay: 5s", "drain_delay: 6s"),
        ("max_requests: 5000", "max_requests: 6000"),
    ])?;
    assert_eq!(
        found.other,
        [
            "upstream named changed",
            "upstream private changed",
            "listener tls changed",
            "runtime.drain_delay",
            "runtime.max_requests",
        ]
    );
    assert!(found.restart.is_empty(), "{:?}", found.restart);

    let found = after(&[
        (", protocol: h2c }", " }"),
        ("127.0.0.1:5353", "127.0.0.1:5354"),
        ("run/tidegate.sock", "tidegate.sock"),
    ])?;
    assert_eq!(found.restart, ["listeners", "runtime.resolvers", "runtime.upgrade_socket"]);
    assert!(found.other.is_empty());
    Ok(())
}

#[test]
fn a_text_without_a_file_has_no_certificates() {
    let text = include_str!("data/edge.yaml");
    let errors = compile_text("t.yaml", text).expect_err("certificates");
    assert_eq!(errors.len(), 8, "{errors:#?}");
    assert!(errors.iter().all(|error| error.message.ends_with("needs a file to start from")));
}

const SECOND: Duration = Duration::from_secs(1);

fn check(
    probe: Probe,
    interval: Duration,
    timeout: Duration,
    unhealthy_after: u32,
    healthy_after: u32,
) -> Result<HealthCheck, std::num::TryFromIntError> {
    let (unhealthy_after, healthy_after) = (unhealthy_after.try_into()?, healthy_after.try_into()?);
    Ok(HealthCheck { probe, interval, timeout, unhealthy_after, healthy_after })
}

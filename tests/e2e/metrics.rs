//! What `/metrics` says.

use anyhow::Result;
use std::collections::BTreeSet;
use tidegate_tests::*;

/// Every name of the contract that exists at this stage, with the labels it must have.
const CONTRACT: &[(&str, &[&str])] = &[
    ("tidegate_requests_total", &["route", "variant", "code"]),
    ("tidegate_attempts_total", &["route", "variant", "outcome"]),
    ("tidegate_request_duration_seconds_bucket", &["route", "variant", "le"]),
    ("tidegate_request_duration_seconds_count", &["route", "variant"]),
    ("tidegate_request_duration_seconds_sum", &["route", "variant"]),
    ("tidegate_requests_in_flight", &["route", "variant"]),
    ("tidegate_fallbacks_total", &["route", "variant"]),
    ("tidegate_variant_weight", &["route", "variant"]),
    ("tidegate_variant_share", &["route", "variant"]),
    ("tidegate_config_generation", &[]),
    ("tidegate_config_reloads_total", &["result"]),
    ("tidegate_upstream_endpoints", &["upstream", "state"]),
    ("process_cpu_seconds_total", &[]),
    ("process_resident_memory_bytes", &[]),
];

pub(crate) async fn promtool_is_content(text: &str) -> Result<()> {
    let verdict = run("promtool", &["check", "metrics"], text.as_bytes()).await?;
    assert_eq!((verdict.code, &*verdict.stdout, &*verdict.stderr), (Some(0), "", ""));
    Ok(())
}

#[tokio::test]
async fn promtool_has_nothing_to_say() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let config = Config::split(v1.address(), "1", v2.address(), "1");
    let gateway = Gateway::start(&config.yaml()).await?;
    promtool_is_content(&gateway.metrics().await?.text).await?;
    Load::run(&gateway.get("/"), 2, 50).await.flawless()?;
    RawClient::exchange(gateway.web(), "nonsense\r\n\r\n").await?;
    let metrics = gateway.metrics().await?;
    promtool_is_content(&metrics.text).await?;
    let answer = gateway.admin_get("/metrics").await?;
    assert!(answer.header("content-type").starts_with("text/plain"), "{answer:?}");
    gateway.stop().await
}

#[tokio::test]
async fn the_names_and_labels_of_the_contract_are_there_from_the_start() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let config = Config::split(v1.address(), "1", v2.address(), "1");
    let gateway = Gateway::start(&config.yaml()).await?;
    let metrics = gateway.metrics().await?;
    for (name, labels) in CONTRACT {
        let all: Vec<_> = metrics.series.iter().filter(|series| series.name == *name).collect();
        assert!(!all.is_empty(), "no {name}");
        let expected: BTreeSet<_> = labels.iter().map(|label| (*label).to_owned()).collect();
        for series in all {
            assert_eq!(series.labels.keys().cloned().collect::<BTreeSet<_>>(), expected, "{name}");
        }
    }
    for result in ["success", "error"] {
        let found = metrics.series.iter().any(|series| {
            series.name == "tidegate_config_reloads_total"
                && series.labels.get("result").is_some_and(|label| label == result)
        });
        assert!(found, "an alert on `{result}` needs the series before the first one");
    }
    gateway.stop().await
}

#[tokio::test]
async fn the_counts_add_up() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let config = Config::split(v1.address(), "3", v2.address(), "1");
    let gateway = Gateway::start(&config.yaml()).await?;
    let report = Load::run(&gateway.get("/"), 4, 400).await.flawless()?;
    for (count, status) in [(7, "404"), (5, "503"), (3, "302")] {
        let call = gateway.get("/").header("x-want-status", status);
        for _ in 0..count {
            assert_eq!(call.send().await?.status.to_string(), status);
        }
    }
    let requests = "tidegate_requests_total";
    gateway.counts(requests, &[], 415.0).await?;
    let metrics = gateway.metrics().await?;
    for (code, count) in [("2xx", 400.0), ("3xx", 3.0), ("4xx", 7.0), ("5xx", 5.0)] {
        assert_eq!(metrics.sum(requests, &[("route", "shop"), ("code", code)]), count, "{code}");
    }
    for (variant, origin, weight) in [("stable", &v1, 3.0), ("canary", &v2, 1.0)] {
        let labels = [("route", "shop"), ("variant", variant)];
        let hits = origin.hits() as f64;
        assert_eq!(metrics.sum(requests, &labels), hits, "{variant}");
        assert_eq!(metrics.sum("tidegate_attempts_total", &labels), hits, "{variant}");
        let duration = "tidegate_request_duration_seconds";
        assert_eq!(metrics.sum(&format!("{duration}_count"), &labels), hits, "{variant}");
        assert!(metrics.sum(&format!("{duration}_sum"), &labels) > 0.0);
        assert_eq!(metrics.sum("tidegate_requests_in_flight", &labels), 0.0);
        assert_eq!(metrics.sum("tidegate_variant_weight", &labels), weight);
        let share = metrics.sum("tidegate_variant_share", &labels);
        assert!((share - hits / 415.0).abs() < 0.001, "{variant}: {share} of {hits} hits");
    }
    let ok = metrics.sum(requests, &[("variant", "canary"), ("code", "2xx")]);
    assert_eq!(ok, report.of("v2") as f64);
    let failed = metrics.sum("tidegate_attempts_total", &[("outcome", "server_error")]);
    assert_eq!(failed, 5.0);
    assert_eq!(metrics.sum("tidegate_upstream_endpoints", &[]), 2.0);
    gateway.stop().await
}

#[tokio::test]
async fn requests_in_flight_are_shown() -> Result<()> {
    let origin = Origin::start("v1").await?;
    origin.behave(Behaviour::Delay(std::time::Duration::from_secs(1)));
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let load = Load::start(&gateway.get("/"), 3);
    gateway.counts("tidegate_requests_in_flight", &[("variant", "stable")], 3.0).await?;
    load.stop().await.flawless()?;
    gateway.counts("tidegate_requests_in_flight", &[("variant", "stable")], 0.0).await?;
    gateway.stop().await
}

#[tokio::test]
async fn no_client_can_make_a_series() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    gateway.get("/").send().await?;
    let shape = |metrics: &Metrics| -> BTreeSet<_> {
        metrics.series.iter().map(|series| (series.name.clone(), series.labels.clone())).collect()
    };
    let before = shape(&gateway.metrics().await?);
    for i in 0..20 {
        let call =
            gateway.call(&format!("ODD{i}"), &format!("/{i}?q={i}")).host(&format!("h{i}.x"));
        call.header("x-want-status", &(400 + i).to_string()).send().await?;
        RawClient::exchange(gateway.web(), format!("{i}\r\n\r\n")).await?;
    }
    RawClient::exchange(gateway.web(), "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n").await?;
    let after = shape(&gateway.metrics().await?);
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&(_, _)>::new());
    gateway.stop().await
}

#[tokio::test]
async fn series_of_what_is_no_longer_configured_end() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    gateway.get("/").send().await?;
    let before = gateway.generation().await?;
    let next = Config::new().upstream("next", origin.address());
    gateway.write(&next.route("other", "/", "[{ name: only, upstream: next }]").yaml())?;
    gateway.generation_after(before).await?;
    gateway.get("/").send().await?;
    gateway.counts("tidegate_requests_total", &[("route", "other")], 1.0).await?;
    let metrics = gateway.metrics().await?;
    let stale = metrics.series.iter().find(|series| {
        let is = |label: &str, value: &str| series.labels.get(label).is_some_and(|v| v == value);
        is("route", "shop") || is("upstream", "v1")
    });
    assert_eq!(stale, None);
    promtool_is_content(&metrics.text).await?;
    gateway.stop().await
}

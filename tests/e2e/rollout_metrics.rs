//! What metrics and events say of rollouts.

use crate::metrics::promtool_is_content;
use anyhow::{Context, Result};
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};
use tidegate_tests::*;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

const A_WHILE: Duration = Duration::from_secs(15);

const PLAN: &str = "\
steps: [{ weight: 50%, hold: 10m }, { weight: 100% }]
gates: [{ name: errors, metric: error_rate, max: 5%, worse_than_baseline: 50% }]";

/// The contract: names and labels.
const CONTRACT: &[(&str, &[&str])] = &[
    ("tidegate_rollout_step", &["rollout"]),
    ("tidegate_rollout_state", &["rollout", "state"]),
    ("tidegate_rollout_failed_requests", &["rollout"]),
    ("tidegate_gate_evidence", &["rollout", "gate"]),
    ("tidegate_gate_verdict", &["rollout", "gate", "verdict"]),
    ("tidegate_baseline_trials_total", &["rollout"]),
    ("tidegate_baseline_false_alarms_total", &["rollout"]),
    ("tidegate_rollout_store_up", &[]),
];

/// The one of `label`'s values whose series is 1.
fn only(metrics: &Metrics, name: &str, label: &str) -> Result<String> {
    let is = metrics.series.iter().filter(|series| series.name == name && series.value == 1.0);
    let is: Vec<_> = is.map(|series| series.labels[label].clone()).collect();
    anyhow::ensure!(is.len() == 1, "{name} is 1 for {is:?}");
    is.into_iter().next().context("none")
}

#[tokio::test]
async fn a_rollout_has_metrics_as_long_as_it_is_configured() -> Result<()> {
    let shop = Shop::open(PLAN).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    let metrics = shop.gateway.metrics().await?;
    promtool_is_content(&metrics.text).await?;
    for (name, labels) in CONTRACT {
        let all: Vec<_> = metrics.series.iter().filter(|series| series.name == *name).collect();
        assert!(!all.is_empty(), "no {name}");
        let expected: BTreeSet<_> = labels.iter().map(|label| (*label).to_owned()).collect();
        for series in all {
            assert_eq!(series.labels.keys().cloned().collect::<BTreeSet<_>>(), expected, "{name}");
        }
    }
    assert_eq!(only(&metrics, "tidegate_rollout_state", "state")?, "progressing");
    assert_eq!(only(&metrics, "tidegate_gate_verdict", "verdict")?, "no_data");
    assert_eq!(metrics.sum("tidegate_rollout_step", &[("rollout", "v2")]), 1.0);
    assert_eq!(metrics.sum("tidegate_gate_evidence", &[("gate", "errors")]), 1.0);

    shop.v2.fail(0.5);
    let load = shop.load(4);
    let rollout = shop.rollout.reaches("rolled_back", A_WHILE).await?;
    load.stop().await;
    let metrics = shop.gateway.metrics().await?;
    promtool_is_content(&metrics.text).await?;
    assert_eq!(only(&metrics, "tidegate_rollout_state", "state")?, "rolled_back");
    assert_eq!(only(&metrics, "tidegate_gate_verdict", "verdict")?, "bad");
    let bad_at = rollout["gates"][0]["tests"][0]["bad_at"].as_f64().context("no line")?;
    assert!(metrics.sum("tidegate_gate_evidence", &[("gate", "errors")]) >= bad_at);
    let failed = metrics.sum("tidegate_rollout_failed_requests", &[("rollout", "v2")]);
    assert_eq!(Some(failed), rollout["failed_requests"].as_f64());

    shop.becomes(&shop.config()).await?;
    eventually("its series end", async || {
        let metrics = shop.gateway.metrics().await.ok()?;
        (!metrics.series.iter().any(|series| series.labels.contains_key("rollout"))).then_some(())
    })
    .await?;
    promtool_is_content(&shop.gateway.metrics().await?.text).await?;
    shop.gateway.stop().await
}

/// Whoever listens.
struct Events(BufReader<TcpStream>);

impl Events {
    async fn listen(gateway: &Gateway, more: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(gateway.admin()).await?;
        let head =
            format!("GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n{more}\r\n", gateway.admin());
        stream.write_all(head.as_bytes()).await?;
        let mut events = Self(BufReader::new(stream));
        events.line("content-type: text/event-stream").await?;
        Ok(events)
    }

    /// The rest of the next line that begins with `start`.
    async fn line(&mut self, start: &str) -> Result<String> {
        let next = async {
            loop {
                let mut line = String::new();
                anyhow::ensure!(
                    self.0.read_line(&mut line).await? > 0,
                    "no `{start}` before the end"
                );
                if let Some(rest) = line.strip_prefix(start) {
                    return Ok(rest.trim().to_owned());
                }
            }
        };
        timeout(SOON, next).await.with_context(|| format!("no `{start}`"))?
    }

    /// The next event: its number and the decision.
    async fn decision(&mut self) -> Result<(i64, Value)> {
        assert_eq!(self.line("event: ").await?, "decision");
        let (first, second) = (self.line("").await?, self.line("").await?);
        let mut fields = [first.as_str(), second.as_str()];
        fields.sort_unstable();
        let data = fields[0].strip_prefix("data: ").context("no data")?;
        let id = fields[1].strip_prefix("id: ").context("no id")?.parse()?;
        Ok((id, serde_json::from_str(data)?))
    }
}

#[tokio::test]
async fn decisions_are_events() -> Result<()> {
    let shop = Shop::open(PLAN).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    let mut events = Events::listen(&shop.gateway, "").await?;
    for (verb, action) in [("pause", "paused"), ("resume", "resumed"), ("promote", "advanced")] {
        shop.rollout.does(verb).await?;
        let (id, event) = events.decision().await?;
        assert_eq!((&event["action"], event["id"].as_i64()), (&action.into(), Some(id)));
        assert_eq!(event, shop.rollout.decision(action).await?);
    }
    drop(events);
    // Who comes back gets what was missed.
    shop.rollout.does("abort").await?;
    let mut events = Events::listen(&shop.gateway, "Last-Event-ID: 3\r\n").await?;
    for (id, action) in [(4, "advanced"), (5, "aborted")] {
        let (got, event) = events.decision().await?;
        assert_eq!((got, &event["action"]), (id, &action.into()));
    }
    shop.gateway.stop().await
}

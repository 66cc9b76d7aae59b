//! The gateway as its admin API shows it.

use super::config::ROLLOUT;
use crate::client::{Answer, Client};
use http::Method;
use serde::{Deserialize, de::DeserializeOwned};
use std::net::SocketAddr;
use tidegate_judge::{Decision, GateReport, Share, State};

/// Asks the admin API.
#[derive(Debug, Clone)]
pub(super) struct Admin {
    client: Client,
    address: SocketAddr,
}

/// `/api/v1/status`
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub(super) config: ConfigStatus,
}

/// The configuration in force, and what became of the last edit.
#[derive(Debug, Deserialize)]
pub(super) struct ConfigStatus {
    pub(super) generation: u64,
    /// Seconds since 1970.
    pub(super) loaded_at: Option<f64>,
    pub(super) last_error: Option<Rejected>,
    #[serde(default)]
    pub(super) restart_needed: Vec<String>,
}

/// An edit that was not accepted.
#[derive(Debug, Deserialize)]
pub(super) struct Rejected {
    errors: Vec<ConfigError>,
}

/// One error of it. What is no fault of a file has only a message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConfigError {
    pub(super) file: String,
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) message: String,
    severity: String,
    pub(super) help: Option<String>,
}

impl Rejected {
    /// The errors without the warnings that were found with them.
    pub(super) fn errors(&self) -> impl Iterator<Item = &ConfigError> {
        self.errors.iter().filter(|error| error.severity != "warning")
    }
}

/// `/api/v1/routes`
#[derive(Debug, Deserialize)]
pub(super) struct Routes {
    pub(super) routes: Vec<Route>,
}

/// A route of the configuration in force.
#[derive(Debug, Deserialize)]
pub(super) struct Route {
    pub(super) variants: Vec<Variant>,
}

/// A variant of a route.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Variant {
    pub(super) name: String,
    /// The share that its weight gives it.
    pub(super) share: f64,
}

/// `/api/v1/mirrors/shop/dark/diffs`
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Diffs {
    pub(super) compared: u64,
    pub(super) mismatch: u64,
    pub(super) fields: Vec<Field>,
}

/// A field that differs.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Field {
    pub(super) field: String,
    pub(super) verdict: String,
    pub(super) rate: f64,
    pub(super) log10_evidence: Option<f64>,
    pub(super) examples: Vec<Example>,
}

/// One time that it did.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Example {
    pub(super) expected: String,
    pub(super) actual: String,
}

impl Rollout {
    /// Whether its run has ended, however.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Promoted | State::RolledBack | State::Aborted)
    }
}

impl Diffs {
    /// The fields of this verdict, in order.
    pub(super) fn of(&self, verdict: &str) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(move |field| field.verdict == verdict)
    }
}

/// `/api/v1/rollouts/shop-v2`
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Rollout {
    pub(super) revision: String,
    pub(super) run: u32,
    pub(super) state: State,
    /// The step it is in, from 1.
    pub(super) step: usize,
    pub(super) steps: usize,
    /// The canary's share that is set.
    pub(super) weight: Share,
    /// What the split really gave it.
    pub(super) realised_share: Option<f64>,
    pub(super) waits_for: Vec<String>,
    pub(super) gates: Vec<GateReport>,
    /// Requests of users that the canary failed in this run.
    pub(super) failed_requests: u64,
}

/// `/api/v1/rollouts/shop-v2/decisions`
#[derive(Debug, Deserialize)]
struct Decisions {
    decisions: Vec<Decision>,
}

/// `/metrics`
#[derive(Debug)]
pub(super) struct Metrics(String);

impl Admin {
    pub(super) fn new(client: Client, address: SocketAddr) -> Self {
        Self { client, address }
    }

    pub(super) async fn status(&self) -> Result<Status, String> {
        self.json("/api/v1/status").await
    }

    pub(super) async fn routes(&self) -> Result<Routes, String> {
        self.json("/api/v1/routes").await
    }

    /// What comparing the dark version's answers found.
    pub(super) async fn diffs(&self) -> Result<Diffs, String> {
        self.json("/api/v1/mirrors/shop/dark/diffs").await
    }

    pub(super) async fn rollout(&self) -> Result<Rollout, String> {
        self.json(&format!("/api/v1/rollouts/{ROLLOUT}")).await
    }

    /// The latest decisions about the rollout, the newest first.
    pub(super) async fn decisions(&self, limit: usize) -> Result<Vec<Decision>, String> {
        let path = format!("/api/v1/rollouts/{ROLLOUT}/decisions?limit={limit}");
        self.json(&path).await.map(|page: Decisions| page.decisions)
    }

    /// Does with the rollout what a person asks for: `pause`, `resume`, `abort`.
    pub(super) async fn act(&self, verb: &str) -> Result<(), String> {
        self.post(&format!("/api/v1/rollouts/{ROLLOUT}/{verb}")).await
    }

    pub(super) async fn reload(&self) -> Result<(), String> {
        self.post("/api/v1/config/reload").await
    }

    pub(super) async fn metrics(&self) -> Result<Metrics, String> {
        let body = self.get("/metrics").await?;
        Ok(Metrics(String::from_utf8_lossy(&body).into_owned()))
    }

    async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let body = self.get(path).await?;
        serde_json::from_slice(&body).map_err(|error| format!("{path}: {error}"))
    }

    async fn get(&self, path: &str) -> Result<bytes::Bytes, String> {
        self.ask(Method::GET, path).await.map(|answer| answer.body)
    }

    async fn post(&self, path: &str) -> Result<(), String> {
        self.ask(Method::POST, path).await.map(|_| ())
    }

    async fn ask(&self, method: Method, path: &str) -> Result<Answer, String> {
        let url = format!("http://{}{path}", self.address);
        let answer = self.client.request(method, &url, &[]).await;
        let answer = answer.map_err(|error| format!("{path}: {error}"))?;
        if !answer.status.is_success() {
            return Err(format!("{path}: HTTP {}", answer.status.as_u16()));
        }
        Ok(answer)
    }
}

impl Metrics {
    /// The sum over all series of the metric `name` that have all of `labels`.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let series = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (have, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.split_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            let has = |(key, value): &(&str, &str)| {
                // No label of the demo's configuration has a comma or a quote in it.
                have.split(',').any(|label| label.trim_matches(',') == format!("{key}=\"{value}\""))
            };
            if labels.iter().all(has) { value.trim().parse::<f64>().ok() } else { None }
        });
        series.sum()
    }

    /// Attempts at the variant that failed.
    pub(super) fn failed_attempts(&self, variant: &str) -> f64 {
        let by = |outcome| {
            self.sum("tidegate_attempts_total", &[("variant", variant), ("outcome", outcome)])
        };
        let all = self.sum("tidegate_attempts_total", &[("variant", variant)]);
        all - by("success") - by("client_aborted")
    }

    /// Requests that the variant could not take and its fallback did.
    pub(super) fn saved(&self, variant: &str) -> f64 {
        self.sum("tidegate_fallbacks_total", &[("variant", variant)])
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The directory is shown elsewhere.
        let file = self.file.rsplit('/').next().unwrap_or_default();
        match (file, self.line) {
            ("", _) => {}
            (file, 0) => write!(f, "{file}: ")?,
            (file, line) => write!(f, "{file}:{line}:{}: ", self.column)?,
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_the_series_that_match() {
        let metrics = Metrics(
            "# TYPE tidegate_attempts_total counter\n\
             tidegate_attempts_total{outcome=\"success\",route=\"shop\",variant=\"canary\"} 7\n\
             tidegate_attempts_total{outcome=\"timeout\",route=\"shop\",variant=\"canary\"} 2\n\
             tidegate_attempts_total{outcome=\"reset\",route=\"shop\",variant=\"canary\"} 1\n\
             tidegate_attempts_total{outcome=\"reset\",route=\"shop\",variant=\"stable\"} 50\n\
             tidegate_fallbacks_total{route=\"shop\",variant=\"canary\"} 4\n\
             tidegate_config_generation 3\n"
                .to_owned(),
        );
        assert_eq!(metrics.sum("tidegate_config_generation", &[]), 3.0);
        assert_eq!(metrics.sum("tidegate_attempts_total", &[]), 60.0);
        assert_eq!(metrics.failed_attempts("canary"), 3.0);
        assert_eq!(metrics.saved("canary"), 4.0);
        assert_eq!(metrics.sum("tidegate_config", &[]), 0.0);
    }

    #[test]
    fn errors_name_their_place_if_they_have_one() {
        let error = ConfigError {
            file: "/tmp/x/gateway.yaml".into(),
            line: 3,
            column: 9,
            message: "unknown upstream `v22`".into(),
            severity: "error".into(),
            help: Some("did you mean `v2`?".into()),
        };
        let shown = error.to_string();
        assert_eq!(shown, "gateway.yaml:3:9: unknown upstream `v22`; did you mean `v2`?");
        let bare = ConfigError { message: "cannot open".into(), ..ConfigError::default() };
        assert_eq!(bare.to_string(), "cannot open");
    }
}

//! Metrics by upstream.

use super::{Pool, roster::State};
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};
use std::sync::Arc;

/// The series of all upstreams.
#[derive(Debug)]
pub(crate) struct UpstreamSeries {
    endpoints: IntGaugeVec,
    checks: IntCounterVec,
    ejections: IntCounterVec,
}

/// The handles of one upstream.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamMetrics {
    /// Health checks that failed, and those that did not.
    pub(super) checks: [IntCounter; 2],
    pub(super) ejections: IntCounter,
}

const RESULTS: [&str; 2] = ["failure", "success"];

impl UpstreamSeries {
    /// # Errors
    /// Only if two metrics had the same name.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let endpoints = IntGaugeVec::new(
            Opts::new("tidegate_upstream_endpoints", "Endpoints of the upstream, by state."),
            &["upstream", "state"],
        )?;
        let checks = IntCounterVec::new(
            Opts::new(
                "tidegate_upstream_health_checks_total",
                "Health checks of the upstream's endpoints, by result.",
            ),
            &["upstream", "result"],
        )?;
        let ejections = IntCounterVec::new(
            Opts::new(
                "tidegate_upstream_ejections_total",
                "Endpoints of the upstream that got no requests for a while after failures in a row.",
            ),
            &["upstream"],
        )?;
        registry.register(Box::new(endpoints.clone()))?;
        registry.register(Box::new(checks.clone()))?;
        registry.register(Box::new(ejections.clone()))?;
        Ok(Self { endpoints, checks, ejections })
    }

    /// The handles of the upstream `name`, made if they do not exist.
    pub(crate) fn upstream(&self, name: &str) -> UpstreamMetrics {
        UpstreamMetrics {
            checks: RESULTS.map(|result| self.checks.with_label_values(&[name, result])),
            ejections: self.ejections.with_label_values(&[name]),
        }
    }

    /// Shows the endpoints of `pools`.
    pub(crate) fn export(&self, pools: &[Arc<Pool>]) {
        for pool in pools {
            for (state, count) in pool.states() {
                let by = [&*pool.config().name, state.label()];
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                self.endpoints.with_label_values(&by).set(count);
            }
        }
    }

    /// The upstream is not configured any more.
    pub(crate) fn forget(&self, name: &str) {
        for state in State::ALL {
            let _ = self.endpoints.remove_label_values(&[name, state.label()]);
        }
        for result in RESULTS {
            let _ = self.checks.remove_label_values(&[name, result]);
        }
        let _ = self.ejections.remove_label_values(&[name]);
    }
}

//! The metrics of mirrors.

use super::outcome::{Compared, Outcome};
use crate::metrics::SECONDS;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};
use std::time::Duration;

const LABELS: &[&str] = &["route", "mirror", "outcome"];

/// All mirrors' metrics.
#[derive(Debug)]
pub(crate) struct MirrorSeries {
    requests: IntCounterVec,
    noise: IntCounterVec,
    compared: IntCounterVec,
    duration: HistogramVec,
    pub(crate) memory: IntGauge,
    pub(crate) under_way: prometheus::IntGaugeVec,
}

/// The handles of one mirror.
#[derive(Debug)]
pub(crate) struct MirrorMetrics {
    pub(crate) requests: [IntCounter; Outcome::LABELS.len()],
    /// Second copies, to the noise upstream.
    pub(crate) noise: [IntCounter; Outcome::LABELS.len()],
    pub(crate) compared: [IntCounter; Compared::LABELS.len()],
    pub(crate) duration: Histogram,
}

impl MirrorSeries {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let vec = IntCounterVec::new(Opts::new(name, help), LABELS)?;
            registry.register(Box::new(vec.clone()))?;
            Ok::<_, prometheus::Error>(vec)
        };
        let duration = HistogramOpts::new(
            "tidegate_mirror_duration_seconds",
            "Time from a copy's sending to the end of its answer.",
        );
        let duration = HistogramVec::new(duration.buckets(SECONDS.to_vec()), &LABELS[..2])?;
        registry.register(Box::new(duration.clone()))?;
        let memory = IntGauge::new(
            "tidegate_mirror_memory_bytes",
            "Memory that all mirrors together hold for bodies and comparisons.",
        )?;
        registry.register(Box::new(memory.clone()))?;
        let under_way = prometheus::IntGaugeVec::new(
            Opts::new("tidegate_mirror_in_flight", "Copies under way."),
            &LABELS[..2],
        )?;
        registry.register(Box::new(under_way.clone()))?;
        Ok(Self {
            requests: counter(
                "tidegate_mirror_requests_total",
                "Requests of the mirror's route by what became of their copy.",
            )?,
            noise: counter(
                "tidegate_mirror_noise_requests_total",
                "Second copies, sent to the noise upstream, by what became of them.",
            )?,
            compared: counter(
                "tidegate_mirror_compare_total",
                "Copies that were sent, by how their answer compares with the client's.",
            )?,
            duration,
            memory,
            under_way,
        })
    }

    /// The handles of one mirror, made if they do not exist.
    pub(crate) fn mirror(&self, route: &str, mirror: &str) -> MirrorMetrics {
        let by = |outcome| [route, mirror, outcome];
        MirrorMetrics {
            requests: Outcome::LABELS.map(|label| self.requests.with_label_values(&by(label))),
            noise: Outcome::LABELS.map(|label| self.noise.with_label_values(&by(label))),
            compared: Compared::LABELS.map(|label| self.compared.with_label_values(&by(label))),
            duration: self.duration.with_label_values(&[route, mirror]),
        }
    }

    pub(crate) fn forget(&self, route: &str, mirror: &str) {
        for outcome in Outcome::LABELS {
            let _ = self.requests.remove_label_values(&[route, mirror, outcome]);
            let _ = self.noise.remove_label_values(&[route, mirror, outcome]);
        }
        for outcome in Compared::LABELS {
            let _ = self.compared.remove_label_values(&[route, mirror, outcome]);
        }
        let _ = self.duration.remove_label_values(&[route, mirror]);
        let _ = self.under_way.remove_label_values(&[route, mirror]);
    }
}

impl MirrorMetrics {
    pub(super) fn count(&self, outcome: Outcome) {
        self.requests[outcome as usize].inc();
    }

    pub(super) fn timed(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }
}

//! Metrics by route and variant. Labels come only from the configuration; handles are resolved
//! when a configuration is compiled, so that a request only adds to atomics.

use crate::{
    mirror::MirrorSeries,
    proxy::grpc,
    upstream::{UpstreamSeries, Verdict},
};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidegate_config::Plan;

/// Upper bounds in seconds: 0.5 ms to 30 s, about 2.5 apart, with the usual objectives
/// (100 ms, 300 ms, 1 s) among them.
pub(crate) const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// How a request ended for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// A response of this class (1 to 5) was sent.
    Class(u8),
    /// The client went away before its response.
    Aborted,
}

impl Code {
    const LABELS: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "aborted"];

    fn index(self) -> usize {
        match self {
            Code::Class(class @ 1..=5) => usize::from(class) - 1,
            Code::Class(_) => 4,
            Code::Aborted => 5,
        }
    }
}

/// How one attempt at an upstream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A response below 500.
    Success,
    /// A response of 500 or above.
    ServerError,
    /// No connection.
    ConnectFailure,
    /// No response in time.
    Timeout,
    /// The connection broke, or what came was no HTTP.
    Reset,
    /// The pool has no endpoint.
    NoEndpoint,
    /// The pool is at its limit.
    Overloaded,
    /// The client went away: not the variant's failure.
    ClientAborted,
}

impl Outcome {
    const LABELS: [&str; 8] = [
        "success",
        "server_error",
        "connect_failure",
        "timeout",
        "reset",
        "no_endpoint",
        "overloaded",
        "client_aborted",
    ];

    pub(crate) fn label(self) -> &'static str {
        Self::LABELS[self as usize]
    }

    /// What it says about the endpoint.
    pub(crate) fn verdict(self) -> Verdict {
        match self {
            Self::Success => Verdict::Success,
            Self::ServerError | Self::ConnectFailure | Self::Timeout | Self::Reset => {
                Verdict::Failure
            }
            Self::NoEndpoint | Self::Overloaded | Self::ClientAborted => Verdict::Neutral,
        }
    }
}

/// Why a request never reached a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// Not plain HTTP semantics: host, target, framing.
    BadRequest,
    /// No route matches.
    NoRoute,
    /// The target is too long.
    TargetTooLong,
    /// The header fields are too large.
    FieldsTooLarge,
    /// The body is larger than the route allows, by its own account.
    BodyTooLarge,
    /// The head took too long.
    HeadTimeout,
    /// The listener, or the client, has as many connections as it may.
    TooManyConnections,
    /// No TLS, or not in time, or without the certificate that is asked for.
    TlsHandshake,
    /// The client makes more requests than it may.
    RateLimited,
    /// The client's address may not use the route.
    Forbidden,
    /// The process has as many requests as it may.
    Overload,
}

impl Rejection {
    const LABELS: [&str; 11] = [
        "bad_request",
        "no_route",
        "target_too_long",
        "fields_too_large",
        "body_too_large",
        "head_timeout",
        "too_many_connections",
        "tls_handshake",
        "rate_limited",
        "forbidden",
        "overload",
    ];
}

/// The handles of one variant.
#[derive(Debug, Clone)]
pub(crate) struct VariantMetrics {
    requests: [IntCounter; 6],
    attempts: [IntCounter; 8],
    duration: Histogram,
    pub(crate) in_flight: IntGauge,
    pub(crate) fallbacks: IntCounter,
    /// Live streams.
    pub(crate) streams: IntGauge,
    /// By gRPC status, where the variant may speak gRPC.
    grpc: Option<Arc<[IntCounter; grpc::STATUSES]>>,
}

impl VariantMetrics {
    pub(crate) fn request(&self, code: Code, duration: Option<Duration>) {
        self.requests[code.index()].inc();
        if let Some(duration) = duration {
            self.duration.observe(duration.as_secs_f64());
        }
    }

    pub(crate) fn attempt(&self, outcome: Outcome) {
        self.attempts[outcome as usize].inc();
    }

    /// A gRPC call ended with `status`.
    pub(crate) fn grpc(&self, status: u8) {
        if let Some(counter) = self.grpc.as_ref().and_then(|all| all.get(usize::from(status))) {
            counter.inc();
        }
    }
}

/// All metrics of the process.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    requests: IntCounterVec,
    attempts: IntCounterVec,
    duration: HistogramVec,
    in_flight: IntGaugeVec,
    fallbacks: IntCounterVec,
    streams: IntGaugeVec,
    grpc: IntCounterVec,
    weight: IntGaugeVec,
    pub(crate) share: prometheus::GaugeVec,
    rejected: [IntCounter; 11],
    pub(crate) generation: IntGauge,
    pub(crate) reload_success: IntCounter,
    pub(crate) reload_error: IntCounter,
    pub(crate) connections: IntGauge,
    pub(crate) log_dropped: IntCounter,
    pub(crate) mirrors: MirrorSeries,
    pub(crate) upstreams: UpstreamSeries,
    series: Mutex<Series>,
}

/// What there are series of: routes with their variants, and with their mirrors; upstreams.
#[derive(Debug, Default)]
struct Series {
    /// The generation that has them.
    generation: u64,
    variants: HashSet<(String, String)>,
    mirrors: HashSet<(String, String)>,
    upstreams: HashSet<String>,
}

const BY_VARIANT: &[&str] = &["route", "variant"];

impl Metrics {
    /// # Errors
    /// Only if two metrics had the same name.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok::<_, prometheus::Error>(vec)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok::<_, prometheus::Error>(vec)
        };
        let buckets = HistogramOpts::new(
            "tidegate_request_duration_seconds",
            "Time from a request's head to the end of its response.",
        );
        let duration = HistogramVec::new(buckets.buckets(SECONDS.to_vec()), BY_VARIANT)?;
        registry.register(Box::new(duration.clone()))?;
        let share = prometheus::GaugeVec::new(
            Opts::new(
                "tidegate_variant_share",
                "Realised share of the requests that the split decided, since the variants changed.",
            ),
            BY_VARIANT,
        )?;
        registry.register(Box::new(share.clone()))?;
        register_process(&registry)?;

        let rejected = counter(
            "tidegate_rejected_requests_total",
            "Requests that reached no variant, by reason.",
            &["reason"],
        )?;
        let reloads = counter(
            "tidegate_config_reloads_total",
            "Attempts to load the configuration again, by result.",
            &["result"],
        )?;
        let generation =
            gauge("tidegate_config_generation", "Generation of the configuration in force.", &[])?;
        let connections = gauge("tidegate_client_connections", "Client connections open.", &[])?;
        let log_dropped = counter(
            "tidegate_access_log_dropped_total",
            "Access log lines dropped because the log could not keep up.",
            &[],
        )?;
        Ok(Self {
            requests: counter(
                "tidegate_requests_total",
                "Requests by the variant that answered and the class of the answer.",
                &["route", "variant", "code"],
            )?,
            attempts: counter(
                "tidegate_attempts_total",
                "Attempts at a variant's upstream, by outcome.",
                &["route", "variant", "outcome"],
            )?,
            in_flight: gauge(
                "tidegate_requests_in_flight",
                "Requests being served by the variant.",
                BY_VARIANT,
            )?,
            fallbacks: counter(
                "tidegate_fallbacks_total",
                "Requests that the variant could not take and its fallback did.",
                BY_VARIANT,
            )?,
            streams: gauge(
                "tidegate_streams_open",
                "Live streams (upgraded connections, gRPC calls) of the variant.",
                BY_VARIANT,
            )?,
            grpc: counter(
                "tidegate_grpc_responses_total",
                "gRPC calls by the variant that answered and the status.",
                &["route", "variant", "grpc_status"],
            )?,
            weight: gauge(
                "tidegate_variant_weight",
                "Configured weight of the variant.",
                BY_VARIANT,
            )?,
            rejected: Rejection::LABELS.map(|reason| rejected.with_label_values(&[reason])),
            reload_success: reloads.with_label_values(&["success"]),
            reload_error: reloads.with_label_values(&["error"]),
            generation: generation.with_label_values::<&str>(&[]),
            connections: connections.with_label_values::<&str>(&[]),
            log_dropped: log_dropped.with_label_values::<&str>(&[]),
            mirrors: MirrorSeries::new(&registry)?,
            upstreams: UpstreamSeries::new(&registry)?,
            registry,
            duration,
            share,
            series: Mutex::default(),
        })
    }

    pub(crate) fn reject(&self, rejection: Rejection) {
        self.rejected[rejection as usize].inc();
    }

    /// The handles of one variant, made if they do not exist; those for gRPC if it may speak it.
    pub(crate) fn variant(&self, route: &str, variant: &str, grpc: bool) -> VariantMetrics {
        let by = [route, variant];
        let request = |code| self.requests.with_label_values(&[route, variant, code]);
        let attempt = |outcome| self.attempts.with_label_values(&[route, variant, outcome]);
        VariantMetrics {
            requests: Code::LABELS.map(request),
            attempts: Outcome::LABELS.map(attempt),
            duration: self.duration.with_label_values(&by),
            in_flight: self.in_flight.with_label_values(&by),
            fallbacks: self.fallbacks.with_label_values(&by),
            streams: self.streams.with_label_values(&by),
            grpc: grpc.then(|| {
                Arc::new(std::array::from_fn(|status| {
                    self.grpc.with_label_values(&[route, variant, &status.to_string()])
                }))
            }),
        }
    }

    /// Shows the weights of `plan`, and forgets the series of routes, variants, mirrors and upstreams
    /// that are no longer configured: reloads must not pile labels up. Whoever publishes calls it
    /// afterwards; a call that comes after that of a later generation changes nothing.
    pub(crate) fn adopt(&self, plan: &Plan, generation: u64) {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if generation < series.generation {
            return;
        }
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        let mut next = Series { generation, ..Series::default() };
        for route in &plan.routes {
            for variant in &route.variants {
                let by = [&*route.name, &*variant.name];
                self.weight.with_label_values(&by).set(i64::from(variant.weight));
                next.variants.insert((route.name.to_string(), variant.name.to_string()));
            }
            let mirrors = route.mirrors.iter();
            next.mirrors.extend(mirrors.map(|m| (route.name.to_string(), m.name.to_string())));
        }
        for (route, variant) in series.variants.difference(&next.variants) {
            self.forget(route, variant);
        }
        for (route, mirror) in series.mirrors.difference(&next.mirrors) {
            self.mirrors.forget(route, mirror);
        }
        next.upstreams = plan.upstreams.iter().map(|upstream| upstream.name.to_string()).collect();
        for upstream in series.upstreams.difference(&next.upstreams) {
            self.upstreams.forget(upstream);
        }
        *series = next;
    }

    fn forget(&self, route: &str, variant: &str) {
        let by = [route, variant];
        for code in Code::LABELS {
            let _ = self.requests.remove_label_values(&[route, variant, code]);
        }
        for outcome in Outcome::LABELS {
            let _ = self.attempts.remove_label_values(&[route, variant, outcome]);
        }
        let _ = self.duration.remove_label_values(&by);
        let _ = self.in_flight.remove_label_values(&by);
        let _ = self.fallbacks.remove_label_values(&by);
        let _ = self.streams.remove_label_values(&by);
        for status in 0..grpc::STATUSES {
            let _ = self.grpc.remove_label_values(&[route, variant, &status.to_string()]);
        }
        let _ = self.weight.remove_label_values(&by);
        let _ = self.share.remove_label_values(&by);
    }
}

#[cfg(target_os = "linux")]
fn register_process(registry: &Registry) -> Result<(), prometheus::Error> {
    use prometheus::process_collector::ProcessCollector;
    registry.register(Box::new(ProcessCollector::for_self()))
}

#[cfg(not(target_os = "linux"))]
fn register_process(_registry: &Registry) -> Result<(), prometheus::Error> {
    Ok(())
}

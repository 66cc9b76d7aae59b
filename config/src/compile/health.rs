//! Health checks and outlier detection.

use super::matching::not_one;
use crate::{
    plan::{HealthCheck as Plan, OutlierDetection, Probe, Protocol},
    problem::{Problems, Spanned},
    schema::{HealthCheck, Upstream},
};

pub(super) fn check(upstream: &Upstream, problems: &mut Problems) -> Option<Plan> {
    let check = upstream.health_check.as_ref()?;
    if check.timeout.value.0 >= check.interval.0 {
        problems
            .warning(check.timeout.span, "a check may take as long as the time between two checks")
            .help("make `timeout` less than `interval`".to_owned());
    }
    Some(Plan {
        probe: probe(check, upstream, problems)?,
        interval: check.interval.0,
        timeout: check.timeout.value.0,
        unhealthy_after: check.unhealthy_after,
        healthy_after: check.healthy_after,
    })
}

fn probe(
    check: &Spanned<HealthCheck>,
    upstream: &Upstream,
    problems: &mut Problems,
) -> Option<Probe> {
    if let (None, Some(host)) = (&check.path, &check.host) {
        problems
            .error(host.span, "only a check of a `path` has a `host`")
            .help("leave `host` out".to_owned());
        return None;
    }
    match (&check.path, &check.grpc, &check.tcp) {
        (Some(path), None, None) => Some(Probe::Http {
            path: path.value.0.as_str().into(),
            host: check.host.as_ref().map(|host| host.value.0.as_str().into()),
        }),
        (None, Some(service), None) => {
            let http1 =
                |spoken: Spanned<crate::choice::Spoken>| spoken.value.version() == Protocol::Http1;
            if upstream.spoken().is_some_and(http1) {
                problems
                    .error(service.span, "a check by gRPC needs an upstream that speaks HTTP/2")
                    .help("add `protocol: h2c`, or `protocol: h2` with `tls`".to_owned());
            }
            Some(Probe::Grpc { service: service.value.as_str().into() })
        }
        (None, None, Some(tcp)) => {
            if !tcp.value {
                problems
                    .error(tcp.span, "`tcp` can only be `true`")
                    .help("leave `health_check` out for no checks".to_owned());
            }
            Some(Probe::Tcp)
        }
        (path, grpc, tcp) => {
            let flags =
                [("path", path.is_some()), ("grpc", grpc.is_some()), ("tcp", tcp.is_some())];
            not_one(check.span, "`path`, `grpc` or `tcp`", &flags, problems);
            None
        }
    }
}

pub(super) fn outliers(upstream: &Upstream) -> Option<OutlierDetection> {
    let detection = upstream.outlier_detection.as_ref()?;
    Some(OutlierDetection {
        consecutive_failures: detection.consecutive_failures,
        eject_for: detection.eject_for.0,
        max_ejected: detection.max_ejected.0,
    })
}

//! Upstream pools.

use super::Names;
use crate::{
    plan::{Endpoint, Upstream as Plan, UpstreamLimits, UpstreamTimeouts},
    problem::{Problems, Span},
    schema::Upstream,
};
use std::collections::HashMap;

pub(super) fn compile<'a>(
    upstreams: &[&'a Upstream],
    problems: &mut Problems,
) -> (Vec<Plan>, Names<'a>) {
    let mut names = Names::new("upstream");
    let mut compiled = Vec::with_capacity(upstreams.len());
    for (position, upstream) in upstreams.iter().enumerate() {
        names.add(&upstream.name, position, problems);
        compiled.push(Plan {
            name: upstream.name.0.as_str().into(),
            endpoints: endpoints(upstream, problems),
            protocol: upstream.version(),
            tls: None,
            load_balance: upstream.balance(),
            slow_start: None,
            health_check: None,
            outlier_detection: None,
            timeouts: UpstreamTimeouts {
                connect: upstream.timeouts.connect.0,
                response: upstream.timeouts.response.0,
                idle: upstream.timeouts.idle.0,
            },
            limits: UpstreamLimits {
                connections: upstream.limits.connections,
                requests: upstream.limits.requests,
            },
        });
    }
    (compiled, names)
}

fn endpoints(upstream: &Upstream, problems: &mut Problems) -> Vec<Endpoint> {
    let list = &upstream.endpoints;
    if list.is_empty() && list.complete {
        problems
            .error(list.span, format!("the upstream `{}` has no endpoints", upstream.name.0))
            .help("add at least one `host:port`".to_owned());
    }
    let mut seen: HashMap<&Endpoint, Span> = HashMap::new();
    for endpoint in list.iter() {
        if let Some(first) = seen.insert(&endpoint.value.0, endpoint.span) {
            problems.error(endpoint.span, "this endpoint is here twice").note(first, "first here");
        }
    }
    list.iter().map(|endpoint| endpoint.value.0.clone()).collect()
}

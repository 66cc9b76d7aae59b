//! Upstream pools.

use super::{Names, health};
use crate::{
    choice::Spoken,
    credentials::Credentials,
    decode::Given,
    plan::{
        Certificate, ClientTls, Endpoint, Protocol, Upstream as Plan, UpstreamLimits,
        UpstreamTimeouts,
    },
    problem::{Problems, Span, Spanned},
    schema::{ClientTls as Tls, Upstream},
};
use std::{collections::HashMap, sync::Arc};

pub(super) fn compile<'a>(
    upstreams: &[&'a Upstream],
    credentials: &mut Credentials<'_>,
    problems: &mut Problems,
) -> (Vec<Plan>, Names<'a>) {
    let mut names = Names::new("upstream");
    let mut compiled = Vec::with_capacity(upstreams.len());
    for (position, upstream) in upstreams.iter().enumerate() {
        names.add(&upstream.name, position, problems);
        compiled.push(Plan {
            name: upstream.name.0.as_str().into(),
            endpoints: endpoints(upstream, problems),
            protocol: protocol(upstream, problems),
            tls: upstream.tls.right().and_then(|t| tls(t, upstream, credentials, problems)),
            load_balance: upstream.balance(),
            slow_start: upstream.slow_start.as_ref().map(|time| time.value.0),
            health_check: health::check(upstream, problems),
            outlier_detection: health::outliers(upstream),
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
        one_endpoint(upstream, problems);
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

fn protocol(upstream: &Upstream, problems: &mut Problems) -> Protocol {
    // One that is wrong is an error, with which no plan is made.
    let Some(spoken) = upstream.spoken() else { return Protocol::Http1 };
    if spoken.value == Spoken::H2 && matches!(upstream.tls, Given::Absent) {
        problems
            .error(spoken.span, "`protocol: h2` is HTTP/2 over TLS, and this upstream has no `tls`")
            .help("add `tls`, or use `protocol: h2c` for HTTP/2 without TLS".to_owned());
    }
    spoken.value.version()
}

fn tls(
    tls: &Spanned<Tls>,
    upstream: &Upstream,
    credentials: &mut Credentials<'_>,
    problems: &mut Problems,
) -> Option<ClientTls> {
    let sni = match &tls.sni {
        Some(name) => Some(name.value.0.as_str().into()),
        None => common_name(tls.span, upstream, problems),
    };
    let authorities = tls.ca.as_ref().map(|file| credentials.authorities(file, problems));
    let certificate = certificate(tls, credentials, problems);
    let authorities = match authorities {
        Some(authorities) => Some(authorities?),
        None => None,
    };
    Some(ClientTls { sni: sni?, authorities, certificate: certificate? })
}

/// What this gateway shows to servers, if anything; `None` after an error.
fn certificate(
    tls: &Tls,
    credentials: &mut Credentials<'_>,
    problems: &mut Problems,
) -> Option<Option<Certificate>> {
    match (&tls.cert, &tls.key) {
        (None, None) => Some(None),
        (Some(cert), Some(key)) => credentials.certificate(cert, key, problems).map(Some),
        (Some(cert), None) => {
            problems
                .error(cert.span, "`cert` needs `key`")
                .help("name the file with the certificate's private key".to_owned());
            None
        }
        (None, Some(key)) => {
            problems
                .error(key.span, "`key` needs `cert`")
                .help("name the file with the key's certificate".to_owned());
            None
        }
    }
}

/// The name of all endpoints, if they have one.
fn common_name(span: Span, upstream: &Upstream, problems: &mut Problems) -> Option<Arc<str>> {
    let list = &upstream.endpoints;
    let name = |endpoint: &Endpoint| match endpoint {
        Endpoint::Name(name, _) => Some(Arc::<str>::from(name.trim_end_matches('.'))),
        Endpoint::Address(_) => None,
    };
    let mut names = list.iter().map(|endpoint| name(&endpoint.value.0));
    let first = names.next()?;
    let same = names.all(|other| other == first);
    // Those that were left out because of an error are no second error.
    let found = first.filter(|_| same);
    let valid = |name: &Arc<str>| rustls_pki_types::ServerName::try_from(&**name).is_ok();
    match found {
        Some(name) if valid(&name) => Some(name),
        _ if !list.complete => None,
        _ => {
            problems
                .error(
                    span,
                    "TLS needs the name of the server: the endpoints do not have one and the same",
                )
                .help("add `sni`, such as `sni: shop.internal`".to_owned());
            None
        }
    }
}

/// What means nothing where there is one endpoint. A name may stand for several.
fn one_endpoint(upstream: &Upstream, problems: &mut Problems) {
    let list = &upstream.endpoints;
    let [only] = &list.items[..] else { return };
    if !list.complete || matches!(only.value.0, Endpoint::Name(..)) {
        return;
    }
    let keys = [
        ("outlier_detection", upstream.outlier_detection.as_ref().map(|value| value.span)),
        ("slow_start", upstream.slow_start.as_ref().map(|value| value.span)),
    ];
    for (key, span) in keys {
        if let Some(span) = span {
            problems.warning(span, format!("`{key}` does nothing where there is one endpoint"));
        }
    }
}

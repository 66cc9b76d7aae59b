//! Which variant would a request get, and why: the decision path of the proxy, told in words.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};
use tidegate_config::{
    Plan,
    plan::{self, Route},
};
use tidegate_policies::{
    Decision, KeySource, MirrorChoice, Reason, Request, VariantId, client_address,
};

/// A request to explain.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// `http://host/path?query`.
    pub(crate) url: String,
    #[serde(default = "get")]
    pub(crate) method: String,
    /// Names and values.
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    /// The peer's address; `x-forwarded-for` counts as it would from there.
    #[serde(default = "loopback")]
    pub(crate) client: IpAddr,
}

fn get() -> String {
    "GET".to_owned()
}

fn loopback() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

/// Why a question cannot be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidQuestion {
    #[error("`{0}` is no URL: write it as http://host/path")]
    Url(String),
    #[error("`{0}` is no method")]
    Method(String),
    #[error("`{0}` is no header name")]
    HeaderName(String),
    #[error("the value of header `{0}` has characters that a header cannot have")]
    HeaderValue(String),
}

/// What would happen.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Answer {
    /// Absent: no route matches, the gateway answers 404.
    pub(crate) route: Option<String>,
    /// Absent where each request draws afresh.
    pub(crate) variant: Option<String>,
    /// `pin`, `split` or `no_route`.
    pub(crate) reason: &'static str,
    /// The reason in words.
    pub(crate) why: String,
    pub(crate) client: IpAddr,
    /// Where the user's key landed, in [0, 1).
    pub(crate) bucket: Option<f64>,
    pub(crate) upstream: Option<String>,
    pub(crate) fallback: Option<String>,
    /// The share of users who get the same variant by the split.
    pub(crate) share: Option<f64>,
    pub(crate) variants: Vec<Share>,
    /// Mirrors that would get a copy; where each request draws afresh, those that might.
    pub(crate) mirrors: Vec<String>,
}

/// A variant's share of the split.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Share {
    pub(crate) variant: String,
    pub(crate) share: f64,
}

/// Answers from `plan`.
pub(crate) fn explain(plan: &Plan, question: &Question) -> Result<Answer, InvalidQuestion> {
    let bad_url = || InvalidQuestion::Url(question.url.clone());
    let uri: Uri = question.url.parse().map_err(|_| bad_url())?;
    let host = uri.authority().ok_or_else(bad_url)?;
    let method: Method =
        question.method.parse().map_err(|_| InvalidQuestion::Method(question.method.clone()))?;
    let headers = headers(&question.headers)?;
    let host = headers
        .get(http::header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or(host.as_str());
    let client = client_address(question.client, &plan.trusted_proxies, &headers);
    let request = Request {
        method: &method,
        host,
        path: uri.path(),
        query: uri.query(),
        headers: &headers,
        client,
    };
    let Some(id) = plan.table.find(&request) else {
        return Ok(Answer {
            route: None,
            variant: None,
            reason: "no_route",
            why: "no route matches: the answer is 404".to_owned(),
            client,
            bucket: None,
            upstream: None,
            fallback: None,
            share: None,
            variants: Vec::new(),
            mirrors: Vec::new(),
        });
    };
    Ok(answer(plan, &plan.routes[id.0 as usize], &request))
}

fn answer(plan: &Plan, route: &Route, request: &Request<'_>) -> Answer {
    let decision = route.policy.decide(request, 0);
    let share = |id: VariantId| route.policy.split.share(id);
    // A split of one variant needs no key.
    let alone = share(decision.variant) >= 1.0;
    let drawn = decision.reason == Reason::Draw && !alone;
    let variant = &route.variants[usize::from(decision.variant.0)];
    let (reason, why) = match decision.reason {
        Reason::Pin(pin) => ("pin", format!("pin {} of the route applies", pin + 1)),
        _ if alone => ("split", "the variant has the whole route".to_owned()),
        Reason::Keyed(source) => {
            let source = describe(&route.policy.bucket_by[usize::from(source)]);
            ("split", format!("the user's key ({source}) falls into the variant's share"))
        }
        Reason::Draw if route.issue.is_some() => {
            ("split", "the client has no id: it gets one, and keeps its variant".to_owned())
        }
        Reason::Draw => ("split", "there is no key: each request draws afresh".to_owned()),
    };
    let shares = route.variants.iter().enumerate().map(|(i, variant)| Share {
        variant: variant.name.to_string(),
        share: share(VariantId(i as u16)),
    });
    let fallback = variant.fallback.map(|id| route.variants[usize::from(id.0)].name.to_string());
    Answer {
        route: Some(route.name.to_string()),
        variant: (!drawn).then(|| variant.name.to_string()),
        reason,
        why,
        client: request.client,
        bucket: (decision.reason != Reason::Draw).then(|| decision.point.as_fraction()),
        upstream: (!drawn).then(|| plan.upstreams[variant.upstream].name.to_string()),
        fallback: fallback.filter(|_| !drawn),
        share: (reason == "split" && !drawn).then(|| share(decision.variant)),
        variants: shares.collect(),
        mirrors: mirrors(route, request, &decision),
    }
}

/// Where each request draws afresh, those that may get a copy.
fn mirrors(route: &Route, request: &Request<'_>, decision: &Decision) -> Vec<String> {
    let gets = |mirror: &&plan::Mirror| match mirror.policy.choose(request.method, decision) {
        MirrorChoice::Copy => true,
        MirrorChoice::Method => false,
        MirrorChoice::NotSampled => {
            decision.reason == Reason::Draw && mirror.policy.sample.millionths() > 0
        }
    };
    route.mirrors.iter().filter(gets).map(|mirror| mirror.name.to_string()).collect()
}

fn describe(source: &KeySource) -> String {
    match source {
        KeySource::Header(name) => format!("header {name}"),
        KeySource::Cookie(name) => format!("cookie {name}"),
        KeySource::ClientIp => "client address".to_owned(),
    }
}

fn headers(pairs: &[(String, String)]) -> Result<HeaderMap, InvalidQuestion> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let header = HeaderName::try_from(name.as_str())
            .map_err(|_| InvalidQuestion::HeaderName(name.clone()))?;
        let value =
            HeaderValue::from_str(value).map_err(|_| InvalidQuestion::HeaderValue(name.clone()))?;
        headers.append(header, value);
    }
    Ok(headers)
}

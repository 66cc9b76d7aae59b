//! Settings of a route in words, short enough for one line.

use crate::{
    plan::{RateKey, Retry, Route},
    value::percent,
};
use std::time::Duration;
use tidegate_policies::{KeySource, VariantId};

pub(super) fn sources(route: &Route) -> String {
    let one = |source: &KeySource| match source {
        KeySource::Header(name) => format!("header {name}"),
        KeySource::Cookie(name) => format!("cookie {name}"),
        KeySource::ClientIp => "client_ip".to_owned(),
    };
    listed(&route.policy.bucket_by.iter().map(one).collect::<Vec<_>>())
}

pub(super) fn listed<T: std::fmt::Display>(texts: &[T]) -> String {
    if texts.is_empty() {
        return "none".to_owned();
    }
    let texts: Vec<String> = texts.iter().map(|text| format!("[{text}]")).collect();
    texts.join(" ")
}

pub(super) fn limit(timeout: Option<Duration>) -> String {
    timeout.map_or_else(|| "none".to_owned(), |timeout| format!("{timeout:?}"))
}

pub(super) fn rewrite(route: &Route) -> String {
    let rewrite = route.rewrite.as_ref();
    rewrite.map_or_else(|| "none".to_owned(), |rewrite| rewrite.to_prefix.to_string())
}

pub(super) fn fallback(route: &Route, id: Option<VariantId>) -> String {
    id.and_then(|id| route.variants.get(usize::from(id.0)))
        .map_or_else(|| "none".to_owned(), |variant| variant.name.to_string())
}

pub(super) fn retry(route: &Route) -> String {
    let Some(retry) = &route.retry else { return "none".to_owned() };
    let Retry { attempts, on, budget, per_try_timeout, backoff, non_idempotent } = retry;
    let mut reasons = Vec::new();
    for (word, wanted) in
        [("connect_failure", on.connect_failure), ("reset", on.reset), ("timeout", on.timeout)]
    {
        reasons.extend(wanted.then(|| word.to_owned()));
    }
    reasons.extend(statuses(&on.statuses));
    reasons.extend(on.grpc_statuses.iter().map(|status| format!("grpc {status}")));
    let each = match per_try_timeout {
        Some(timeout) => format!(", each {timeout:?}"),
        None => String::new(),
    };
    let any = if *non_idempotent { ", any method" } else { "" };
    format!(
        "{attempts} on {}, budget {}{each}, backoff {backoff:?}{any}",
        listed(&reasons),
        percent(u64::from(*budget))
    )
}

/// Numbers in a row as the first and the last of them.
fn statuses(all: &[u16]) -> Vec<String> {
    let rows = all.chunk_by(|one, next| one + 1 == *next);
    let row = |row: &[u16]| match row {
        [first, .., last] => format!("{first}-{last}"),
        other => other.iter().map(u16::to_string).collect(),
    };
    rows.map(row).collect()
}

pub(super) fn rate(route: &Route) -> String {
    let Some(limit) = &route.rate_limit else { return "none".to_owned() };
    let by = match &limit.by {
        RateKey::ClientIp => "client_ip".to_owned(),
        RateKey::Header(name) => format!("header {name}"),
    };
    format!("{} in {:?}, burst {}, by {by}", limit.requests, limit.per, limit.burst)
}

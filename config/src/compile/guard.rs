//! Retries, limits of clients, and who may ask.

use crate::{
    address::Network,
    decode::List,
    plan::{Access, ClientRate, RateKey, Retry, RetryOn},
    problem::{Problems, Spanned},
    schema::{RateBy, RetryReason, Route},
};
use ipnet::IpNet;

/// All that a server says when it fails.
const SERVER_ERRORS: std::ops::RangeInclusive<u16> = 500..=599;

pub(super) fn retry(route: &Route, problems: &mut Problems) -> Option<Retry> {
    let retry = route.retry.as_ref()?;
    let on = match &retry.on {
        Some(reasons) => on(reasons, problems),
        None => RetryOn { connect_failure: true, reset: true, ..RetryOn::default() },
    };
    if retry.budget.value.0 == 0 {
        problems
            .warning(retry.budget.span, "nothing is ever retried: the budget is 0%")
            .help("leave `retry` out for no retries".to_owned());
    }
    if let (Some(each), Some(all)) = (&retry.per_try_timeout, route.timeout)
        && each.value.0 >= all.0
    {
        problems
            .warning(each.span, "one attempt may take as long as the whole request")
            .help("make it less than the `timeout` of the route, so that time is left".to_owned());
    }
    Some(Retry {
        attempts: retry.attempts.0,
        on,
        budget: retry.budget.value.0,
        per_try_timeout: retry.per_try_timeout.as_ref().map(|timeout| timeout.value.0),
        backoff: retry.backoff.0,
        non_idempotent: retry.non_idempotent,
    })
}

fn on(reasons: &Spanned<List<RetryReason>>, problems: &mut Problems) -> RetryOn {
    if reasons.is_empty() && reasons.complete {
        problems
            .error(reasons.span, "`on` names no failure")
            .help("leave it out for `[connect_failure, reset]`".to_owned());
    }
    let mut on = RetryOn::default();
    for reason in reasons.iter() {
        match reason {
            RetryReason::ConnectFailure => on.connect_failure = true,
            RetryReason::Reset => on.reset = true,
            RetryReason::Timeout => on.timeout = true,
            RetryReason::Status(status) => on.statuses.push(*status),
            RetryReason::ServerErrors => on.statuses.extend(SERVER_ERRORS),
            RetryReason::Grpc(status) => on.grpc_statuses.push(*status),
        }
    }
    on.statuses.sort_unstable();
    on.statuses.dedup();
    on.grpc_statuses.sort_unstable();
    on.grpc_statuses.dedup();
    on
}

pub(super) fn rate_limit(route: &Route) -> Option<ClientRate> {
    let limit = route.rate_limit.as_ref()?;
    Some(ClientRate {
        requests: limit.requests,
        per: limit.per.0,
        burst: limit.burst.unwrap_or(limit.requests),
        by: match &limit.by {
            RateBy::ClientIp => RateKey::ClientIp,
            RateBy::Header(name) => RateKey::Header(name.0.clone()),
        },
    })
}

pub(super) fn access(route: &Route, problems: &mut Problems) -> Access {
    let allow = networks("allow_from", route.allow_from.as_ref(), problems);
    let deny = networks("deny_from", route.deny_from.as_ref(), problems);
    let denied = |net: &IpNet| deny.iter().any(|wider| wider.contains(net));
    if let Some(written) = &route.allow_from
        && !allow.is_empty()
        && allow.iter().all(denied)
    {
        problems.warning(written.span, "nobody is served: `deny_from` has all of these networks");
    }
    Access { allow, deny }
}

/// An empty list could be meant as everybody or as nobody.
fn networks(
    key: &str,
    list: Option<&Spanned<List<Network>>>,
    problems: &mut Problems,
) -> Vec<IpNet> {
    let Some(list) = list else { return Vec::new() };
    if list.is_empty() && list.complete {
        let help = match key {
            "allow_from" => "leave it out to serve everybody",
            _ => "leave it out to refuse nobody",
        };
        problems.error(list.span, format!("`{key}` names no network")).help(help.to_owned());
    }
    list.iter().map(|network| network.0).collect()
}

//! One route.

use super::{Names, guard, headers, matching, mirror, pins, weights};
use crate::{
    plan::{IssueCookie, Rewrite, Route as Plan, RouteText, Variant},
    problem::Problems,
    schema::{BucketSource, PathKind, Route},
};
use std::sync::Arc;
use tidegate_policies::{KeySource, Purpose, RouteMatch, Salt, Split, VariantId, VariantPolicy};

/// Compiles one route; `None` when what is wrong with it leaves nothing to serve from.
pub(super) fn compile(
    route: &Route,
    upstreams: &Names<'_>,
    memory: u64,
    problems: &mut Problems,
) -> Option<(RouteMatch, Plan)> {
    let before = problems.errors();
    let (matching, matching_text) = matching::compile(&route.r#match, problems);
    let mut names = Names::new("variant");
    for (position, variant) in route.variants.iter().enumerate() {
        names.add(&variant.name, position, problems);
    }
    let weights = weights::compile(route, problems);
    let variants = variants(route, weights.as_deref(), upstreams, &names, problems);
    let pins = pins::compile(route, &names, problems);
    let (bucket_by, issue) = bucket_by(route, problems);
    let rewrite = rewrite(route, problems);
    let request_headers = headers::compile(&route.headers.request, problems);
    let response_headers = headers::compile(&route.headers.response, problems);
    let retry = guard::retry(route, problems);
    let access = guard::access(route, problems);
    let salt = route.salt.as_ref().map_or(&route.name.value.0, |salt| &salt.0);
    let mirrors = mirror::compile(route, salt, upstreams, memory, problems);

    let weighted = route.variants.iter().zip(weights?);
    let weighted = weighted.map(|(variant, weight)| (variant.name.0.as_str(), weight));
    let split = Split::new(weighted)
        .map_err(|error| problems.error(route.variants.span, error.to_string()).span)
        .ok()?;
    if problems.errors() > before {
        return None;
    }
    let (pins, pin_texts): (Vec<_>, Vec<_>) = pins.into_iter().unzip();
    let policy = VariantPolicy { pins, bucket_by, salt: Salt::new(salt, Purpose::Split), split };
    let compiled = Plan {
        name: route.name.0.as_str().into(),
        policy,
        variants,
        issue,
        mirrors,
        timeout: route.timeout.map(|timeout| timeout.0),
        retry,
        access,
        rate_limit: guard::rate_limit(route),
        max_body: route.max_body.0,
        rewrite,
        request_headers,
        response_headers,
        expose_variant: route.expose_variant,
        text: RouteText {
            matching: matching_text.into(),
            pins: pin_texts.into_iter().map(Arc::from).collect(),
            salt: salt.as_str().into(),
        },
    };
    Some((matching, compiled))
}

fn variants(
    route: &Route,
    weights: Option<&[u32]>,
    upstreams: &Names<'_>,
    names: &Names<'_>,
    problems: &mut Problems,
) -> Vec<Variant> {
    let mut compiled = Vec::with_capacity(route.variants.len());
    for (position, variant) in route.variants.iter().enumerate() {
        let upstream = upstreams.find(&variant.upstream, problems);
        let fallback = variant.fallback.as_ref().and_then(|name| {
            let found = names.find(name, problems)?;
            if found == position {
                problems
                    .error(name.span, "a variant cannot be its own fallback")
                    .help("name another variant of this route".to_owned());
            }
            u16::try_from(found).ok().map(VariantId)
        });
        compiled.push(Variant {
            name: variant.name.0.as_str().into(),
            // An unknown upstream is an error, with which no plan is made.
            upstream: upstream.unwrap_or(0),
            weight: weights.and_then(|weights| weights.get(position)).copied().unwrap_or(0),
            fallback,
        });
    }
    compiled
}

fn bucket_by(route: &Route, problems: &mut Problems) -> (Vec<KeySource>, Option<IssueCookie>) {
    let mut sources = Vec::with_capacity(route.bucket_by.0.len());
    let mut issued = None;
    for (position, source) in route.bucket_by.0.iter().enumerate() {
        match &source.value {
            BucketSource::ClientIp => sources.push(KeySource::ClientIp),
            BucketSource::Header(name) => sources.push(KeySource::Header(name.0.clone())),
            BucketSource::Cookie(name, issue) => {
                sources.push(KeySource::Cookie(name.0.clone()));
                let Some(issue) = issue else { continue };
                if issued.is_some() {
                    problems.error(issue.span, "only one cookie of a route can be issued");
                }
                issued.get_or_insert(IssueCookie {
                    name: name.0.as_str().into(),
                    source: position,
                    max_age: issue.max_age.0,
                });
            }
        }
    }
    (sources, issued)
}

fn rewrite(route: &Route, problems: &mut Problems) -> Option<Rewrite> {
    let rewrite = route.rewrite.as_ref()?;
    let condition = route.r#match.path.as_ref();
    // Without a path condition the match is the prefix `/`.
    let from_prefix = match condition.map(|path| path.only()) {
        None => "/",
        Some(Some(PathKind::Prefix(prefix))) => matching::trim_prefix(prefix),
        Some(None) => return None,
        Some(Some(_)) => {
            problems
                .error(rewrite.path_prefix.span, "there is no path prefix to rewrite")
                .help("use `prefix` in `match.path`".to_owned());
            return None;
        }
    };
    Some(Rewrite {
        from_prefix: from_prefix.into(),
        to_prefix: matching::trim_prefix(&rewrite.path_prefix.0).into(),
    })
}

//! Warnings: what is allowed, and probably not meant. Few, so that each is read.

use crate::{
    plan,
    problem::Problems,
    schema::{BucketSource, Route, Upstream},
};
use std::collections::HashSet;
use tidegate_policies::VariantId;

/// Upstreams that no variant names.
pub(super) fn unused_upstreams(
    upstreams: &[&Upstream],
    routes: &[&Route],
    problems: &mut Problems,
) {
    let used: HashSet<&str> = routes
        .iter()
        .flat_map(|route| route.variants.iter().map(|variant| variant.upstream.0.as_str()))
        .collect();
    for upstream in upstreams {
        let name = upstream.name.0.as_str();
        if !used.contains(name) {
            problems.warning(upstream.name.span, format!("the upstream `{name}` is never used"));
        }
    }
}

/// What is odd about one route.
pub(super) fn route(source: &Route, compiled: &plan::Route, problems: &mut Problems) {
    if source.pins.complete {
        public_pins(source, compiled, problems);
    }
    unreached_variants(source, compiled, problems);
    unreached_sources(source, problems);
    let weighted = compiled.variants.iter().filter(|variant| variant.weight > 0).count();
    if weighted > 1 && compiled.policy.bucket_by.is_empty() {
        problems
            .warning(
                source.name.span,
                format!("users of `{}` change between versions on each request", compiled.name),
            )
            .help(
                "add `bucket_by`, such as `bucket_by: client_ip`, to keep each user on one"
                    .to_owned(),
            );
    }
}

/// Anyone may send a header; only a pin away from the baseline gives something away.
fn public_pins(source: &Route, compiled: &plan::Route, problems: &mut Problems) {
    for (pin, written) in compiled.policy.pins.iter().zip(source.pins.iter()) {
        if pin.from.is_empty() && pin.variant != VariantId(0) {
            problems
                .warning(
                    written.variant.span,
                    format!("any client can pin itself to `{}`", written.variant.0),
                )
                .help("add `from` with the networks that may, or keep it as it is for a preview that is meant to be public".to_owned());
        }
    }
}

fn unreached_variants(source: &Route, compiled: &plan::Route, problems: &mut Problems) {
    for (position, variant) in compiled.variants.iter().enumerate() {
        let id = u16::try_from(position).ok().map(VariantId);
        let pinned = compiled.policy.pins.iter().any(|pin| Some(pin.variant) == id);
        let fallback = compiled.variants.iter().any(|other| other.fallback == id);
        if variant.weight == 0 && !pinned && !fallback {
            problems.warning(
                source.variants[position].name.span,
                format!(
                    "the variant `{}` gets no request: its weight is 0 and no pin names it",
                    variant.name
                ),
            );
        }
    }
}

/// The address of the client is always there, and a cookie that is issued is there from then on.
fn unreached_sources(source: &Route, problems: &mut Problems) {
    let mut last_reached = false;
    for key in &source.bucket_by.0 {
        if last_reached {
            problems
                .warning(key.span, "this source is never looked at")
                .help("a source before it always gives a key".to_owned());
        }
        last_reached |= match &key.value {
            BucketSource::ClientIp => true,
            BucketSource::Cookie(_, issue) => issue.is_some(),
            BucketSource::Header(_) => false,
        };
    }
}

//! Warnings: what is allowed, and probably not meant. Few, so that each is read.

use crate::{
    plan,
    problem::{Problems, Spanned},
    schema::{BucketSource, Rollout, Route, Upstream},
    text::Field,
};
use http::header::{AUTHORIZATION, COOKIE};
use std::collections::{HashMap, HashSet};
use tidegate_policies::VariantId;

/// Upstreams that no variant and no mirror names.
pub(super) fn unused_upstreams(
    upstreams: &[&Upstream],
    routes: &[&Route],
    problems: &mut Problems,
) {
    let used: HashSet<&str> = routes
        .iter()
        .flat_map(|route| {
            let variants = route.variants.iter().map(|variant| variant.upstream.0.as_str());
            let mirrors = route.mirrors.iter().flat_map(|mirror| {
                let compare = mirror.compare.as_ref();
                let noise = compare.and_then(|compare| compare.noise_upstream.as_ref());
                noise.into_iter().chain([&mirror.upstream]).map(|name| name.0.as_str())
            });
            variants.chain(mirrors)
        })
        .collect();
    for upstream in upstreams {
        let name = upstream.name.0.as_str();
        if !used.contains(name) {
            problems.warning(upstream.name.span, format!("the upstream `{name}` is never used"));
        }
    }
}

/// Which rollout owns the weights of a route's variants.
pub(super) struct Owners<'a> {
    by_route: HashMap<&'a str, &'a Rollout>,
    /// No rollout has an error, so this is what is meant.
    certain: bool,
}

impl<'a> Owners<'a> {
    pub(super) fn new(rollouts: &[&'a Rollout], certain: bool) -> Self {
        let named = |rollout: &&'a Rollout| (rollout.route.value.0.as_str(), *rollout);
        Self { by_route: rollouts.iter().map(named).collect(), certain }
    }
}

/// What is odd about one route.
pub(super) fn route(
    source: &Route,
    compiled: &plan::Route,
    owners: &Owners<'_>,
    problems: &mut Problems,
) {
    let rollout = owners.by_route.get(&*compiled.name).copied();
    let candidate = rollout.map(|rollout| rollout.candidate.value.0.as_str());

    if source.pins.complete {
        public_pins(source, compiled, problems);
    }
    unreached_sources(source, problems);
    if owners.certain {
        unreached_variants(source, compiled, rollout, problems);
        mirrors(source, candidate, problems);
    }
    let served = |variant: &&plan::Variant| variant.weight > 0 || Some(&*variant.name) == candidate;
    let weighted = compiled.variants.iter().filter(served).count();
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

fn unreached_variants(
    source: &Route,
    compiled: &plan::Route,
    rollout: Option<&Rollout>,
    problems: &mut Problems,
) {
    // A rollout gives these a weight of its own.
    let arms = rollout.map(|rollout| [&rollout.baseline, &rollout.candidate]);
    let moved = |name: &str| arms.is_some_and(|arms| arms.iter().any(|arm| arm.value.0 == name));
    for (position, variant) in compiled.variants.iter().enumerate() {
        let id = u16::try_from(position).ok().map(VariantId);
        let pinned = compiled.policy.pins.iter().any(|pin| Some(pin.variant) == id);
        let fallback = compiled.variants.iter().any(|other| other.fallback == id);
        if variant.weight == 0 && !pinned && !fallback && !moved(&variant.name) {
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

/// A mirror that doubles the load of users' servers, and one whose answers cannot be equal. To
/// copy to the `candidate` of a rollout is what a dark step is for.
fn mirrors(source: &Route, candidate: Option<&str>, problems: &mut Problems) {
    for mirror in source.mirrors.iter() {
        let upstream = mirror.upstream.0.as_str();
        let of_users = source
            .variants
            .iter()
            .filter(|variant| Some(variant.name.value.0.as_str()) != candidate);
        if of_users.into_iter().any(|variant| variant.upstream.0 == upstream) {
            problems.warning(
                mirror.upstream.span,
                format!("the mirror sends to `{upstream}`, which serves clients of this route too"),
            );
        }
        let credential = |name: &&Spanned<Field>| [AUTHORIZATION, COOKIE].contains(&name.value.0);
        if mirror.compare.is_some()
            && let Some(name) = mirror.headers.remove.iter().find(credential)
        {
            problems
                .warning(
                    name.span,
                    format!(
                        "copies without `{}` may be answered differently for that alone",
                        name.value.0
                    ),
                )
                .help("compare where answers do not depend on who asks".to_owned());
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

//! What changes for users when one plan takes the place of another.

mod words;

use crate::plan::{Compare, HeaderOps, Listener, Mirror, Plan, Rollout, Route};
use std::{collections::HashMap, sync::Arc};
use tidegate_judge as judge;
use tidegate_policies::{VariantId, moved_users};
use words::{fallback, limit, listed, rate, retry, rewrite, sources};

/// How many users are looked at for the share that moves: an error of at most 0.5 % in the worst
/// case (one standard deviation).
const KEYS: u32 = 10_000;

/// The difference between two plans.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlanDiff {
    /// Names of new routes.
    pub added: Vec<Arc<str>>,
    /// Names of routes that are gone.
    pub removed: Vec<Arc<str>>,
    /// Routes that differ.
    pub changed: Vec<RouteDiff>,
    /// What differs outside of routes, in words.
    pub other: Vec<String>,
    /// What takes effect only after a restart, in words.
    pub restart: Vec<String>,
}

/// How a route differs.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteDiff {
    /// The route's name.
    pub name: Arc<str>,
    /// What changed, in words, as in `timeout: 15s -> 20s`.
    pub what: Vec<String>,
    /// The weights before and after, in the new order and then those that are gone.
    pub weights: Vec<WeightDiff>,
    /// The share of users, in `[0, 1]`, who get another variant than before. Variants of the same
    /// name are the same.
    pub moved: f64,
}

/// The weight of a variant before and after.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightDiff {
    /// The variant's name.
    pub variant: Arc<str>,
    /// The weight before; absent: there was no such variant.
    pub old: Option<u32>,
    /// The weight after; absent: there is no such variant any more.
    pub new: Option<u32>,
    /// Its share of the route before, in `[0, 1]`.
    pub old_share: f64,
    /// Its share of the route after, in `[0, 1]`.
    pub new_share: f64,
}

impl PlanDiff {
    /// Nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Compares two plans.
pub fn diff(old: &Plan, new: &Plan) -> PlanDiff {
    let by_name = |plan: &'_ Plan| -> HashMap<Arc<str>, usize> {
        plan.routes.iter().enumerate().map(|(n, route)| (route.name.clone(), n)).collect()
    };
    let (olds, news) = (by_name(old), by_name(new));
    let mut result = PlanDiff {
        removed: names(old.routes.iter().filter(|route| !news.contains_key(&route.name))),
        added: names(new.routes.iter().filter(|route| !olds.contains_key(&route.name))),
        ..PlanDiff::default()
    };
    for route in &new.routes {
        if let Some(before) = olds.get(&route.name).and_then(|n| old.routes.get(*n)) {
            result.changed.extend(route_diff((old, before), (new, route)));
        }
    }
    let kept = |plan: &Plan, others: &HashMap<Arc<str>, usize>| {
        names(plan.routes.iter().filter(|route| others.contains_key(&route.name)))
    };
    if kept(old, &news) != kept(new, &olds) {
        result.other.push("the order of routes".to_owned());
    }
    upstreams(old, new, &mut result.other);
    rollouts(old, new, &mut result.other);
    process(old, new, &mut result);
    result
}

fn names<'a>(routes: impl Iterator<Item = &'a Route>) -> Vec<Arc<str>> {
    routes.map(|route| route.name.clone()).collect()
}

fn route_diff(old: (&Plan, &Route), new: (&Plan, &Route)) -> Option<RouteDiff> {
    let mut what = Vec::new();
    let ((old_plan, old), (new_plan, new)) = (old, new);
    let mut note = |key: &str, before: String, after: String| {
        if before != after {
            what.push(format!("{key}: {before} -> {after}"));
        }
    };
    note("match", old.text.matching.to_string(), new.text.matching.to_string());
    note("bucket_by", sources(old), sources(new));
    note("salt", old.text.salt.to_string(), new.text.salt.to_string());
    note("pins", listed(&old.text.pins), listed(&new.text.pins));
    note("timeout", limit(old.timeout), limit(new.timeout));
    note("retry", retry(old), retry(new));
    note("rate_limit", rate(old), rate(new));
    note("allow_from", listed(&old.access.allow), listed(&new.access.allow));
    note("deny_from", listed(&old.access.deny), listed(&new.access.deny));
    note("max_body", old.max_body.to_string(), new.max_body.to_string());
    note("rewrite", rewrite(old), rewrite(new));
    note("expose_variant", old.expose_variant.to_string(), new.expose_variant.to_string());
    for after in &new.variants {
        let Some(before) = old.variants.iter().find(|v| v.name == after.name) else { continue };
        let upstream = |plan: &Plan, n: usize| plan.upstreams[n].name.to_string();
        let key = format!("upstream of {}", after.name);
        note(&key, upstream(old_plan, before.upstream), upstream(new_plan, after.upstream));
        let key = format!("fallback of {}", after.name);
        note(&key, fallback(old, before.fallback), fallback(new, after.fallback));
    }
    if old.issue != new.issue && old.policy.bucket_by == new.policy.bucket_by {
        what.push("the issued cookie".to_owned());
    }
    // Values may be secret, so these are named and not shown.
    let mut unseen = |key: &str, before: &HeaderOps, after: &HeaderOps| {
        if before != after {
            what.push(format!("{key} headers"));
        }
    };
    unseen("request", &old.request_headers, &new.request_headers);
    unseen("response", &old.response_headers, &new.response_headers);

    mirrors((old_plan, old), (new_plan, new), &mut what);

    let weights = weights(old, new);
    let reweighted = weights.iter().any(|weight| weight.old != weight.new);
    if what.is_empty() && !reweighted && names_of(old) == names_of(new) {
        return None;
    }
    let same = |a: VariantId, b: VariantId| {
        let name = |route: &Route, id: VariantId| {
            route.variants.get(usize::from(id.0)).map(|variant| variant.name.clone())
        };
        name(old, a) == name(new, b)
    };
    let moved = moved_users(&old.policy, &new.policy, same, KEYS);
    Some(RouteDiff { name: new.name.clone(), what, weights, moved })
}

/// Mirrors by name. Their header values may be secret, so what changed in one is not shown.
fn mirrors(old: (&Plan, &Route), new: (&Plan, &Route), what: &mut Vec<String>) {
    let ((old_plan, old), (new_plan, new)) = (old, new);
    for mirror in &new.mirrors {
        let name = &mirror.name;
        match old.mirrors.iter().find(|before| before.name == *name) {
            None => what.push(format!("mirror {name} added")),
            Some(before) if !same_mirror((old_plan, before), (new_plan, mirror)) => {
                what.push(format!("mirror {name} changed"));
            }
            Some(_) => {}
        }
    }
    let kept = |name: &str| new.mirrors.iter().any(|mirror| *mirror.name == *name);
    let gone = old.mirrors.iter().filter(|mirror| !kept(&mirror.name));
    what.extend(gone.map(|mirror| format!("mirror {} removed", mirror.name)));
}

/// Equal but for the positions of upstreams in their plans.
fn same_mirror(old: (&Plan, &Mirror), new: (&Plan, &Mirror)) -> bool {
    let named = |(plan, mirror): (&Plan, &Mirror)| {
        let upstream = |n: usize| plan.upstreams[n].name.to_string();
        let noise = mirror.compare.as_ref().and_then(|compare| compare.noise_upstream);
        (upstream(mirror.upstream), noise.map(upstream))
    };
    let placed = |mirror: &Mirror| {
        let compare = mirror.compare.clone();
        let compare = compare.map(|compare| Compare { noise_upstream: None, ..compare });
        Mirror { upstream: 0, compare, ..mirror.clone() }
    };
    named(old) == named(new) && placed(old.1) == placed(new.1)
}

fn names_of(route: &Route) -> Vec<&str> {
    route.variants.iter().map(|variant| &*variant.name).collect()
}

fn weights(old: &Route, new: &Route) -> Vec<WeightDiff> {
    let at = |route: &Route, name: &str| {
        let position = route.variants.iter().position(|variant| &*variant.name == name)?;
        let id = VariantId(u16::try_from(position).ok()?);
        Some((route.variants[position].weight, route.policy.split.share(id)))
    };
    let gone = old.variants.iter().filter(|variant| at(new, &variant.name).is_none());
    let all = new.variants.iter().chain(gone);
    all.map(|variant| {
        let (before, after) = (at(old, &variant.name), at(new, &variant.name));
        WeightDiff {
            variant: variant.name.clone(),
            old: before.map(|(weight, _)| weight),
            new: after.map(|(weight, _)| weight),
            old_share: before.map_or(0.0, |(_, share)| share),
            new_share: after.map_or(0.0, |(_, share)| share),
        }
    })
    .collect()
}

fn upstreams(old: &Plan, new: &Plan, other: &mut Vec<String>) {
    let olds: HashMap<&str, _> = old.upstreams.iter().map(|u| (&*u.name, u)).collect();
    let news: HashMap<&str, _> = new.upstreams.iter().map(|u| (&*u.name, u)).collect();
    for upstream in &new.upstreams {
        match olds.get(&*upstream.name) {
            None => other.push(format!("upstream {} added", upstream.name)),
            Some(before) if *before != upstream => {
                other.push(format!("upstream {} changed", upstream.name));
            }
            Some(_) => {}
        }
    }
    let gone = old.upstreams.iter().filter(|upstream| !news.contains_key(&*upstream.name));
    other.extend(gone.map(|upstream| format!("upstream {} removed", upstream.name)));
}

fn rollout<'a>(plan: &'a Plan, name: &str) -> Option<&'a Rollout> {
    plan.rollouts.iter().find(|rollout| rollout.plan.name == name)
}

/// A new revision starts a new run, so it is shown; of anything else only that it changed.
fn rollouts(old: &Plan, new: &Plan, other: &mut Vec<String>) {
    for Rollout { plan, notify, drain_streams } in &new.rollouts {
        let name = &plan.name;
        let Some(before) = rollout(old, name) else {
            other.push(format!("rollout {name} added"));
            continue;
        };
        let revision = &before.plan.revision;
        if *revision != plan.revision {
            other.push(format!("rollout {name}: revision {revision} -> {}", plan.revision));
        }
        let same = judge::Plan { revision: revision.clone(), ..(**plan).clone() };
        let told = (notify, drain_streams) == (&before.notify, &before.drain_streams);
        if same != *before.plan || !told {
            other.push(format!("rollout {name} changed"));
        }
    }
    let names = old.rollouts.iter().map(|rollout| rollout.plan.name.as_str());
    let gone = names.filter(|name| rollout(new, name).is_none());
    other.extend(gone.map(|name| format!("rollout {name} removed")));
}

/// What is opened needs a restart; what is asked of clients then does not.
fn listeners(old: &Plan, new: &Plan, result: &mut PlanDiff) {
    let opened = |plan: &Plan| -> Vec<_> {
        let opened = |listener: &Listener| {
            (listener.name.clone(), listener.address, listener.protocol.kind())
        };
        plan.listeners.iter().map(opened).collect()
    };
    if opened(old) != opened(new) {
        result.restart.push("listeners".to_owned());
        return;
    }
    for (before, after) in old.listeners.iter().zip(&new.listeners) {
        if before != after {
            result.other.push(format!("listener {} changed", after.name));
        }
    }
}

fn process(old: &Plan, new: &Plan, result: &mut PlanDiff) {
    listeners(old, new, result);
    if old.admin != new.admin {
        result.restart.push("admin".to_owned());
    }
    if old.state != new.state {
        result.restart.push("state".to_owned());
    }
    let (before, after) = (&old.runtime, &new.runtime);
    for (key, differs) in [
        ("runtime.threads", before.threads != after.threads),
        ("runtime.resolvers", before.resolvers != after.resolvers),
        ("runtime.upgrade_socket", before.upgrade_socket != after.upgrade_socket),
    ] {
        result.restart.extend(differs.then(|| key.to_owned()));
    }
    for (key, differs) in [
        ("runtime.drain_delay", before.drain_delay != after.drain_delay),
        ("runtime.drain_timeout", before.drain_timeout != after.drain_timeout),
        ("runtime.max_requests", before.max_requests != after.max_requests),
        ("runtime.mirror_memory", before.mirror_memory != after.mirror_memory),
    ] {
        result.other.extend(differs.then(|| key.to_owned()));
    }
    if old.access_log != new.access_log {
        result.other.push("access_log".to_owned());
    }
    if old.trusted_proxies != new.trusted_proxies {
        result.other.push("trusted_proxies".to_owned());
    }
}

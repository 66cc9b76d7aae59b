//! What a request is served from: the compiled configuration with its run-time handles.

use crate::{
    access_log::AccessLog,
    edge::StreamEnd,
    metrics::{Metrics, VariantMetrics},
    mirror::MirrorState,
    rates::Rates,
    retries::Retries,
    rollout::{HeldShift, Lane, RouteLane},
    upstream::{self, Background, Pool},
};
use arc_swap::ArcSwap;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidegate_config::{
    Loaded, Plan,
    plan::{self, Protocol},
};
use tidegate_policies::{Purpose, RouteId, Salt, VariantId};

/// The state of a snapshot: immutable but for counters.
#[derive(Debug)]
pub(crate) struct Serving {
    /// The files, as they were written.
    pub(crate) loaded: Arc<Loaded>,
    /// Their plan with the weights that rollouts set: what is served from.
    plan: Plan,
    shifts: Vec<HeldShift>,
    pub(crate) routes: Vec<ServingRoute>,
    /// By position in the plan's upstreams.
    pub(crate) pools: Vec<Arc<Pool>>,
    /// The same, for mirrors: a dark launch takes no place from clients.
    shadow_pools: Vec<Option<Arc<Pool>>>,
    background: Arc<Background>,
    pub(crate) access_log: Option<AccessLog>,
}

/// The handles of a route.
#[derive(Debug)]
pub(crate) struct ServingRoute {
    pub(crate) variants: Vec<ServingVariant>,
    /// By position in the plan's mirrors.
    pub(crate) mirrors: Vec<Arc<MirrorState>>,
    pub(crate) log_salt: Salt,
    /// What the route's rollout counts, if it has one.
    pub(crate) lane: Option<RouteLane>,
    /// What is left for retries, if there are any.
    pub(crate) retries: Option<Arc<Retries>>,
    /// How often its clients came, if that is limited.
    pub(crate) rates: Option<Arc<Rates>>,
}

/// The handles of a variant.
#[derive(Debug)]
pub(crate) struct ServingVariant {
    pub(crate) metrics: VariantMetrics,
    /// Requests that the split gave to this variant under these weights.
    split: Arc<AtomicU64>,
    /// When its live streams end; those that begin later than a rollback have an end of their own.
    streams: Arc<ArcSwap<StreamEnd>>,
}

impl Serving {
    /// Attaches handles to `loaded`, with the weights of `shifts`. Pools and counts carry over from
    /// `previous` where nothing about them changed.
    pub(crate) fn new(
        loaded: Arc<Loaded>,
        shifts: Vec<HeldShift>,
        previous: Option<&Serving>,
        metrics: &Metrics,
        access_log: Option<AccessLog>,
    ) -> Self {
        let plan = loaded.plan.shifted(shifts.iter().map(|held| &held.shift));
        let background = background(&plan, previous);
        let pools = pools(&plan, previous, &background, metrics);
        let shadow_pools = shadow_pools(&plan, &pools, previous);
        let old = previous.map(Serving::by_name).unwrap_or_default();
        let routes = plan.routes.iter().map(|route| {
            let old = old.get(&route.name).copied();
            let variants = route.variants.iter().zip(split_counts(route, old));
            let variants = variants.map(|(variant, split)| {
                let http2 = plan.upstreams[variant.upstream].protocol == Protocol::Http2;
                ServingVariant {
                    metrics: metrics.variant(&route.name, &variant.name, http2),
                    split,
                    streams: old.and_then(|old| streams(old, &variant.name)).unwrap_or_default(),
                }
            });
            let mirrors = route.mirrors.iter().map(|mirror| {
                let kept = old.and_then(|(plan, old)| {
                    let position = plan.mirrors.iter().position(|m| m.name == mirror.name)?;
                    old.mirrors.get(position).map(Arc::clone)
                });
                let new = || MirrorState::new(metrics.mirrors.mirror(&route.name, &mirror.name));
                kept.unwrap_or_else(|| Arc::new(new()))
            });
            ServingRoute {
                variants: variants.collect(),
                mirrors: mirrors.collect(),
                log_salt: Salt::new(&route.name, Purpose::AccessLog),
                lane: lane(&plan, route, old.and_then(|(_, old)| old.lane.as_ref())),
                retries: route.retry.as_ref().map(|retry| {
                    let kept = old.and_then(|(_, old)| old.retries.as_ref());
                    let kept = kept.filter(|kept| kept.is_for(retry.budget)).map(Arc::clone);
                    kept.unwrap_or_else(|| Arc::new(Retries::new(retry.budget)))
                }),
                rates: route.rate_limit.as_ref().map(|limit| {
                    let kept = old.and_then(|(_, old)| old.rates.as_ref());
                    let kept = kept.filter(|kept| kept.is_for(limit)).map(Arc::clone);
                    kept.unwrap_or_else(|| Arc::new(Rates::new(limit)))
                }),
            }
        });
        let routes = routes.collect();
        Self { loaded, plan, shifts, routes, pools, shadow_pools, background, access_log }
    }

    /// The same with other weights, when `current` is published: everything is shared, and only the
    /// realised shares of routes whose weights differ from those of `current` begin anew.
    pub(crate) fn shifted(&self, shifts: Vec<HeldShift>, current: &Serving) -> Self {
        let plan = self.loaded.plan.shifted(shifts.iter().map(|held| &held.shift));
        let old = current.by_name();
        let routes = plan.routes.iter().zip(&self.routes).map(|(route, handles)| {
            let counts = split_counts(route, old.get(&route.name).copied());
            let variants = handles.variants.iter().zip(counts).map(|(variant, split)| {
                let streams = Arc::clone(&variant.streams);
                ServingVariant { metrics: variant.metrics.clone(), split, streams }
            });
            ServingRoute {
                variants: variants.collect(),
                mirrors: handles.mirrors.clone(),
                log_salt: handles.log_salt,
                lane: handles.lane.clone(),
                retries: handles.retries.clone(),
                rates: handles.rates.clone(),
            }
        });
        Self {
            routes: routes.collect(),
            loaded: Arc::clone(&self.loaded),
            plan,
            shifts,
            pools: self.pools.clone(),
            shadow_pools: self.shadow_pools.clone(),
            background: Arc::clone(&self.background),
            access_log: self.access_log.clone(),
        }
    }

    /// What is served: the files' plan with the weights that rollouts set.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What rollouts set.
    pub(crate) fn shifts(&self) -> &[HeldShift] {
        &self.shifts
    }

    fn by_name(&self) -> RoutesByName<'_> {
        let routes = self.plan.routes.iter().zip(&self.routes);
        routes.map(|(plan, handles)| (&plan.name, (plan, handles))).collect()
    }

    /// Handles of `route`, which comes from this plan's table.
    pub(crate) fn route(&self, route: RouteId) -> &ServingRoute {
        &self.routes[route.0 as usize]
    }

    /// What the rollout at this position in the plan counts.
    pub(crate) fn lane(&self, rollout: usize) -> Option<&RouteLane> {
        let route = &self.plan.rollouts.get(rollout)?.plan.route;
        let position = self.plan.routes.iter().position(|plan| *plan.name == **route)?;
        self.routes.get(position)?.lane.as_ref()
    }

    /// The pool that mirrors have at the upstream of this position.
    pub(crate) fn shadow_pool(&self, upstream: usize) -> Option<&Arc<Pool>> {
        self.shadow_pools.get(upstream)?.as_ref()
    }

    /// Ends what is done beside the requests for pools that `next` does not have.
    pub(crate) fn retire_pools(&self, next: &Serving) {
        for pool in &self.pools {
            if !next.pools.iter().any(|kept| kept.is_beside(pool)) {
                pool.retire();
            }
        }
    }

    /// Stops the mirrors that `next` does not have.
    pub(crate) fn retire_mirrors(&self, next: &Serving) {
        let mirrors = |serving: &'_ Serving| -> HashMap<*const MirrorState, Arc<MirrorState>> {
            let mirrors = serving.routes.iter().flat_map(|route| &route.mirrors);
            mirrors.map(|mirror| (Arc::as_ptr(mirror), Arc::clone(mirror))).collect()
        };
        let kept = mirrors(next);
        for (_, gone) in mirrors(self).iter().filter(|(mirror, _)| !kept.contains_key(*mirror)) {
            gone.retire();
        }
    }

    /// Shows the realised shares of every route.
    pub(crate) fn export_shares(&self, metrics: &Metrics) {
        for (plan, route) in self.plan().routes.iter().zip(&self.routes) {
            let counts: Vec<u64> = route.variants.iter().map(ServingVariant::decided).collect();
            let total: u64 = counts.iter().sum();
            for (variant, count) in plan.variants.iter().zip(counts) {
                let by = [&*plan.name, &*variant.name];
                let share = if total == 0 { 0.0 } else { count as f64 / total as f64 };
                metrics.share.with_label_values(&by).set(share);
            }
        }
    }
}

impl ServingRoute {
    pub(crate) fn variant(&self, variant: VariantId) -> &ServingVariant {
        &self.variants[usize::from(variant.0)]
    }
}

impl ServingVariant {
    /// Counts a decision of the split.
    pub(crate) fn decide(&self) {
        self.split.fetch_add(1, Ordering::Relaxed);
    }

    /// When a stream that begins now ends.
    pub(crate) fn stream_end(&self) -> Arc<StreamEnd> {
        self.streams.load_full()
    }

    /// The streams that live now end in `limit`.
    pub(crate) fn end_streams(&self, limit: Duration) {
        self.streams.swap(Arc::default()).end_in(limit);
    }

    /// Requests that the split gave to this variant since the route's weights changed.
    pub(crate) fn decided(&self) -> u64 {
        self.split.load(Ordering::Relaxed)
    }
}

/// When the streams of the variant `name` of an old route end.
fn streams(
    (plan, old): (&plan::Route, &ServingRoute),
    name: &str,
) -> Option<Arc<ArcSwap<StreamEnd>>> {
    let position = plan.variants.iter().position(|variant| *variant.name == *name)?;
    old.variants.get(position).map(|variant| Arc::clone(&variant.streams))
}

type RoutesByName<'a> = HashMap<&'a Arc<str>, (&'a plan::Route, &'a ServingRoute)>;

/// A count for each variant of `route`: the old ones, if nothing about the variants changed.
fn split_counts(
    route: &plan::Route,
    old: Option<(&plan::Route, &ServingRoute)>,
) -> Vec<Arc<AtomicU64>> {
    match old.filter(|(old, _)| old.variants == route.variants) {
        Some((_, old)) => old.variants.iter().map(|variant| Arc::clone(&variant.split)).collect(),
        None => route.variants.iter().map(|_| Arc::default()).collect(),
    }
}

/// The lane of the rollout that `route` is in: the old one, if it counts the same.
fn lane(plan: &Plan, route: &plan::Route, old: Option<&RouteLane>) -> Option<RouteLane> {
    let mut rollouts = plan.rollouts.iter().map(|rollout| &rollout.plan);
    let rollout = rollouts.find(|rollout| *rollout.route == *route.name)?;
    let variant = |name: &str| {
        let position = route.variants.iter().position(|variant| *variant.name == *name)?;
        u16::try_from(position).ok().map(VariantId)
    };
    let (baseline, candidate) = (variant(&rollout.baseline)?, variant(&rollout.candidate)?);
    let mirror = rollout.mirror.as_deref();
    let mirror = mirror.and_then(|name| route.mirrors.iter().position(|m| *m.name == *name));
    let lane = match old.filter(|old| old.lane.serves(rollout)) {
        Some(old) => Arc::clone(&old.lane),
        None => Arc::new(Lane::new(rollout)),
    };
    Some(RouteLane { lane, baseline, candidate, mirror })
}

/// The old one, if it looks names up where the plan says.
fn background(plan: &Plan, previous: Option<&Serving>) -> Arc<Background> {
    let resolvers = &plan.runtime.resolvers;
    match previous.map(|old| &old.background).filter(|old| old.is_for(resolvers)) {
        Some(background) => Arc::clone(background),
        None => Arc::new(Background::new(resolvers)),
    }
}

fn pools(
    plan: &Plan,
    previous: Option<&Serving>,
    background: &Arc<Background>,
    metrics: &Metrics,
) -> Vec<Arc<Pool>> {
    let old: HashMap<&Arc<str>, &Arc<Pool>> = previous
        .iter()
        .flat_map(|old| &old.pools)
        .map(|pool| (&pool.config().name, pool))
        .collect();
    let pool = |upstream: &plan::Upstream| match old.get(&upstream.name) {
        Some(pool) if pool.config() == upstream && pool.is_of(background) => Arc::clone(pool),
        previous => {
            let metrics = metrics.upstreams.upstream(&upstream.name);
            let previous = previous.map(|pool| &***pool);
            let pool = Pool::new(upstream.clone(), background, metrics, previous);
            upstream::start(&pool);
            pool
        }
    };
    plan.upstreams.iter().map(pool).collect()
}

/// By position in `pools`: the old one, if it has the same endpoints; none where no mirror needs it.
fn shadow_pools(
    plan: &Plan,
    pools: &[Arc<Pool>],
    previous: Option<&Serving>,
) -> Vec<Option<Arc<Pool>>> {
    let mirrors = plan.routes.iter().flat_map(|route| &route.mirrors);
    let used: HashSet<usize> = mirrors
        .flat_map(|mirror| {
            let noise = mirror.compare.as_ref().and_then(|compare| compare.noise_upstream);
            noise.into_iter().chain([mirror.upstream])
        })
        .collect();
    let old = |pool: &Pool| {
        let mut old = previous?.shadow_pools.iter().flatten();
        old.find(|old| old.is_beside(pool)).map(Arc::clone)
    };
    let shadow = |(i, pool): (usize, &Arc<Pool>)| {
        used.contains(&i).then(|| old(pool).unwrap_or_else(|| pool.for_copies()))
    };
    pools.iter().enumerate().map(shadow).collect()
}

//! What a request is served from: the compiled configuration with its run-time handles.

use crate::{
    access_log::AccessLog,
    metrics::{Metrics, VariantMetrics},
    upstream::{Pool, keep_resolving},
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tidegate_config::{Loaded, Plan};
use tidegate_policies::{Purpose, RouteId, Salt, VariantId};

/// The state of a snapshot: immutable but for counters.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) routes: Vec<ServingRoute>,
    /// By position in the plan's upstreams.
    pub(crate) pools: Vec<Arc<Pool>>,
    pub(crate) access_log: Option<AccessLog>,
}

/// The handles of a route.
#[derive(Debug)]
pub(crate) struct ServingRoute {
    pub(crate) variants: Vec<ServingVariant>,
    pub(crate) log_salt: Salt,
}

/// The handles of a variant.
#[derive(Debug)]
pub(crate) struct ServingVariant {
    pub(crate) metrics: VariantMetrics,
    /// Requests that the split gave to this variant under these weights.
    split: Arc<AtomicU64>,
}

impl Serving {
    /// Attaches handles to `loaded`. Pools and counts carry over from `previous` where nothing
    /// about them changed.
    pub(crate) fn new(
        loaded: Loaded,
        previous: Option<&Serving>,
        metrics: &Metrics,
        access_log: Option<AccessLog>,
    ) -> Self {
        let pools = pools(&loaded.plan, previous);
        let old: HashMap<_, _> = previous
            .iter()
            .flat_map(|old| old.loaded.plan.routes.iter().zip(&old.routes))
            .map(|(plan, route)| (&plan.name, (plan, route)))
            .collect();
        let routes = loaded.plan.routes.iter().map(|route| {
            let same_weights =
                old.get(&route.name).filter(|(old, _)| old.variants == route.variants);
            let variants = route.variants.iter().enumerate().map(|(i, variant)| ServingVariant {
                metrics: metrics.variant(&route.name, &variant.name),
                split: same_weights
                    .map_or_else(Arc::default, |(_, old)| Arc::clone(&old.variants[i].split)),
            });
            ServingRoute {
                variants: variants.collect(),
                log_salt: Salt::new(&route.name, Purpose::AccessLog),
            }
        });
        let routes = routes.collect();
        Self { routes, pools, access_log, loaded: Arc::new(loaded) }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.loaded.plan
    }

    /// Handles of `route`, which comes from this plan's table.
    pub(crate) fn route(&self, route: RouteId) -> &ServingRoute {
        &self.routes[route.0 as usize]
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

    /// Requests that the split gave to this variant since the route's weights changed.
    pub(crate) fn decided(&self) -> u64 {
        self.split.load(Ordering::Relaxed)
    }
}

fn pools(plan: &Plan, previous: Option<&Serving>) -> Vec<Arc<Pool>> {
    let old: HashMap<_, _> = previous
        .iter()
        .flat_map(|old| &old.pools)
        .map(|pool| (&pool.config().name, pool))
        .collect();
    let pool = |upstream: &tidegate_config::plan::Upstream| match old.get(&upstream.name) {
        Some(pool) if pool.config() == upstream => Arc::clone(pool),
        previous => {
            let pool = Pool::new(upstream.clone(), previous.map(|pool| &***pool));
            keep_resolving(&pool);
            pool
        }
    };
    plan.upstreams.iter().map(pool).collect()
}

//! Plans and configurations for tests.

use super::{Door, carry};
use crate::{metrics::Metrics, serving::Serving};
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};
use tidegate_config::{Loaded, Store, plan};
use tidegate_judge::{
    AdvanceWhen, Gate, Lines, Measure, OnBreach, OnSourceBroken, Plan, Risk, Share, Step, Until,
};
use tokio::runtime::Runtime;

/// A rollout from `stable` to `candidate`, with a gate for each latency.
pub(crate) fn rollout(name: &str, route: &str, candidate: &str, latencies: &[u64]) -> Plan {
    let risk = Risk::from_millionths(10_000).expect("a risk");
    let gate = |over: &u64| Gate {
        name: format!("over-{over}"),
        measure: Measure::Latency {
            over: Duration::from_millis(*over),
            lines: Lines::Max(Share::from_millionths(10_000).expect("a share")),
        },
        on_source_broken: OnSourceBroken::Hold,
    };
    Plan {
        name: name.into(),
        route: route.into(),
        baseline: "stable".into(),
        candidate: candidate.into(),
        mirror: Some("dark".into()),
        revision: "1".into(),
        steps: vec![Step { weight: Share::ALL, mirror: None, until: Until::Promoted }],
        gates: latencies.iter().map(gate).collect(),
        alpha: risk,
        beta: risk,
        advance_when: AdvanceWhen::Held,
        failed_requests: None,
        on_breach: OnBreach::Rollback,
    }
}

/// A configuration of one route for each of `routes`: its name, and the weights of `stable`,
/// `canary` and `next`.
pub(crate) fn loaded(routes: &[(&str, [u32; 3])], rollouts: Vec<Plan>) -> Loaded {
    let route = |(name, [stable, canary, next]): &(&str, [u32; 3])| {
        format!(
            "  - name: {name}\n    \
             match: {{ path: {{ prefix: /{name} }} }}\n    \
             variants: [{{ name: stable, upstream: up, weight: {stable} }}, \
             {{ name: canary, upstream: up, weight: {canary}, fallback: stable }}, \
             {{ name: next, upstream: up, weight: {next} }}]\n    \
             mirrors: [{{ name: dark, upstream: up, percent: 10 }}]\n"
        )
    };
    let text = format!(
        "listeners: [{{ name: web, address: 127.0.0.1:0 }}]\n\
         upstreams: [{{ name: up, endpoints: [127.0.0.1:1] }}]\n\
         routes:\n{}",
        routes.iter().map(route).collect::<String>()
    );
    let mut plan = tidegate_config::compile_text("test.yaml", &text).expect("a plan");
    let rollouts = rollouts.into_iter();
    plan.rollouts = rollouts
        .map(|rollout| plan::Rollout {
            plan: Arc::new(rollout),
            notify: Vec::new(),
            drain_streams: None,
        })
        .collect();
    Loaded {
        plan,
        warnings: Vec::new(),
        degraded: Vec::new(),
        sources: Vec::new(),
        watched: Vec::new(),
        digest: 0,
        material: Default::default(),
    }
}

/// A gateway's published state.
pub(crate) struct Published {
    pub(crate) store: Arc<Store<Serving>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) door: Door,
}

/// What a start makes of `loaded`.
pub(crate) fn start(loaded: Loaded) -> Published {
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    let serving = serving(loaded, None, &metrics);
    metrics.adopt(serving.plan(), 1);
    let store = Arc::new(Store::new(serving));
    let door = Door::new(Arc::clone(&store), Arc::clone(&metrics));
    Published { store, metrics, door }
}

/// Where upstreams' endpoints are tended.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// `loaded`, ready to be published after `previous`.
pub(crate) fn serving(loaded: Loaded, previous: Option<&Serving>, metrics: &Metrics) -> Serving {
    let _runtime = RUNTIME.enter();
    let shifts = carry(previous.map_or(&[], Serving::shifts), &loaded.plan);
    Serving::new(Arc::new(loaded), shifts, previous, metrics, None)
}

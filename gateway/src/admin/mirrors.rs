//! The endpoints about mirrors.

use super::{handlers::Context, problem::Problem};
use crate::{
    mirror::{Compared, MirrorState, Outcome},
    serving::Serving,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use prometheus::IntCounter;
use serde_json::{Map, Value, json};
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tidegate_config::plan::{Mirror, Route};

/// All mirrors, and the memory that they share.
pub(super) async fn mirrors(State(shared): Context) -> Json<Value> {
    let snapshot = shared.store.load();
    let serving = &snapshot.state;
    let mirrors: Vec<Value> = all(serving).map(|mirror| describe(serving, &mirror)).collect();
    let budget = &shared.mirrors.budget;
    Json(json!({
        "generation": snapshot.generation,
        "memory": { "used": budget.used(), "limit": budget.limit() },
        "mirrors": mirrors,
    }))
}

/// One mirror.
pub(super) async fn mirror(
    State(shared): Context,
    Path(name): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let snapshot = shared.store.load();
    let found = find(&snapshot.state, &name)?;
    Ok(Json(describe(&snapshot.state, &found)))
}

/// Which fields differ, the most certain difference first.
pub(super) async fn diffs(
    State(shared): Context,
    Path(name): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let snapshot = shared.store.load();
    let found = find(&snapshot.state, &name)?;
    let compare = found.plan.compare.as_ref().ok_or_else(|| not_compared(&name))?;
    let findings = found.state.findings();
    let report = findings.ledger.report(&compare.rules);
    let since = seconds(findings.since);
    drop(findings);
    let mut body = json!(report);
    body["route"] = json!(name.0);
    body["mirror"] = json!(name.1);
    body["since"] = json!(since);
    let upstreams = &snapshot.state.plan().upstreams;
    body["noise_upstream"] = json!(compare.noise_upstream.map(|n| &*upstreams[n].name));
    body["outcomes"] = counts(&Compared::LABELS, &found.state.metrics.compared);
    Ok(Json(body))
}

/// Forgets what was found, for a new dark version.
pub(super) async fn forget(
    State(shared): Context,
    Path(name): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let snapshot = shared.store.load();
    let found = find(&snapshot.state, &name)?;
    found.plan.compare.as_ref().ok_or_else(|| not_compared(&name))?;
    found.state.forget_findings();
    Ok(StatusCode::NO_CONTENT)
}

struct Found<'a> {
    route: &'a Route,
    plan: &'a Mirror,
    state: &'a Arc<MirrorState>,
}

fn all(serving: &Serving) -> impl Iterator<Item = Found<'_>> {
    serving.plan().routes.iter().zip(&serving.routes).flat_map(|(route, handles)| {
        let mirrors = route.mirrors.iter().zip(&handles.mirrors);
        mirrors.map(move |(plan, state)| Found { route, plan, state })
    })
}

fn find<'a>(serving: &'a Serving, name: &(String, String)) -> Result<Found<'a>, Problem> {
    let is = |found: &Found<'_>| *found.route.name == *name.0 && *found.plan.name == *name.1;
    all(serving).find(is).ok_or_else(|| {
        let detail = format!("there is no mirror `{}` on a route `{}`", name.1, name.0);
        Problem::new(StatusCode::NOT_FOUND, detail)
    })
}

fn not_compared(name: &(String, String)) -> Problem {
    let detail = format!("the mirror `{}` of `{}` has no `compare`", name.1, name.0);
    Problem::new(StatusCode::CONFLICT, detail)
}

fn describe(serving: &Serving, found: &Found<'_>) -> Value {
    let Found { route, plan, state } = found;
    let upstreams = &serving.plan().upstreams;
    let metrics = &state.metrics;
    let (answers, seconds) =
        (metrics.duration.get_sample_count(), metrics.duration.get_sample_sum());
    json!({
        "route": &*route.name,
        "mirror": &*plan.name,
        "upstream": &*upstreams[plan.upstream].name,
        "percent": f64::from(plan.policy.sample.millionths()) / 1e4,
        "methods": plan.policy.methods.iter().map(|m| m.as_str()).collect::<Vec<_>>(),
        "compared": plan.compare.is_some(),
        "requests": metrics.requests.iter().map(IntCounter::get).sum::<u64>(),
        "outcomes": counts(&Outcome::LABELS, &metrics.requests),
        "noise_outcomes": counts(&Outcome::LABELS, &metrics.noise),
        "comparisons": counts(&Compared::LABELS, &metrics.compared),
        "in_flight": state.under_way(),
        "today": plan.limits.per_day.map(|_| state.today()),
        "mean_ms": (answers > 0).then(|| seconds * 1e3 / answers as f64),
    })
}

/// What there is any of.
fn counts(labels: &[&str], counters: &[IntCounter]) -> Value {
    let counts = labels.iter().zip(counters).filter(|(_, counter)| counter.get() > 0);
    let counts = counts.map(|(label, counter)| ((*label).to_owned(), json!(counter.get())));
    Value::Object(counts.collect::<Map<_, _>>())
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

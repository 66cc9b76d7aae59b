//! The endpoints.

use super::{problem::Problem, rollouts, series};
use crate::{
    explain::{self, Question},
    reload::Cause,
    server::Shared,
    upstream::Standing,
};
use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use prometheus::{Encoder, TextEncoder};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tidegate_config::{Diagnostic, plan};
use tidegate_policies::VariantId;

pub(super) type Context = State<Arc<Shared>>;

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(shared): Context) -> Response {
    if shared.ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

pub(super) async fn metrics(State(shared): Context) -> Result<Response, Problem> {
    let snapshot = shared.store.load();
    let metrics = &shared.metrics;
    snapshot.state.export_shares(metrics);
    metrics.upstreams.export(&snapshot.state.pools);
    for (plan, route) in snapshot.state.plan().routes.iter().zip(&snapshot.state.routes) {
        for (mirror, state) in plan.mirrors.iter().zip(&route.mirrors) {
            let by = [&*plan.name, &*mirror.name];
            metrics.mirrors.under_way.with_label_values(&by).set(i64::from(state.under_way()));
        }
    }
    let held = shared.mirrors.budget.used();
    metrics.mirrors.memory.set(i64::try_from(held).unwrap_or(i64::MAX));
    metrics.connections.set(i64::try_from(shared.drain.connections()).unwrap_or(i64::MAX));
    let broken = |error: prometheus::Error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    };
    let mut families = metrics.registry.gather();
    let kept = shared.control.state.exists() || !snapshot.state.plan().rollouts.is_empty();
    families.extend(series::families(&shared.control.board(), kept).map_err(broken)?);
    let mut text = Vec::new();
    let encoder = TextEncoder::new();
    encoder.encode(&families, &mut text).map_err(broken)?;
    Ok(([(header::CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response())
}

pub(super) async fn status(State(shared): Context) -> Json<Value> {
    let snapshot = shared.store.load();
    let status = shared.reloader.status();
    let loaded = &snapshot.state.loaded;
    let as_json = |list: &[Diagnostic]| list.iter().map(Diagnostic::json).collect::<Vec<_>>();
    let listeners = shared
        .addresses
        .iter()
        .map(|(name, address)| json!({ "name": &**name, "address": address }));
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "ready": shared.ready(),
        "uptime_seconds": shared.started.elapsed().as_secs_f64(),
        "listeners": listeners.collect::<Vec<_>>(),
        "connections": shared.drain.connections(),
        "config": {
            "generation": snapshot.generation,
            "loaded_at": status.loaded_at.map(seconds),
            "last_error": status.last_error.map(|(at, errors)| {
                json!({ "at": seconds(at), "errors": errors })
            }),
            "degraded": as_json(&loaded.degraded),
            "warnings": as_json(&loaded.warnings),
            "restart_needed": status.restart_needed,
        },
        "rollouts": rollouts::summary(&shared.control.board()),
    }))
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

pub(super) async fn routes(State(shared): Context) -> Json<Value> {
    let snapshot = shared.store.load();
    let routes = 0..snapshot.state.routes.len();
    let routes: Vec<_> = routes.map(|i| describe(&snapshot.state, i)).collect();
    Json(json!({ "generation": snapshot.generation, "routes": routes }))
}

pub(super) async fn route(
    State(shared): Context,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let snapshot = shared.store.load();
    let found = snapshot.state.plan().routes.iter().position(|route| *route.name == *name);
    let Some(i) = found else {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no route `{name}`")));
    };
    Ok(Json(describe(&snapshot.state, i)))
}

fn describe(serving: &crate::serving::Serving, i: usize) -> Value {
    let plan = serving.plan();
    let (route, handles) = (&plan.routes[i], &serving.routes[i]);
    let total: u64 = handles.variants.iter().map(|variant| variant.decided()).sum();
    let variants = route.variants.iter().zip(&handles.variants).enumerate();
    let variants = variants.map(|(id, (variant, handles))| {
        let realised = (total > 0).then(|| handles.decided() as f64 / total as f64);
        json!({
            "name": &*variant.name,
            "upstream": &*plan.upstreams[variant.upstream].name,
            "weight": variant.weight,
            "share": route.policy.split.share(VariantId(id as u16)),
            "realised_share": realised,
            "decided": handles.decided(),
            "in_flight": handles.metrics.in_flight.get(),
            "fallback": variant.fallback.map(|id| &*route.variants[usize::from(id.0)].name),
        })
    });
    json!({
        "name": &*route.name,
        "variants": variants.collect::<Vec<_>>(),
        "pins": route.policy.pins.len(),
        "keyed": !route.policy.bucket_by.is_empty(),
        "timeout_seconds": route.timeout.map(|timeout| timeout.as_secs_f64()),
    })
}

pub(super) async fn upstreams(State(shared): Context) -> Json<Value> {
    let snapshot = shared.store.load();
    let upstreams = snapshot.state.pools.iter().enumerate().map(|(position, pool)| {
        let config = pool.config();
        let endpoints = pool.standings().iter().map(standing).collect::<Vec<_>>();
        json!({
            "name": &*config.name,
            "configured": config.endpoints.iter().map(endpoint_text).collect::<Vec<_>>(),
            "endpoints": endpoints,
            "in_flight": pool.in_flight(),
            "copies_in_flight": snapshot.state.shadow_pool(position).map(|pool| pool.in_flight()),
        })
    });
    Json(json!({ "upstreams": upstreams.collect::<Vec<_>>() }))
}

fn standing(endpoint: &Standing) -> Value {
    let check = endpoint.last_check.as_ref().map(|check| {
        json!({
            "result": if check.failure.is_none() { "success" } else { "failure" },
            "reason": check.failure.as_deref(),
            "at": seconds(check.at),
        })
    });
    json!({
        "address": endpoint.address,
        "state": endpoint.state.label(),
        "in_flight": endpoint.in_flight,
        "copies_in_flight": endpoint.copies_in_flight,
        "last_check": check,
        "consecutive_failures": endpoint.failures,
        "ejected_until": endpoint.ejected_until.map(seconds),
    })
}

fn endpoint_text(endpoint: &plan::Endpoint) -> String {
    match endpoint {
        plan::Endpoint::Address(address) => address.to_string(),
        plan::Endpoint::Name(host, port) => format!("{host}:{port}"),
    }
}

pub(super) async fn config(State(shared): Context) -> Json<Value> {
    let snapshot = shared.store.load();
    Json(json!({
        "generation": snapshot.generation,
        "config": tidegate_config::effective(&snapshot.state.loaded),
    }))
}

pub(super) async fn reload(State(shared): Context) -> Result<Json<Value>, Problem> {
    let Some(report) = shared.reloader.reload(Cause::Api).await else {
        let detail = "too many reloads are waiting";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    if report.result == "rejected" {
        let detail = "the configuration has errors; the last good one stays in force";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
            .with("errors", json!(report.errors))
            .with("generation", json!(report.generation)));
    }
    Ok(Json(json!(report)))
}

pub(super) async fn explain(
    State(shared): Context,
    question: Result<Json<Question>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Json(question) =
        question.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let snapshot = shared.store.load();
    let answer = explain::explain(snapshot.state.plan(), &question)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    let mut answer = json!(answer);
    answer["generation"] = json!(snapshot.generation);
    Ok(Json(answer))
}

pub(super) async fn not_found(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take that method")
}

//! The admin API: health, metrics, and the state of the gateway as JSON.
//!
//! It runs on a runtime of its own, so that it answers while the proxy is busy.

mod events;
mod guard;
mod handlers;
mod history;
mod mirrors;
mod openapi;
mod problem;
mod rollouts;
mod series;
mod tokens;

pub(crate) use tokens::{Tokens, only_token};

use crate::server::Shared;
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use std::sync::Arc;

/// The largest request body.
const MAX_BODY: usize = 64 * 1024;

/// Serves the admin API on `socket` until the runtime goes away.
pub(crate) async fn serve(
    socket: std::net::TcpListener,
    tokens: Tokens,
    shared: Arc<Shared>,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(socket)?;
    axum::serve(listener, router(shared, tokens)).await
}

fn router(shared: Arc<Shared>, tokens: Tokens) -> Router {
    let protected = Router::new()
        .route("/metrics", get(handlers::metrics))
        .route("/openapi.json", get(openapi::document))
        .route("/api/v1/status", get(handlers::status))
        .route("/api/v1/routes", get(handlers::routes))
        .route("/api/v1/routes/{name}", get(handlers::route))
        .route("/api/v1/upstreams", get(handlers::upstreams))
        .route("/api/v1/mirrors", get(mirrors::mirrors))
        .route("/api/v1/mirrors/{route}/{mirror}", get(mirrors::mirror))
        .route(
            "/api/v1/mirrors/{route}/{mirror}/diffs",
            get(mirrors::diffs).delete(mirrors::forget),
        )
        .merge(rollouts::routes())
        .route("/api/v1/rollouts/{name}/decisions", get(history::decisions))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/config", get(handlers::config))
        .route("/api/v1/config/reload", post(handlers::reload))
        .route("/api/v1/explain", post(handlers::explain))
        .fallback(handlers::not_found)
        .method_not_allowed_fallback(handlers::method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::new(tokens), guard::authenticate));
    Router::new()
        .route("/healthz", get(handlers::healthz))
        .route("/readyz", get(handlers::readyz))
        .merge(protected)
        .layer(middleware::from_fn(guard::same_site))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shared)
}

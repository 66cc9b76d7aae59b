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

use crate::{edge::Doors, server::Shared};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use std::{future::IntoFuture, sync::Arc};
use tokio::{net::TcpListener, sync::watch};

/// The largest request body.
const MAX_BODY: usize = 64 * 1024;

/// Serves the admin API on `socket` until the runtime goes away, except while another process does:
/// then connections end with the request that they have.
pub(crate) async fn serve(
    socket: std::net::TcpListener,
    tokens: Tokens,
    shared: Arc<Shared>,
    mut doors: watch::Receiver<Doors>,
) -> std::io::Result<()> {
    let app = router(shared, tokens);
    let is_elsewhere = |doors: &Doors| *doors == Doors::Elsewhere;
    loop {
        let listener = TcpListener::from_std(socket.try_clone()?)?;
        let mut told = doors.clone();
        let elsewhere = async move {
            // Whoever tells is gone with the process.
            if told.wait_for(is_elsewhere).await.is_err() {
                std::future::pending().await
            }
        };
        let serving = axum::serve(listener, app.clone()).with_graceful_shutdown(elsewhere);
        // Listeners of events may stay for long.
        tokio::spawn(serving.into_future());
        let gone = doors.wait_for(is_elsewhere).await.is_err();
        let back = doors.wait_for(|doors| !is_elsewhere(doors)).await;
        if gone || back.is_ok_and(|doors| *doors == Doors::Closed) {
            break;
        }
    }
    // Not even this process's copy of the socket stays: who connected would wait for nobody.
    drop(socket);
    std::future::pending().await
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

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
    serve::Listener,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// The largest request body.
const MAX_BODY: usize = 64 * 1024;

/// How long connections stay when another process has the socket: whoever connected before may have
/// a request on its way.
const GRACE: Duration = Duration::from_millis(250);

/// Serves the admin API on `socket` until the runtime goes away, except while another process does:
/// then connections end with the request that they have, and `resting` turns true when none is left.
pub(crate) async fn serve(
    socket: std::net::TcpListener,
    tokens: Tokens,
    shared: Arc<Shared>,
    mut doors: watch::Receiver<Doors>,
    resting: watch::Sender<bool>,
) -> std::io::Result<()> {
    let app = router(shared, tokens);
    let is_elsewhere = |doors: &Doors| *doors == Doors::Elsewhere;
    loop {
        let listener = TcpListener::from_std(socket.try_clone()?)?;
        let listener = Admitting { listener, doors: doors.clone() };
        let mut told = doors.clone();
        let elsewhere = async move {
            // Whoever tells is gone with the process.
            if told.wait_for(is_elsewhere).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(GRACE).await;
        };
        let serving = axum::serve(listener, app.clone()).with_graceful_shutdown(elsewhere);
        let told = resting.clone();
        // Listeners of events may stay for long.
        tokio::spawn(async move {
            let _ = serving.await;
            let _ = told.send(true);
        });
        let gone = doors.wait_for(is_elsewhere).await.is_err();
        let back = doors.wait_for(|doors| !is_elsewhere(doors)).await;
        if gone || back.is_ok_and(|doors| *doors == Doors::Closed) {
            break;
        }
        let _ = resting.send(false);
    }
    // Not even this process's copy of the socket stays: who connected would wait for nobody.
    drop(socket);
    std::future::pending().await
}

/// Takes nobody in while another process does.
struct Admitting {
    listener: TcpListener,
    doors: watch::Receiver<Doors>,
}

impl Listener for Admitting {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let doors = &mut self.doors;
        let elsewhere = async {
            let _ = doors.wait_for(|doors| *doors == Doors::Elsewhere).await;
        };
        tokio::select! {
            accepted = Listener::accept(&mut self.listener) => accepted,
            () = elsewhere => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
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

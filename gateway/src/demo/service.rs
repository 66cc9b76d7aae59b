//! One version of a small real HTTP service, which can be told to fail, to be slow, and to be gone.
//!
//! Its answers are as hard to compare as real ones: they have a timestamp and an id of their own,
//! and their keys come in any order. The dark version gets one field wrong.

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::post,
};
use rand::seq::SliceRandom as _;
use serde::Deserialize;
use serde_json::json;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{net::TcpListener, sync::watch};

/// The version that no user sees.
pub(super) const DARK: &str = "v3";

/// What a basket costs, and what the dark version says it does.
pub(super) const TOTAL: u64 = 2997;
pub(super) const WRONG_TOTAL: u64 = 3330;

/// Milliseconds that an answer takes.
const WORK: Range<f64> = 2.0..6.0;

/// The longest that anybody may make an answer take, in milliseconds.
const MAX_DELAY: u64 = 10_000;

/// The longest that the service may be told to be gone, in seconds.
const MAX_GONE: u64 = 3600;

/// Between attempts to listen again.
const LISTEN_AGAIN: Duration = Duration::from_millis(50);

/// A running service. It ends with its runtime.
#[derive(Debug)]
pub(super) struct Service {
    address: SocketAddr,
    behaviour: Arc<Behaviour>,
}

#[derive(Debug)]
struct Behaviour {
    version: &'static str,
    /// Percent of the answers that are errors.
    errors: AtomicU64,
    /// Milliseconds that every answer takes longer.
    delay: AtomicU64,
    up: watch::Sender<bool>,
}

impl Service {
    /// Starts on a free port of the loopback interface.
    ///
    /// # Errors
    /// When no socket can be had.
    pub(super) async fn start(version: &'static str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let behaviour = Arc::new(Behaviour {
            version,
            errors: AtomicU64::new(0),
            delay: AtomicU64::new(0),
            up: watch::Sender::new(true),
        });
        tokio::spawn(keep(listener, address, Arc::clone(&behaviour)));
        Ok(Self { address, behaviour })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener and, once they are answered, all connections; or listens again on the
    /// same address.
    pub(super) fn set_up(&self, up: bool) {
        self.behaviour.up.send_replace(up);
    }
}

async fn keep(listener: TcpListener, address: SocketAddr, behaviour: Arc<Behaviour>) {
    let mut first = Some(listener);
    let mut up = behaviour.up.subscribe();
    let router = router(behaviour);
    loop {
        let listener = match first.take() {
            Some(listener) => listener,
            None => listen_again(address).await,
        };
        let mut down = up.clone();
        let gone = async move {
            let _ = down.wait_for(|up| !up).await;
        };
        let _ = axum::serve(listener, router.clone()).with_graceful_shutdown(gone).await;
        if up.wait_for(|up| *up).await.is_err() {
            return;
        }
    }
}

async fn listen_again(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(LISTEN_AGAIN).await,
        }
    }
}

fn router(behaviour: Arc<Behaviour>) -> Router {
    Router::new()
        .route("/behave", post(behave))
        .route("/stop", post(stop))
        .fallback(answer)
        .with_state(behaviour)
}

async fn answer(State(behaviour): State<Arc<Behaviour>>, uri: Uri, headers: HeaderMap) -> Response {
    let delay = behaviour.delay.load(Ordering::Relaxed) as f64;
    let work = rand::random_range(WORK) + delay;
    tokio::time::sleep(Duration::from_secs_f64(work / 1000.0)).await;
    let user = headers.get("x-user-id").and_then(|user| user.to_str().ok());
    let version = behaviour.version;
    if rand::random_range(0..100) < behaviour.errors.load(Ordering::Relaxed) {
        let body = json!({ "service": "shop", "version": version, "error": "told to fail" });
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response();
    }
    let total = if version == DARK { WRONG_TOTAL } else { TOTAL };
    let mut fields = [
        ("service", json!("shop")),
        ("version", json!(version)),
        ("path", json!(uri.path())),
        ("user", json!(user)),
        ("basket", json!({ "items": 3, "total": total })),
        ("served_at", json!(unix_time())),
        ("trace", json!(format!("{:016x}", rand::random::<u64>()))),
    ];
    fields.shuffle(&mut rand::rng());
    let fields = fields.map(|(name, value)| format!("\"{name}\":{value}"));
    let body = format!("{{{}}}\n", fields.join(","));
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Behave {
    #[serde(default)]
    errors: u64,
    #[serde(default)]
    delay: u64,
}

async fn behave(State(behaviour): State<Arc<Behaviour>>, Query(wish): Query<Behave>) -> Response {
    let (errors, delay) = (wish.errors.min(100), wish.delay.min(MAX_DELAY));
    behaviour.errors.store(errors, Ordering::Relaxed);
    behaviour.delay.store(delay, Ordering::Relaxed);
    let version = behaviour.version;
    Json(json!({ "version": version, "errors_percent": errors, "delay_ms": delay })).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stop {
    seconds: u64,
}

async fn stop(State(behaviour): State<Arc<Behaviour>>, Query(wish): Query<Stop>) -> Response {
    let seconds = wish.seconds.min(MAX_GONE);
    let version = behaviour.version;
    behaviour.up.send_replace(false);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        behaviour.up.send_replace(true);
    });
    Json(json!({ "version": version, "gone_for_seconds": seconds })).into_response()
}

//! The harness of the end-to-end tests: the real `tidegate` binary between real clients and real
//! servers, everything on 127.0.0.1 with ports that the system chooses, everything bounded in time.
//!
//! Processes and sockets rather than the library's functions: what the product promises (bytes on
//! the wire, exit codes, signals, files that change) is only there from outside.
//!
//! | piece | what it is |
//! |---|---|
//! | [`Gateway`], [`tidegate`] | the binary, running or run once |
//! | [`Config`] | the text of a configuration |
//! | [`Authority`], [`Pair`] | certificates |
//! | [`Origin`] | an HTTP server that does as it is told and remembers what it got |
//! | [`RawOrigin`] | a server that is a script over one socket |
//! | [`Nginx`], [`Nghttpd`], [`Prometheus`], [`Dns`] | real servers that somebody else wrote |
//! | [`GrpcServer`], [`GrpcClient`], [`WebSocketServer`], [`WebSocketClient`] | the usual libraries for these |
//! | [`Curl`], [`Browser`], [`h2load`] | real clients that somebody else wrote |
//! | [`Shop`], [`Rollout`] | two versions, and the rollout of one of them |
//! | [`Call`], [`Connection`], [`Http2`] | a well-behaved client |
//! | [`RawClient`], [`Frames`] | one that sends the bytes, or the HTTP/2 frames, it is given |
//! | [`Load`] | several clients that never stop, and count what failed |
#![forbid(unsafe_code)]

mod browser;
mod certificates;
mod client;
mod command;
mod config;
mod curl;
mod dns;
mod frames;
mod gateway;
mod grpc;
mod http2;
mod load;
mod metrics;
mod mirrors;
mod nghttpd;
mod nginx;
mod origin;
mod parts;
mod ports;
mod prometheus;
mod raw;
mod rollouts;
mod state;
mod statistics;
mod websocket;

pub use browser::Browser;
pub use certificates::{Authority, Pair};
pub use client::{Call, Connection, Response};
pub use command::{Finished, run, run_within, tidegate, tidegate_binary};
pub use config::Config;
pub use curl::{Curl, Curled};
pub use dns::Dns;
pub use frames::{Answer, End, Frame, Frames, block, error, field, flag, kind, setting};
pub use gateway::Gateway;
pub use grpc::{GrpcAnswer, GrpcClient, GrpcReport, GrpcServer};
pub use http2::{H2Load, Http2, h2load};
pub use load::{Load, Report};
pub use metrics::{Metrics, Series};
pub use nghttpd::Nghttpd;
pub use nginx::Nginx;
pub use origin::{Behaviour, Origin, Recorded};
pub use prometheus::Prometheus;
pub use raw::{DeadAddress, RawClient, RawOrigin, find, read_head, read_request};
pub use rollouts::{Canary, Rollout, Shop, canary_answer, quick_directory, wall_clock};
pub use state::{Kept, Locked, StateFile};
pub use statistics::{assert_share, sigma};
pub use websocket::{Opened, WebSocketClient, WebSocketServer};

use anyhow::{Result, bail};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The longest that anything which should happen soon may take. Far above what an idle machine
/// needs, because the tests share theirs.
pub const SOON: Duration = Duration::from_secs(10);

/// How often a condition is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(20);

/// Waits until `look` gives something.
///
/// # Errors
/// When it gave nothing within [`SOON`]; `what` says what was waited for.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    within(SOON, what, look).await
}

/// Waits until `look` gives something, at most `limit`.
///
/// # Errors
/// When it gave nothing within `limit`; `what` says what was waited for.
pub async fn within<T>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("waited {limit:?} in vain: {what}");
        }
        sleep(POLL).await;
    }
}

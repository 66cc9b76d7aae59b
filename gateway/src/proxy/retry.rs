//! Whether an attempt that failed is made again, and where.
//!
//! A retry goes to an endpoint where the request was not tried, within the route's budget, and only
//! while nothing of a response went to the client.

use super::{Ctx, link};
use crate::upstream::Lease;
use pingora_proxy::Session;
use std::{sync::Arc, time::Duration};
use tidegate_config::plan::{Retry, RetryOn};
use tidegate_policies::backoff;

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection: nothing was sent.
    Connect,
    /// The connection broke.
    Reset,
    /// No response's head in time.
    Timeout,
    /// The response has this status.
    Status(u16),
    /// The response is nothing but this gRPC status.
    Grpc(u8),
}

/// The next attempt: a place, and the pause before.
#[derive(Debug)]
pub(crate) struct Next {
    pub(super) lease: Lease,
    pub(super) pause: Duration,
}

/// Prepares another attempt after `failure`, if there may be one.
pub(super) fn again(session: &Session, ctx: &mut Ctx, failure: Failure) -> bool {
    ctx.next = next(session, ctx, failure);
    let again = ctx.next.is_some();
    // Another endpoint may have closed a kept connection, too.
    if again {
        ctx.stale_retries = 0;
    }
    ctx.retries += u32::from(again);
    again
}

fn next(session: &Session, ctx: &Ctx, failure: Failure) -> Option<Next> {
    let (route, handles) = ctx.route()?;
    let retry = route.retry.as_ref()?;
    if !wanted(&retry.on, failure) || ctx.retries >= retry.attempts {
        return None;
    }
    if !is_repeatable(session, retry, failure) || ctx.time_left() == Some(Duration::ZERO) {
        return None;
    }
    // A client that is gone needs no answer.
    if link(session).is_some_and(|link| link.watch.stalled()) {
        return None;
    }
    let (variant, _) = ctx.variant()?;
    let pool = Arc::clone(&ctx.serving().pools[variant.upstream]);
    let point = ctx.chosen.as_ref().map(|chosen| chosen.decision.point).unwrap_or_default();
    let lease = pool.lease_avoiding(point, ctx.draw.rotate_left(ctx.attempts), &ctx.tried).ok()?;
    if !handles.retries.as_ref()?.withdraw() {
        return None;
    }
    let pause = backoff(retry.backoff, ctx.retries + 1, ctx.draw.rotate_left(17 * ctx.attempts));
    Some(Next { lease, pause })
}

fn wanted(on: &RetryOn, failure: Failure) -> bool {
    match failure {
        Failure::Connect => on.connect_failure,
        Failure::Reset => on.reset,
        Failure::Timeout => on.timeout,
        Failure::Status(status) => on.statuses.binary_search(&status).is_ok(),
        Failure::Grpc(status) => on.grpc_statuses.binary_search(&status).is_ok(),
    }
}

/// Whether sending the request once more does no harm, and can be done: its body is still there.
fn is_repeatable(session: &Session, retry: &Retry, failure: Failure) -> bool {
    if session.response_written().is_some() || session.as_ref().retry_buffer_truncated() {
        return false;
    }
    match failure {
        Failure::Connect => true,
        // Who writes a gRPC status down knows what his calls do: all of them are POST.
        Failure::Grpc(_) => true,
        _ => retry.non_idempotent || session.req_header().method.is_idempotent(),
    }
}

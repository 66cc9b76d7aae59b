//! A place in the pool of the request's variant, or of its fallback.

use super::{
    Ctx,
    context::Attempt,
    retry::{self, Failure},
};
use crate::{
    metrics::Outcome,
    upstream::{Lease, Unavailable},
};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use pingora_proxy::Session;
use std::{sync::Arc, time::Duration};

/// A timer of nothing would fire before anything was tried.
const SHORTEST: Duration = Duration::from_millis(10);

/// Finds the next attempt's endpoint; runs again for every attempt.
pub(super) async fn dispatch(ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
    if let Some(next) = ctx.next.take() {
        tokio::time::sleep(ctx.time_left().map_or(next.pause, |left| left.min(next.pause))).await;
        return Ok(attempt(ctx, next.lease));
    }
    loop {
        let Some((variant, _)) = ctx.variant() else {
            return Err(Error::explain(ErrorType::InternalError, "no variant was chosen"));
        };
        let pool = Arc::clone(&ctx.serving().pools[variant.upstream]);
        let point = ctx.chosen.as_ref().map(|chosen| chosen.decision.point).unwrap_or_default();
        let draw = ctx.draw.rotate_left(ctx.attempts);
        let lease = match pool.lease_avoiding(point, draw, &ctx.tried) {
            Err(Unavailable::AllTried) => pool.lease(point, draw),
            lease => lease,
        };
        match lease {
            Ok(lease) => return Ok(attempt(ctx, lease)),
            Err(why) => {
                ctx.charge(match why {
                    Unavailable::NoEndpoint | Unavailable::AllTried => Outcome::NoEndpoint,
                    Unavailable::Overloaded => Outcome::Overloaded,
                });
                if !ctx.fall_back() {
                    let why = "the variant has no usable endpoint";
                    return Err(Error::explain(ErrorType::HTTPStatus(503), why).into_up());
                }
            }
        }
    }
}

/// An attempt at the endpoint of `lease`, and its time limits.
fn attempt(ctx: &mut Ctx, lease: Lease) -> Box<HttpPeer> {
    let mut peer = lease.peer();
    if ctx.may_rest {
        // The watch limits the wait for the response's head, and keep-alives find out whether the
        // other side is still there.
        peer.options.read_timeout = None;
        peer.options.write_timeout = None;
    } else if let Some(left) = ctx.time_left() {
        // While an upstream takes nothing of a body, nobody looks at the request's deadline.
        let cut = |limit: Option<Duration>| limit.map(|limit| limit.min(left.max(SHORTEST)));
        peer.options.write_timeout = cut(peer.options.write_timeout);
        peer.options.read_timeout = cut(peer.options.read_timeout);
    }
    ctx.attempts += 1;
    ctx.last_endpoint = Some(lease.address());
    // Until it is really dispatched.
    let dispatched = ctx.started;
    ctx.attempt =
        Some(Attempt { lease, dispatched, sent: false, responded: false, complete: false });
    peer
}

/// Another endpoint of the variant, as the route's retries allow it; else its fallback, which can
/// take the request whatever its method is if nothing of it was sent yet.
pub(super) fn cannot_connect(
    session: &Session,
    ctx: &mut Ctx,
    mut error: Box<Error>,
) -> Box<Error> {
    ctx.end_attempt(Outcome::ConnectFailure);
    let unsent = !ctx.dispatched || session.req_header().method.is_idempotent();
    let again = retry::again(session, ctx, Failure::Connect) || (unsent && ctx.fall_back());
    error.set_retry(again);
    error
}

//! A place in the pool of the request's variant, or of its fallback.

use super::{Ctx, context::Attempt};
use crate::{metrics::Outcome, upstream::Unavailable};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use std::sync::Arc;

/// Finds the next attempt's endpoint; runs again for every attempt.
pub(super) fn dispatch(ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
    loop {
        let Some((variant, _)) = ctx.variant() else {
            return Err(Error::explain(ErrorType::InternalError, "no variant was chosen"));
        };
        let pool = Arc::clone(&ctx.serving().pools[variant.upstream]);
        let point = ctx.chosen.as_ref().map(|chosen| chosen.decision.point).unwrap_or_default();
        match pool.lease(point, ctx.draw.rotate_left(ctx.attempts)) {
            Ok(lease) => {
                let peer = lease.peer();
                ctx.attempts += 1;
                ctx.last_endpoint = Some(lease.address());
                // Until it is really dispatched.
                let dispatched = ctx.started;
                ctx.attempt = Some(Attempt { lease, dispatched, sent: false, responded: false });
                return Ok(peer);
            }
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

/// Nothing was sent, so the fallback can take the request whatever its method is.
pub(super) fn cannot_connect(ctx: &mut Ctx, mut error: Box<Error>) -> Box<Error> {
    ctx.end_attempt(Outcome::ConnectFailure);
    let fell_back = ctx.fall_back();
    error.set_retry(fell_back);
    error
}

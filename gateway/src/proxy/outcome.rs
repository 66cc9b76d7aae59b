//! Failures: whose they are, whether to try again, and what the client gets.

use super::{
    Ctx, context, grpc, link, respond,
    retry::{self, Failure},
};
use crate::metrics::Outcome;
use pingora_error::{
    Error,
    ErrorSource::{Downstream, Upstream},
    ErrorType::{
        ConnectError, ConnectNoRoute, ConnectProxyFailure, ConnectRefused, ConnectTimedout,
        ConnectionClosed, H2Error, HTTPStatus, ReadError, ReadTimedout, SocketError, WriteError,
        WriteTimedout,
    },
    RetryType,
};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

/// Kept connections in a row that may turn out to be closed: a service that restarts closes all of
/// them, and the pool may not have noticed yet.
const STALE: u8 = 3;

/// An attempt broke after its connection was made.
pub(super) fn broken(
    session: &Session,
    ctx: &mut Ctx,
    mut error: Box<Error>,
    reused: bool,
) -> Box<Error> {
    if ctx.next.is_some() {
        // Decided when the response's head came.
        error.set_retry(true);
        return error;
    }
    let started = session.response_written().is_some();
    // An HTTP/2 server says of some streams that it has done nothing with them.
    let unprocessed = matches!(error.retry, RetryType::Decided(true));
    let repeatable = (unprocessed || session.req_header().method.is_idempotent())
        && !session.as_ref().retry_buffer_truncated();
    if started || !repeatable || ctx.stale_retries >= STALE {
        error.set_retry(false);
    } else {
        // A kept connection that the upstream had closed: as if it had never been tried, but a few
        // times at most. A service that breaks connections has to be seen.
        error.retry.decide_reuse(reused);
    }
    if error.retry() {
        ctx.stale_retries += 1;
        ctx.attempt = None;
    } else {
        let outcome = outcome(session, ctx, &error);
        ctx.end_attempt(outcome);
        let again = match outcome {
            Outcome::Timeout => retry::again(session, ctx, Failure::Timeout),
            Outcome::Reset => retry::again(session, ctx, Failure::Reset),
            _ => false,
        };
        error.set_retry(again);
        if again {
            // The deadline that has passed was this attempt's.
            context::set_rest_deadline(session, ctx);
        }
    }
    error
}

fn outcome(session: &Session, ctx: &Ctx, error: &Error) -> Outcome {
    let expired = link(session).is_some_and(|link| link.watch.expired());
    // Until the request is sent to its end, the exchange waits for the client.
    let sent = ctx.attempt.as_ref().is_some_and(|attempt| attempt.sent);
    let failed = session.response_written().is_some_and(|head| head.status.is_server_error())
        || ctx.grpc_status.is_some_and(grpc::is_failure);
    let complete = ctx.attempt.as_ref().is_some_and(|attempt| attempt.complete);
    let awaited = link(session).is_some_and(|link| link.watch.awaits_body());
    let ended = link(session).is_some_and(|link| link.watch.ended());
    match (error.esource(), error.etype()) {
        // The stream went well, until its variant was taken away.
        _ if ended => Outcome::Success,
        // The response was there to its end; what broke is the rest of the request.
        (Downstream, _) if complete && !failed => Outcome::Success,
        (Downstream, _) if expired && sent => Outcome::Timeout,
        // The client left in the middle of it, but the variant had failed already.
        (Downstream, _) if failed => Outcome::ServerError,
        (Downstream, _) => Outcome::ClientAborted,
        (_, ReadTimedout) if !sent && awaited => Outcome::ClientAborted,
        (_, ReadTimedout | WriteTimedout) => Outcome::Timeout,
        _ => Outcome::Reset,
    }
}

/// Answers a request that cannot be served; 0 when there is nobody to answer.
pub(super) async fn answer(session: &mut Session, ctx: &mut Ctx, error: &Error) -> u16 {
    let answered = |response: &ResponseHeader| !response.status.is_informational();
    if session.was_upgraded() {
        return 0;
    }
    if session.response_written().is_some_and(answered) {
        if ctx.grpc {
            end_call(session, ctx, error).await;
        }
        return 0;
    }
    let (expired, stalled) =
        link(session).map_or((false, false), |link| (link.watch.expired(), link.watch.stalled()));
    let malformed = link(session).is_some_and(|link| link.watch.refused());
    let (status, why) = match (status(error, expired), ctx.last_outcome) {
        _ if malformed => (400, "the request body is malformed"),
        _ if stalled && !expired => (408, "the request body took too long"),
        ((503, _), Some(Outcome::Overloaded)) => (503, "the upstream is at its limit"),
        ((504, _), Some(Outcome::ClientAborted)) => (408, "the request body took too long"),
        (answer, _) => answer,
    };
    if status == 0 {
        return 0;
    }
    // pingora closes the connection after a failure; the response has to say so.
    session.set_keepalive(None);
    match respond::refuse(session, ctx, status, why).await {
        Ok(()) => {
            session.shutdown().await;
            status
        }
        Err(_) => 0,
    }
}

/// A call whose response has begun ends with a status, which a broken stream would not say.
async fn end_call(session: &mut Session, ctx: &mut Ctx, error: &Error) {
    let (expired, ended) =
        link(session).map_or((false, false), |link| (link.watch.expired(), link.watch.ended()));
    let (status, why) = match error.esource() {
        _ if ended => (grpc::UNAVAILABLE, "this version was taken away"),
        _ if expired => (grpc::DEADLINE_EXCEEDED, "the call took too long"),
        Downstream => return,
        _ => (grpc::UNAVAILABLE, "the upstream's response is broken"),
    };
    ctx.grpc_status = Some(status);
    let trailers = grpc::trailers(status, why);
    let _ = session.as_mut().write_response_trailers(trailers).await;
}

fn status(error: &Error, expired: bool) -> (u16, &'static str) {
    match (error.esource(), error.etype()) {
        (_, HTTPStatus(503)) => (503, "no usable endpoint"),
        (_, HTTPStatus(413)) => (413, "the request body is too large"),
        (_, HTTPStatus(status)) => (*status, "refused"),
        (Downstream, _) if expired => (504, "the upstream took too long"),
        (Downstream, ReadTimedout) => (408, "the request body took too long"),
        (Downstream, H2Error | ReadError | WriteError | WriteTimedout | ConnectionClosed) => {
            (0, "")
        }
        (Downstream, _) => (400, "malformed request"),
        (
            Upstream,
            ConnectTimedout | ConnectRefused | ConnectNoRoute | ConnectError | ConnectProxyFailure
            | SocketError,
        ) => (503, "no usable endpoint"),
        (Upstream, ReadTimedout | WriteTimedout) => (504, "the upstream took too long"),
        (Upstream, _) => (502, "the upstream's response is broken"),
        _ => (500, "internal error"),
    }
}

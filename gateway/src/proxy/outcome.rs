//! Failures: whose they are, whether to try again, and what the client gets.

use super::{Ctx, connection, respond};
use crate::metrics::Outcome;
use pingora_error::{
    Error,
    ErrorSource::{Downstream, Upstream},
    ErrorType::{
        ConnectError, ConnectNoRoute, ConnectProxyFailure, ConnectRefused, ConnectTimedout,
        ConnectionClosed, HTTPStatus, ReadError, ReadTimedout, SocketError, WriteError,
        WriteTimedout,
    },
};
use pingora_proxy::Session;

/// An attempt broke after its connection was made.
pub(super) fn broken(
    session: &Session,
    ctx: &mut Ctx,
    mut error: Box<Error>,
    reused: bool,
) -> Box<Error> {
    let started = session.response_written().is_some();
    let repeatable =
        session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated();
    if started || !repeatable {
        error.set_retry(false);
    } else {
        // A kept connection that the upstream had closed: as if it had never been tried.
        error.retry.decide_reuse(reused);
    }
    if error.retry() {
        ctx.attempt = None;
    } else {
        let outcome = outcome(session, &error);
        ctx.end_attempt(outcome);
    }
    error
}

fn outcome(session: &Session, error: &Error) -> Outcome {
    // An exchange expires while it waits for the upstream; a slow client is another matter.
    let expired = connection(session).is_some_and(|conn| conn.watch().expired());
    match (error.esource(), error.etype()) {
        (Downstream, _) if expired => Outcome::Timeout,
        (Downstream, _) => Outcome::ClientAborted,
        (_, ReadTimedout | WriteTimedout) => Outcome::Timeout,
        _ => Outcome::Reset,
    }
}

/// Answers a request that cannot be served; 0 when there is nobody to answer.
pub(super) async fn answer(session: &mut Session, error: &Error) -> u16 {
    if session.response_written().is_some_and(|response| !response.status.is_informational()) {
        return 0;
    }
    let expired = connection(session).is_some_and(|conn| conn.watch().expired());
    let (status, why) = status(error, expired);
    if status == 0 {
        return 0;
    }
    // pingora closes the connection after a failure; the response has to say so.
    session.set_keepalive(None);
    match respond::refuse(session, status, why).await {
        Ok(()) => {
            session.shutdown().await;
            status
        }
        Err(_) => 0,
    }
}

fn status(error: &Error, expired: bool) -> (u16, &'static str) {
    match (error.esource(), error.etype()) {
        (_, HTTPStatus(503)) => (503, "no usable endpoint"),
        (_, HTTPStatus(413)) => (413, "the request body is too large"),
        (_, HTTPStatus(status)) => (*status, "refused"),
        (Downstream, _) if expired => (504, "the upstream took too long"),
        (Downstream, ReadTimedout) => (408, "the request body took too long"),
        (Downstream, ReadError | WriteError | WriteTimedout | ConnectionClosed) => (0, ""),
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

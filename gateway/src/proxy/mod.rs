//! The gateway as a pingora proxy: each callback hands over to the file that has the idea.
//!
//! ```text
//! request_filter           admit: well-formed? which client? -> route -> variant
//! upstream_peer            dispatch: a place in the variant's pool, or its fallback's
//! upstream_request_filter  forward: the headers and target that the upstream sees
//! upstream_response_filter respond: what the upstream said, then the client's view of it
//! error_* / fail_*         outcome: whose failure was it, and what does the client get
//! logging                  context: counts, and a line in the access log
//! ```
//!
//! Beside them, what the route's mirrors need goes by [`crate::mirror::Shadow`], and what its
//! rollout counts by `trial`.

mod admit;
mod context;
mod dispatch;
mod forward;
pub(crate) mod grpc;
mod outcome;
mod respond;
mod retry;
mod trial;

pub(crate) use admit::id_text;
pub(crate) use context::Ctx;

use crate::{
    edge::{self, Conn, Link},
    metrics::Metrics,
    mirror::Mirrors,
    serving::Serving,
};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Version};
use pingora_core::{modules::http::HttpModules, upstreams::peer::HttpPeer};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use std::{sync::Arc, time::Duration};
use tidegate_config::Store;

/// Attempts for one request at most: the variant and its fallback, each with some more tries when
/// kept connections turn out to be closed, and as many retries as a route may have.
pub(crate) const MAX_ATTEMPTS: usize = 20;

/// For what is left of a body nobody wants, so that its connection can be used again.
const BODY_DRAIN_TIME: Duration = Duration::from_secs(2);

/// The proxy.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) store: Arc<Store<Serving>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) mirrors: Arc<Mirrors>,
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx::new(self.store.load())
    }

    /// None: pingora's default adds compression, which this gateway leaves to the services.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        if let Some(link) = link(session) {
            link.watch.enter(edge::Phase::Exchange, None);
        }
        // The watch has all limits for clients that are slow.
        session.set_read_timeout(None);
        session.set_total_drain_timeout(Some(BODY_DRAIN_TIME));
        match admit::admit(session, ctx, &self.mirrors) {
            Ok(()) => {
                context::set_deadline(session, ctx);
                Ok(false)
            }
            Err(refusal) => {
                self.metrics.reject(refusal.rejection);
                // Whoever is refused takes nobody's place.
                ctx.in_flight = None;
                ctx.refused = true;
                respond::refuse(session, ctx, refusal.status, refusal.why).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        dispatch::dispatch(ctx).await
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        ctx.start_attempt();
        forward::prepare(session, upstream, ctx)?;
        if let Some(shadow) = &mut ctx.shadow {
            shadow.dispatch(session.req_header(), upstream);
        }
        // To an HTTP/2 upstream pingora sends a request without a body at once, and asks no filter.
        if upstream.version == Version::HTTP_2 && session.as_mut().is_body_empty() {
            context::set_response_deadline(session, ctx);
            ctx.launch_copies(&self.mirrors);
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Ctx,
    ) -> Result<()> {
        ctx.body_in += body.as_ref().map_or(0, |body| body.len() as u64);
        // What an upgraded connection carries is no body.
        if ctx.body_in > ctx.max_body() && !session.was_upgraded() {
            return Err(Error::explain(
                ErrorType::HTTPStatus(413),
                "the request body is too large",
            )
            .into_down());
        }
        if let (Some(shadow), Some(body)) = (&mut ctx.shadow, body) {
            shadow.body(body);
        }
        if end {
            context::set_response_deadline(session, ctx);
            ctx.launch_copies(&self.mirrors);
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        respond::received(session, response, ctx)
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Ctx,
    ) -> Result<Option<Duration>> {
        if let Some(shadow) = &mut ctx.shadow {
            shadow.answer_body(body.as_ref(), end);
        }
        if ctx.bodyless {
            *body = None;
        }
        if let Some(attempt) = ctx.attempt.as_mut().filter(|_| end) {
            attempt.complete = true;
        }
        trial::going_on(ctx);
        Ok(None)
    }

    fn upstream_response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Ctx,
    ) -> Result<()> {
        if ctx.grpc {
            ctx.grpc_status = grpc::status(trailers).or(ctx.grpc_status);
            if let Some(attempt) = &mut ctx.attempt {
                attempt.complete = true;
            }
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        respond::prepare(session, response, ctx)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Ctx,
        error: Box<Error>,
    ) -> Box<Error> {
        forward::draw_request_id(session.req_header(), ctx);
        dispatch::cannot_connect(session, ctx, error)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Ctx,
        reused: bool,
    ) -> Box<Error> {
        outcome::broken(session, ctx, error, reused)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Ctx,
    ) -> FailToProxy {
        let error_code = outcome::answer(session, ctx, error).await;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Ctx) {
        context::finish(session, error, ctx);
    }

    /// Failures are counted and logged by the gateway itself, once, in the access log.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Ctx, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Ctx,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

/// The client of a session, and the exchange's deadlines.
fn link(session: &Session) -> Option<&Link> {
    match session.as_http1() {
        Some(http1) => http1.stream().as_any().downcast_ref::<Conn>().map(Conn::link),
        None => edge::link(session.req_header()),
    }
}

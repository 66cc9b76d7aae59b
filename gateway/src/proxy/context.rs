//! What a request carries from its head to its log line.

use super::{link, trial};
use crate::{
    access_log,
    metrics::{Code, Outcome},
    mirror::{Launch, Mirrors, Shadow},
    rollout::Ended,
    serving::{Serving, ServingRoute, ServingVariant},
    upstream::Lease,
};
use pingora_error::{Error, ErrorSource};
use pingora_proxy::Session;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tidegate_config::{Snapshot, plan};
use tidegate_policies::{Decision, RouteId, VariantId};

/// The state of one request. It pins one snapshot from its first to its last byte.
#[derive(Debug)]
pub(crate) struct Ctx {
    pub(crate) snapshot: Arc<Snapshot<Serving>>,
    pub(crate) started: Instant,
    /// A random number: for the split without a key, for samples, for the choice of an endpoint.
    pub(crate) draw: u64,
    /// Who asks, after trusted proxies; the connection's peer until that is known.
    pub(crate) client: IpAddr,
    /// The connection's peer is a trusted proxy.
    pub(crate) trusted: bool,
    pub(crate) chosen: Option<Chosen>,
    /// The gateway answered before any variant was chosen.
    pub(crate) refused: bool,
    /// The attempt under way.
    pub(crate) attempt: Option<Attempt>,
    pub(crate) attempts: u32,
    /// The variant that serves was tried again after a kept connection had turned out closed.
    pub(crate) retried_stale: bool,
    pub(crate) last_endpoint: Option<SocketAddr>,
    pub(crate) last_outcome: Option<Outcome>,
    /// What its route's rollout counted.
    pub(crate) first: Option<Ended>,
    /// A new id for a client without one, as a cookie's value.
    pub(crate) issued: Option<u128>,
    /// A new `x-request-id` for a request without a sane one.
    pub(crate) request_id: Option<u128>,
    pub(crate) body_in: u64,
    /// What the route's mirrors need of it.
    pub(crate) shadow: Option<Box<Shadow>>,
    /// Until the response's head came.
    pub(crate) upstream_time: Option<Duration>,
}

/// Where the request goes.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) route: RouteId,
    pub(crate) decision: Decision,
    /// The variant that serves: the decision's, or its fallback.
    pub(crate) serving: VariantId,
}

/// One attempt at an upstream.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) lease: Lease,
    pub(crate) dispatched: Instant,
    /// The request was sent to its end.
    pub(crate) sent: bool,
    /// A final response's head came.
    pub(crate) responded: bool,
}

impl Ctx {
    pub(crate) fn new(snapshot: Arc<Snapshot<Serving>>) -> Self {
        Self {
            snapshot,
            started: Instant::now(),
            draw: rand::random(),
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            trusted: false,
            chosen: None,
            refused: false,
            attempt: None,
            attempts: 0,
            retried_stale: false,
            last_endpoint: None,
            last_outcome: None,
            first: None,
            issued: None,
            request_id: None,
            body_in: 0,
            shadow: None,
            upstream_time: None,
        }
    }

    pub(crate) fn serving(&self) -> &Serving {
        &self.snapshot.state
    }

    /// The plan's route and the handles of it, once chosen.
    pub(crate) fn route(&self) -> Option<(&plan::Route, &ServingRoute)> {
        let id = self.chosen.as_ref()?.route;
        let serving = self.serving();
        Some((&serving.plan().routes[id.0 as usize], serving.route(id)))
    }

    /// The variant that serves, once chosen.
    pub(crate) fn variant(&self) -> Option<(&plan::Variant, &ServingVariant)> {
        let id = self.chosen.as_ref()?.serving;
        let (plan, route) = self.route()?;
        Some((&plan.variants[usize::from(id.0)], route.variant(id)))
    }

    pub(crate) fn max_body(&self) -> u64 {
        self.route().map_or(u64::MAX, |(route, _)| route.max_body)
    }

    pub(crate) fn choose(&mut self, route: RouteId, decision: Decision) {
        self.chosen = Some(Chosen { route, decision, serving: decision.variant });
        self.enter_variant();
    }

    /// Hands the request to the fallback of the variant that failed, once.
    pub(crate) fn fall_back(&mut self) -> bool {
        let Some(chosen) = &self.chosen else { return false };
        let Some((plan, handles)) = self.variant() else { return false };
        let Some(fallback) = plan.fallback.filter(|_| chosen.serving == chosen.decision.variant)
        else {
            return false;
        };
        handles.metrics.fallbacks.inc();
        self.leave_variant();
        if let Some(chosen) = &mut self.chosen {
            chosen.serving = fallback;
        }
        self.retried_stale = false;
        self.enter_variant();
        if let Some(shadow) = &mut self.shadow {
            shadow.fell_back();
        }
        true
    }

    /// The request is about to be sent (again: its body too, from the start).
    pub(crate) fn start_attempt(&mut self) {
        self.body_in = 0;
        if let Some(attempt) = &mut self.attempt {
            attempt.dispatched = Instant::now();
            attempt.sent = false;
        }
    }

    /// The whole request went to its upstream: the route's mirrors may have their copies.
    pub(crate) fn launch_copies(&mut self, mirrors: &Mirrors) {
        let (Some(chosen), true) = (&self.chosen, self.shadow.is_some()) else { return };
        let log = self.serving().access_log.as_ref();
        let launch = Launch {
            client: self.client,
            serving: chosen.serving,
            endpoint: self.last_endpoint,
            draw: self.draw,
            logged: log.is_some_and(|log| access_log::wanted(log, self)),
        };
        if let Some(shadow) = &mut self.shadow {
            shadow.launch(mirrors, launch);
        }
    }

    /// Ends the attempt under way and charges it to its variant.
    pub(crate) fn end_attempt(&mut self, outcome: Outcome) {
        if self.attempt.take().is_some() {
            self.charge(outcome);
        }
    }

    /// Charges an attempt to the variant that serves.
    pub(crate) fn charge(&mut self, outcome: Outcome) {
        self.last_outcome = Some(outcome);
        if let Some((_, variant)) = self.variant() {
            variant.metrics.attempt(outcome);
        }
        trial::ended(self, outcome);
    }

    fn enter_variant(&self) {
        if let Some((_, variant)) = self.variant() {
            variant.metrics.in_flight.inc();
        }
    }

    fn leave_variant(&self) {
        if let Some((_, variant)) = self.variant() {
            variant.metrics.in_flight.dec();
        }
    }
}

/// Whatever happens to a request, its variant no longer has it in flight.
impl Drop for Ctx {
    fn drop(&mut self) {
        self.leave_variant();
    }
}

/// Gives the exchange the route's time.
pub(crate) fn set_deadline(session: &Session, ctx: &Ctx) {
    if let (Some(link), Some((route, _))) = (link(session), ctx.route()) {
        link.watch.expire_in(route.timeout);
    }
}

/// The request is sent to its end: gives the upstream its time for the response's head, within the
/// route's time.
pub(crate) fn set_response_deadline(session: &Session, ctx: &mut Ctx) {
    let left = time_left(ctx);
    let Some(attempt) = &mut ctx.attempt else { return };
    attempt.sent = true;
    if attempt.responded {
        return;
    }
    let response = attempt.lease.response_time();
    if let Some(link) = link(session) {
        link.watch.expire_in(Some(left.map_or(response, |left| left.min(response))));
    }
}

/// The response's head is there: what is left is the route's time.
pub(crate) fn set_rest_deadline(session: &Session, ctx: &Ctx) {
    if let Some(link) = link(session) {
        link.watch.expire_in(time_left(ctx));
    }
}

fn time_left(ctx: &Ctx) -> Option<Duration> {
    let (route, _) = ctx.route()?;
    Some(route.timeout?.saturating_sub(ctx.started.elapsed()))
}

/// Counts the request and logs it.
pub(crate) fn finish(session: &mut Session, error: Option<&Error>, ctx: &mut Ctx) {
    let status = session.response_written().map(|response| response.status.as_u16());
    let gone = error.is_some_and(|error| *error.esource() == ErrorSource::Downstream);
    if let Some(attempt) = &ctx.attempt {
        let outcome = match status {
            _ if gone && !attempt.responded => Outcome::ClientAborted,
            Some(status) if status < 500 => Outcome::Success,
            _ => Outcome::ServerError,
        };
        ctx.end_attempt(outcome);
    }
    if let Some((_, variant)) = ctx.variant() {
        let code = status.map_or(Code::Aborted, |status| Code::Class((status / 100) as u8));
        // How long a stream lived says nothing about latency.
        let timed = Some(ctx.started.elapsed()).filter(|_| !session.was_upgraded());
        variant.metrics.request(code, timed);
    }
    if let Some(shadow) = &mut ctx.shadow {
        shadow.finish(error.is_none() && status.is_some());
    }
    trial::finish(session, ctx);
    if let Some(log) = &ctx.serving().access_log
        && access_log::wanted(log, ctx)
    {
        log.write(&access_log::line(session, error, ctx));
    }
}

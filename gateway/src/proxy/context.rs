//! What a request carries from its head to its log line.

use super::{grpc, link, retry::Next, trial};
use crate::{
    access_log,
    edge::StreamEnd,
    metrics::{Code, Outcome},
    mirror::{Launch, Mirrors, Shadow},
    rollout::Ended,
    serving::{Serving, ServingRoute, ServingVariant},
    upstream::{Lease, Verdict},
};
use pingora_error::{Error, ErrorSource};
use pingora_proxy::Session;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tidegate_config::{Snapshot, plan};
use tidegate_policies::{Decision, Reason, RouteId, VariantId};

/// The state of one request. It pins one snapshot from its first to its last byte.
#[derive(Debug)]
pub(crate) struct Ctx {
    pub(crate) snapshot: Arc<Snapshot<Serving>>,
    /// Its place among all requests of the process, unless it is refused.
    pub(crate) in_flight: Option<InFlight>,
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
    /// How often the variant that serves was tried again after a kept connection had turned out
    /// closed.
    pub(crate) stale_retries: u8,
    /// Something of the request may have reached an upstream.
    pub(crate) dispatched: bool,
    /// Endpoints of the variant that serves where it failed.
    pub(crate) tried: Vec<SocketAddr>,
    /// Attempts because others had failed.
    pub(crate) retries: u32,
    /// The next attempt is decided.
    pub(crate) next: Option<Next>,
    pub(crate) last_endpoint: Option<SocketAddr>,
    pub(crate) last_outcome: Option<Outcome>,
    /// What its route's rollout counted.
    pub(crate) first: Option<Ended>,
    /// A new id for a client without one, as a cookie's value.
    pub(crate) issued: Option<u128>,
    /// A new `x-request-id` for a request without a sane one.
    pub(crate) request_id: Option<u128>,
    pub(crate) body_in: u64,
    /// Its response has no body, whatever the upstream sends.
    pub(crate) bodyless: bool,
    /// It is a gRPC call.
    pub(crate) grpc: bool,
    /// How a gRPC call ended, as the upstream says.
    pub(crate) grpc_status: Option<u8>,
    /// How long its caller waits, if it says so.
    pub(crate) caller_waits: Option<Duration>,
    /// Its two ends may be silent for as long as they like: a gRPC call, or an upgrade.
    pub(crate) may_rest: bool,
    /// What a gRPC call hears is an HTTP 200; this is what happened.
    pub(crate) own_status: Option<u16>,
    /// When a client that is refused may come again.
    pub(crate) retry_after: Option<Duration>,
    /// From the request's head to the response's.
    pub(crate) head_after: Option<Duration>,
    /// When the variant that serves ends its live streams.
    stream_end: Option<Arc<StreamEnd>>,
    /// It is a live stream of the variant that serves.
    streaming: bool,
    /// What the route's mirrors need of it.
    pub(crate) shadow: Option<Box<Shadow>>,
    /// Until the response's head came.
    pub(crate) upstream_time: Option<Duration>,
}

/// Requests of the process that are under way.
static IN_FLIGHT: AtomicU32 = AtomicU32::new(0);

/// A place among the requests under way; given back when dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// How many there were before.
    before: u32,
}

impl InFlight {
    fn enter() -> Self {
        Self { before: IN_FLIGHT.fetch_add(1, Ordering::Relaxed) }
    }

    /// Whether it is one of the `most` that there may be.
    pub(super) fn is_within(&self, most: NonZeroU32) -> bool {
        self.before < most.get()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        IN_FLIGHT.fetch_sub(1, Ordering::Relaxed);
    }
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
    /// The response came to its end.
    pub(crate) complete: bool,
}

impl Ctx {
    pub(crate) fn new(snapshot: Arc<Snapshot<Serving>>) -> Self {
        Self {
            snapshot,
            in_flight: Some(InFlight::enter()),
            started: Instant::now(),
            draw: rand::random(),
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            trusted: false,
            chosen: None,
            refused: false,
            attempt: None,
            attempts: 0,
            stale_retries: 0,
            dispatched: false,
            tried: Vec::new(),
            retries: 0,
            next: None,
            last_endpoint: None,
            last_outcome: None,
            first: None,
            issued: None,
            request_id: None,
            body_in: 0,
            bodyless: false,
            grpc: false,
            grpc_status: None,
            caller_waits: None,
            may_rest: false,
            own_status: None,
            retry_after: None,
            head_after: None,
            stream_end: None,
            streaming: false,
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
        self.know_stream_end();
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
        self.stale_retries = 0;
        self.tried.clear();
        self.enter_variant();
        self.know_stream_end();
        if let Some(shadow) = &mut self.shadow {
            shadow.fell_back();
        }
        true
    }

    /// The request is about to be sent (again: its body too, from the start).
    pub(crate) fn start_attempt(&mut self) {
        self.body_in = 0;
        self.dispatched = true;
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
        if let Some(mut attempt) = self.attempt.take() {
            let verdict = outcome.verdict();
            attempt.lease.report(verdict);
            if verdict == Verdict::Failure {
                self.tried.push(attempt.lease.address());
            }
            self.charge(outcome);
        }
    }

    /// From its response's head on it is a live stream.
    pub(crate) fn begin_stream(&mut self, session: &Session) {
        let Some((_, variant)) = self.variant().filter(|_| !self.streaming) else { return };
        variant.metrics.streams.inc();
        if let Some(link) = link(session) {
            link.watch.stream_until(self.stream_end.clone());
        }
        self.streaming = true;
    }

    /// What is left of the request's time; `None`: it is unlimited.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let route = self.route().and_then(|(route, _)| route.timeout);
        let limit = match (route, self.caller_waits) {
            (Some(route), Some(caller)) => route.min(caller),
            (one, other) => one.or(other)?,
        };
        Some(limit.saturating_sub(self.started.elapsed()))
    }

    /// Charges an attempt to the variant that serves.
    pub(crate) fn charge(&mut self, outcome: Outcome) {
        self.last_outcome = Some(outcome);
        if let Some((_, variant)) = self.variant() {
            variant.metrics.attempt(outcome);
        }
        trial::ended(self, outcome);
    }

    /// Whatever the variant's rollout decides from now on ends its stream, too; but not that of a
    /// user whom a pin sends there whatever the rollout says.
    fn know_stream_end(&mut self) {
        let pinned = self
            .chosen
            .as_ref()
            .is_some_and(|chosen| matches!(chosen.decision.reason, Reason::Pin(_)));
        if self.may_rest && !pinned {
            self.stream_end = self.variant().map(|(_, variant)| variant.stream_end());
        }
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
        if let Some((_, variant)) = self.variant().filter(|_| self.streaming) {
            variant.metrics.streams.dec();
        }
    }
}

/// Gives the exchange the route's time.
pub(crate) fn set_deadline(session: &Session, ctx: &Ctx) {
    if let Some(link) = link(session) {
        link.watch.expire_in(ctx.time_left());
    }
}

/// The request is sent to its end: gives the upstream its time for the response's head, within the
/// route's time.
pub(crate) fn set_response_deadline(session: &Session, ctx: &mut Ctx) {
    let left = ctx.time_left();
    let per_try = ctx.route().and_then(|(route, _)| route.retry.as_ref()?.per_try_timeout);
    let Some(attempt) = &mut ctx.attempt else { return };
    attempt.sent = true;
    if let Some(link) = link(session) {
        // Nothing more is expected of the client.
        link.watch.let_rest();
    }
    if attempt.responded {
        return;
    }
    let response = attempt.lease.response_time();
    let response = per_try.map_or(response, |per_try| per_try.min(response));
    if let Some(link) = link(session) {
        link.watch.expire_in(Some(left.map_or(response, |left| left.min(response))));
    }
}

/// The response's head is there: what is left is the route's time.
pub(crate) fn set_rest_deadline(session: &Session, ctx: &Ctx) {
    if let Some(link) = link(session) {
        link.watch.expire_in(ctx.time_left());
    }
}

/// Counts the request and logs it.
pub(crate) fn finish(session: &mut Session, error: Option<&Error>, ctx: &mut Ctx) {
    let status = session.response_written().map(|response| response.status.as_u16());
    let gone = error.is_some_and(|error| *error.esource() == ErrorSource::Downstream);
    if let Some(attempt) = &ctx.attempt {
        let outcome = match status {
            _ if gone && !attempt.responded => Outcome::ClientAborted,
            Some(200) if ctx.grpc && gone && !attempt.complete => Outcome::ClientAborted,
            // A call without a status has failed, whatever its HTTP status is.
            Some(200) if ctx.grpc && ctx.grpc_status.is_none_or(grpc::is_failure) => {
                Outcome::ServerError
            }
            Some(status) if status < 500 => Outcome::Success,
            _ => Outcome::ServerError,
        };
        ctx.end_attempt(outcome);
    }
    let status = ctx.own_status.or(status);
    if let Some((_, variant)) = ctx.variant() {
        if let Some(status) = ctx.grpc_status.or((ctx.grpc && !gone).then_some(grpc::UNKNOWN)) {
            variant.metrics.grpc(status);
        }
        let code = status.map_or(Code::Aborted, |status| Code::Class((status / 100) as u8));
        // How long a stream lived says nothing about latency.
        let timed = match ctx.head_after.filter(|_| ctx.grpc) {
            Some(head) => Some(head),
            None => Some(ctx.started.elapsed()).filter(|_| !session.was_upgraded()),
        };
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

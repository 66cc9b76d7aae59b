//! How many requests an upstream may have at once, of clients or of mirrors.

use super::{
    Background, Endpoint, Standing, UpstreamMetrics, clock,
    members::Members,
    peer::H2_STREAMS,
    roster::{State, Wish},
};
use pingora_core::upstreams::peer::HttpPeer;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use tidegate_config::plan::{self, Protocol};
use tidegate_policies::Point;

/// An upstream at run time. It outlives a reload that does not change it.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(super) members: Arc<Members>,
    traffic: Traffic,
    turn: AtomicU64,
    in_flight: AtomicU32,
    limit: u32,
}

/// Whose requests a pool has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traffic {
    /// Clients'.
    Clients,
    /// Mirrors', which take no place from clients.
    Copies,
}

/// Why a pool takes no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// There is no usable endpoint.
    NoEndpoint,
    /// The request was tried at every usable endpoint.
    AllTried,
    /// The pool's limit of requests or connections is reached.
    Overloaded,
}

/// What an attempt says about its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answered.
    Success,
    /// No connection, no answer in time, a broken one, or a server error.
    Failure,
    /// Nothing: the client went away.
    Neutral,
}

/// A request's place in a pool; given back when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Arc<Pool>,
    endpoint: Arc<Endpoint>,
    reported: bool,
}

impl Pool {
    /// A pool that knows what `previous` knew of the same names and addresses.
    pub(crate) fn new(
        config: plan::Upstream,
        background: &Arc<Background>,
        metrics: UpstreamMetrics,
        previous: Option<&Pool>,
    ) -> Arc<Self> {
        let previous = previous.map(|previous| &*previous.members);
        let members = Members::new(config, Arc::clone(background), metrics, previous);
        Self::of(Arc::new(members), Traffic::Clients)
    }

    fn of(members: Arc<Members>, traffic: Traffic) -> Arc<Self> {
        let limits = members.config.limits;
        let limit = match members.config.protocol {
            // A connection carries one request at a time.
            Protocol::Http1 => limits.connections.min(limits.requests).get(),
            // pingora makes connections as it needs them and counts none. So many requests need no
            // more connections than allowed, though a burst may make some more until they are full.
            Protocol::Http2 => {
                let streams = limits.connections.get().saturating_mul(H2_STREAMS as u32);
                limits.requests.get().min(streams)
            }
        };
        let (turn, in_flight) = (AtomicU64::new(0), AtomicU32::new(0));
        Arc::new(Self { members, traffic, turn, in_flight, limit })
    }

    /// Mirrors' pool at the same endpoints.
    pub(crate) fn for_copies(&self) -> Arc<Self> {
        Self::of(Arc::clone(&self.members), Traffic::Copies)
    }

    /// Whether both are pools at the same endpoints, in the same standing.
    pub(crate) fn is_beside(&self, other: &Pool) -> bool {
        Arc::ptr_eq(&self.members, &other.members)
    }

    pub(crate) fn config(&self) -> &plan::Upstream {
        &self.members.config
    }

    /// Whether its names are looked up by `background`.
    pub(crate) fn is_of(&self, background: &Arc<Background>) -> bool {
        Arc::ptr_eq(&self.members.background, background)
    }

    /// Requests in flight over all endpoints.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// All endpoints, for people who ask.
    pub(crate) fn standings(&self) -> Vec<Standing> {
        self.members.standings()
    }

    /// How many endpoints are in each state.
    pub(crate) fn states(&self) -> impl Iterator<Item = (State, usize)> {
        let standings = self.standings();
        State::ALL.into_iter().map(move |state| {
            (state, standings.iter().filter(|standing| standing.state == state).count())
        })
    }

    /// A place for one more request. `point` is where its user's key landed, `draw` is random.
    pub(crate) fn lease(self: &Arc<Self>, point: Point, draw: u64) -> Result<Lease, Unavailable> {
        self.lease_avoiding(point, draw, &[])
    }

    /// The same, at an endpoint where the request was not tried.
    pub(crate) fn lease_avoiding(
        self: &Arc<Self>,
        point: Point,
        draw: u64,
        tried: &[SocketAddr],
    ) -> Result<Lease, Unavailable> {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return Err(Unavailable::Overloaded);
        }
        let wish = Wish { traffic: self.traffic, turn: &self.turn, point, draw, tried };
        match self.members.choose(&wish) {
            Ok(endpoint) => {
                endpoint.enter(self.traffic);
                Ok(Lease { pool: Arc::clone(self), endpoint, reported: false })
            }
            Err(why) => {
                self.in_flight.fetch_sub(1, Ordering::Relaxed);
                Err(why)
            }
        }
    }

    /// The same, at another endpoint than `besides` where there is one.
    pub(crate) fn lease_besides(
        self: &Arc<Self>,
        point: Point,
        draw: u64,
        besides: Option<SocketAddr>,
    ) -> Result<Lease, Unavailable> {
        match self.lease_avoiding(point, draw, besides.as_slice()) {
            Err(Unavailable::AllTried) => self.lease(point, draw),
            leased => leased,
        }
    }

    /// No more look-ups and checks: the pool is not part of the configuration any more, though
    /// requests that began with it may still hold it.
    pub(crate) fn retire(&self) {
        self.members.retire();
    }
}

impl Lease {
    /// Says what the attempt says about the endpoint, as soon as it is known; a further report of
    /// the same attempt changes nothing.
    pub(crate) fn report(&mut self, verdict: Verdict) {
        if self.reported || self.pool.traffic == Traffic::Copies {
            return;
        }
        self.reported = true;
        match verdict {
            Verdict::Success => self.pool.members.succeeded(&self.endpoint),
            Verdict::Failure => self.pool.members.failed(&self.endpoint, clock::now()),
            Verdict::Neutral => {}
        }
    }

    /// [`Lease::peer`], where pingora only looks at it.
    pub(crate) fn peer_ref(&self) -> &HttpPeer {
        self.endpoint.peer()
    }

    /// What pingora connects to.
    pub(crate) fn peer(&self) -> Box<HttpPeer> {
        Box::new(self.endpoint.peer().clone())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.address()
    }

    /// For the response's head, from the request's dispatch.
    pub(crate) fn response_time(&self) -> Duration {
        self.pool.config().timeouts.response
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.leave(self.pool.traffic);
        self.pool.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;

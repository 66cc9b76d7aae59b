//! One upstream: its endpoints, their load, and the choice among them.

use arc_swap::ArcSwap;
use pingora_core::upstreams::peer::HttpPeer;
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tidegate_config::plan::{self, LoadBalance, Protocol};
use tidegate_policies::{Point, Purpose, Salt};

/// Requests at once on an HTTP/2 connection: what servers allow by default.
const H2_STREAMS: usize = 100;

/// A connection that does not answer a ping of this interval is dead.
const H2_PING: Duration = Duration::from_secs(10);

/// What an endpoint may send before it is read; pingora's own default is 8 MiB.
const H2_WINDOW: u32 = 256 * 1024;

/// An upstream at run time. It outlives a reload that does not change it.
#[derive(Debug)]
pub(crate) struct Pool {
    config: plan::Upstream,
    /// The addresses of each configured endpoint: its own, or what its name resolved to last.
    known: Mutex<Vec<Vec<SocketAddr>>>,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    turn: AtomicUsize,
    in_flight: AtomicU32,
    limit: u32,
}

/// One address of an upstream.
#[derive(Debug)]
pub(crate) struct Endpoint {
    address: SocketAddr,
    peer: HttpPeer,
    in_flight: AtomicU32,
    /// Where the endpoint stands for `consistent_hash`.
    seed: Salt,
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
}

impl Pool {
    /// A pool that knows of names what `previous` knew, if that had the same endpoints: a reload
    /// must not wait for the DNS.
    pub(crate) fn new(config: plan::Upstream, previous: Option<&Pool>) -> Arc<Self> {
        let limits = config.limits;
        let limit = match config.protocol {
            // A connection carries one request at a time.
            Protocol::Http1 => limits.connections.min(limits.requests).get(),
            Protocol::Http2 => limits.requests.get(),
        };
        let same = previous.filter(|previous| previous.config.endpoints == config.endpoints);
        let known = match same {
            Some(previous) => previous.known().clone(),
            None => config.endpoints.iter().map(address).map(Vec::from_iter).collect(),
        };
        let pool = Self {
            config,
            known: Mutex::new(known),
            endpoints: ArcSwap::default(),
            turn: AtomicUsize::new(0),
            in_flight: AtomicU32::new(0),
            limit,
        };
        pool.refresh();
        Arc::new(pool)
    }

    pub(crate) fn config(&self) -> &plan::Upstream {
        &self.config
    }

    /// Requests in flight over all endpoints.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn endpoints(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.endpoints.load_full()
    }

    /// Notes what the name of the configured endpoint at `position` resolved to.
    pub(crate) fn resolved(&self, position: usize, addresses: Vec<SocketAddr>) {
        if let Some(known) = self.known().get_mut(position) {
            *known = addresses;
        }
    }

    fn known(&self) -> MutexGuard<'_, Vec<Vec<SocketAddr>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the known addresses into use; those that stay keep their counts.
    pub(crate) fn refresh(&self) {
        let mut addresses = self.known().concat();
        addresses.sort_unstable();
        addresses.dedup();
        let old = self.endpoints.load();
        let old: HashMap<_, _> = old.iter().map(|endpoint| (endpoint.address, endpoint)).collect();
        let next = addresses.into_iter().map(|address| match old.get(&address) {
            Some(endpoint) => Arc::clone(endpoint),
            None => Arc::new(self.endpoint(address)),
        });
        self.endpoints.store(Arc::new(next.collect()));
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
        let endpoints = self.endpoints.load();
        let chosen = self.choose(&endpoints, point, draw).ok_or(Unavailable::NoEndpoint)?;
        if !tried.contains(&chosen.address) {
            return self.take(chosen);
        }
        let fresh = |other: &&Arc<Endpoint>| !tried.contains(&other.address);
        // They are in the order of their addresses.
        let after = endpoints.iter().filter(|other| other.address > chosen.address).find(fresh);
        self.take(after.or_else(|| endpoints.iter().find(fresh)).ok_or(Unavailable::AllTried)?)
    }

    fn take(self: &Arc<Self>, endpoint: &Arc<Endpoint>) -> Result<Lease, Unavailable> {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return Err(Unavailable::Overloaded);
        }
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(Lease { pool: Arc::clone(self), endpoint: Arc::clone(endpoint) })
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

    fn choose<'a>(
        &self,
        endpoints: &'a [Arc<Endpoint>],
        point: Point,
        draw: u64,
    ) -> Option<&'a Arc<Endpoint>> {
        if endpoints.len() < 2 {
            return endpoints.first();
        }
        match self.config.load_balance {
            LoadBalance::RoundRobin => {
                endpoints.get(self.turn.fetch_add(1, Ordering::Relaxed) % endpoints.len())
            }
            LoadBalance::LeastRequest => {
                let (a, b) = two_of(endpoints.len(), draw);
                let load = |i: usize| endpoints[i].in_flight.load(Ordering::Relaxed);
                endpoints.get(if load(b) < load(a) { b } else { a })
            }
            // Rendezvous hashing: an endpoint that goes away moves its own users only.
            LoadBalance::ConsistentHash => {
                let key = point.0.to_le_bytes();
                endpoints.iter().max_by_key(|endpoint| endpoint.seed.point(&key))
            }
        }
    }

    fn endpoint(&self, address: SocketAddr) -> Endpoint {
        let timeouts = &self.config.timeouts;
        let mut peer = HttpPeer::new(address, false, String::new());
        // Pools of the same address never share a connection.
        peer.group_key = Salt::new(&self.config.name, Purpose::Endpoint).point(b"pool").0;
        peer.options.connection_timeout = Some(timeouts.connect);
        peer.options.total_connection_timeout = Some(timeouts.connect);
        peer.options.read_timeout = Some(timeouts.response.max(timeouts.idle));
        peer.options.write_timeout = Some(timeouts.idle);
        peer.options.idle_timeout = Some(timeouts.idle);
        match self.config.protocol {
            Protocol::Http1 => peer.options.set_http_version(1, 1),
            Protocol::Http2 => {
                peer.options.set_http_version(2, 2);
                peer.options.max_h2_streams = H2_STREAMS;
                peer.options.h2_ping_interval = Some(H2_PING);
                peer.options.h2_stream_window_size = Some(H2_WINDOW);
                peer.options.h2_connection_window_size = Some(4 * H2_WINDOW);
            }
        }
        let seed = Salt::new(&address.to_string(), Purpose::Endpoint);
        Endpoint { address, peer, in_flight: AtomicU32::new(0), seed }
    }
}

fn address(endpoint: &plan::Endpoint) -> Option<SocketAddr> {
    match endpoint {
        plan::Endpoint::Address(address) => Some(*address),
        plan::Endpoint::Name(..) => None,
    }
}

/// Two different positions below `len` (at least 2), from one random number.
fn two_of(len: usize, draw: u64) -> (usize, usize) {
    let len = len as u64;
    let first = (draw >> 32) % len;
    let second = (first + 1 + (draw & u64::from(u32::MAX)) % (len - 1)) % len;
    (first as usize, second as usize)
}

impl Endpoint {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl Lease {
    /// Says what the attempt says about the endpoint, as soon as it is known; a further report of
    /// the same attempt changes nothing.
    pub(crate) fn report(&mut self, _verdict: Verdict) {}

    /// [`Lease::peer`], where pingora only looks at it.
    pub(crate) fn peer_ref(&self) -> &HttpPeer {
        &self.endpoint.peer
    }

    /// What pingora connects to.
    pub(crate) fn peer(&self) -> Box<HttpPeer> {
        Box::new(self.endpoint.peer.clone())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.address
    }

    /// For the response's head, from the request's dispatch.
    pub(crate) fn response_time(&self) -> Duration {
        self.pool.config.timeouts.response
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.pool.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{num::NonZeroU32, time::Duration};

    fn pool(load_balance: LoadBalance, limit: u32, ports: &[u16]) -> Arc<Pool> {
        let address = |port: &u16| plan::Endpoint::Address(([127, 0, 0, 1], *port).into());
        let limit = NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN);
        let config = plan::Upstream {
            name: "pool".into(),
            endpoints: ports.iter().map(address).collect(),
            protocol: Protocol::Http1,
            tls: None,
            load_balance,
            slow_start: None,
            health_check: None,
            outlier_detection: None,
            timeouts: plan::UpstreamTimeouts {
                connect: Duration::from_secs(1),
                response: Duration::from_secs(1),
                idle: Duration::from_secs(1),
            },
            limits: plan::UpstreamLimits { connections: limit, requests: limit },
        };
        Pool::new(config, None)
    }

    #[test]
    fn a_limit_counts_leases_that_are_held() {
        let pool = pool(LoadBalance::RoundRobin, 2, &[1]);
        let held: Vec<_> = (0..2).map(|_| pool.lease(Point(0), 0)).collect();
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(pool.lease(Point(0), 0).err(), Some(Unavailable::Overloaded));
        drop(held);
        assert_eq!(pool.in_flight(), 0);
        assert!(pool.lease(Point(0), 0).is_ok());
    }

    #[test]
    fn no_address_is_no_endpoint() {
        let pool = pool(LoadBalance::LeastRequest, 2, &[]);
        assert_eq!(pool.lease(Point(0), 0).err(), Some(Unavailable::NoEndpoint));
    }

    #[test]
    fn a_changed_pool_keeps_what_names_resolved_to() {
        let old = pool(LoadBalance::RoundRobin, 2, &[1]);
        let name = plan::Endpoint::Name("shop".into(), 80);
        let named = plan::Upstream { endpoints: vec![name], ..old.config.clone() };
        let old = Pool::new(named.clone(), Some(&old));
        assert!(old.endpoints().is_empty());
        old.resolved(0, vec![([127, 0, 0, 1], 80).into()]);
        let more = NonZeroU32::MAX;
        let limits = plan::UpstreamLimits { connections: more, requests: more };
        let new = Pool::new(plan::Upstream { limits, ..named }, Some(&old));
        assert_eq!(new.endpoints().len(), 1);
    }

    #[test]
    fn a_lease_besides_an_endpoint_is_at_another_if_there_is_one() {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        for policy in
            [LoadBalance::RoundRobin, LoadBalance::LeastRequest, LoadBalance::ConsistentHash]
        {
            let pool = pool(policy, 100, &[1, 2, 3]);
            for (besides, draw) in [(1, 0), (2, 1 << 32), (3, u64::MAX), (3, 7)] {
                let lease = pool.lease_besides(Point(draw), draw, Some(at(besides)));
                assert!(lease.is_ok_and(|lease| lease.address() != at(besides)));
            }
            assert!(pool.lease_besides(Point(0), 0, None).is_ok());
        }
        let single = pool(LoadBalance::RoundRobin, 100, &[1]);
        let lease = single.lease_besides(Point(0), 0, Some(at(1)));
        assert!(lease.is_ok_and(|lease| lease.address() == at(1)));
    }

    #[test]
    fn a_retry_is_made_at_an_endpoint_that_was_not_tried() {
        for policy in
            [LoadBalance::RoundRobin, LoadBalance::LeastRequest, LoadBalance::ConsistentHash]
        {
            let pool = pool(policy, 100, &[1, 2, 3]);
            let mut tried = Vec::new();
            for draw in [u64::MAX, 0, 1 << 40] {
                let lease = pool.lease_avoiding(Point(7), draw, &tried);
                tried.extend(lease.map(|lease| lease.address()));
            }
            tried.sort_unstable();
            tried.dedup();
            assert_eq!(tried.len(), 3);
            let lease = pool.lease_avoiding(Point(7), 0, &tried);
            assert_eq!(lease.err(), Some(Unavailable::AllTried));
        }
    }

    #[test]
    fn least_request_prefers_the_idle_one_of_two() {
        let pool = pool(LoadBalance::LeastRequest, 100, &[1, 2]);
        let busy = pool.lease(Point(0), 0).map(|lease| (lease.address(), lease));
        let Ok((busy, _lease)) = busy else { panic!("the pool has endpoints") };
        for draw in [0, 1, u64::MAX, 1 << 32, 3 << 32] {
            let next = pool.lease(Point(0), draw).map(|lease| lease.address());
            assert!(next.is_ok_and(|next| next != busy), "draw {draw}");
        }
    }

    #[test]
    fn consistent_hash_moves_only_the_users_of_a_lost_endpoint() {
        let pool = pool(LoadBalance::ConsistentHash, 1000, &[1, 2, 3, 4]);
        let of = |user: u64| pool.lease(Point(user), 0).map(|lease| lease.address().port());
        let before: Vec<_> = (0..500).map(of).collect();
        pool.resolved(2, Vec::new());
        pool.refresh();
        for (user, before) in before.into_iter().enumerate() {
            let after = of(user as u64);
            assert!(before == Ok(3) && after != Ok(3) || before == after, "user {user}");
        }
    }
}

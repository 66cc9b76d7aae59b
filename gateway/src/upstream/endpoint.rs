//! One address of an upstream: its load, and what is known of it.

use super::Traffic;
use pingora_core::upstreams::peer::HttpPeer;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::SystemTime,
};
use tidegate_policies::{Health, OutlierPolicy, Purpose, Salt};

/// See the module.
#[derive(Debug)]
pub(crate) struct Endpoint {
    address: SocketAddr,
    /// As it is configured, `host:port`: what a health check asks for.
    authority: Arc<str>,
    peer: HttpPeer,
    /// Requests of clients.
    in_flight: AtomicU32,
    /// Copies of mirrors.
    copies: AtomicU32,
    /// Where the endpoint stands for `consistent_hash`.
    seed: Salt,
    /// What outlier detection remembers of it.
    track: AtomicU64,
    /// Of the checker, and of people who ask.
    checks: Mutex<Checks>,
}

/// What health checks found.
#[derive(Debug, Clone, Default)]
pub(super) struct Checks {
    pub(super) health: Health,
    pub(super) last: Option<Check>,
}

/// One health check.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    /// When it ended.
    pub(crate) at: SystemTime,
    /// Why it failed, if it did.
    pub(crate) failure: Option<Arc<str>>,
}

impl Endpoint {
    /// The endpoint at `address`, with what is remembered of `previous`.
    pub(super) fn new(
        address: SocketAddr,
        authority: Arc<str>,
        peer: HttpPeer,
        previous: Option<(&Endpoint, Checks)>,
    ) -> Self {
        let (track, checks) = match previous {
            Some((previous, checks)) => (previous.track.load(Ordering::Relaxed), checks),
            None => (0, Checks::default()),
        };
        Self {
            address,
            authority,
            peer,
            in_flight: AtomicU32::new(0),
            copies: AtomicU32::new(0),
            seed: Salt::new(&address.to_string(), Purpose::Endpoint),
            track: AtomicU64::new(track),
            checks: Mutex::new(checks),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn peer(&self) -> &HttpPeer {
        &self.peer
    }

    pub(super) fn seed(&self) -> Salt {
        self.seed
    }

    /// What it has to do, as traffic of this kind sees it: clients never make room for copies.
    pub(super) fn load(&self, traffic: Traffic) -> u32 {
        match traffic {
            Traffic::Clients => self.count(Traffic::Clients),
            Traffic::Copies => self.count(Traffic::Clients) + self.count(Traffic::Copies),
        }
    }

    /// What it has of this kind.
    pub(super) fn count(&self, traffic: Traffic) -> u32 {
        self.counter(traffic).load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self, traffic: Traffic) {
        self.counter(traffic).fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self, traffic: Traffic) {
        self.counter(traffic).fetch_sub(1, Ordering::Relaxed);
    }

    fn counter(&self, traffic: Traffic) -> &AtomicU32 {
        match traffic {
            Traffic::Clients => &self.in_flight,
            Traffic::Copies => &self.copies,
        }
    }

    /// Nobody uses it.
    pub(super) fn is_idle(&self) -> bool {
        self.load(Traffic::Copies) == 0
    }

    pub(super) fn succeeded(&self, policy: OutlierPolicy) {
        let state = self.track.load(Ordering::Relaxed);
        // Nearly always there is nothing to write, and other threads keep the line.
        if policy.success(state) != state {
            let forget = |state| Some(policy.success(state));
            let _ = self.track.fetch_update(Ordering::Relaxed, Ordering::Relaxed, forget);
        }
    }

    /// Whether it failed once too often.
    pub(super) fn failed(&self, policy: OutlierPolicy, now: u64) -> bool {
        let mut enough = false;
        let count = |state| {
            let (next, reached) = policy.failure(state, now);
            enough = reached;
            Some(next)
        };
        let _ = self.track.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
        enough
    }

    /// What outlier detection remembers of it.
    pub(super) fn track(&self) -> u64 {
        self.track.load(Ordering::Relaxed)
    }

    pub(super) fn set_track(&self, track: u64) {
        self.track.store(track, Ordering::Relaxed);
    }

    pub(super) fn checks(&self) -> Checks {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_checks(&self, checks: Checks) {
        *self.checks.lock().unwrap_or_else(PoisonError::into_inner) = checks;
    }
}

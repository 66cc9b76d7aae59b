//! The endpoints of an upstream at one moment, and the choice among those that may be used.
//!
//! A roster never changes. Whatever changes an endpoint's standing (a health check, an ejection, the
//! DNS, the time while it warms up) makes a new one, so a request finds a finished list: no lock, no
//! allocation, no clock. A roster of which no endpoint may be used has none to offer: there is no
//! "panic mode" that uses those known to be broken, as Envoy's. The fallback of the variant, or a
//! quick 503, is the better answer here, and a rollout sees the failure for what it is.

use super::{Endpoint, Traffic, Unavailable};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidegate_config::plan::LoadBalance;
use tidegate_policies::{
    Census, FULL_WEIGHT, Point, claim, second_is_lighter, turn, two_of, warm_weight, weighted_claim,
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// In the order of their addresses.
    members: Vec<Member>,
    usable: Vec<Slot>,
    /// The sum of the weights.
    total: u64,
    /// All weights are the same.
    even: bool,
}

/// An endpoint, and why it may not be used.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) endpoint: Arc<Endpoint>,
    /// As far as health checks know.
    pub(super) healthy: bool,
    /// Until when it is ejected.
    pub(super) ejected: Option<u64>,
    /// The DNS has it no more; it finishes what it began.
    pub(super) leaving: bool,
    /// Since when it may be used, as long as that matters.
    pub(super) warming: Option<u64>,
}

#[derive(Debug)]
struct Slot {
    endpoint: Arc<Endpoint>,
    weight: u32,
}

/// Who asks for an endpoint.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    pub(super) traffic: Traffic,
    pub(super) turn: &'a AtomicU64,
    /// Where the user's key landed.
    pub(super) point: Point,
    /// A random number.
    pub(super) draw: u64,
    /// Not one of these.
    pub(super) tried: &'a [SocketAddr],
}

/// Where an endpoint stands, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// In use.
    Healthy,
    /// In use, with a share that still grows.
    Warming,
    /// Its health checks fail.
    Unhealthy,
    /// Its requests failed, and it gets none for a while.
    Ejected,
    /// The DNS has it no more; it finishes what it began.
    Draining,
}

impl State {
    pub(crate) const ALL: [State; 5] =
        [State::Healthy, State::Warming, State::Unhealthy, State::Ejected, State::Draining];

    pub(crate) fn label(self) -> &'static str {
        match self {
            State::Healthy => "healthy",
            State::Warming => "warming",
            State::Unhealthy => "unhealthy",
            State::Ejected => "ejected",
            State::Draining => "draining",
        }
    }
}

impl Member {
    pub(super) fn is_usable(&self) -> bool {
        self.healthy && self.ejected.is_none() && !self.leaving
    }

    pub(super) fn state(&self) -> State {
        match self {
            Member { leaving: true, .. } => State::Draining,
            Member { healthy: false, .. } => State::Unhealthy,
            Member { ejected: Some(_), .. } => State::Ejected,
            Member { warming: Some(_), .. } => State::Warming,
            _ => State::Healthy,
        }
    }
}

impl Roster {
    /// The roster of `members` at `now`, which warm up for `slow_start`.
    pub(super) fn new(mut members: Vec<Member>, slow_start: Option<Duration>, now: u64) -> Self {
        let mut usable = Vec::with_capacity(members.len());
        for member in members.iter_mut().filter(|member| member.is_usable()) {
            let weight = match (member.warming, slow_start) {
                (Some(since), Some(slow_start)) => {
                    warm_weight(Duration::from_millis(now.saturating_sub(since)), slow_start)
                }
                _ => FULL_WEIGHT,
            };
            if weight == FULL_WEIGHT {
                member.warming = None;
            }
            usable.push(Slot { endpoint: Arc::clone(&member.endpoint), weight });
        }
        let even = usable.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        let total = usable.iter().map(|slot| u64::from(slot.weight)).sum();
        Self { members, usable, total, even }
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Some endpoint's share still grows.
    pub(super) fn is_warming(&self) -> bool {
        self.members.iter().any(|member| member.warming.is_some() && member.is_usable())
    }

    pub(super) fn census(&self) -> Census {
        let mut census = Census { endpoints: 0, usable: self.usable.len(), ejected: 0 };
        for member in self.members.iter().filter(|member| !member.leaving) {
            census.endpoints += 1;
            census.ejected += usize::from(member.ejected.is_some());
        }
        census
    }

    /// An endpoint for one more request.
    pub(super) fn choose(
        &self,
        load_balance: LoadBalance,
        wish: &Wish<'_>,
    ) -> Result<&Arc<Endpoint>, Unavailable> {
        let first = match self.usable.len() {
            0 => return Err(Unavailable::NoEndpoint),
            1 => 0,
            _ => match load_balance {
                LoadBalance::RoundRobin => self.next(wish.turn),
                LoadBalance::LeastRequest => self.lighter(wish),
                LoadBalance::ConsistentHash => self.claimant(wish, &[]).unwrap_or_default(),
            },
        };
        let first_slot = &self.usable[first];
        if !wish.tried.contains(&first_slot.endpoint.address()) {
            return Ok(&first_slot.endpoint);
        }
        let other = match load_balance {
            LoadBalance::RoundRobin => self.after(first, wish.tried).next(),
            LoadBalance::LeastRequest => self
                .after(first, wish.tried)
                .min_by_key(|i| self.usable[*i].endpoint.load(wish.traffic)),
            LoadBalance::ConsistentHash => self.claimant(wish, wish.tried),
        };
        other.map(|i| &self.usable[i].endpoint).ok_or(Unavailable::AllTried)
    }

    fn next(&self, counter: &AtomicU64) -> usize {
        let number = counter.fetch_add(1, Ordering::Relaxed);
        if self.even {
            return (number % self.usable.len() as u64) as usize;
        }
        turn(number, self.usable.iter().map(|slot| slot.weight), self.total)
    }

    fn lighter(&self, wish: &Wish<'_>) -> usize {
        let (first, second) = two_of(self.usable.len(), wish.draw);
        let slot = |i: usize| {
            let slot = &self.usable[i];
            (slot.endpoint.load(wish.traffic), slot.weight)
        };
        // The bits that chose the two are spent.
        let draw = wish.draw.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
        if second_is_lighter(slot(first), slot(second), draw) { second } else { first }
    }

    fn claimant(&self, wish: &Wish<'_>, tried: &[SocketAddr]) -> Option<usize> {
        let fresh = (0..self.usable.len())
            .filter(|i| tried.is_empty() || !tried.contains(&self.usable[*i].endpoint.address()));
        let seed = |i: usize| self.usable[i].endpoint.seed();
        if self.even {
            return fresh.max_by_key(|i| claim(seed(*i), wish.point));
        }
        let claim = |i: usize| weighted_claim(seed(i), wish.point, self.usable[i].weight);
        fresh.map(|i| (i, claim(i))).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(i, _)| i)
    }

    /// Positions after `first`, all around, but for those of `tried`.
    fn after(&self, first: usize, tried: &[SocketAddr]) -> impl Iterator<Item = usize> {
        let len = self.usable.len();
        (1..len)
            .map(move |step| (first + step) % len)
            .filter(|i| !tried.contains(&self.usable[*i].endpoint.address()))
    }
}

//! How often each client of a route came, for its `rate_limit`.
//!
//! A table of fixed size without a lock: a client has a slot in one of a few places that its key
//! hashes to. A slot is one number, part of the key's hash and the client's [`Pace`] state. When the
//! places are taken, the client that is quiet for the longest loses its slot: it may come a burst
//! more. So a flood of new clients costs no memory, and never limits anybody who keeps the pace.

use crate::edge::network;
use pingora_http::RequestHeader;
use std::{
    hash::BuildHasher,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};
use tidegate_config::plan::{ClientRate, RateKey};
use tidegate_policies::{Pace, Paced};

/// Clients that are known at once, about.
const SLOTS: usize = 1 << 16;

/// The places a client may be in.
const WAYS: usize = 8;

/// Bits of a slot that are the state: 2^46 units of 4 µs are nine years.
const STATE_BITS: u32 = 46;

/// Microseconds of a state's unit, as a shift. A pace beyond one in that time limits nothing.
const UNIT: u32 = 2;

/// The clients of one route.
#[derive(Debug)]
pub(crate) struct Rates {
    config: ClientRate,
    pace: Pace,
    slots: Box<[AtomicU64]>,
    /// Nobody outside can tell who shares a place with whom.
    hasher: std::hash::RandomState,
    epoch: Instant,
}

impl Rates {
    pub(crate) fn new(config: &ClientRate) -> Self {
        Self {
            pace: Pace::new(config.requests, config.per, config.burst),
            config: config.clone(),
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            hasher: std::hash::RandomState::new(),
            epoch: Instant::now(),
        }
    }

    pub(crate) fn is_for(&self, config: &ClientRate) -> bool {
        self.config == *config
    }

    /// Whether this request may come; else how long its client has to wait.
    pub(crate) fn admit(&self, head: &RequestHeader, client: IpAddr) -> Result<(), Duration> {
        let hash = match &self.config.by {
            RateKey::Header(name) => match head.headers.get(name) {
                Some(value) => self.hasher.hash_one((1, value.as_bytes())),
                None => self.hasher.hash_one((0, network(client))),
            },
            RateKey::ClientIp => self.hasher.hash_one((0, network(client))),
        };
        // One unit late, so that no state is 0.
        let now = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.take(hash, now.saturating_add(1 << UNIT))
    }

    fn take(&self, hash: u64, now: u64) -> Result<(), Duration> {
        let tag = hash >> STATE_BITS;
        let first = (hash as usize % (SLOTS / WAYS)) * WAYS;
        let places = &self.slots[first..first + WAYS];
        // Another thread may be faster; then its count is in the slot, and ours comes on top.
        for _ in 0..WAYS {
            let seen: [u64; WAYS] = std::array::from_fn(|i| places[i].load(Ordering::Relaxed));
            let state = |slot: u64| slot & ((1 << STATE_BITS) - 1);
            let own = seen.iter().position(|slot| state(*slot) > 0 && slot >> STATE_BITS == tag);
            let quiet = || (0..WAYS).min_by_key(|i| state(seen[*i])).unwrap_or(0);
            let (place, old) = match own {
                Some(place) => (place, state(seen[place]) << UNIT),
                None => (quiet(), 0),
            };
            match self.pace.admit(old, now) {
                Paced::TooEarly(wait) => return Err(wait),
                Paced::Admitted(next) => {
                    let next = (tag << STATE_BITS) | state(next >> UNIT);
                    let slot = &places[place];
                    let order = Ordering::Relaxed;
                    if slot.compare_exchange(seen[place], next, order, order).is_ok() {
                        return Ok(());
                    }
                }
            }
        }
        // More threads than places at once: one request more.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn rates(requests: u32, burst: u32) -> Rates {
        let count = |count| NonZeroU32::new(count).expect("not zero");
        Rates::new(&ClientRate {
            requests: count(requests),
            per: Duration::from_secs(1),
            burst: count(burst),
            by: RateKey::ClientIp,
        })
    }

    #[test]
    fn clients_have_limits_of_their_own() {
        let rates = rates(10, 3);
        let head = RequestHeader::build("GET", b"/", None).expect("a request");
        let ask = |client: [u8; 4]| rates.admit(&head, IpAddr::from(client)).is_ok();
        assert_eq!([ask([10, 0, 0, 1]), ask([10, 0, 0, 1]), ask([10, 0, 0, 1])], [true; 3]);
        assert!(!ask([10, 0, 0, 1]) && ask([10, 0, 0, 2]));
    }

    #[test]
    fn a_limit_holds_over_time_and_says_how_long_to_wait() {
        let rates = rates(10, 1);
        let mut admitted = 0;
        for now in (4..10_000_000).step_by(10_000) {
            match rates.take(7, now) {
                Ok(()) => admitted += 1,
                Err(wait) => assert!(wait <= Duration::from_millis(101), "{wait:?}"),
            }
        }
        assert!((98..=101).contains(&admitted), "{admitted}");
    }

    #[test]
    fn a_flood_of_clients_limits_nobody_who_is_quiet() {
        let rates = rates(1, 1);
        for hash in 0..4 * SLOTS as u64 {
            assert!(rates.take(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15), 1 << 20).is_ok());
        }
    }

    #[test]
    fn threads_together_get_no_more_than_one_alone() {
        let rates = rates(1, 1_000);
        let admitted = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        if rates.take(3, 1_000_000).is_ok() {
                            admitted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let admitted = admitted.into_inner();
        assert!((1_000..1_010).contains(&admitted), "{admitted}");
    }
}

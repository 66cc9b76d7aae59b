//! Outlier detection: an endpoint that fails again and again gets no requests for a while.
//!
//! As Envoy's `consecutive_5xx`: so many failures in a row eject an endpoint, each ejection in a row
//! takes one `eject_for` longer than the last, and each `eject_for` without one takes that back. Only
//! a share of the endpoints may be out, so that a failure which is not an endpoint's own (a bad
//! request, a broken database behind all of them) does not take the whole upstream away.
//! Rejected: a success rate beside others, which needs far more traffic than most routes have.

use std::{num::NonZeroU32, time::Duration};

/// When an endpoint is ejected, and for how long. What it remembers of an endpoint is one number, so
/// that callers can keep it in an atomic; the first is 0. Times are milliseconds of any clock that
/// does not go back and starts above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlierPolicy {
    threshold: u64,
    eject_for: u64,
    max_ejected: u32,
}

/// The endpoints of an upstream, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// All there are.
    pub endpoints: usize,
    /// Those that get requests.
    pub usable: usize,
    /// Those that are ejected.
    pub ejected: usize,
}

/// A number as three: failures in a row (20 bits), ejections in a row (4 bits), and when the last
/// ejection ends or ended (40 bits, 34 years).
#[derive(Debug, Clone, Copy)]
struct Track {
    failures: u64,
    times: u64,
    until: u64,
}

const FAILURES: u32 = 20;
const TIMES: u32 = 4;
const LAST: u64 = (1 << (u64::BITS - FAILURES - TIMES)) - 1;

/// An ejection is at most this many times as long as the first.
const LONGEST: u64 = 10;

const MILLION: u128 = 1_000_000;

impl OutlierPolicy {
    /// Ejects after so many failures in a row, at first for `eject_for`, at most the share
    /// `max_ejected` (in parts per million) of endpoints at once.
    pub fn new(consecutive_failures: NonZeroU32, eject_for: Duration, max_ejected: u32) -> Self {
        Self {
            threshold: u64::from(consecutive_failures.get()).min((1 << FAILURES) - 1),
            eject_for: u64::try_from(eject_for.as_millis()).unwrap_or(u64::MAX).clamp(1, LAST),
            max_ejected,
        }
    }

    /// The state after a success.
    pub fn success(self, state: u64) -> u64 {
        Track { failures: 0, ..Track::unpack(state) }.pack()
    }

    /// The state after a failure, and whether it was one too many. What was on its way when the
    /// endpoint was ejected is not counted again; and if it may not be ejected now, the count starts
    /// afresh.
    pub fn failure(self, state: u64, now: u64) -> (u64, bool) {
        let track = Track::unpack(state);
        if now < track.until {
            return (state, false);
        }
        let failures = track.failures + 1;
        let enough = failures >= self.threshold;
        (Track { failures: if enough { 0 } else { failures }, ..track }.pack(), enough)
    }

    /// Whether one more of these endpoints may be ejected. The only one never is, and the last that
    /// is usable only if all may be: no answer at all would be no better than a bad one.
    pub fn may_eject(self, census: Census) -> bool {
        let share = census.endpoints as u128 * u128::from(self.max_ejected) / MILLION;
        let most = if census.endpoints < 2 { 0 } else { share.max(1) };
        let all = u128::from(self.max_ejected) >= MILLION;
        (census.ejected as u128) < most && (all || census.usable > 1)
    }

    /// The state of an endpoint that is ejected at `now`.
    pub fn eject(self, state: u64, now: u64) -> u64 {
        let track = Track::unpack(state);
        let forgiven = now.saturating_sub(track.until) / self.eject_for;
        let times = (track.times.saturating_sub(forgiven) + 1).min(LONGEST);
        let until = now.saturating_add(self.eject_for.saturating_mul(times)).min(LAST);
        Track { failures: 0, times, until }.pack()
    }

    /// When the endpoint's last ejection ends or ended; 0 if it was never ejected.
    pub fn until(state: u64) -> u64 {
        Track::unpack(state).until
    }

    /// Failures in a row.
    pub fn failures(state: u64) -> u32 {
        Track::unpack(state).failures as u32
    }
}

impl Track {
    fn unpack(state: u64) -> Self {
        Self {
            failures: state & ((1 << FAILURES) - 1),
            times: state >> FAILURES & ((1 << TIMES) - 1),
            until: state >> (FAILURES + TIMES),
        }
    }

    fn pack(self) -> u64 {
        self.failures | self.times << FAILURES | self.until << (FAILURES + TIMES)
    }
}

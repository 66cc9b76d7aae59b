//! How often one client may come.

use std::{num::NonZeroU32, time::Duration};

/// A rate with bursts, as the virtual scheduling algorithm of ITU-T I.371 (the generic cell rate
/// algorithm). A client's state is one number: when it would have come last, had it kept the pace.
/// Times are microseconds of any clock that does not go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between two requests at the pace.
    interval: u64,
    /// How much earlier than that a request may come.
    tolerance: u64,
}

/// What a pace says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paced {
    /// It may come; the client's next state.
    Admitted(u64),
    /// It comes too early, by this long.
    TooEarly(Duration),
}

impl Pace {
    /// `requests` in `per` on average, `burst` at once. No request is less than a microsecond's
    /// worth, so a pace beyond a million a second is as fast as that.
    pub fn new(requests: NonZeroU32, per: Duration, burst: NonZeroU32) -> Self {
        let per = u64::try_from(per.as_micros()).unwrap_or(u64::MAX);
        let interval = (per / u64::from(requests.get())).max(1);
        Self { interval, tolerance: interval.saturating_mul(u64::from(burst.get() - 1)) }
    }

    /// A request at `now` of a client in `state`; a client that never came is in state 0.
    pub fn admit(self, state: u64, now: u64) -> Paced {
        let expected = state.max(now);
        let early = expected - now;
        if early > self.tolerance {
            return Paced::TooEarly(Duration::from_micros(early - self.tolerance));
        }
        Paced::Admitted(expected.saturating_add(self.interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(requests: u32, per: Duration, burst: u32) -> Pace {
        let count = |count| NonZeroU32::new(count).expect("not zero");
        Pace::new(count(requests), per, count(burst))
    }

    #[test]
    fn a_burst_and_then_the_pace() {
        let pace = pace(10, Duration::from_secs(1), 5);
        let (mut state, mut admitted) = (0, 0);
        let now = 1_000_000_000;
        let wait = loop {
            match pace.admit(state, now) {
                Paced::Admitted(next) => (state, admitted) = (next, admitted + 1),
                Paced::TooEarly(wait) => break wait,
            }
        };
        assert_eq!((admitted, wait), (5, Duration::from_millis(100)));
        let later = now + 100_000;
        let Paced::Admitted(state) = pace.admit(state, later) else { panic!("one is due") };
        assert_eq!(pace.admit(state, later), Paced::TooEarly(Duration::from_millis(100)));
    }

    #[test]
    fn over_a_long_time_the_pace_is_kept_whatever_the_client_does() {
        let pace = pace(7, Duration::from_secs(1), 3);
        let (mut state, mut admitted) = (0, 0_u32);
        for now in (0..60_000_000).step_by(1_000) {
            if let Paced::Admitted(next) = pace.admit(state, now) {
                (state, admitted) = (next, admitted + 1);
            }
        }
        assert!((420..=424).contains(&admitted), "{admitted}");
    }

    #[test]
    fn extremes_do_not_overflow() {
        let fast = pace(u32::MAX, Duration::from_micros(1), u32::MAX);
        assert!(matches!(fast.admit(u64::MAX, u64::MAX), Paced::Admitted(u64::MAX)));
        let slow = pace(1, Duration::MAX, u32::MAX);
        assert!(matches!(slow.admit(0, 5), Paced::Admitted(_)));
    }
}

//! Retries: how many a route may make, and how long it waits before each.
//!
//! The budget is a bucket of tokens as in Finagle's `RetryBudget` and linkerd's retry budgets: each
//! request puts a share of a token in, each retry takes a whole one out. So retries never multiply
//! the load of an upstream that is down by more than that share, however many attempts a request is
//! allowed. Unlike theirs, tokens have no age: the bucket holds little instead, and its state is one
//! number. Rejected: Envoy's budget, a share of the requests in flight (with few in flight it
//! rounds to its floor, and says nothing about the next second).

use std::time::Duration;

/// A share of requests that may be retries. Its state is one number, so that callers can keep it in
/// an atomic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// What a request is worth; [`TOKEN`] parts are a retry.
    share: u32,
}

/// A retry, in the parts that a state counts: millionths, as shares are.
const TOKEN: u64 = 1_000_000;

/// Retries that the first requests have: a route that nobody used yet may meet a kept connection
/// that is dead, too.
const START: u64 = 10 * TOKEN;

/// Retries that are saved up at most: a night's quiet must not pay for a storm in the morning.
const MOST: u64 = 100 * TOKEN;

impl RetryBudget {
    /// `millionths` of all requests may be retries; with 0, none at all.
    pub fn from_millionths(millionths: u32) -> Self {
        Self { share: millionths }
    }

    /// The first state.
    pub fn start(self) -> u64 {
        if self.share == 0 { 0 } else { START }
    }

    /// The state after one more request. Where it is the same as before, nothing needs to be stored.
    pub fn deposit(self, state: u64) -> u64 {
        // A state from elsewhere may be above the most; it is not taken away.
        state.max(MOST.min(state.saturating_add(self.share.into())))
    }

    /// The state after one retry; `None`: the budget is spent.
    pub fn withdraw(self, state: u64) -> Option<u64> {
        state.checked_sub(TOKEN)
    }

    /// The retries left in `state`.
    pub fn left(state: u64) -> u64 {
        state / TOKEN
    }
}

/// The longest range of [`backoff`], in bases; Envoy's default.
const LONGEST: u32 = 10;

/// The pause before retry `number` (the first is 1), drawn evenly from zero to twice as much for
/// each further retry, `base` for the first: "full jitter" of Brooker's "Exponential Backoff and
/// Jitter" (AWS, 2015), which found no other to spread callers better. Never above ten bases.
pub fn backoff(base: Duration, number: u32, draw: u64) -> Duration {
    let doubled = 1_u32.checked_shl(number.saturating_sub(1)).unwrap_or(LONGEST);
    let range = base.saturating_mul(doubled.min(LONGEST));
    let nanos = (range.as_nanos().min(u64::MAX.into()) * u128::from(draw)) >> u64::BITS;
    Duration::from_nanos(nanos as u64)
}

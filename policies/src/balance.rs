//! The choice among the endpoints of an upstream.
//!
//! Weights differ only while endpoints warm up, so each choice has a plain form for equals, and one
//! for weights which gives the same where they are equal.

use crate::{Point, Salt};
use std::time::Duration;

/// The weight of an endpoint that is warm.
pub const FULL_WEIGHT: u32 = 1_000;

/// What an endpoint starts with: enough for its caches and pools to fill, and little enough to
/// bear when it is slow. Envoy's `min_weight_percent`.
const FIRST_WEIGHT: u32 = FULL_WEIGHT / 10;

/// The weight of an endpoint this long after it came into use: from a tenth to all in a straight
/// line over `slow_start`.
pub fn warm_weight(age: Duration, slow_start: Duration) -> u32 {
    if age >= slow_start {
        return FULL_WEIGHT;
    }
    let grown = u128::from(FULL_WEIGHT - FIRST_WEIGHT) * age.as_nanos() / slow_start.as_nanos();
    FIRST_WEIGHT + grown as u32
}

/// Whose turn it is, by weights of this sum: positions get turns in proportion to their weights, and
/// spread evenly, for turns go round in steps of the golden ratio (a Weyl sequence, which fills a
/// circle more evenly than any other). Rejected: the smooth weighted round robin of nginx, which has
/// to remember a number for each position, under a lock.
pub fn turn(turn: u64, weights: impl IntoIterator<Item = u32>, total: u64) -> usize {
    /// 2^64 over the golden ratio.
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut left = (u128::from(turn.wrapping_mul(STEP)) * u128::from(total)) >> u64::BITS;
    for (position, weight) in weights.into_iter().enumerate() {
        let weight = u128::from(weight);
        if left < weight {
            return position;
        }
        left -= weight;
    }
    0
}

/// Two different positions below `len` (at least 2), from one random number.
pub fn two_of(len: usize, draw: u64) -> (usize, usize) {
    let len = len as u64;
    let first = (draw >> 32) % len;
    let second = (first + 1 + (draw & u64::from(u32::MAX)) % (len - 1)) % len;
    (first as usize, second as usize)
}

/// Whether the second of two endpoints (load and weight of each) should take a request: the one with
/// less load for its weight. The request itself counts as something between nothing and one, drawn
/// for each: were it one, a cold endpoint would get nothing at all as long as the others idle.
pub fn second_is_lighter(first: (u32, u32), second: (u32, u32), draw: u64) -> bool {
    const UNIT: u64 = 1 << 32;
    let load = |load: u32, part: u64| u128::from(u64::from(load) * UNIT + part + 1);
    let (low, high) = (draw & (UNIT - 1), draw >> 32);
    load(second.0, high) * u128::from(first.1) < load(first.0, low) * u128::from(second.1)
}

/// How much an endpoint claims the user at `point`; the greatest claim wins. Rendezvous hashing: an
/// endpoint that goes away moves its own users only, and gets the same ones again when it is back.
pub fn claim(endpoint: Salt, point: Point) -> u64 {
    endpoint.point(&point.0.to_le_bytes()).0
}

/// The same for endpoints of different weights (Schindelhauer and Schomaker 2005): users spread in
/// proportion to them, and an endpoint whose weight grows takes users and loses none.
pub fn weighted_claim(endpoint: Salt, point: Point, weight: u32) -> f64 {
    // Above 0 and below 1.
    let part = (claim(endpoint, point) as f64 + 0.5) / (u64::MAX as f64 + 1024.0);
    -f64::from(weight) / libm::log(part)
}

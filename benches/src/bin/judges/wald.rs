//! The least that any test needs (Wald 1945): who errs with a chance of at most alpha cannot find a
//! regression after fewer failures, on average, than this.

use crate::plans::ALPHA;

/// Failures of both versions, where failures are rare: whose the next one is, is all that tells.
/// The candidate gets a `share` of the requests and fails `times` as often.
pub(crate) fn failures(share: f64, times: f64) -> f64 {
    let theta = share * times / (share * times + 1.0 - share);
    line() / divergence(theta, share)
}

/// Requests to both versions, where it also tells which requests did not fail: the null hypothesis
/// is all pairs of equal rates.
pub(crate) fn requests(share: f64, base: f64, times: f64) -> f64 {
    let rate = base * times;
    // The nearest pair of equal rates.
    let both = (1.0 - share) * base + share * rate;
    line() / ((1.0 - share) * divergence(base, both) + share * divergence(rate, both))
}

fn line() -> f64 {
    -ALPHA.probability().ln()
}

/// Of Kullback and Leibler, of two coins.
fn divergence(p: f64, q: f64) -> f64 {
    let part = |p: f64, q: f64| if p > 0.0 { p * (p / q).ln() } else { 0.0 };
    part(p, q) + part(1.0 - p, 1.0 - q)
}

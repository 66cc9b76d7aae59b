//! How strong the evidence is that a field differs because of the new version.
//!
//! Each time the candidate's answer and a second copy of the old version are both compared with the
//! primary's, a field may differ in both, in neither, or in one. If the new version is like the old
//! one for the field, the two answers are exchangeable, so each pair that differs in one only is a
//! fair coin, however noisy the field is (McNemar 1947). The evidence is the wealth of a gambler
//! who starts with 1 and bets on the candidate with each coin, averaged over all fractions `u` of
//! the wealth that he may stake:
//!
//! ```text
//! E(b, c) = ∫₀¹ (1 + u)^b (1 − u)^c du        b: candidate only, c: noise only
//! ```
//!
//! which is the likelihood ratio of a coin of unknown bias p = (1 + u) / 2, uniform over (½, 1), to
//! a fair one (a mixture as in Robbins 1970). No strategy wins against a fair coin, so with
//! probability 1 − α it *never* passes 1/α (Ville 1939): one may look after every pair, stop or go
//! on as one likes, and not pay for it. Rejected: McNemar's test itself, whose level holds for one
//! look at a number of pairs set beforehand.
//!
//! Many fields are looked at together. [`threshold`] is that of e-BH (Wang and Ramdas 2022): of the
//! fields called different, a share of at most α is expected to be no such thing, whatever the
//! fields have to do with each other. Rejected: Bonferroni, which asks each field for the evidence
//! that here only the first needs.

/// The expected share of fields that are called different and are not.
pub(crate) const ALPHA: f64 = 0.01;

/// `ln E(b, c)` for `candidate_only` and `noise_only`, within 1e-9 up to a million of either and
/// 1e-6 up to a billion, in the time of some hundred logarithms.
///
/// By quadrature of the integral around its peak. Rejected: the closed form, a sum of binomial
/// coefficients, which takes as many terms as there are pairs, or √pairs of a continued fraction;
/// and updating it with each pair, which is exact (see the tests) but doubles its error with every
/// pair when the noise wins.
pub(crate) fn log_evidence(candidate_only: u64, noise_only: u64) -> f64 {
    if candidate_only == 0 && noise_only == 0 {
        return 0.0;
    }
    let (b, c) = (candidate_only as f64, noise_only as f64);
    // Concave, so there is one peak and it falls ever faster from there.
    let log_integrand = |u: f64| product(b, u.ln_1p()) + product(c, (-u).ln_1p());
    let peak = ((b - c) / (b + c)).max(0.0);
    let height = log_integrand(peak);
    let from = negligible(|u| height - log_integrand(u), peak, 0.0);
    let to = negligible(|u| height - log_integrand(u), peak, 1.0);
    height + integral(|u| (log_integrand(u) - height).exp(), from, to).ln()
}

/// `count × log`, with 0 × −∞ as the 0 that 0^0 = 1 has.
fn product(count: f64, log: f64) -> f64 {
    if count == 0.0 { 0.0 } else { count * log }
}

/// A place between `peak` and `end` beyond which nothing counts: the integrand has fallen by
/// between [`FALL`] and twice that, or it is the `end`.
fn negligible(fall: impl Fn(f64) -> f64, peak: f64, end: f64) -> f64 {
    if fall(end) <= 2.0 * FALL {
        return end;
    }
    let (mut near, mut far) = (peak, end);
    // Halving an interval of floats ends before that.
    for _ in 0..200 {
        let middle = f64::midpoint(near, far);
        let fallen = fall(middle);
        if fallen < FALL {
            near = middle;
        } else if fallen > 2.0 * FALL {
            far = middle;
        } else {
            return middle;
        }
    }
    far
}

/// e^-36 is 2e-16: what is beyond is lost in rounding anyway.
const FALL: f64 = 36.0;

/// The integral of `f` by Gauss and Legendre, five points in each of [`PANELS`] equal parts.
fn integral(f: impl Fn(f64) -> f64, from: f64, to: f64) -> f64 {
    let half = (to - from) / PANELS as f64 / 2.0;
    let outer = 70.0_f64.sqrt();
    let points = [
        (0.0, 128.0 / 225.0),
        ((5.0 - 2.0 * (10.0_f64 / 7.0).sqrt()).sqrt() / 3.0, (322.0 + 13.0 * outer) / 900.0),
        ((5.0 + 2.0 * (10.0_f64 / 7.0).sqrt()).sqrt() / 3.0, (322.0 - 13.0 * outer) / 900.0),
    ];
    let mut sum = 0.0;
    for panel in 0..PANELS {
        let middle = from + half * (2 * panel + 1) as f64;
        for (offset, weight) in points {
            let both = f(middle - half * offset) + f(middle + half * offset);
            sum += weight * if offset == 0.0 { both / 2.0 } else { both };
        }
    }
    sum * half
}

/// The interval is at most 24 standard deviations of a peak that is nearly Gaussian, so a panel
/// is at most half of one, in which ten terms of a series are exact to 1e-12.
const PANELS: usize = 48;

/// The least logarithm of evidence with which a field is called different, among fields of
/// `log_evidence` (in any order) out of `fields` that were ever looked at. Infinite if none is.
pub(crate) fn threshold(mut log_evidence: Vec<f64>, fields: u64) -> f64 {
    log_evidence.sort_unstable_by(|a, b| b.total_cmp(a));
    let alone = threshold_of_one(fields);
    let needed = |rank: usize| alone - (rank as f64).ln();
    let ranks = (1..).zip(&log_evidence);
    let last = ranks.filter(|(rank, log)| **log >= needed(*rank)).last();
    last.map_or(f64::INFINITY, |(rank, _)| needed(rank))
}

/// The threshold for the only different field of `fields`.
pub(crate) fn threshold_of_one(fields: u64) -> f64 {
    (fields.max(1) as f64 / ALPHA).ln()
}

#[cfg(test)]
mod tests;

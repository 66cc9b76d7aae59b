//! Kayenta with the judge that it comes with, NetflixACAJudge: a rank test on time series.
//!
//! Modelled on `NetflixACAJudge.scala`, `MannWhitneyClassifier.scala` and `MannWhitney.scala` of
//! spinnaker/kayenta: one point a minute of the error rate of each version, all points so far. The
//! candidate is `High`, and as the only metric fails the canary, if the 98 % confidence interval of
//! the shift between the two (Mann and Whitney, normal approximation with corrections for ties and
//! continuity) lies above a quarter of the estimated shift. The direction is set to `increase`, as
//! for errors it is; outliers stay in; the effect size has no threshold. How often is judged is up
//! to its user. Each judgement is a new test at 1 %: nothing is done about their number.

use super::Judge;
use tidegate_judge::{Arm, Arms};

/// 99 % of a normal distribution are below: the interval has 98 %.
const Z: f64 = 2.326_347_874;
/// A part of the estimated shift that is still noise.
const TOLERANCE: f64 = 0.25;

/// A canary's analysis.
pub(super) struct Kayenta {
    /// In minutes.
    every: usize,
    baseline: Vec<f64>,
    candidate: Vec<f64>,
}

impl Kayenta {
    /// Judges every so many minutes.
    pub(super) fn new(every: usize) -> Self {
        Self { every, baseline: Vec::new(), candidate: Vec::new() }
    }
}

impl Judge for Kayenta {
    fn minute(&mut self, counts: &Arms) -> bool {
        let rate = |arm: &Arm| arm.failures as f64 / arm.requests.max(1) as f64;
        self.baseline.push(rate(&counts.baseline));
        self.candidate.push(rate(&counts.candidate));
        self.baseline.len().is_multiple_of(self.every) && is_high(&self.candidate, &self.baseline)
    }
}

fn is_high(candidate: &[f64], baseline: &[f64]) -> bool {
    let same = |points: &[f64]| points.iter().all(|point| Some(point) == points.first());
    if same(candidate) && same(baseline) && candidate.first() == baseline.first() {
        return false;
    }
    let lower = shift(candidate, baseline, Z);
    let estimate = shift(candidate, baseline, 0.0);
    lower > TOLERANCE * estimate.abs()
}

/// The shift of `x` against `y` at which the statistic of the test is `quantile`.
fn shift(x: &[f64], y: &[f64], quantile: f64) -> f64 {
    let min = |of: &[f64]| of.iter().copied().fold(f64::INFINITY, f64::min);
    let max = |of: &[f64]| of.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (mut low, mut high) = (min(x) - max(y), max(x) - min(y));
    // Of so few points that the interval has no lower end.
    if statistic(x, y, low) <= quantile {
        return f64::NEG_INFINITY;
    }
    if statistic(x, y, high) >= quantile {
        return high;
    }
    // It falls as the shift grows.
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if statistic(x, y, middle) > quantile { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The standardised sum of ranks of `x`, shifted down by `mu`, among both.
fn statistic(x: &[f64], y: &[f64], mu: f64) -> f64 {
    let mut all: Vec<(f64, bool)> = x.iter().map(|point| (point - mu, true)).collect();
    all.extend(y.iter().map(|point| (*point, false)));
    all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (n, m) = (x.len() as f64, y.len() as f64);
    let (mut ranks, mut ties, mut before) = (0.0, 0.0, 0.0);
    for tied in all.chunk_by(|a, b| a.0 == b.0) {
        let size = tied.len() as f64;
        let mine = tied.iter().filter(|(_, mine)| *mine).count() as f64;
        ranks += mine * (before + f64::midpoint(size, 1.0));
        ties += size.powi(3) - size;
        before += size;
    }
    let difference = ranks - n * (n + 1.0) / 2.0 - n * m / 2.0;
    let continuity = if difference == 0.0 { 0.0 } else { difference.signum() * 0.5 };
    let variance = n * m / 12.0 * (n + m + 1.0 - ties / ((n + m) * (n + m - 1.0)));
    if variance <= 0.0 { 0.0 } else { (difference - continuity) / variance.sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_points_a_side_are_the_least_that_can_fire() {
        let low = [1.0, 2.0, 3.0, 4.0, 5.0];
        let high = [101.0, 102.0, 103.0, 104.0, 105.0];
        assert!(is_high(&high, &low));
        assert!(!is_high(&high[..4], &low[..4]));
        assert!(!is_high(&low, &low));
        assert!(!is_high(&low, &high));
    }

    #[test]
    fn the_estimate_is_that_of_hodges_and_lehmann() {
        let (x, y) = ([1.1, 2.3, 3.2, 4.8], [0.2, 1.0, 2.1, 2.9]);
        // The median of the sixteen differences.
        let mut differences: Vec<f64> =
            x.iter().flat_map(|a| y.iter().map(move |b| a - b)).collect();
        differences.sort_unstable_by(f64::total_cmp);
        let median = f64::midpoint(differences[7], differences[8]);
        assert!((shift(&x, &y, 0.0) - median).abs() < 0.15);
    }
}

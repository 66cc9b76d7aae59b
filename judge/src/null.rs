//! What is tested, and the fairest bet against it.
//!
//! Requests are coins: the candidate's fail with some chance `p_c`, the baseline's with `p_b`. The
//! null hypothesis is a set of pairs `(p_b, p_c)`, here a half plane: "at most `r` times the
//! baseline's" or "at most `m`". To bet on an alternative `θ = (θ_b, θ_c)` outside of the set, the
//! likelihood of `θ` is compared with that of the point `θ°` of the set which is nearest to it, in
//! the sense of Kullback and Leibler, weighted by the numbers of requests `n_b` and `n_c`
//! (the reverse information projection: Grünwald, de Heide and Koolen 2019; for two samples of
//! coins: Turner, Ly and Grünwald, arXiv 2106.02693, and Turner and Grünwald, arXiv 2203.09785).
//!
//! Why nobody who meets the line loses by it: with `s_i = (θ_i − θ°_i) / (θ°_i (1 − θ°_i))` the
//! expected likelihood ratio of a tick is `Π_i (1 + s_i (p_i − θ°_i))^n_i`, whose logarithm is at
//! most `Σ_i n_i s_i (p_i − θ°_i)`; as `θ°` is the nearest point of a convex set, that is at most 0
//! for every pair in the set. Nothing is assumed about how common failures are, nor that the rates
//! stay the same from tick to tick. Where failures are rare the numbers of requests cancel out, and
//! what is left is the test of Lindon and Malek (arXiv 2011.03567): given a failure, whose is it?

use serde::{Deserialize, Serialize};

/// The pairs `(p_b, p_c)` that are fine (or, asked the other way round, that are not).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Null {
    /// `p_c = ratio × p_b` is the border.
    Ratio(f64),
    /// `p_c = level` is the border.
    Level(f64),
}

/// Logarithms of the likelihood ratio of one request, by whose it is and how it ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bet {
    failed: [f64; 2],
    passed: [f64; 2],
}

/// Counts of one tick for one test: `[baseline, candidate]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Trials {
    pub(crate) requests: [u64; 2],
    pub(crate) failures: [u64; 2],
}

impl Trials {
    pub(crate) fn add(&mut self, more: &Trials) {
        for arm in [0, 1] {
            self.requests[arm] = self.requests[arm].saturating_add(more.requests[arm]);
            self.failures[arm] = self.failures[arm].saturating_add(more.failures[arm]);
        }
    }
}

impl Null {
    /// The candidate's rate on the border, if the baseline's is `base`.
    pub(crate) fn border(self, base: f64) -> f64 {
        match self {
            Null::Ratio(ratio) => (ratio * base).min(CERTAIN),
            Null::Level(level) => level,
        }
    }

    /// The bet that the candidate's rate is `rate` and the baseline's `base`, for so many requests.
    pub(crate) fn bet(self, rate: f64, base: f64, requests: [u64; 2]) -> Bet {
        match self {
            Null::Level(level) => Bet::new([(base, base), (rate, level)]),
            // So common that nothing is worse: both points are within the line.
            Null::Ratio(ratio) if rate >= self.border(base) && rate <= ratio * base => {
                Bet::new([(base, base), (rate, rate)])
            }
            Null::Ratio(ratio) => {
                let nearest = nearest(ratio, [base, rate], requests);
                Bet::new([(base, nearest), (rate, (ratio * nearest).min(CERTAIN))])
            }
        }
    }
}

impl Bet {
    fn new(arms: [(f64, f64); 2]) -> Self {
        Self {
            failed: arms.map(|(bet, null)| (bet / null).ln()),
            passed: arms.map(|(bet, null)| (-bet).ln_1p() - (-null).ln_1p()),
        }
    }

    /// The logarithm of what a stake of 1 becomes.
    pub(crate) fn wins(&self, trials: &Trials) -> f64 {
        let arm = |i: usize| {
            let failures = trials.failures[i].min(trials.requests[i]);
            let passed = trials.requests[i] - failures;
            failures as f64 * self.failed[i] + passed as f64 * self.passed[i]
        };
        arm(0) + arm(1)
    }

    /// What a stake's logarithm grows by with each request to the two, if a `share` of these is
    /// the candidate's and the rates are `[base, rate]`.
    pub(crate) fn growth(&self, rates: [f64; 2], share: f64) -> f64 {
        let arm = |i: usize| rates[i] * self.failed[i] + (1.0 - rates[i]) * self.passed[i];
        (1.0 - share) * arm(0) + share * arm(1)
    }
}

/// The baseline's rate at the point of the border `p_c = ratio × p_b` that is nearest to `rates`:
/// where the derivative of `Σ n_i KL(rates_i ‖ q_i)` along the border is 0, a quadratic equation.
fn nearest(ratio: f64, [base, rate]: [f64; 2], [n_b, n_c]: [u64; 2]) -> f64 {
    let (n_b, n_c) = (n_b as f64, n_c as f64);
    let a = ratio * (n_b + n_c);
    let b = n_c * (rate + ratio) + n_b * (1.0 + ratio * base);
    let c = n_c * rate + n_b * base;
    let root = (b * b - 4.0 * a * c).max(0.0).sqrt();
    // The smaller root, without the difference of two near numbers.
    let q = 2.0 * c / (b + root);
    if q.is_finite() { q.clamp(IMPOSSIBLE, CERTAIN) } else { base }
}

/// Rates are kept off 0 and 1, where one request could end a bet for ever.
pub(crate) const IMPOSSIBLE: f64 = 1e-9;
pub(crate) const CERTAIN: f64 = 1.0 - 1e-6;

#[cfg(test)]
mod tests {
    use super::*;

    /// The logarithm of the expected win of a stake of 1 if the rates are `rates`, over one tick.
    fn expected(bet: &Bet, rates: [f64; 2], requests: [u64; 2]) -> f64 {
        let arm = |i: usize| {
            let one = rates[i] * bet.failed[i].exp() + (1.0 - rates[i]) * bet.passed[i].exp();
            one.ln() * requests[i] as f64
        };
        arm(0) + arm(1)
    }

    #[test]
    fn no_pair_within_the_line_is_expected_to_win() {
        let requests = [[900, 100], [50, 50], [1, 1], [99_000, 1000], [10, 90]];
        for n in requests {
            for ratio in [1.0, 1.1, 2.0] {
                for base in [1e-5, 1e-3, 0.05, 0.3, 0.9] {
                    let null = Null::Ratio(ratio);
                    for rate in [0.2, 0.5, 0.95].map(|part| {
                        let border = null.border(base);
                        border + part * (CERTAIN - border)
                    }) {
                        let bet = null.bet(rate, base, n);
                        for true_base in [1e-6, 1e-4, 0.01, 0.2, 0.6, 0.99] {
                            for part in [0.0, 0.5, 1.0] {
                                let true_rate = part * (ratio * true_base).min(1.0);
                                let wins = expected(&bet, [true_base, true_rate], n);
                                assert!(
                                    wins <= 1e-6,
                                    "{n:?} {ratio} {base} {rate} {true_base} {true_rate}: {wins}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn asked_the_other_way_round_no_pair_beyond_the_line_is_expected_to_win() {
        for n in [[900, 100], [50, 50]] {
            for base in [1e-4, 0.05, 0.5] {
                let bet = Null::Ratio(1.2).bet(base, base, n);
                for true_base in [1e-5, 0.01, 0.3, 0.8] {
                    for times in [1.2, 1.5, 5.0] {
                        let true_rate = f64::min(1.0, times * true_base);
                        if true_rate >= 1.2 * true_base {
                            assert!(expected(&bet, [true_base, true_rate], n) <= 1e-6);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn rare_failures_ask_whose_they_are() {
        let (share, ratio, bet_on) = (0.1, 1.1, 3.0);
        let theta = |r: f64| share * r / (share * r + 1.0 - share);
        let expected = [
            ((1.0 - theta(bet_on)) / (1.0 - theta(ratio))).ln(),
            (theta(bet_on) / theta(ratio)).ln(),
        ];
        let n = [900_000, 100_000];
        let bet = Null::Ratio(ratio).bet(bet_on * 1e-6, 1e-6, n);
        for arm in [0, 1] {
            let mut one = Trials { requests: n, failures: [0, 0] };
            one.failures[arm] = 1;
            let nothing = bet.wins(&Trials { requests: n, failures: [0, 0] });
            assert!((bet.wins(&one) - nothing - expected[arm]).abs() < 1e-3);
            assert!(nothing.abs() < 1e-3, "requests without failures say nothing: {nothing}");
        }
    }

    #[test]
    fn nothing_is_won_or_lost_without_both_arms() {
        let null = Null::Ratio(1.1);
        for requests in [[0, 100], [100, 0], [0, 0]] {
            let bet = null.bet(0.03, 0.01, requests);
            let trials = Trials { requests, failures: requests };
            assert!(bet.wins(&trials).abs() < 1e-6, "{requests:?}: {}", bet.wins(&trials));
        }
    }
}

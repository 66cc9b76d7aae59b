//! The evidence against exact values, and the promises that rest on it.

use super::*;

/// The exact E(b, c) as the sum of binomial coefficients `Σ_{j≤b} C(n+1, j) / ((n+1) C(n, b))`,
/// which is the incomplete beta function of integers. For n below 120 it fits.
fn exact(b: u64, c: u64) -> f64 {
    let n = b + c;
    let choose =
        |n: u64, k: u64| (0..k).fold(1_u128, |c, i| c * u128::from(n - i) / u128::from(i + 1));
    let sum: u128 = (0..=b).map(|j| choose(n + 1, j)).sum();
    sum as f64 / (n + 1) as f64 / choose(n, b) as f64
}

/// ln E after one more coin, exactly: integration by parts of the integral.
fn updated(log: f64, b: u64, c: u64, candidate: bool) -> f64 {
    let (own, sign) = if candidate { (b + 1, 1.0) } else { (c + 1, -1.0) };
    let stake = 2.0 * own as f64;
    (stake / (b + c + 2) as f64).ln() + log + (sign / (stake * log.exp())).ln_1p()
}

/// Simpson's rule over the whole range, for counts that make no sharp peak.
fn simpson(b: u64, c: u64) -> f64 {
    const STEPS: u32 = 200_000;
    let f = |i: u32| {
        let u = f64::from(i) / f64::from(STEPS);
        (1.0 + u).powf(b as f64) * (1.0 - u).powf(c as f64)
    };
    let weight = |i: u32| if i == 0 || i == STEPS { 1.0 } else { f64::from(2 + i % 2 * 2) };
    (0..=STEPS).map(|i| weight(i) * f(i)).sum::<f64>() / f64::from(STEPS) / 3.0
}

fn assert_near(log: f64, expected: f64, tolerance: f64, what: &str) {
    assert!(
        (log - expected).abs() <= tolerance * expected.abs().max(1.0),
        "{what}: {log} {expected}"
    );
}

#[test]
fn evidence_is_exact_for_small_counts() {
    assert_eq!(log_evidence(0, 0), 0.0);
    assert_near(log_evidence(1, 0), 1.5_f64.ln(), 1e-14, "3/2");
    assert_near(log_evidence(0, 1), 0.5_f64.ln(), 1e-14, "1/2");
    for b in 0..60 {
        for c in 0..60 {
            assert_near(log_evidence(b, c), exact(b, c).ln(), 1e-11, &format!("{b} {c}"));
        }
    }
}

#[test]
fn evidence_is_the_integral() {
    for (b, c) in [(3, 1), (50, 0), (0, 300), (100, 100), (200, 150), (150, 200), (400, 10)] {
        assert_near(log_evidence(b, c), simpson(b, c).ln(), 1e-9, &format!("{b} {c}"));
    }
}

#[test]
fn evidence_is_right_for_large_counts() {
    // Only candidate: (2^(n+1) − 1) / (n + 1). Only noise: 1 / (n + 1).
    for n in [1_000_u64, 1_000_000, 1_000_000_000] {
        let log = (n + 1) as f64 * std::f64::consts::LN_2 - ((n + 1) as f64).ln();
        assert_near(log_evidence(n, 0), log, 1e-9, &format!("{n} 0"));
        assert_near(log_evidence(0, n), -((n + 1) as f64).ln(), 1e-9, &format!("0 {n}"));
        // Half of a Gaussian: √(π / 4n), and a correction of order 1/n.
        let half = (std::f64::consts::PI / (4 * n) as f64).sqrt().ln();
        assert_near(log_evidence(n, n), half, 1.0 / n as f64 + 1e-6, &format!("{n} {n}"));
    }
    // From where the candidate is ahead, the exact update is stable.
    for (start, every) in [(1_000, 2), (5_000, 3), (2_000, 10)] {
        let (mut b, mut c) = (start, start / 2);
        let mut log = log_evidence(b, c);
        for coin in 0..200_000_u64 {
            let candidate = coin % every != 0;
            log = updated(log, b, c, candidate);
            (b, c) = (b + u64::from(candidate), c + u64::from(!candidate));
        }
        assert_near(log_evidence(b, c), log, 1e-9, &format!("{b} {c}"));
    }
    let (billion, extremes) = (1_000_000_000, [0, 1, 2, 1_000, 1_000_000]);
    for few in extremes {
        let (for_it, against) = (log_evidence(billion, few), log_evidence(few, billion));
        assert!(for_it > 6e8 && for_it <= billion as f64 * std::f64::consts::LN_2, "{for_it}");
        assert!(against < -20.0 && against > -22.0, "{few}: {against}");
    }
}

#[test]
fn evidence_is_a_fair_game() {
    for (b, c) in [(0, 0), (1, 0), (7, 3), (3, 7), (500, 480), (480, 500), (20_000, 19_000)] {
        let now = log_evidence(b, c);
        let won = (log_evidence(b + 1, c) - now).exp();
        let lost = (log_evidence(b, c + 1) - now).exp();
        assert!((f64::midpoint(won, lost) - 1.0).abs() < 1e-9, "{b} {c}");
        assert!(won > 1.0 && lost < 1.0);
    }
}

/// A generator of which only the seed matters (SplitMix64).
struct Coins(u64);

impl Coins {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn is(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }
}

#[test]
fn looking_after_every_pair_costs_no_false_alarm() {
    const RUNS: u32 = 2_000;
    const PAIRS: u32 = 400;
    // A field as noisy in both versions: sometimes, every other time, nearly always.
    for noisiness in [0.05, 0.5, 0.95] {
        for alpha in [0.01, 0.1] {
            let mut alarms = 0;
            for seed in 0..RUNS {
                let mut coins = Coins(u64::from(seed) << 20);
                let (mut b, mut c) = (0, 0);
                for _ in 0..PAIRS {
                    let (candidate, noise) = (coins.is(noisiness), coins.is(noisiness));
                    if candidate == noise {
                        continue;
                    }
                    (b, c) = (b + u64::from(candidate), c + u64::from(noise));
                    if b > c && log_evidence(b, c) >= -f64::ln(alpha) {
                        alarms += 1;
                        break;
                    }
                }
            }
            let share = f64::from(alarms) / f64::from(RUNS);
            let error = 3.0 * (alpha * (1.0 - alpha) / f64::from(RUNS)).sqrt();
            assert!(share <= alpha + error, "{share} of {alpha} at {noisiness}");
        }
    }
}

#[test]
fn a_field_that_only_the_candidate_has_otherwise_is_found_soon() {
    let needed = |fields| {
        (1..)
            .find(|pairs| log_evidence(*pairs, 0) >= threshold_of_one(fields))
            .expect("at some point")
    };
    assert_eq!((needed(1), needed(256)), (9, 18));
    // And with some noise in it: a fifth of the discordant pairs.
    assert!(log_evidence(60, 15) > threshold_of_one(256));
}

#[test]
fn each_field_found_lowers_what_the_next_needs() {
    let at = |evidence: &[f64], fields| {
        threshold(evidence.iter().map(|e| f64::ln(*e)).collect(), fields)
    };
    assert_eq!(at(&[], 0), f64::INFINITY);
    assert_eq!(at(&[99.0], 1), f64::INFINITY);
    assert_near(at(&[101.0], 1), 100.0_f64.ln(), 1e-12, "one field");
    // Four fields, of which the last has half of what one alone would need.
    assert_eq!(at(&[399.0, 1.0, 1.0, 1.0], 4), f64::INFINITY);
    assert_near(at(&[1.0, 201.0, 1.0, 500.0], 4), 200.0_f64.ln(), 1e-12, "two of four");
    // The first alone would not do, both together do.
    assert_near(at(&[300.0, 250.0, 1.0, 1.0], 4), 200.0_f64.ln(), 1e-12, "two of four");
    // Fields that were dropped count.
    assert_eq!(at(&[300.0, 250.0], 1_000), f64::INFINITY);
}

#[test]
fn of_the_fields_called_different_few_are_not() {
    const RUNS: u64 = 300;
    let (mut false_share, mut right) = (0.0, 0);
    for seed in 0..RUNS {
        let mut coins = Coins(seed << 32);
        // 40 fields as noisy as the old version's, 10 that the new version breaks at times.
        let logs: Vec<f64> = (0..50)
            .map(|field| {
                let broken = if field < 10 { 0.15 } else { 0.0 };
                let (mut b, mut c) = (0, 0);
                for _ in 0..300 {
                    let (candidate, noise) = (coins.is(0.1 + broken), coins.is(0.1));
                    b += u64::from(candidate && !noise);
                    c += u64::from(noise && !candidate);
                }
                log_evidence(b, c)
            })
            .collect();
        let threshold = threshold(logs.clone(), 50);
        let found = logs.iter().filter(|log| **log >= threshold).count();
        let wrong = logs[10..].iter().filter(|log| **log >= threshold).count();
        false_share += wrong as f64 / found.max(1) as f64;
        right += found - wrong;
    }
    assert!(right as u64 > RUNS * 10 / 2, "{right}");
    assert!(false_share / RUNS as f64 <= ALPHA, "{}", false_share / RUNS as f64);
}

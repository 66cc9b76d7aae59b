//! Many episodes in a few numbers.

use super::episode::{Ending, Episode};
use serde::Serialize;
use std::collections::BTreeMap;

/// What many runs of one plan on the same kind of traffic came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// How many.
    pub runs: usize,
    /// Those that were rolled back.
    pub rolled_back: Rate,
    /// Those that were promoted.
    pub promoted: Rate,
    /// Those that were neither within the time.
    pub undecided: Rate,
    /// Of those rolled back: by which gate.
    pub by_gate: BTreeMap<String, usize>,
    /// Of those rolled back: in which step, from 1.
    pub by_step: BTreeMap<usize, usize>,
    /// Seconds until a rollback.
    pub seconds: Option<Spread>,
    /// Failures of both versions until a rollback.
    pub errors: Option<Spread>,
    /// Requests of users that the candidate got until a rollback.
    pub candidate_requests: Option<Spread>,
    /// Of these, those that it failed.
    pub failed_requests: Option<Spread>,
    /// Requests of users that the candidate failed in any run, however it ended.
    pub failed_in_all: Option<Spread>,
}

/// A share of runs, and what it tells about more runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// How many did.
    pub count: usize,
    /// Their share.
    pub share: f64,
    /// Wilson's interval, which holds the true share in 95 of 100 cases: from here
    pub low: f64,
    /// to here.
    pub high: f64,
}

/// How some numbers are spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Their mean.
    pub mean: f64,
    /// The standard error of the mean.
    pub error: f64,
    /// Half of them are below.
    pub median: f64,
    /// 95 % of them are below.
    pub p95: f64,
}

impl Summary {
    /// Sums up.
    pub fn of(episodes: &[Episode]) -> Self {
        let rolled: Vec<&Episode> =
            episodes.iter().filter(|episode| episode.rolled_back_by().is_some()).collect();
        let of = |number: fn(&Episode) -> f64| Spread::of(rolled.iter().map(|e| number(e)));
        let rate = |is: fn(&Ending) -> bool| {
            Rate::new(episodes.iter().filter(|e| is(&e.ending)).count(), episodes.len())
        };
        let mut by_gate = BTreeMap::new();
        let mut by_step = BTreeMap::new();
        for episode in &rolled {
            if let Some(gate) = episode.rolled_back_by() {
                *by_gate.entry(gate.to_owned()).or_insert(0) += 1;
            }
            *by_step.entry(episode.step).or_insert(0) += 1;
        }
        Self {
            runs: episodes.len(),
            rolled_back: rate(|ending| matches!(ending, Ending::RolledBack { .. })),
            promoted: rate(|ending| *ending == Ending::Promoted),
            undecided: rate(|ending| *ending == Ending::Undecided),
            by_gate,
            by_step,
            seconds: of(|episode| episode.elapsed.as_secs_f64()),
            errors: of(|episode| episode.errors as f64),
            candidate_requests: of(|episode| episode.candidate_requests as f64),
            failed_requests: of(|episode| episode.failed_requests as f64),
            failed_in_all: Spread::of(episodes.iter().map(|e| e.failed_requests as f64)),
        }
    }
}

impl Rate {
    /// `count` of `all`.
    pub fn new(count: usize, all: usize) -> Self {
        /// 97.5 % of a normal distribution are below.
        const Z: f64 = 1.959_963_985;
        if all == 0 {
            return Self { count, share: 0.0, low: 0.0, high: 1.0 };
        }
        let n = all as f64;
        let share = count as f64 / n;
        let middle = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n)
            * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).max(0.0).sqrt();
        // At the ends the interval is exact; floating point is not.
        let low = if count == 0 { 0.0 } else { middle - half };
        let high = if count == all { 1.0 } else { middle + half };
        Self { count, share, low, high }
    }
}

impl Spread {
    /// Of these; `None` if there are none.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let n = sorted.len() as f64;
        let quantile = |part: f64| {
            let rank = (part * n).ceil().max(1.0) as usize;
            sorted.get(rank - 1).copied()
        };
        let mean = sorted.iter().sum::<f64>() / n;
        let squares: f64 = sorted.iter().map(|number| (number - mean).powi(2)).sum();
        Some(Self {
            mean,
            error: (squares / (n - 1.0).max(1.0) / n).sqrt(),
            median: quantile(0.5)?,
            p95: quantile(0.95)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_is_as_published() {
        // Newcombe 1998, Statistics in Medicine 17: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        let published = [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ];
        for (count, all, low, high) in published {
            let rate = Rate::new(count, all);
            assert!((rate.low - low).abs() < 1e-4 && (rate.high - high).abs() < 1e-4, "{rate:?}");
        }
    }

    #[test]
    fn a_spread_is_of_ranks() {
        let spread = Spread::of((1..=100).map(f64::from)).expect("numbers");
        assert_eq!((spread.mean, spread.median, spread.p95), (50.5, 50.0, 95.0));
        assert!(Spread::of([]).is_none());
    }
}

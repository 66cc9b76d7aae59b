//! Evidence that may be looked at at any moment.
//!
//! A gambler who starts with 1 and bets against the null hypothesis ([`crate::null`]) cannot expect
//! to win if it holds. So with probability `1 − α` his wealth *never* reaches `1/α` (Ville 1939):
//! one may look after every tick, and stop or go on as one likes. The wealth is the evidence.
//!
//! He does not know how much worse the candidate is, nor since when, and spreads his stake:
//!
//! * over a grid of alternatives (a mixture, as in Robbins 1970), each told relative to what the
//!   baseline does now, as learned from earlier ticks;
//! * over the time at which it became worse: a part of the stake is kept back and bet bit by bit as
//!   failures come in, so that a candidate which was fine for an hour and then breaks does not have
//!   an hour's worth of good bets to lose first.
//!
//! Rejected: one alternative (Wald's test), which is fastest for that one and slow for others; the
//! conjugate mixture over all alternatives, which costs up to 1.8 times the failures of this one
//! (`docs/statistics.md`); tests for a number of requests set beforehand, whose level is gone at the
//! second look.

use crate::null::{CERTAIN, IMPOSSIBLE, Null, Trials};
use serde::{Deserialize, Serialize};

/// A test and how far it got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evidence {
    /// By alternative: what was won with the stakes that were bet on it.
    wealth: Vec<f64>,
    /// The part of the stake that is not bet yet.
    kept: f64,
    /// Failures so far, of both.
    failures: u64,
    base: Base,
    /// Counted and not bet on yet.
    #[serde(default)]
    waiting: Trials,
}

/// What the baseline's rate is, as far as the past tells.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Base {
    failures: f64,
    requests: f64,
}

/// The alternatives: the odds of a failure, as multiples of those on the border, and the part of
/// the stake that goes to each.
#[derive(Debug)]
pub(crate) struct Bets {
    odds: &'static [f64],
    stakes: &'static [f64],
    /// Bet at once; the rest later.
    at_once: f64,
}

/// For "the candidate is worse": from 1.1 to 100 times. The stakes are such that no regression from 2
/// to 10 times takes much more than the least possible; 1.1 times is for those who have the patience.
pub(crate) const WORSE: Bets = Bets {
    odds: &[1.1, 1.25, 1.5, 1.9, 2.4, 3.2, 4.5, 6.5, 9.0, 13.0, 20.0, 40.0, 100.0],
    stakes: &[0.02, 0.02, 0.05, 0.11, 0.09, 0.10, 0.11, 0.13, 0.14, 0.12, 0.07, 0.03, 0.01],
    at_once: 0.85,
};

/// For "the candidate is not worse": as good as the baseline (or below a ceiling by a little), or
/// better.
pub(crate) const BETTER: Bets = Bets {
    odds: &[0.9, 0.75, 0.5, 0.25, 0.1, 0.01],
    stakes: &[0.3, 0.25, 0.2, 0.1, 0.1, 0.05],
    at_once: 1.0,
};

/// Requests of each arm that are bet on together, at least. Whose a failure is says something only
/// if it might have been the other's: of ticks with a request or two, most would say nothing, and a
/// quiet service would never be judged. How many requests there are decides this and never how they
/// ended, so the bets stay fair; with more, what happens within the batch is lost.
const TOGETHER: u64 = 2;

/// Beyond this more evidence changes nothing, and arithmetic stays finite.
const ENOUGH: f64 = 1e200;

impl Evidence {
    pub(crate) fn new(bets: &Bets) -> Self {
        Self {
            wealth: bets.stakes.iter().map(|stake| stake * bets.at_once).collect(),
            kept: 1.0 - bets.at_once,
            failures: 0,
            base: Base { failures: 0.5, requests: 500.0 },
            waiting: Trials::default(),
        }
    }

    /// What was read back is evidence of these bets.
    pub(crate) fn is_whole(&self, bets: &Bets) -> bool {
        self.wealth.len() == bets.odds.len()
            && self.wealth.iter().all(|wealth| (0.0..=ENOUGH).contains(wealth))
            && (0.0..=1.0).contains(&self.kept)
            && self.base.failures > 0.0
            && self.base.requests > 0.0
    }

    /// What a gambler who started with 1 has now.
    pub(crate) fn value(&self) -> f64 {
        self.wealth.iter().sum::<f64>() + self.kept
    }

    /// Bets on what was counted in a tick, by what was known before it; if that is too little to
    /// compare, on this and the next ticks together.
    pub(crate) fn add(&mut self, bets: &Bets, null: Null, counted: &Trials) {
        self.waiting.add(counted);
        let enough = match null {
            Null::Ratio(_) => self.waiting.requests.iter().all(|arm| *arm >= TOGETHER),
            Null::Level(_) => self.waiting.requests[1] > 0,
        };
        if !enough {
            return;
        }
        let trials = &std::mem::take(&mut self.waiting);
        let released = self.release(bets);
        let base = self.base.rate();
        for ((wealth, odds), stake) in self.wealth.iter_mut().zip(bets.odds).zip(bets.stakes) {
            let rate = alternative(null, base, *odds);
            let bet = null.bet(rate, base, trials.requests);
            let stake = *wealth + stake * released;
            // Who has nothing left wins nothing, not even infinitely often.
            *wealth = if stake > 0.0 { (stake * bet.wins(trials).exp()).min(ENOUGH) } else { 0.0 };
        }
        let failures = trials.failures[0].saturating_add(trials.failures[1]);
        self.failures = self.failures.saturating_add(failures);
        self.base.learn(trials);
    }

    /// The share of the candidate changes: what waits would be bet on at the wrong one.
    pub(crate) fn drop_waiting(&mut self) {
        self.waiting = Trials::default();
    }

    /// The part of the stake that is bet anew now, by how many failures there were: what is kept
    /// after `n` of them is `1 / (1 + ln(1 + n))` of what was kept at first, so there always is
    /// some left.
    fn release(&mut self, bets: &Bets) -> f64 {
        let left = (1.0 - bets.at_once) / (1.0 + (self.failures as f64).ln_1p());
        let released = (self.kept - left).max(0.0);
        self.kept -= released;
        released
    }
}

/// The rate that is bet on: `odds` times the odds on the border.
pub(crate) fn alternative(null: Null, base: f64, odds: f64) -> f64 {
    let border = null.border(base).clamp(IMPOSSIBLE, CERTAIN);
    let odds = border / (1.0 - border) * odds;
    (odds / (1.0 + odds)).clamp(IMPOSSIBLE, CERTAIN)
}

/// The logarithm of the stake on the alternative that is nearest to `odds`: what a test pays for
/// not knowing it.
pub(crate) fn price(bets: &Bets, odds: f64) -> f64 {
    let distance = |of: f64| (of.ln() - odds.ln()).abs();
    let pairs = bets.odds.iter().zip(bets.stakes);
    let nearest = pairs.min_by(|a, b| distance(*a.0).total_cmp(&distance(*b.0)));
    // The neighbours win nearly as much.
    -nearest.map_or(1.0, |(_, stake)| (2.0 * stake * bets.at_once).min(1.0)).ln()
}

impl Base {
    /// Requests of the baseline after which half of what was known before is forgotten, or nearly:
    /// enough to know a rate of per cents, and few enough to follow an outage.
    const MEMORY: f64 = 2000.0;

    fn rate(self) -> f64 {
        (self.failures / self.requests).clamp(IMPOSSIBLE, CERTAIN)
    }

    fn learn(&mut self, trials: &Trials) {
        let (requests, failures) = (trials.requests[0] as f64, trials.failures[0] as f64);
        let keep = (-requests / Self::MEMORY).exp();
        self.failures = self.failures * keep + failures.min(requests);
        self.requests = self.requests * keep + requests;
        // Never certain that nothing fails.
        if self.failures < 0.5 {
            self.failures = 0.5;
        }
        if self.requests < 1.0 {
            self.requests = 1.0;
        }
    }
}

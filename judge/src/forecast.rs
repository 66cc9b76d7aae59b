//! How soon a regression of some size would be found.
//!
//! With each request the logarithm of a bet on the true alternative grows by a Kullback-Leibler
//! divergence on average ([`crate::null::Bet::growth`]); it has to reach the line, and to make up
//! for the part of the stake that went to other alternatives. Wald (1945) has the first two; like
//! his, the figure leaves out by how much the last request overshoots.

use crate::{
    evidence::{Bets, price},
    null::{CERTAIN, Null, Trials},
};
use serde::{Deserialize, Serialize};

/// When a regression would be found, from nothing, at the pace of now.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// How many times the baseline's rate the candidate's is.
    pub times: f64,
    /// On average; absent: it would not be a breach of this line, or there is no traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Requests to both until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<f64>,
}

/// The sizes that are told.
pub(crate) const TIMES: [f64; 4] = [2.0, 3.0, 5.0, 10.0];

pub(crate) fn forecasts(
    null: Null,
    seen: &Trials,
    pace: [f64; 2],
    bad_at: f64,
    bets: &Bets,
) -> Vec<Forecast> {
    let base = ((seen.failures[0] as f64 + 0.5) / (seen.requests[0] as f64 + 1.0)).min(CERTAIN);
    if seen.requests[0] == 0 {
        return Vec::new();
    }
    TIMES.into_iter().map(|times| forecast(null, base, times, pace, bad_at, bets)).collect()
}

/// The mean time to find a candidate with `times` the baseline's rate `base`, when the arms get
/// `pace` requests a second.
pub(crate) fn forecast(
    null: Null,
    base: f64,
    times: f64,
    pace: [f64; 2],
    bad_at: f64,
    bets: &Bets,
) -> Forecast {
    let none = Forecast { times, seconds: None, requests: None };
    let rate = (times * base).min(CERTAIN);
    let total = pace[0] + pace[1];
    let border = null.border(base);
    if rate <= border * 1.01 || pace[1] <= 0.0 || total <= 0.0 {
        return none;
    }
    let share = pace[1] / total;
    if share >= 1.0 && matches!(null, Null::Ratio(_)) {
        return none;
    }
    // Only the ratio of the two counts matters.
    const MANY: f64 = 1e6;
    let requests = [((1.0 - share) * MANY) as u64, (share * MANY) as u64];
    let growth = null.bet(rate, base, requests).growth([base, rate], share);
    if growth <= 0.0 {
        return none;
    }
    let odds = rate / (1.0 - rate) / (border / (1.0 - border));
    let needed = (bad_at.ln() + price(bets, odds)) / growth;
    Forecast { times, seconds: Some(needed / total), requests: Some(needed) }
}

//! Numbers that cannot be out of range.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// A share of something, in parts per million: 0 to 1,000,000.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(try_from = "u32", into = "u32")]
pub struct Share(u32);

/// One million parts are the whole.
const WHOLE: u32 = 1_000_000;

impl Share {
    /// Nothing.
    pub const NONE: Share = Share(0);
    /// Everything.
    pub const ALL: Share = Share(WHOLE);

    /// `parts` per million; `None` above one million.
    pub const fn from_millionths(parts: u32) -> Option<Self> {
        if parts <= WHOLE { Some(Share(parts)) } else { None }
    }

    /// The share in parts per million.
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// The share in `[0, 1]`.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }
}

impl TryFrom<u32> for Share {
    type Error = String;

    fn try_from(parts: u32) -> Result<Self, String> {
        Self::from_millionths(parts).ok_or_else(|| format!("{parts} is more than 1,000,000"))
    }
}

impl From<Share> for u32 {
    fn from(share: Share) -> u32 {
        share.0
    }
}

/// As people write it: `12.5%`.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10_000.0)
    }
}

/// How much worse than the baseline still passes, as a part of the baseline's rate in millionths:
/// 100,000 lets 1.1 times the rate pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Margin(pub u32);

impl Margin {
    /// The ratio of rates that still passes: 1 or more.
    pub fn ratio(self) -> f64 {
        1.0 + f64::from(self.0) / f64::from(WHOLE)
    }
}

impl fmt::Display for Margin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10_000.0)
    }
}

/// The chance of an error that a test may make, in millionths: above 0 and below one half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Risk(u32);

impl Risk {
    /// `parts` per million; `None` for 0 and for one half or more.
    pub const fn from_millionths(parts: u32) -> Option<Self> {
        if parts > 0 && parts < WHOLE / 2 { Some(Risk(parts)) } else { None }
    }

    /// The chance.
    pub fn probability(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }
}

impl TryFrom<u32> for Risk {
    type Error = String;

    fn try_from(parts: u32) -> Result<Self, String> {
        Self::from_millionths(parts).ok_or_else(|| format!("{parts} is not a sensible risk"))
    }
}

impl From<Risk> for u32 {
    fn from(risk: Risk) -> u32 {
        risk.0
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10_000.0)
    }
}

/// A moment as people tell it: milliseconds since 1970, UTC. For records only: decisions are made
/// on durations, so a clock that jumps decides nothing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// This much later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(milliseconds))
    }
}

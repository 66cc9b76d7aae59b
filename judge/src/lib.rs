//! Judges a new version while users have it.
#![forbid(unsafe_code)]

mod plan;
mod tick;
mod units;

pub use plan::{
    AdvanceWhen, Bound, Gate, Lines, Measure, OnBreach, OnSourceBroken, Plan, Step, Until,
};
pub use tick::{Arm, Arms, Reading, Tick};
pub use units::{Margin, Risk, Share, Time};

//! Rollouts, where they touch the way of a request and the published snapshot.
//!
//! ```text
//! request ──> Lane: counts of one rollout ── take ──> Tick: what the judge decides by
//! snapshot <── Door <── shifts: the weights that are set, in the place of the file's
//! file ──> carry: which of them outlive a reload
//! ```
//!
//! A request of a route without a rollout pays one look for it.

mod boot;
mod carry;
mod cells;
mod control;
mod door;
mod edge;
mod lane;
mod mute;
mod samples;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use boot::restored;
pub(crate) use carry::{HeldShift, carry};
pub(crate) use control::{Control, find};
pub(crate) use door::Door;
pub(crate) use edge::LiveEdge;
pub(crate) use lane::{Ended, Lane, RouteLane, Side};

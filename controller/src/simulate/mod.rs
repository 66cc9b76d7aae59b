//! Whole rollouts on made-up or recorded traffic, judged by the real judge.
//!
//! ```text
//! World (seeded traffic) ──> Tick ──> tidegate_judge::step ──> Episode ──> Summary of many
//! a recording            ──> Tick ──> tidegate_judge::step ──> Replay
//! ```
//!
//! Nothing of the statistics is done anew here, so what a simulation shows holds for what runs.
//! Everything follows from the plan, the traffic and the seed: neither a clock nor the number of
//! threads has a say.

mod episode;
mod parallel;
mod recording;
mod replay;
mod summary;
mod traffic;
mod world;

pub use episode::{Ending, Episode, play, usual_time};
pub use parallel::in_parallel;
pub use recording::{BadLine, Recorded, parse};
pub use replay::{GateTrace, Moment, Replay, Stop, replay};
pub use summary::{Rate, Spread, Summary};
pub use traffic::{Outage, Ticks, Traffic, Worse};
pub use world::World;

use tidegate_judge::Plan;

/// Plays `runs` rollouts, each with a seed of its own that follows from `seed`.
pub fn play_many(
    plan: &Plan,
    traffic: &Traffic,
    limit: std::time::Duration,
    runs: usize,
    seed: u64,
) -> Vec<Episode> {
    in_parallel(runs, |run| play(plan, traffic, limit, seed_of(seed, run)))
}

/// The seed of one run: those of two neighbouring seeds have nothing in common.
pub fn seed_of(seed: u64, run: usize) -> u64 {
    /// 2^64 divided by the golden ratio: multiples of it are spread out.
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    seed.wrapping_add(1).wrapping_mul(SPREAD).rotate_left(32).wrapping_add(run as u64)
}

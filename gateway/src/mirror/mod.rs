//! Mirrors: copies of requests to dark upstreams, whose answers no client sees.
//!
//! ```text
//!  a proxy thread                             │ the mirrors' threads (own pools, low priority)
//!  Shadow: keeps head and body as they go by ─┼─> queue ─> Copy: send, read the answer ─> outcome
//!          keeps the answer, if compared ─────┼──────────────────────> compare ─> Ledger
//! ```
//!
//! The two sides share a bounded queue, a budget of memory and counters. A request waits for none
//! of it, but for the instant in which it wakes a thread. The mirrors' threads have a low priority: when the machine is
//! short of processors they fall behind, the queue fills, and copies are dropped and counted while
//! clients are served. Rejected: tasks among the proxy's own (a comparison of two large documents
//! would stand in line before a client's request), pingora's subrequests (they feed no body, and
//! share the primary's connections).

mod answer;
mod copy;
mod exchange;
mod gather;
mod metrics;
mod outcome;
mod shadow;
mod state;
mod threads;

pub(crate) use metrics::MirrorSeries;
pub(crate) use outcome::{Compared, Outcome};
pub(crate) use shadow::{Launch, Shadow};
pub(crate) use state::MirrorState;
pub(crate) use threads::Mirrors;

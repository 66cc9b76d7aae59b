//! Runs rollouts: counts, judges, keeps, puts in force, tells.
//!
//! [`Handle::start`] starts the loop on a thread of its own. What it needs of the outside is behind
//! traits: the data plane ([`Edge`]) and other sources of numbers ([`Source`]); what it decides is
//! decided by `tidegate_judge`, which is pure; what it knows is in the journal.
#![forbid(unsafe_code)]

mod board;
mod client;
mod command;
mod controller;
mod edge;
mod handle;
pub mod journal;
mod keeper;
mod people;
pub mod prometheus;
mod reconcile;
mod release;
mod settle;
pub mod simulate;
mod source;
pub mod webhook;

pub use board::{Announced, Board, Freeze, Shown};
pub use command::{Refusal, Reply};
pub use controller::Announce;
pub use edge::{Configured, Edge, Wanted, Webhook};
pub use handle::Handle;
pub use keeper::{Saved, peek};
pub use source::{Answered, Question, Source};

//! Compares what two versions of a service answered, and learns which differences are noise.
//!
//! ```text
//! primary ──┐                             ┌─> Difference, Difference, … ──┐
//! candidate ┼─> decode ─> parse ─> walk ──┤                               ├─> Ledger ─> Report
//! noise ────┘                             └─> (of the second old copy) ───┘
//! ```
//!
//! [`compare`] says what differs between two responses, [`Ledger`] what that means after many of
//! them: a field that differs just as often between two copies of the old version is noise. All of
//! it is pure; time is an argument and memory is charged to a [`Budget`] before it is taken, since
//! responses are what others send and may be made to hurt.
#![forbid(unsafe_code)]

mod answer;
mod budget;
mod compare;
mod decode;
mod diff;
mod elements;
mod evidence;
mod json;
mod ledger;
mod path;
mod place;
mod render;
mod report;
mod rules;
mod walk;

pub use answer::Answer;
pub use budget::{Budget, Charge};
pub use compare::compare;
pub use decode::decode;
pub use diff::{Comparison, Difference, Field, Kind, NotCompared};
pub use ledger::{Exchange, Ledger, Verdict};
pub use path::{InvalidPattern, Pattern};
pub use report::{Example, FieldReport, FieldVerdict, Report};
pub use rules::Rules;

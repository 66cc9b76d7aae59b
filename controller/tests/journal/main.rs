//! The journal: what it keeps, and what it says when it cannot.

#![allow(clippy::unwrap_used, missing_docs)]

mod crash;
mod faults;
mod keeping;
mod outbox;
mod retention;
mod support;
mod writing;

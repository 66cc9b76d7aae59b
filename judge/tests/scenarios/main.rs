//! What becomes of a rollout, told line by line: each test is a story and its golden timeline.

#![allow(clippy::expect_used, missing_docs)]

mod changes;
#[path = "../common/mod.rs"]
mod common;
mod gates;
mod sources;
mod steps;
mod story;
mod tampered;

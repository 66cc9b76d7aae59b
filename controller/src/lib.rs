//! Runs rollouts.
#![forbid(unsafe_code)]

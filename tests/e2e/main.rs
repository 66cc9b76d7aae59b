//! End-to-end tests of the `tidegate` binary, by what they are about.
mod harness;

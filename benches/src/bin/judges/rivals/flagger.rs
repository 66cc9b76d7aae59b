//! Flagger: a fixed threshold for the candidate's success rate over the last minute, and a count of
//! the checks that failed.
//!
//! Modelled on `pkg/controller/scheduler.go` of fluxcd/flagger: the count is looked at before the
//! metrics, so the rollback comes an interval after the last failed check, and a check that passes
//! takes nothing back. The interval is 60 s by default; `request-success-rate` with a minimum of 99
//! and `threshold: 5` are what its documentation shows; left out, the threshold is 1. No requests
//! are a failed check too, which does not happen here.

use super::Judge;
use tidegate_judge::Arms;

/// A canary's analysis.
pub(super) struct Flagger {
    least: f64,
    threshold: u32,
    failed: u32,
}

impl Flagger {
    /// A success rate of at least `least`; `threshold` failed checks are too many.
    pub(super) fn new(least: f64, threshold: u32) -> Self {
        Self { least, threshold, failed: 0 }
    }
}

impl Judge for Flagger {
    fn minute(&mut self, counts: &Arms) -> bool {
        if self.failed >= self.threshold {
            return true;
        }
        if super::success(counts) < self.least {
            self.failed += 1;
        }
        false
    }
}

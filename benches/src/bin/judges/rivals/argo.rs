//! Argo Rollouts: an analysis beside the step, which measures the candidate's success rate over the
//! last minute.
//!
//! Modelled on `analysis/analysis.go` of argoproj/argo-rollouts: one measurement an interval, failed
//! where the success condition does not hold, and the rollout is aborted as soon as more failed than
//! `failureLimit`, which is 0 by default. It has no default condition; 99 % is taken as for Flagger.
//! Inconclusive measurements and errors of the provider do not happen here.

use super::Judge;
use tidegate_judge::Arms;

/// The default.
const FAILURE_LIMIT: u32 = 0;

/// A run of an analysis.
pub(super) struct Analysis {
    least: f64,
    failed: u32,
}

impl Analysis {
    /// Measurements below `least` failed.
    pub(super) fn new(least: f64) -> Self {
        Self { least, failed: 0 }
    }
}

impl Judge for Analysis {
    fn minute(&mut self, counts: &Arms) -> bool {
        self.failed += u32::from(super::success(counts) < self.least);
        self.failed > FAILURE_LIMIT
    }
}

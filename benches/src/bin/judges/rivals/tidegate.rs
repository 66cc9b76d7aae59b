//! Tidegate itself: looks every second.

use super::Judge;
use tidegate_judge::{Freedom, Outcome, Plan, Run, Tick, Time, step};

/// A run of its plan.
pub(super) struct Tidegate {
    run: Run,
}

impl Tidegate {
    pub(super) fn new(plan: &Plan) -> Self {
        Self { run: Run::start(plan, None, "bench", Time(0)).0 }
    }
}

impl Judge for Tidegate {
    fn second(&mut self, tick: &Tick) -> bool {
        self.run = step(&self.run, tick, Freedom::Free, Time(0)).0;
        self.run.outcome() == Some(Outcome::RolledBack)
    }
}

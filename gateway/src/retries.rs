//! What is left of a route's budget for retries.

use std::sync::atomic::{AtomicU64, Ordering};
use tidegate_policies::RetryBudget;

/// A budget and its state.
#[derive(Debug)]
pub(crate) struct Retries {
    budget: RetryBudget,
    share: u32,
    state: AtomicU64,
}

impl Retries {
    /// `share` of the route's requests may be retries, in parts per million.
    pub(crate) fn new(share: u32) -> Self {
        let budget = RetryBudget::from_millionths(share);
        Self { budget, share, state: AtomicU64::new(budget.start()) }
    }

    pub(crate) fn is_for(&self, share: u32) -> bool {
        self.share == share
    }

    /// One more request.
    pub(crate) fn deposit(&self) {
        let state = self.state.load(Ordering::Relaxed);
        let next = self.budget.deposit(state);
        if next != state {
            // Of two at once one may be lost; that is less than a retry.
            let order = Ordering::Relaxed;
            let _ = self.state.compare_exchange(state, next, order, order);
        }
    }

    /// Takes a retry out of the budget, if there is one.
    pub(crate) fn withdraw(&self) -> bool {
        let order = Ordering::Relaxed;
        self.state.fetch_update(order, order, |state| self.budget.withdraw(state)).is_ok()
    }
}

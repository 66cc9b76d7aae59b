//! Memory that many hold together, with a limit.
//!
//! What is about to be taken is charged first, and given back by dropping the [`Charge`], so no
//! path out of a function can forget it. Rejected: a limit for each holder, whose sum is either
//! more memory than there is or too little for the one that needs it; a semaphore, which waits,
//! where the right answer to "no memory" is to skip the work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that may be held at the same time by all [`Charge`]s of it.
#[derive(Debug)]
pub struct Budget {
    limit: AtomicUsize,
    used: AtomicUsize,
}

// Relaxed throughout: the numbers guard no other memory, they only have to add up.
impl Budget {
    /// A budget of `limit` bytes, all of them free.
    pub fn new(limit: usize) -> Arc<Budget> {
        Arc::new(Budget { limit: AtomicUsize::new(limit), used: AtomicUsize::new(0) })
    }

    /// How many bytes there are.
    pub fn limit(&self) -> usize {
        self.limit.load(Relaxed)
    }

    /// Changes how many bytes there are. What is held stays held; while that is more than the new
    /// limit, nobody gets more.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Relaxed);
    }

    /// How many bytes are held.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let limit = self.limit();
        let within = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit);
        bytes == 0 || self.used.fetch_update(Relaxed, Relaxed, within).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
    }
}

/// What one holder has of a [`Budget`]; dropping it gives everything back.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Charge {
    /// A charge of nothing yet.
    pub fn new(budget: &Arc<Budget>) -> Charge {
        Charge { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Takes `bytes` more. `false`: that would be over the limit, and nothing has changed.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let taken = self.budget.take(bytes);
        if taken {
            self.bytes += bytes;
        }
        taken
    }

    /// Gives `bytes` back, or all there is if that is less.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.give_back(bytes);
    }

    /// What is held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A charge of nothing yet, of the same budget.
    pub(crate) fn another(&self) -> Charge {
        Charge::new(&self.budget)
    }

    /// Gives back whatever came on top of the `bytes` that were held before.
    pub(crate) fn back_to(&mut self, bytes: usize) {
        self.shrink(self.bytes.saturating_sub(bytes));
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_share_the_limit_and_give_back() {
        let budget = Budget::new(100);
        let (mut a, mut b) = (Charge::new(&budget), Charge::new(&budget));
        assert!(a.grow(60) && b.grow(40));
        assert!(!a.grow(1) && a.grow(0));
        assert_eq!((a.bytes(), b.bytes(), budget.used()), (60, 40, 100));
        a.shrink(10);
        assert!(!b.grow(11) && b.grow(10));
        b.shrink(1_000);
        assert_eq!((b.bytes(), budget.used()), (0, 50));
        drop(a);
        assert_eq!(budget.used(), 0);
        assert!(!b.grow(usize::MAX) && b.grow(100) && !b.grow(usize::MAX));
    }

    #[test]
    fn a_lower_limit_holds_for_what_comes_after() {
        let budget = Budget::new(100);
        let mut charge = Charge::new(&budget);
        assert!(charge.grow(80));
        budget.set_limit(50);
        assert_eq!((budget.limit(), budget.used()), (50, 80));
        charge.shrink(40);
        assert!(!charge.grow(11) && charge.grow(10));
    }
}

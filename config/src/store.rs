//! The published snapshot: one atomic pointer, numbered generations, compare-and-swap.
//!
//! File reload and rollout controller publish through the same door. Each names the generation that
//! its change was computed from; if another came first it is told so and computes again, so that
//! neither can silently undo the other. Readers load a pointer and never wait. Rejected: a lock
//! around the state (readers would wait for writers), one pointer for each part (a request could
//! see two generations).

use arc_swap::ArcSwap;
use std::sync::{Arc, Mutex, PoisonError};

/// A state and its number. Immutable; a request keeps the one it began with.
#[derive(Debug)]
pub struct Snapshot<S> {
    /// Counts publications, from 1.
    pub generation: u64,
    /// The state.
    pub state: S,
}

/// Holds the current snapshot.
#[derive(Debug)]
pub struct Store<S> {
    current: ArcSwap<Snapshot<S>>,
    writer: Mutex<()>,
}

/// The state that a change was computed from is no longer the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("generation {parent} is not current any more, {current} is")]
pub struct StaleParent {
    /// What the change was computed from.
    pub parent: u64,
    /// What is current.
    pub current: u64,
}

impl<S> Store<S> {
    /// A store whose first generation, 1, is `state`.
    pub fn new(state: S) -> Self {
        Self {
            current: ArcSwap::from_pointee(Snapshot { generation: 1, state }),
            writer: Mutex::new(()),
        }
    }

    /// The current snapshot. Takes no lock.
    pub fn load(&self) -> Arc<Snapshot<S>> {
        self.current.load_full()
    }

    /// Makes `next` current if `parent` still is, and returns its generation.
    ///
    /// # Errors
    /// When another publication came first; `next` is dropped and nothing changes.
    pub fn publish(&self, parent: u64, next: S) -> Result<u64, StaleParent> {
        // Nothing that is guarded can be left half done, so a poisoned lock is as good as another.
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load().generation;
        if current != parent {
            return Err(StaleParent { parent, current });
        }
        let generation = current + 1;
        self.current.store(Arc::new(Snapshot { generation, state: next }));
        Ok(generation)
    }
}

//! What the controller shows: one immutable picture for each tick, which readers never wait for.

use crate::webhook::Counts;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use tidegate_judge::{Decision, Report, Time};

/// All rollouts, at one moment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Board {
    /// In alphabetical order.
    pub rollouts: Vec<Shown>,
    /// Nothing advances, since when and by whom.
    pub freeze: Option<Freeze>,
    /// Why state cannot be kept, if so. Nothing starts or advances meanwhile.
    pub store_error: Option<String>,
    /// Decisions that are in force and not durable yet.
    pub undurable: usize,
    /// How calling webhooks goes, since the start.
    pub webhooks: Counts,
}

/// One rollout.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// Its run.
    #[serde(flatten)]
    pub report: Report,
    /// The configuration does not have it any more.
    pub removed: bool,
}

/// A stop of everything that advances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Freeze {
    /// Who asked for it.
    pub by: String,
    /// When.
    pub at: Time,
}

/// A decision with the number that it has in the journal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Announced {
    /// Its number; counts up.
    pub id: i64,
    /// What was decided.
    #[serde(flatten)]
    pub decision: Decision,
}

/// Where the current board is found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Current(Arc<Mutex<Arc<Board>>>);

impl Current {
    /// The board of the last tick.
    pub(crate) fn load(&self) -> Arc<Board> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn store(&self, board: Board) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(board);
    }
}

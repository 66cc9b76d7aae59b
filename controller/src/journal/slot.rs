//! What waits for the writer.
//!
//! Entries are written in the order they came. Checkpoints are not queued: all that wait are one,
//! which is written when no entry waits. So its states must be newer than those of every entry that
//! waits, and an entry that comes in takes the older states of its rollouts out of it.

use super::{Checkpoint, Entry, JournalError};
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Entries that may wait. A rollout makes a few in a minute at most.
const MAX_WAITING: usize = 64;

/// How long a checkpoint that failed waits until it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What came of an entry.
pub(super) type Committed = Result<Vec<i64>, JournalError>;

/// Where those who wait for an entry find what came of it.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    result: Mutex<Option<Committed>>,
    ready: Condvar,
}

/// An entry that waits.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) entry: Arc<Entry>,
    ticket: Arc<Ticket>,
    /// Older states of its rollouts, to be saved after all should the entry fail.
    instead: Checkpoint,
}

/// What the writer does next.
#[derive(Debug)]
pub(super) enum Task {
    Commit(Job),
    Checkpoint(Checkpoint),
    /// Nothing waits: see [`super::Journal::tidy`].
    Tidy,
}

/// All that waits, and what is being written.
#[derive(Debug, Default)]
pub(super) struct Slot {
    jobs: VecDeque<Job>,
    current: Option<Job>,
    checkpoint: Checkpoint,
    /// A checkpoint failed, and may be tried again then.
    retry_at: Option<Instant>,
    closing: bool,
}

impl Ticket {
    pub(super) fn wait(&self, patience: Duration) -> Committed {
        let result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.ready.wait_timeout_while(result, patience, |result| result.is_none());
        let (result, _) = waited.unwrap_or_else(PoisonError::into_inner);
        result.clone().unwrap_or(Err(JournalError::Slow { waited: patience }))
    }

    fn tell(&self, result: Committed) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.ready.notify_all();
    }
}

impl Slot {
    /// Queues an entry; one that waits already, or is being written, is not queued again.
    pub(super) fn enqueue(&mut self, entry: &Entry) -> Result<Arc<Ticket>, JournalError> {
        let known = self.current.iter().chain(&self.jobs).find(|job| job.entry.id() == entry.id());
        if let Some(job) = known {
            return Ok(Arc::clone(&job.ticket));
        }
        if self.closing {
            return Err(JournalError::Closed);
        }
        if self.jobs.len() >= MAX_WAITING {
            return Err(JournalError::Busy);
        }
        let mut instead = Checkpoint::default();
        for rollout in entry.rollouts() {
            if let Some((rollout, state)) = self.checkpoint.states.remove_entry(rollout) {
                instead.states.insert(rollout, state);
            }
        }
        let ticket = Arc::new(Ticket::default());
        let entry = Arc::new(entry.clone());
        self.jobs.push_back(Job { entry, ticket: Arc::clone(&ticket), instead });
        Ok(ticket)
    }

    /// Adds to the checkpoint.
    pub(super) fn add(&mut self, later: Checkpoint) {
        self.checkpoint.merge(later);
    }

    /// What is to be done now, if anything.
    pub(super) fn take(&mut self, now: Instant) -> Option<Task> {
        if let Some(job) = self.jobs.pop_front() {
            self.current = Some(job.clone());
            return Some(Task::Commit(job));
        }
        let may_try = self.closing || self.retry_at.is_none_or(|at| at <= now);
        if self.checkpoint.is_empty() || !may_try {
            return None;
        }
        Some(Task::Checkpoint(std::mem::take(&mut self.checkpoint)))
    }

    /// How long there is nothing to do, if that is known.
    pub(super) fn idle(&self, now: Instant) -> Option<Duration> {
        if self.checkpoint.is_empty() {
            return None;
        }
        self.retry_at.map(|at| at.saturating_duration_since(now))
    }

    /// An entry was written, or was not.
    pub(super) fn committed(&mut self, job: Job, result: Committed) {
        self.current = None;
        if result.is_err() {
            self.put_back(job.instead);
        }
        job.ticket.tell(result);
    }

    /// A checkpoint was written, or was not.
    pub(super) fn checkpointed(&mut self, checkpoint: Checkpoint, is_ok: bool, now: Instant) {
        self.retry_at = (!is_ok).then_some(now + RETRY);
        // The last one is tried once.
        if !is_ok && !self.closing {
            self.put_back(checkpoint);
        }
    }

    /// Puts back what was not written, but for states that are older than what waits.
    fn put_back(&mut self, mut earlier: Checkpoint) {
        for rollout in self.jobs.iter().flat_map(|job| job.entry.rollouts()) {
            earlier.states.remove(rollout);
        }
        let later = std::mem::take(&mut self.checkpoint);
        earlier.merge(later);
        self.checkpoint = earlier;
    }

    /// From now on nothing new is taken.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Entries that wait or are being written.
    pub(super) fn waiting(&self) -> usize {
        self.jobs.len() + usize::from(self.current.is_some())
    }
}

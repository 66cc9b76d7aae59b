//! The thread that writes, so that a disk that hangs holds up nobody else.

use super::{
    Attempt, Checkpoint, Entry, Journal, JournalError, JournalReader,
    slot::{Slot, Task},
};
use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Called after deliveries were enqueued.
type Nudge = Box<dyn Fn() + Send>;

/// Hands what is to be written to the thread that owns the journal. Clones share it; when the last
/// is dropped, the thread writes what waits and ends, and with it ends the journal's ownership.
#[derive(Debug, Clone)]
pub struct JournalWriter {
    handle: Arc<Handle>,
}

/// Closes the journal when nobody can write any more.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    reader: JournalReader,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to do.
    work: Condvar,
    /// The thread has ended.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    slot: Slot,
    /// Why the last write failed, if it did.
    problem: Option<JournalError>,
    dropped: u64,
    moves: u64,
    nudge: Option<Nudge>,
    has_ended: bool,
}

impl JournalWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(journal: Journal) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let handle = Handle { shared: Arc::clone(&shared), reader: journal.reader() };
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || shared.work(journal))?;
        Ok(Self { handle: Arc::new(handle) })
    }

    /// A way to read the journal that waits for no write.
    pub fn reader(&self) -> JournalReader {
        self.handle.reader.clone()
    }

    /// Writes an entry and waits for it, for at most `patience`; see [`Journal::commit`].
    ///
    /// # Errors
    /// [`JournalError::Slow`] when the disk takes longer: the entry still waits, and may be written
    /// or fail later. The same entry committed again waits for the first, or finds it written.
    /// [`JournalError::Busy`] when 64 entries wait. Otherwise as [`Journal::commit`].
    pub fn commit(&self, entry: &Entry, patience: Duration) -> Result<Vec<i64>, JournalError> {
        let shared = &self.handle.shared;
        let ticket = {
            let mut state = shared.lock();
            if state.has_ended {
                return Err(JournalError::Closed);
            }
            state.slot.enqueue(entry)?
        };
        shared.work.notify_one();
        ticket.wait(patience)
    }

    /// Has the evidence written when no entry waits. Does not wait; what is not written yet becomes
    /// one with it, and what cannot be written is tried again each second.
    pub fn checkpoint(&self, checkpoint: Checkpoint) {
        self.add(checkpoint);
    }

    /// Has it written how a delivery went, like a checkpoint.
    pub fn settle(&self, attempt: Attempt) {
        let mut checkpoint = Checkpoint::default();
        checkpoint.attempts.insert(attempt.id, attempt);
        self.add(checkpoint);
    }

    /// Why the last write failed; `None` once one succeeds.
    pub fn problem(&self) -> Option<JournalError> {
        self.handle.shared.lock().problem.clone()
    }

    /// Entries that wait for the disk, 64 and the one being written at most.
    pub fn waiting(&self) -> usize {
        self.handle.shared.lock().slot.waiting()
    }

    /// Deliveries that were given up since the start, as too many were waiting.
    pub fn dropped(&self) -> u64 {
        self.handle.shared.lock().dropped
    }

    /// How often the file was found moved or deleted. After each, a new one was made that lacks all
    /// that was saved before: it is to be saved again.
    pub fn moves(&self) -> u64 {
        self.handle.shared.lock().moves
    }

    /// Who hears of deliveries that were enqueued; `nudge` must neither block nor call the writer.
    pub fn on_enqueued(&self, nudge: impl Fn() + Send + 'static) {
        self.handle.shared.lock().nudge = Some(Box::new(nudge));
    }

    /// Takes nothing more, writes what waits, and lets go of the journal; `false` when that takes
    /// longer than `patience`.
    pub fn close(&self, patience: Duration) -> bool {
        let shared = &self.handle.shared;
        shared.close();
        let waited =
            shared.ended.wait_timeout_while(shared.lock(), patience, |state| !state.has_ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.has_ended
    }

    fn add(&self, checkpoint: Checkpoint) {
        let mut state = self.handle.shared.lock();
        // After the last write nobody would take it out.
        if !checkpoint.is_empty() && !state.slot.is_closing() {
            state.slot.add(checkpoint);
            self.handle.shared.work.notify_one();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().slot.close();
        self.work.notify_one();
    }

    fn work(&self, mut journal: Journal) {
        let mut untidy = false;
        while let Some(task) = self.next(untidy) {
            match task {
                Task::Tidy => {
                    journal.tidy();
                    untidy = false;
                }
                Task::Commit(job) => {
                    let result = journal.commit(&job.entry);
                    untidy |= result.is_ok();
                    let enqueued = result.is_ok() && !job.entry.webhooks.is_empty();
                    let mut state = self.lock();
                    state.note(&journal, &result);
                    state.slot.committed(job, result);
                    if let (true, Some(nudge)) = (enqueued, &state.nudge) {
                        nudge();
                    }
                }
                Task::Checkpoint(checkpoint) => {
                    let result = journal.checkpoint(&checkpoint);
                    let mut state = self.lock();
                    state.note(&journal, &result);
                    state.slot.checkpointed(checkpoint, result.is_ok(), Instant::now());
                }
            }
        }
        drop(journal);
        self.lock().has_ended = true;
        self.ended.notify_all();
    }

    /// Waits for something to do, but for an `untidy` journal; `None` when there will be nothing
    /// any more.
    fn next(&self, untidy: bool) -> Option<Task> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if let Some(task) = state.slot.take(now) {
                return Some(task);
            }
            if untidy {
                return Some(Task::Tidy);
            }
            if state.slot.is_closing() {
                return None;
            }
            state = match state.slot.idle(now) {
                Some(idle) => {
                    self.work.wait_timeout(state, idle).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl State {
    fn note<T>(&mut self, journal: &Journal, result: &Result<T, JournalError>) {
        (self.dropped, self.moves) = (journal.dropped(), journal.moves());
        let problem = result.as_ref().err();
        if let (Some(error), false) = (problem, self.problem.as_ref() == problem) {
            tracing::error!(%error, "a write of the journal failed");
        }
        if let (None, Some(_)) = (problem, &self.problem) {
            tracing::info!("the journal can be written again");
        }
        self.problem = problem.cloned();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

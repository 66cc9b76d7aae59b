//! Tells others of decisions: delivers the outbox of the journal.
//!
//! ```text
//! JournalWriter::commit ─ nudge ─> dispatcher ─ a thread for each call ─> POST
//!               ^──────── settle ───────┘ <───────── how it went ────────────┘
//! ```
//!
//! Deliveries of one URL go out in order, one at a time; one that fails is tried again before those
//! behind it. Each URL waits for itself only. What happened is in the journal, so a restart goes
//! on; a process that is killed between an answer and its record delivers again, with the same
//! `x-tidegate-delivery`: at least once, not exactly once.

mod dispatcher;
mod lanes;
mod post;
mod retry;

pub use retry::Retry;

use crate::journal::JournalWriter;
use dispatcher::{Dispatcher, Event};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{SyncSender, sync_channel},
    },
};

/// Events that wait for the dispatcher; more nudges are of no use, and calls that ended wait.
const EVENTS: usize = 16;

/// Delivers until it is dropped, and holds the journal open as long.
#[derive(Debug)]
pub struct Webhooks {
    events: SyncSender<Event>,
    state: Arc<State>,
    writer: JournalWriter,
}

/// What was delivered since the start, and what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counts {
    /// Deliveries that arrived.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Deliveries that are not tried any more.
    pub given_up: u64,
    /// Deliveries that were never tried to the end, as more than 10,000 were kept.
    pub dropped: u64,
    /// Deliveries that wait.
    pub waiting: u64,
}

#[derive(Debug, Default)]
struct State {
    closed: AtomicBool,
    delivered: AtomicU64,
    failed_attempts: AtomicU64,
    given_up: AtomicU64,
    waiting: AtomicU64,
}

impl Webhooks {
    /// Delivers what waits in the journal, and what will, tried again as [`Retry::default`] says.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(writer: &JournalWriter) -> io::Result<Self> {
        Self::start_with(writer, Retry::default())
    }

    /// The same, tried again as `retry` says.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start_with(writer: &JournalWriter, retry: Retry) -> io::Result<Self> {
        let (events, queue) = sync_channel(EVENTS);
        let state = Arc::new(State::default());
        let nudges = events.clone();
        writer.on_enqueued(move || {
            // With a full queue the dispatcher is about to look anyway.
            let _ = nudges.try_send(Event::Nudge);
        });
        let dispatcher = Dispatcher::new(writer.clone(), retry, events.clone(), Arc::clone(&state));
        std::thread::Builder::new()
            .name("webhooks".to_owned())
            .spawn(move || dispatcher.work(&queue))?;
        Ok(Self { events, state, writer: writer.clone() })
    }

    /// How it goes.
    pub fn counts(&self) -> Counts {
        let State { delivered, failed_attempts, given_up, waiting, .. } = &*self.state;
        Counts {
            delivered: delivered.load(Relaxed),
            failed_attempts: failed_attempts.load(Relaxed),
            given_up: given_up.load(Relaxed),
            dropped: self.writer.dropped(),
            waiting: waiting.load(Relaxed),
        }
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        self.writer.on_enqueued(|| ());
        self.state.closed.store(true, Relaxed);
        let _ = self.events.try_send(Event::Nudge);
    }
}

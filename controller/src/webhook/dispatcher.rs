//! Decides what goes out when, and records how it went.

use super::{State, lanes::Lanes, post::post, retry::Retry};
use crate::{
    client,
    controller::now as clock,
    journal::{Attempt, Delivery, JournalError, JournalReader, JournalWriter, Outcome},
};
use std::{
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

/// How long it sleeps when nothing waits and nobody says otherwise.
const IDLE: Duration = Duration::from_secs(60);

/// How soon a journal that cannot be read is read again.
const UNREADABLE: Duration = Duration::from_secs(5);

/// What the dispatcher hears.
#[derive(Debug)]
pub(super) enum Event {
    /// There is something to look at.
    Nudge,
    /// A call ended.
    Ended(Delivery, Result<(), String>),
}

/// One thread's worth of state.
pub(super) struct Dispatcher {
    writer: JournalWriter,
    reader: JournalReader,
    retry: Retry,
    lanes: Lanes,
    events: SyncSender<Event>,
    state: Arc<State>,
}

impl Dispatcher {
    pub(super) fn new(
        writer: JournalWriter,
        retry: Retry,
        events: SyncSender<Event>,
        state: Arc<State>,
    ) -> Self {
        let reader = writer.reader();
        Self { writer, reader, retry, lanes: Lanes::default(), events, state }
    }

    pub(super) fn work(mut self, queue: &Receiver<Event>) {
        while !self.state.closed.load(Relaxed) {
            let wait = match self.start_due() {
                Ok(()) => self
                    .lanes
                    .next_due()
                    .map_or(IDLE, |due| due.saturating_duration_since(Instant::now()).min(IDLE)),
                Err(error) => {
                    tracing::warn!(%error, "no webhook can be called");
                    UNREADABLE
                }
            };
            match queue.recv_timeout(wait) {
                Ok(Event::Ended(delivery, result)) => self.end(&delivery, result),
                Ok(Event::Nudge) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Sends everything on its way that is due, as far as there is room.
    fn start_due(&mut self) -> Result<(), JournalError> {
        self.lanes.set(self.reader.waiting_urls()?, Instant::now());
        self.state.waiting.store(self.reader.tally()?.waiting, Relaxed);
        for (url, done) in self.lanes.due(Instant::now()) {
            let now = Instant::now();
            match self.reader.next_delivery(&url, done)? {
                None => self.lanes.rest(&url, now),
                Some(delivery) => {
                    if self.lanes.begin(&delivery, &self.retry, clock(), now) {
                        self.send(&delivery);
                    }
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, delivery: &Delivery) {
        let (events, timeout) = (self.events.clone(), self.retry.timeout);
        let sent = delivery.clone();
        let call = move || {
            let result = post(&sent, timeout, clock());
            // Nobody listens any more: it will be delivered again.
            let _ = events.send(Event::Ended(sent, result));
        };
        let thread = std::thread::Builder::new().name("webhook".to_owned());
        if let Err(error) = thread.spawn(call) {
            self.end(delivery, Err(error.to_string()));
        }
    }

    /// Records how an attempt went, and decides when the next one is.
    fn end(&mut self, delivery: &Delivery, result: Result<(), String>) {
        let (now, at) = (Instant::now(), clock());
        let attempts = self.lanes.end(&delivery.url);
        let wait = self.retry.wait(attempts, rand::random());
        let outcome = match result {
            Ok(()) => {
                self.state.delivered.fetch_add(1, Relaxed);
                self.lanes.wait(&delivery.url, Some(delivery.id), now);
                Outcome::Delivered { at }
            }
            Err(error) => {
                self.state.failed_attempts.fetch_add(1, Relaxed);
                let gives_up = self.retry.gives_up(attempts);
                complain(delivery, attempts, &error, gives_up);
                let done = gives_up.then_some(delivery.id);
                self.lanes.wait(&delivery.url, done, now + wait);
                if gives_up {
                    self.state.given_up.fetch_add(1, Relaxed);
                    Outcome::GivenUp { at, error }
                } else {
                    Outcome::Retry { next: at.after(wait), error }
                }
            }
        };
        self.writer.settle(Attempt { id: delivery.id, attempts, outcome });
    }
}

/// Once at the first failure, and at the end.
fn complain(delivery: &Delivery, attempts: u32, error: &str, gives_up: bool) {
    // The rest of the URL may be what proves to the other side who calls.
    let (server, delivery) = (client::server(&delivery.url), delivery.id);
    if gives_up {
        tracing::error!(server, delivery, attempts, error, "a webhook is given up");
    } else if attempts == 1 {
        tracing::warn!(server, delivery, error, "a webhook failed and is tried again");
    }
}

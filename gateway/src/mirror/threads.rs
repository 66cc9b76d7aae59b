//! The mirrors' own threads, and the queue that leads to them.

use super::{copy::Copy, outcome::Outcome};
use crate::upstream::authorities_file;
use pingora_core::connectors::{ConnectorOptions, http::Connector};
use std::{io, sync::Arc};
use tidegate_compare::Budget;
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc::{self, Permit},
};

/// Copies that may wait for a thread. A thread that runs at all takes them at once.
const QUEUE: usize = 1024;

/// Kept connections to dark upstreams.
const KEPT_CONNECTIONS: usize = 1024;

/// The way to the mirrors' threads.
#[derive(Debug)]
pub(crate) struct Mirrors {
    queue: mpsc::Sender<Copy>,
    /// The memory of all mirrors.
    pub(crate) budget: Arc<Budget>,
}

/// A place in the queue.
#[derive(Debug)]
pub(super) struct Place<'a>(Permit<'a, Copy>);

impl Mirrors {
    /// Starts the threads; they end with the runtime.
    ///
    /// # Errors
    /// When a thread cannot be had.
    pub(crate) fn start(proxy_threads: usize, memory: usize) -> io::Result<(Self, Runtime)> {
        let runtime = Builder::new_multi_thread()
            // A copy costs about half of what its request does.
            .worker_threads(proxy_threads.div_ceil(2))
            .thread_name("mirror")
            .on_thread_start(yield_to_others)
            .enable_all()
            .build()?;
        let (queue, copies) = mpsc::channel(QUEUE);
        runtime.spawn(serve(copies));
        Ok((Self { queue, budget: Budget::new(memory) }, runtime))
    }

    /// A place in the queue, if there is one.
    pub(super) fn place(&self) -> Result<Place<'_>, Outcome> {
        self.queue.try_reserve().map(Place).map_err(|_| Outcome::QueueFull)
    }
}

impl Place<'_> {
    pub(super) fn send(self, copy: Copy) {
        self.0.send(copy);
    }
}

async fn serve(mut copies: mpsc::Receiver<Copy>) {
    let mut options = ConnectorOptions::new(KEPT_CONNECTIONS);
    options.ca_file = authorities_file();
    let connector = Arc::new(Connector::new(Some(options)));
    while let Some(copy) = copies.recv().await {
        if let Some((copy, slot)) = copy.admit() {
            tokio::spawn(copy.run(slot, Arc::clone(&connector)));
        }
    }
}

/// The mirrors' threads run when no other has anything to do, and stop at once when one has
/// (`SCHED_IDLE`). Rejected: a nice value, with which a thread that has begun still goes on for some
/// milliseconds, while requests wait.
#[cfg(target_os = "linux")]
fn yield_to_others() {
    use thread_priority::{
        NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
        set_thread_priority_and_policy, thread_native_id,
    };
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let done = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    if let Err(error) = done {
        tracing::warn!(%error, "mirrors run at the priority of the proxy");
    }
}

#[cfg(not(target_os = "linux"))]
fn yield_to_others() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_has_an_end() {
        let (queue, _copies) = mpsc::channel(QUEUE);
        let mirrors = Mirrors { queue, budget: Budget::new(0) };
        let places: Vec<_> = (0..QUEUE).map(|_| mirrors.place()).collect();
        assert!(places.iter().all(Result::is_ok));
        assert_eq!(mirrors.place().err(), Some(Outcome::QueueFull));
        drop(places);
        assert!(mirrors.place().is_ok());
    }
}

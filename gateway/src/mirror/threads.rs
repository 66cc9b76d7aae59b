//! The mirrors' own threads, and the queue that leads to them.

use super::{copy::Copy, outcome::Outcome};
use crate::upstream::authorities_file;
use pingora_core::connectors::{ConnectorOptions, http::Connector};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};
use tidegate_compare::Budget;
use tidegate_config::Plan;
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
    threads: Mutex<Threads>,
}

/// There are none until there is a mirror. A process ends with its last thread, and on a machine
/// that is short of processors one that yields to all others takes seconds to end.
#[derive(Debug)]
enum Threads {
    Wanted(usize, mpsc::Receiver<Copy>),
    Running(Runtime),
    Ended,
}

/// A place in the queue.
#[derive(Debug)]
pub(super) struct Place<'a>(Permit<'a, Copy>);

impl Mirrors {
    pub(crate) fn new(proxy_threads: usize, memory: usize) -> Self {
        let (queue, copies) = mpsc::channel(QUEUE);
        // A copy costs about half of what its request does.
        let threads = Threads::Wanted(proxy_threads.div_ceil(2), copies);
        Self { queue, budget: Budget::new(memory), threads: Mutex::new(threads) }
    }

    /// Starts the threads if `plan` has a mirror and they do not run yet.
    ///
    /// # Errors
    /// When a thread cannot be had.
    pub(crate) fn start_for(&self, plan: &Plan) -> io::Result<()> {
        if plan.routes.iter().all(|route| route.mirrors.is_empty()) {
            return Ok(());
        }
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let Threads::Wanted(count, _) = &*threads else { return Ok(()) };
        let runtime = Builder::new_multi_thread()
            .worker_threads(*count)
            .thread_name("mirror")
            .on_thread_start(yield_to_others)
            .enable_all()
            .build()?;
        if let Threads::Wanted(_, copies) = std::mem::replace(&mut *threads, Threads::Ended) {
            runtime.spawn(serve(copies));
        }
        *threads = Threads::Running(runtime);
        Ok(())
    }

    /// Ends the threads and does not wait for them; copies under way are lost.
    pub(crate) fn stop(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Threads::Running(runtime) = std::mem::replace(&mut *threads, Threads::Ended) {
            runtime.shutdown_background();
        }
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
        let mirrors = Mirrors::new(1, 0);
        let places: Vec<_> = (0..QUEUE).map(|_| mirrors.place()).collect();
        assert!(places.iter().all(Result::is_ok));
        assert_eq!(mirrors.place().err(), Some(Outcome::QueueFull));
        drop(places);
        assert!(mirrors.place().is_ok());
    }
}

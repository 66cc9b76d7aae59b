//! The mirrors' own threads, and the queue that leads to them.

use super::{copy::Copy, outcome::Outcome};
use pingora_core::connectors::{ConnectorOptions, http::Connector};
use rustix::{process::setpriority_process, thread::gettid};
use std::{io, sync::Arc};
use tidegate_compare::Budget;
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc::{self, Permit},
};

/// Copies that may wait for a thread. A thread that runs at all takes them at once.
const QUEUE: usize = 1024;

/// How much the mirrors' threads yield to others (nice). Against the proxy's they weigh about 1:28:
/// enough to get on while there is time to spare, and little where there is none. With 10 (1:9) a
/// gateway whose one processor was saturated served a tenth less; with 19 (1:68) copies took twice
/// as long on a machine that was merely busy.
const NICENESS: i32 = 15;

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
    let connector = Arc::new(Connector::new(Some(ConnectorOptions::new(KEPT_CONNECTIONS))));
    while let Some(copy) = copies.recv().await {
        if let Some((copy, slot)) = copy.admit() {
            tokio::spawn(copy.run(slot, Arc::clone(&connector)));
        }
    }
}

/// On Linux a thread has a priority of its own.
fn yield_to_others() {
    if let Err(error) = setpriority_process(Some(gettid()), NICENESS) {
        tracing::debug!(%error, "mirrors run at the priority of the proxy");
    }
}

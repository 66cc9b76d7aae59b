//! The controller of rollouts, as the rest of the gateway holds it.

use super::{Door, LiveEdge};
use crate::serving::Serving;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tidegate_config::Store;
use tidegate_controller::{Announced, Board, Handle, Refusal, Shown};
use tidegate_judge::Verb;
use tokio::sync::{broadcast, oneshot};

/// Decisions that a slow listener may be behind.
const EVENTS: usize = 256;

/// For the last evidence to be written at the end.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// For the controller to write what it knows and let go of it: it may be in the middle of a write,
/// and has another to make.
const RELEASE: Duration = Duration::from_secs(8);

/// Commands go in, what there is to see and what was decided come out.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    handle: Handle,
    /// Each decision, once it is durable.
    pub(crate) events: broadcast::Sender<Announced>,
    /// The file that keeps the state, of the configuration at the start.
    pub(crate) state: PathBuf,
}

impl Control {
    /// Starts the controller.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn start(store: &Arc<Store<Serving>>, door: &Arc<Door>) -> std::io::Result<Self> {
        let (events, _) = broadcast::channel(EVENTS);
        let announced = events.clone();
        let edge = LiveEdge::new(Arc::clone(store), Arc::clone(door));
        let handle = Handle::start(
            edge,
            Box::new(move |decision| {
                // Nobody listens, which is fine.
                let _ = announced.send(decision.clone());
            }),
        )?;
        let state = store.load().state.loaded.plan.state.clone();
        Ok(Self { handle, events, state })
    }

    /// All rollouts, at one moment.
    pub(crate) fn board(&self) -> Arc<Board> {
        self.handle.board()
    }

    /// Does what `actor` asks for; the board shows it afterwards.
    ///
    /// # Errors
    /// Why it was not done.
    pub(crate) async fn act(&self, rollout: &str, verb: Verb, actor: &str) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        self.handle.act(rollout, verb, actor, move |done| {
            // Whoever asked may be gone.
            let _ = reply.send(done);
        });
        answer.await.unwrap_or(Err(Refusal::Busy))
    }

    /// Stops everything from advancing, or lets it; the board shows it afterwards.
    ///
    /// # Errors
    /// Why it was not done.
    pub(crate) async fn freeze(&self, freeze: bool, actor: &str) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        self.handle.freeze(freeze, actor, move |done| {
            let _ = reply.send(done);
        });
        answer.await.unwrap_or(Err(Refusal::Busy))
    }

    /// Lets another process have the rollouts: see [`Handle::release`].
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn release(&self) -> Result<(), String> {
        self.handle.release(RELEASE)
    }

    /// Takes them up again, if they were let go of.
    pub(crate) fn resume(&self) {
        self.handle.resume();
    }

    /// Ends the controller: what it knows is written, and another process may have its state.
    pub(crate) fn stop(&self) {
        self.handle.stop(LAST_WORDS);
    }
}

/// The rollout of this name.
pub(crate) fn find<'a>(board: &'a Board, name: &str) -> Option<&'a Shown> {
    board.rollouts.iter().find(|shown| shown.report.rollout == name)
}

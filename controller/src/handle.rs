//! The controller, as everybody else holds it.

use crate::{
    board::{Board, Current},
    command::{Command, Refusal, Reply},
    controller::{Announce, Controller},
    edge::Edge,
    keeper::Keeper,
    release::Hold,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError, channel, sync_channel},
    },
    time::{Duration, Instant},
};
use tidegate_judge::Verb;

/// Commands that may wait.
const QUEUE: usize = 64;

/// Sends commands to the controller and sees what it shows. The controller ends with its last
/// handle.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: SyncSender<Command>,
    current: Current,
}

impl Handle {
    /// Starts the controller on a thread of its own. `announce` hears of each decision once it is durable, and must not block.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(edge: impl Edge + 'static, announce: Announce) -> std::io::Result<Self> {
        let (commands, queue) = sync_channel(QUEUE);
        let current = Current::default();
        let controller = Controller {
            edge,
            keeper: Keeper::new(),
            announce,
            current: current.clone(),
            source: Box::new(crate::prometheus::Pollers::new()),
            wanted: Vec::new(),
            runs: BTreeMap::new(),
            unreadable: Vec::new(),
            freeze: None,
            refreeze: false,
            pending: VecDeque::new(),
            late: None,
            refused: None,
            unsettled: false,
            hold: Hold::Mine,
            checkpointed: Instant::now(),
            looked: Instant::now(),
        };
        std::thread::Builder::new()
            .name("controller".to_owned())
            .spawn(move || controller.work(&queue))?;
        Ok(Self { commands, current })
    }

    /// What there is to see.
    pub fn board(&self) -> Arc<Board> {
        self.current.load()
    }

    /// Asks for a verb; `reply` hears what came of it, from the controller's thread.
    pub fn act(
        &self,
        rollout: &str,
        verb: Verb,
        actor: &str,
        reply: impl FnOnce(Reply) + Send + 'static,
    ) {
        let (rollout, actor) = (rollout.to_owned(), actor.to_owned());
        self.send(Command::Act { rollout, verb, actor, reply: Box::new(reply) });
    }

    /// Stops everything from advancing, or lets it.
    pub fn freeze(&self, freeze: bool, actor: &str, reply: impl FnOnce(Reply) + Send + 'static) {
        let actor = actor.to_owned();
        self.send(Command::Freeze { freeze, actor, reply: Box::new(reply) });
    }

    /// Writes all that is known and lets go of the journal, so that another process can have it.
    /// From then on nothing is decided here; what that process decides is followed. Waits for at
    /// most `patience`.
    ///
    /// # Errors
    /// Why it was not done, or may not have been: [`Self::resume`] then, to be sure.
    pub fn release(&self, patience: Duration) -> Result<(), String> {
        let (done, released) = channel();
        self.send(Command::Release(done));
        let answer = released.recv_timeout(patience);
        answer.unwrap_or_else(|_| Err("the controller of rollouts does not answer".to_owned()))
    }

    /// Takes the journal up again, as soon as nobody else has it, and goes on with what is in it.
    pub fn resume(&self) {
        // Waits rather than be lost; the controller takes commands several times a second.
        let _ = self.commands.send(Command::Resume);
    }

    /// Ends the controller and waits for its last writes, for at most `patience`. What is in force
    /// stays.
    pub fn stop(&self, patience: Duration) {
        let (done, ended) = channel();
        self.send(Command::Stop(done));
        let _ = ended.recv_timeout(patience);
    }

    fn send(&self, command: Command) {
        if let Err(TrySendError::Full(command) | TrySendError::Disconnected(command)) =
            self.commands.try_send(command)
        {
            match command {
                Command::Act { reply, .. } | Command::Freeze { reply, .. } => {
                    reply(Err(Refusal::Busy));
                }
                // Whoever waits sees that nobody answers.
                Command::Release(_) | Command::Resume | Command::Stop(_) => {}
            }
        }
    }
}

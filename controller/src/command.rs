//! What people ask of the controller.

use tidegate_judge::{Illegal, Verb};

/// How a command went.
pub type Reply = Result<(), Refusal>;

/// Who hears of it.
pub(crate) type Asker = Box<dyn FnOnce(Reply) + Send>;

/// A wish, and who hears what came of it.
pub(crate) enum Command {
    /// A verb for one rollout.
    Act { rollout: String, verb: Verb, actor: String, reply: Asker },
    /// Nothing advances from now on, or things may again.
    Freeze { freeze: bool, actor: String, reply: Asker },
    /// Another process is to have the journal.
    Release(std::sync::mpsc::Sender<Result<(), String>>),
    /// It will not have it after all, or not any more.
    Resume,
    /// The end.
    Stop(std::sync::mpsc::Sender<()>),
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such rollout.
    #[error("there is no rollout `{rollout}`")]
    Unknown {
        /// What was asked for.
        rollout: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Its state does not allow it.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// It waits for a freeze to end.
    #[error("the rollout `{0}` has not begun yet")]
    NotStarted(String),
    /// All rollouts are frozen already, or are not.
    #[error("all rollouts are {}", if *frozen { "frozen already" } else { "free already" })]
    Freeze {
        /// What was asked for.
        frozen: bool,
    },
    /// It could not be made durable, so it was not done.
    #[error("not done, as it could not be kept: {0}")]
    Unkept(String),
    /// Another process decides, or is about to.
    #[error("another process takes the rollouts over: ask again")]
    HandedOver,
    /// Too many commands wait.
    #[error("too many commands are waiting")]
    Busy,
}

//! The data plane, as the controller sees it.

use std::sync::Arc;
use tidegate_judge::{Plan, Setting, Tick};

/// Where requests are served and counted.
pub trait Edge: Send {
    /// The configuration in force, if it may have changed since the last call.
    fn changed(&mut self) -> Option<Configured>;

    /// What was counted since the last call; `None` when there is no such rollout.
    fn take(&mut self, rollout: &str) -> Option<Tick>;

    /// Puts settings in force, of rollouts of the last [`Edge::changed`], and returns the generation
    /// that they are in. Must not wait for anything slow: a bad version is taken away by it.
    fn set(&mut self, settings: &[(&str, Setting)]) -> u64;

    /// The generation in force.
    fn generation(&self) -> u64;

    /// What else has to survive a restart, as JSON.
    fn keep(&self) -> String;
}

/// What the configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configured {
    /// Its rollouts.
    pub rollouts: Vec<Wanted>,
    /// The file that keeps their state. One that is open stays until the process ends.
    pub state: Option<std::path::PathBuf>,
}

/// A rollout of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What is judged.
    pub plan: Arc<Plan>,
    /// Who is told of decisions.
    pub webhooks: Vec<Webhook>,
}

/// A URL that decisions are posted to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Webhook {
    /// `http` or `https`.
    pub url: String,
    /// A file with the secret that bodies are signed with.
    pub secret_file: Option<std::path::PathBuf>,
}

//! What is committed.

use std::path::PathBuf;
use tidegate_judge::{Decision, Time};

/// A decision and all that follows from it: written as a whole, or not at all.
#[derive(Debug, Clone)]
pub struct Entry {
    id: String,
    /// States of runs, in the place of the earlier ones.
    pub states: Vec<Saved>,
    /// Rollouts whose state is forgotten. Their decisions stay.
    pub removed: Vec<String>,
    /// Settings by their keys; without a value the setting is removed.
    pub settings: Vec<(String, Option<String>)>,
    /// What was decided, oldest first.
    pub decisions: Vec<Record>,
    /// Who is told of each of these decisions.
    pub webhooks: Vec<Recipient>,
}

/// The state of a rollout's last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The rollout's name.
    pub rollout: String,
    /// Its run, as JSON.
    pub state: String,
}

/// A decision, and what it can be looked up by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub time: Time,
    /// The rollout's name.
    pub rollout: String,
    /// Its run, from 1.
    pub run: u32,
    /// The revision on trial.
    pub revision: String,
    /// Who decided.
    pub actor: String,
    /// What, as in JSON: `rolled_back`.
    pub action: String,
    /// The step after it, from 1.
    pub step: usize,
    /// The whole, a JSON object without `id`.
    pub json: String,
}

/// Who is told of decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Where to.
    pub url: String,
    /// A file with the secret that bodies are signed with.
    pub secret_file: Option<PathBuf>,
}

impl Entry {
    /// An empty entry with an id of its own. A clone is the same entry.
    pub fn new() -> Self {
        Self {
            id: format!("{:032x}", rand::random::<u128>()),
            states: Vec::new(),
            removed: Vec::new(),
            settings: Vec::new(),
            decisions: Vec::new(),
            webhooks: Vec::new(),
        }
    }

    /// What tells it from all others.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The rollouts whose state it changes.
    pub(super) fn rollouts(&self) -> impl Iterator<Item = &str> {
        let saved = self.states.iter().map(|saved| saved.rollout.as_str());
        saved.chain(self.removed.iter().map(String::as_str))
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self::new()
    }
}

impl TryFrom<&Decision> for Record {
    type Error = serde_json::Error;

    fn try_from(decision: &Decision) -> Result<Self, Self::Error> {
        Ok(Self {
            time: decision.time,
            rollout: decision.rollout.clone(),
            run: decision.run,
            revision: decision.revision.clone(),
            actor: decision.actor.clone(),
            action: decision.action.name().to_owned(),
            step: decision.step,
            json: serde_json::to_string(decision)?,
        })
    }
}

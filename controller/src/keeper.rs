//! What survives a restart, as long as there is a disk for it.
//!
//! The journal may be missing, broken, held by another process, or on a disk that hangs. None of
//! that stops the controller: it says so, tries again, and meanwhile keeps what it has.

use crate::webhook::{Counts, Webhooks};
use crate::{
    board::Freeze,
    edge::Webhook,
    journal::{
        self, Checkpoint, Contents, Entry, Journal, JournalError, JournalWriter, Recipient, Record,
        RecordedTick,
    },
};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tidegate_judge::{Decision, Plan, Run, Setting, Tick, Time};

/// How often a journal that cannot be opened is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Names of what is kept beside runs and decisions.
const FREEZE: &str = "freeze";
const KEEP: &str = "edge";

/// The journal, or why there is none.
pub(crate) struct Keeper {
    path: Option<PathBuf>,
    writer: Option<JournalWriter>,
    /// Tells others what was committed.
    webhooks: Option<Webhooks>,
    error: Option<String>,
    closed: Closed,
    try_at: Instant,
    /// When to look next what another process saved.
    follow_at: Option<Instant>,
    /// How often the file was taken away.
    moves: u64,
    /// What was kept last of what the edge says.
    kept: Option<String>,
    /// To be saved with the next checkpoint.
    batch: Checkpoint,
}

/// What a journal that is not open means for rollouts that nobody judges here.
enum Closed {
    /// Not tried yet, or in use for a moment: all stays as it is.
    Unknown,
    /// Another process judges. What it saved last.
    Held(Vec<Run>),
    /// Nobody can judge.
    Unusable,
}

/// What was saved.
#[derive(Debug, Default)]
pub struct Saved {
    /// The last run of each rollout.
    pub runs: Vec<Run>,
    /// Nothing advances.
    pub freeze: Option<Freeze>,
    /// Rollouts that have a run which cannot be read.
    pub unreadable: Vec<String>,
    /// What [`crate::Edge::keep`] said.
    pub keep: Option<String>,
}

/// One run and the decisions that led to it: all or nothing. A clone is the same commit.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    rollout: String,
    entry: Entry,
}

/// Why something is not durable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Unkept {
    why: String,
    slow: bool,
}

/// What was saved at `path`, without taking it over; nothing if there is no such file.
///
/// # Errors
/// When it is there and cannot be read.
pub fn peek(path: &Path) -> Result<Saved, JournalError> {
    Ok(saved(journal::peek(path)?))
}

impl Keeper {
    pub(crate) fn new() -> Self {
        Self {
            path: None,
            writer: None,
            webhooks: None,
            error: None,
            closed: Closed::Unknown,
            try_at: Instant::now(),
            follow_at: None,
            moves: 0,
            kept: None,
            batch: Checkpoint::default(),
        }
    }

    /// Another file, from the next look on; one that is open stays.
    pub(crate) fn set_path(&mut self, path: Option<PathBuf>) {
        if self.writer.is_none() && self.path != path {
            self.path = path;
            self.try_at = Instant::now();
        }
    }

    /// Opens the journal if it is not open and it is time to try; what was saved, if that went well.
    pub(crate) fn open(&mut self) -> Option<Saved> {
        let path = self.path.clone().filter(|_| self.writer.is_none())?;
        if Instant::now() < self.try_at {
            return None;
        }
        self.try_at = Instant::now() + RETRY;
        match start(&path) {
            Ok((writer, contents)) => {
                tracing::info!(path = %path.display(), "the state of rollouts is kept here");
                let webhooks = Webhooks::start(&writer);
                self.webhooks = webhooks
                    .inspect_err(|error| tracing::error!(%error, "webhooks cannot be called"))
                    .ok();
                self.writer = Some(writer);
                self.closed = Closed::Unknown;
                self.error = None;
                Some(saved(contents))
            }
            Err(error) => {
                self.closed = match &error {
                    JournalError::Held { .. } => match peek(&path) {
                        Ok(saved) => Closed::Held(saved.runs),
                        Err(_) => Closed::Unknown,
                    },
                    JournalError::Locked { .. } => Closed::Unknown,
                    _ => Closed::Unusable,
                };
                let error = error.to_string();
                if self.error.as_ref() != Some(&error) {
                    tracing::error!(
                        "nothing of the rollouts can be kept, so none advances: {error}"
                    );
                }
                self.error = Some(error);
                None
            }
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.writer.is_some()
    }

    /// What is to be in force for a rollout that is not judged here; `None`: what is.
    ///
    /// A candidate that nobody can judge has no users, and whoever may not judge follows who does.
    pub(crate) fn unjudged(&self, plan: &Plan) -> Option<Setting> {
        let names = |plan: &Plan| {
            let Plan { name, revision, route, baseline, candidate, .. } = plan;
            [name, revision, route, baseline, candidate].map(String::clone)
        };
        let is_of = |run: &&Run| names(run.plan()) == names(plan);
        match &self.closed {
            _ if self.is_open() => None,
            Closed::Unknown => None,
            Closed::Unusable => Some(Setting::NOTHING),
            Closed::Held(runs) => {
                Some(runs.iter().find(is_of).map_or(Setting::NOTHING, Run::setting))
            }
        }
    }

    /// How calling webhooks goes.
    pub(crate) fn webhooks(&self) -> Counts {
        self.webhooks.as_ref().map(Webhooks::counts).unwrap_or_default()
    }

    /// Why nothing can be kept now.
    pub(crate) fn error(&self) -> Option<String> {
        let problem = self.writer.as_ref().and_then(JournalWriter::problem);
        self.error.clone().or_else(|| problem.map(|problem| problem.to_string()))
    }

    /// Whether somebody took the file away since the last call: what was saved is to be saved again.
    pub(crate) fn was_moved(&mut self) -> bool {
        let moves = self.writer.as_ref().map_or(0, JournalWriter::moves);
        let was_moved = std::mem::replace(&mut self.moves, moves) != moves;
        if was_moved {
            self.kept = None;
        }
        was_moved
    }

    /// Makes it durable, or says why it is not. The same commit may be tried again.
    pub(crate) fn commit(&self, commit: &Commit, patience: Duration) -> Result<Vec<i64>, Unkept> {
        let Some(writer) = &self.writer else { return Err(Unkept::closed(self.error.as_deref())) };
        writer.commit(&commit.entry, patience).map_err(|error| Unkept::of(&error))
    }

    /// Keeps whether all is frozen.
    pub(crate) fn set_freeze(
        &self,
        freeze: Option<&Freeze>,
        patience: Duration,
    ) -> Result<(), Unkept> {
        let Some(writer) = &self.writer else { return Err(Unkept::closed(self.error.as_deref())) };
        let mut entry = Entry::new();
        entry.settings.push(freeze_setting(freeze));
        writer.commit(&entry, patience).map(drop).map_err(|error| Unkept::of(&error))
    }

    /// Keeps what [`crate::Edge::keep`] says, if that is news.
    pub(crate) fn keep(&mut self, keep: String, patience: Duration) {
        let Some(writer) = self.writer.as_ref().filter(|_| self.kept.as_ref() != Some(&keep))
        else {
            return;
        };
        let mut entry = Entry::new();
        entry.settings.push((KEEP.to_owned(), Some(keep.clone())));
        // Else it is tried again with the next checkpoint; the writer says what is wrong.
        if writer.commit(&entry, patience).is_ok() {
            self.kept = Some(keep);
        }
    }

    /// Adds a run to the next checkpoint, and what was counted since the last.
    pub(crate) fn save(&mut self, run: &Run, tick: &Tick, now: Time) {
        if let Ok(state) = serde_json::to_string(run) {
            self.batch.save(&run.plan().name, state);
        }
        self.record(run, tick, now);
    }

    /// Adds what was counted to the next checkpoint.
    pub(crate) fn record(&mut self, run: &Run, tick: &Tick, now: Time) {
        if tick.is_empty() {
            return;
        }
        let Ok(json) = serde_json::to_string(tick) else { return };
        self.batch.record(RecordedTick {
            rollout: run.plan().name.clone(),
            run: run.number(),
            time: now,
            step: run.position() + 1,
            json,
        });
    }

    /// Has the next checkpoint look after the file, even if there is nothing to write.
    pub(crate) fn look(&mut self) {
        self.batch.look();
    }

    /// Has all that was added written, sooner or later.
    pub(crate) fn checkpoint(&mut self) {
        if let Some(writer) = &self.writer {
            writer.checkpoint(std::mem::take(&mut self.batch));
        }
    }

    /// Writes what waits, and lets go of the journal for another process to have.
    ///
    /// # Errors
    /// Why the last of it is not written, or not yet. The journal is let go of all the same.
    pub(crate) fn release(&mut self, patience: Duration) -> Result<(), String> {
        self.checkpoint();
        self.webhooks = None;
        let Some(writer) = self.writer.take() else { return Ok(()) };
        if !writer.close(patience) {
            return Err("the journal's disk is too slow".to_owned());
        }
        writer.problem().map_or(Ok(()), |problem| Err(problem.to_string()))
    }

    /// What whoever has the journal saved last, if it is time to look and it can be read.
    pub(crate) fn follow(&mut self) -> Option<Saved> {
        let path = self.path.as_ref()?;
        if self.follow_at.is_some_and(|at| Instant::now() < at) {
            return None;
        }
        self.follow_at = Some(Instant::now() + RETRY);
        peek(path).ok()
    }

    /// Whether another process has the journal, as far as is known.
    pub(crate) fn is_held(&self) -> bool {
        self.path.is_some() && !matches!(self.closed, Closed::Unusable)
    }

    /// Has the journal opened with the next look.
    pub(crate) fn hurry(&mut self) {
        self.try_at = Instant::now();
    }

    /// Writes what waits, and lets go of the journal.
    pub(crate) fn close(&mut self, patience: Duration) {
        self.checkpoint();
        self.webhooks = None;
        if let Some(writer) = self.writer.take()
            && !writer.close(patience)
        {
            tracing::warn!("the journal's disk is too slow: the last evidence may be lost");
        }
    }
}

impl Commit {
    pub(crate) fn new(
        run: &Run,
        decisions: &[Decision],
        webhooks: Vec<Webhook>,
        freeze: Option<&Freeze>,
    ) -> Self {
        let rollout = run.plan().name.clone();
        let mut entry = Entry::new();
        if let Ok(state) = serde_json::to_string(run) {
            entry.states.push(journal::Saved { rollout: rollout.clone(), state });
        }
        entry.decisions = decisions.iter().filter_map(|one| Record::try_from(one).ok()).collect();
        entry.webhooks = webhooks
            .into_iter()
            .map(|Webhook { url, secret_file }| Recipient { url, secret_file })
            .collect();
        entry.settings.push(freeze_setting(freeze));
        Self { rollout, entry }
    }

    pub(crate) fn rollout(&self) -> &str {
        &self.rollout
    }
}

impl Unkept {
    /// Something older has to be kept first.
    pub(crate) fn behind() -> Self {
        Self { why: "older decisions wait for the disk".to_owned(), slow: false }
    }

    /// It may still be written.
    pub(crate) fn is_slow(&self) -> bool {
        self.slow
    }

    fn closed(error: Option<&str>) -> Self {
        let why = error.unwrap_or("the journal is not open yet").to_owned();
        Self { why, slow: false }
    }

    fn of(error: &JournalError) -> Self {
        let slow = matches!(error, JournalError::Slow { .. });
        Self { why: error.to_string(), slow }
    }
}

fn start(path: &Path) -> Result<(JournalWriter, Contents), JournalError> {
    let mut journal = Journal::open(path)?;
    let contents = journal.load()?;
    let writer = JournalWriter::start(journal)
        .map_err(|error| JournalError::Open { path: path.to_owned(), reason: error.to_string() })?;
    Ok((writer, contents))
}

fn freeze_setting(freeze: Option<&Freeze>) -> (String, Option<String>) {
    (FREEZE.to_owned(), freeze.and_then(|freeze| serde_json::to_string(freeze).ok()))
}

/// What contents mean.
fn saved(mut contents: Contents) -> Saved {
    let mut saved = Saved::default();
    for state in contents.states {
        let why = match serde_json::from_str::<Run>(&state.state) {
            Ok(run) if run.plan().name == state.rollout => {
                saved.runs.push(run);
                continue;
            }
            Ok(run) => format!("it is of `{}`", run.plan().name),
            Err(error) => error.to_string(),
        };
        tracing::error!(rollout = state.rollout, "its state cannot be read: {why}");
        saved.unreadable.push(state.rollout);
    }
    saved.freeze = contents.settings.get(FREEZE).and_then(|json| serde_json::from_str(json).ok());
    saved.keep = contents.settings.remove(KEEP);
    saved
}

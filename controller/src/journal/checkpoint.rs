//! Evidence that is saved between decisions.

use super::{
    commit::{save, signed},
    outbox::{self, Attempt},
};
use rusqlite::{Transaction, params};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tidegate_judge::Time;

/// Ticks that wait to be written while the disk does not take them; the oldest go. At one a second
/// and rollout, some minutes of many rollouts.
const MAX_WAITING: usize = 10_000;

/// Ticks that are kept of one rollout: more than a day, at one a second.
const MAX_TICKS: i64 = 100_000;

/// Ticks that are kept of all rollouts, those that are gone included: half a gigabyte at most.
const MAX_ALL_TICKS: i64 = 1_000_000;

/// Ticks are counted whenever so many of a rollout came, and so many more may be there.
const PRUNE_EVERY: u32 = 1000;

/// Rows that one look deletes at most, so that it does not hold up a decision; more than come in.
const PRUNE_ROWS: i64 = 4 * PRUNE_EVERY as i64;

/// States and ticks since the last checkpoint. Bounded: one state a rollout, and 10,000 ticks.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    pub(super) states: BTreeMap<String, String>,
    pub(super) ticks: VecDeque<RecordedTick>,
    pub(super) attempts: BTreeMap<i64, Attempt>,
    /// Ticks that were forgotten because too many waited.
    forgotten: u64,
    looks: bool,
}

/// A tick as it is kept, to be replayed later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedTick {
    /// The rollout's name.
    pub rollout: String,
    /// Its run, from 1.
    pub run: u32,
    /// When it ended.
    pub time: Time,
    /// The step it was counted in, from 1.
    pub step: usize,
    /// The tick, as JSON.
    pub json: String,
}

impl Checkpoint {
    /// Puts a state in the place of an earlier one of the same rollout.
    pub fn save(&mut self, rollout: &str, state: String) {
        self.states.insert(rollout.to_owned(), state);
    }

    /// Appends a tick. Beyond 10,000 the oldest is forgotten.
    pub fn record(&mut self, tick: RecordedTick) {
        if self.ticks.len() >= MAX_WAITING {
            self.ticks.pop_front();
            self.forgotten += 1;
        }
        self.ticks.push_back(tick);
    }

    /// Makes it look after the file, even if there is nothing to write: whether it was moved, is
    /// locked, or can be written again. A rollout without traffic would never know.
    pub fn look(&mut self) {
        self.looks = true;
    }

    /// Nothing is to be done.
    pub fn is_empty(&self) -> bool {
        let nothing = self.states.is_empty() && self.ticks.is_empty() && self.attempts.is_empty();
        nothing && !self.looks
    }

    /// Adds what came later.
    pub(super) fn merge(&mut self, later: Checkpoint) {
        self.states.extend(later.states);
        self.attempts.extend(later.attempts);
        self.forgotten += later.forgotten;
        self.looks |= later.looks;
        later.ticks.into_iter().for_each(|tick| self.record(tick));
    }
}

/// Writes all of it.
pub(super) fn write(
    transaction: &Transaction<'_>,
    checkpoint: &Checkpoint,
) -> rusqlite::Result<()> {
    if checkpoint.forgotten > 0 {
        tracing::warn!(ticks = checkpoint.forgotten, "ticks were not recorded: too many waited");
    }
    for (rollout, state) in &checkpoint.states {
        save(transaction, rollout, state)?;
    }
    let sql = "INSERT INTO ticks (rollout, run, time_ms, step, json) VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut insert = transaction.prepare_cached(sql)?;
    for tick in &checkpoint.ticks {
        insert.execute(params![
            tick.rollout,
            tick.run,
            signed(tick.time.0),
            signed(tick.step as u64),
            tick.json
        ])?;
    }
    for attempt in checkpoint.attempts.values() {
        outbox::settle(transaction, attempt)?;
    }
    Ok(())
}

/// Sees to it that ticks do not fill the disk.
#[derive(Debug, Default)]
pub(super) struct Retention {
    /// By rollout, ticks since the last look. A rollout that is not in here was never looked at.
    since: BTreeMap<String, u32>,
}

impl Retention {
    /// Deletes the oldest ticks of rollouts that have too many. Counting them takes milliseconds,
    /// so it is done once in a while.
    pub(super) fn enforce(
        &mut self,
        transaction: &Transaction<'_>,
        checkpoint: &Checkpoint,
    ) -> rusqlite::Result<()> {
        let mut due = BTreeSet::new();
        for tick in &checkpoint.ticks {
            // A process that never lives long enough for a thousand ticks looks at its first.
            let since = self.since.entry(tick.rollout.clone()).or_insert(PRUNE_EVERY);
            *since += 1;
            if *since >= PRUNE_EVERY {
                due.insert(tick.rollout.as_str());
            }
        }
        for rollout in &due {
            prune(transaction, rollout)?;
            self.since.insert((*rollout).to_owned(), 0);
        }
        if due.is_empty() { Ok(()) } else { prune_all(transaction) }
    }
}

fn prune(transaction: &Transaction<'_>, rollout: &str) -> rusqlite::Result<()> {
    let sql = "SELECT count(*) FROM ticks WHERE rollout = ?1";
    let count: i64 = transaction.query_row(sql, [rollout], |row| row.get(0))?;
    let excess = (count - MAX_TICKS).clamp(0, PRUNE_ROWS);
    transaction
        .execute(
            "DELETE FROM ticks WHERE seq IN (
                 SELECT seq FROM ticks WHERE rollout = ?1 ORDER BY run, seq LIMIT ?2)",
            params![rollout, excess],
        )
        .map(drop)
}

fn prune_all(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    // Numbers are not reused, so the last million of them are at most a million rows.
    transaction
        .execute(
            "DELETE FROM ticks WHERE seq IN (
                 SELECT seq FROM ticks WHERE seq <= (SELECT max(seq) FROM ticks) - ?1
                 ORDER BY seq LIMIT ?2)",
            [MAX_ALL_TICKS, PRUNE_ROWS],
        )
        .map(drop)
}

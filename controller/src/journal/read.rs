//! Reading beside the writer.

use super::{
    JournalError, connect,
    entry::Saved,
    outbox::{self, Delivery, Tally},
};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use tidegate_judge::Time;

/// Decisions that one call gives at most.
const MAX_DECISIONS: usize = 1000;

/// Ticks that one call gives at most.
const MAX_TICKS: usize = 10_000;

/// What survives a restart, but for the history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The last run of each rollout, by name.
    pub states: Vec<Saved>,
    /// By key.
    pub settings: BTreeMap<String, String>,
}

/// A decision with its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDecision {
    /// Its number; later ones have higher ones.
    pub id: i64,
    /// The decision, a JSON object without the id.
    pub json: String,
}

/// A recorded tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptTick {
    /// Its number; later ones have higher ones, with gaps.
    pub seq: i64,
    /// When it ended.
    pub time: Time,
    /// The step it was counted in, from 1.
    pub step: usize,
    /// The tick, as JSON.
    pub json: String,
}

/// Reads the journal, whoever holds it. Every call has a connection of its own, which takes a
/// fraction of a millisecond and outlives no error; nothing is found where there is no journal.
#[derive(Debug, Clone)]
pub struct JournalReader {
    path: PathBuf,
}

/// What was saved in the journal at `path`, which another process may hold; nothing if there is
/// none.
///
/// # Errors
/// When it is there and cannot be read.
pub fn peek(path: &Path) -> Result<Contents, JournalError> {
    JournalReader::new(path).contents()
}

impl JournalReader {
    /// Of the journal at `path`, which need not be there yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// What was saved last.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn contents(&self) -> Result<Contents, JournalError> {
        self.read(contents)
    }

    /// Decisions of a rollout or of all, newest first: at most `limit` (and 1000) that are older
    /// than the one with the id `before`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn decisions(
        &self,
        rollout: Option<&str>,
        limit: usize,
        before: Option<i64>,
    ) -> Result<Vec<KeptDecision>, JournalError> {
        let (before, limit) = (before.unwrap_or(i64::MAX), limit.min(MAX_DECISIONS) as i64);
        self.read(|connection| match rollout {
            Some(rollout) => list(
                connection,
                "SELECT id, json FROM decisions WHERE rollout = ?1 AND id < ?2
                 ORDER BY id DESC LIMIT ?3",
                params![rollout, before, limit],
                decision,
            ),
            None => list(
                connection,
                "SELECT id, json FROM decisions WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
                params![before, limit],
                decision,
            ),
        })
    }

    /// Recorded ticks of a run, oldest first: at most `limit` (and 10,000) after the one with the
    /// number `after`; 0 is before all.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn ticks(
        &self,
        rollout: &str,
        run: u32,
        after: i64,
        limit: usize,
    ) -> Result<Vec<KeptTick>, JournalError> {
        let limit = limit.min(MAX_TICKS) as i64;
        self.read(|connection| {
            list(
                connection,
                "SELECT seq, time_ms, step, json FROM ticks
                 WHERE rollout = ?1 AND run = ?2 AND seq > ?3 ORDER BY seq LIMIT ?4",
                params![rollout, run, after, limit],
                |row| {
                    Ok(KeptTick {
                        seq: row.get(0)?,
                        time: Time(unsigned(row.get(1)?)),
                        step: row.get::<_, i64>(2)?.try_into().unwrap_or(0),
                        json: row.get(3)?,
                    })
                },
            )
        })
    }

    /// URLs for which deliveries wait, in alphabetical order.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn waiting_urls(&self) -> Result<Vec<String>, JournalError> {
        self.read(outbox::waiting_urls)
    }

    /// The oldest delivery that waits for a URL, of those after the one with the id `after`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn next_delivery(&self, url: &str, after: i64) -> Result<Option<Delivery>, JournalError> {
        self.read(|connection| outbox::next(connection, url, after))
    }

    /// How many deliveries there are.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn tally(&self) -> Result<Tally, JournalError> {
        self.read(outbox::tally)
    }

    fn read<T: Default>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        let Some(connection) = connect::connect_to_read(&self.path)? else {
            return Ok(T::default());
        };
        work(&connection).map_err(|error| JournalError::of(&self.path, &error))
    }
}

/// States and settings, of one moment.
pub(super) fn contents(connection: &Connection) -> rusqlite::Result<Contents> {
    let transaction = connection.unchecked_transaction()?;
    let sql = "SELECT rollout, state FROM runs ORDER BY rollout";
    let states =
        list(&transaction, sql, [], |row| Ok(Saved { rollout: row.get(0)?, state: row.get(1)? }))?;
    let settings: Vec<(String, String)> =
        list(&transaction, "SELECT key, value FROM meta", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    Ok(Contents { states, settings: settings.into_iter().collect() })
}

pub(super) fn setting(connection: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT value FROM meta WHERE key = ?1";
    connection.query_row(sql, [key], |row| row.get(0)).optional()
}

/// All rows of a query.
pub(super) fn list<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare(sql)?.query_map(parameters, row)?.collect()
}

fn decision(row: &rusqlite::Row<'_>) -> rusqlite::Result<KeptDecision> {
    Ok(KeptDecision { id: row.get(0)?, json: row.get(1)? })
}

/// The other way of [`super::commit::signed`].
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

//! What survives a restart: the state of every run, the decisions that led to it, the ticks that
//! were counted, and the webhooks that are still to be called. One SQLite file.
//!
//! ```text
//! JournalWriter (a thread) ── Journal::commit      decisions: fsynced before they are acknowledged
//!                          └─ Journal::checkpoint  evidence: atomic, and as durable as the last fsync
//! JournalReader ───────────── its own read-only connections, so nobody waits for a write
//! ```
//!
//! SQLite in WAL mode, because it is atomic, readers never wait, and anybody can look with the
//! `sqlite3` command while the gateway runs. Its own exclusive locking mode would forbid that, so
//! the one owner is told by a lock on a file beside it ([`JournalError::Held`]). Rejected: a file of
//! JSON renamed into place (a history of decisions does not fit), a log of our own (its recovery
//! would be ours to prove).
//!
//! A commit that failed may still be found after a restart: a disk may write what it said it could
//! not. Every [`Entry`] therefore has an id, and committing it again is safe and changes nothing.

mod check;
mod checkpoint;
mod commit;
mod connect;
mod entry;
mod error;
mod outbox;
mod ownership;
mod read;
mod schema;
mod slot;
mod writer;

pub use checkpoint::{Checkpoint, RecordedTick};
pub use entry::{Entry, Recipient, Record, Saved};
pub use error::JournalError;
pub use outbox::{Attempt, Delivery, Outcome, Tally};
pub use read::{Contents, JournalReader, KeptDecision, KeptTick, peek};
pub use writer::JournalWriter;

use connect::FileId;
use ownership::Ownership;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::path::{Path, PathBuf};

/// The open journal. There is one in all processes, for as long as it is not dropped.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Absent after an error that may have been the connection's: the next call opens another.
    open: Option<(Connection, FileId)>,
    retention: checkpoint::Retention,
    dropped: u64,
    moves: u64,
    _ownership: Ownership,
}

/// How sure a write is when it returns.
#[derive(Debug, Clone, Copy)]
enum Durability {
    /// It survives a power failure.
    Synced,
    /// It survives the end of the process; a power failure may take the last of these back.
    Ordered,
}

impl Journal {
    /// Opens the journal at `path`, and makes it when there is none; its directory has to exist.
    /// Reads the whole file once, to see that it is sound.
    ///
    /// # Errors
    /// When another process holds it, it cannot be opened, is damaged, is not a journal, or a later
    /// version wrote it.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        connect::refuse_directory(path)?;
        let ownership = Ownership::take(path)?;
        let (connection, file) = connect::connect(path)?;
        check::is_sound(&connection, path)?;
        Ok(Self {
            path: path.to_owned(),
            open: Some((connection, file)),
            retention: checkpoint::Retention::default(),
            dropped: 0,
            moves: 0,
            _ownership: ownership,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A way to read it that waits for no write.
    pub fn reader(&self) -> JournalReader {
        JournalReader::new(&self.path)
    }

    /// What was saved last.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(&mut self) -> Result<Contents, JournalError> {
        self.with(|connection| read::contents(connection))
    }

    /// The value of a setting, if it has one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn get(&mut self, key: &str) -> Result<Option<String>, JournalError> {
        self.with(|connection| read::setting(connection, key))
    }

    /// Sets a setting, or removes it. Durable when it returns.
    ///
    /// # Errors
    /// When it was not written; the old value stands.
    pub fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), JournalError> {
        let mut entry = Entry::new();
        entry.settings.push((key.to_owned(), value.map(str::to_owned)));
        self.commit(&entry).map(drop)
    }

    /// Writes all of an entry; durable when it returns. Gives the ids of its decisions: they count
    /// up and are never used twice. An entry that was written before is not written again, and has
    /// the ids that it had.
    ///
    /// # Errors
    /// When it was not written, or nobody knows: committing the same entry again is safe. Nothing
    /// half-written is ever seen.
    pub fn commit(&mut self, entry: &Entry) -> Result<Vec<i64>, JournalError> {
        let written = self.write(Durability::Synced, |transaction| {
            let ids = commit::write(transaction, entry)?;
            let enqueues = !entry.webhooks.is_empty() && !ids.is_empty();
            let dropped = if enqueues { outbox::make_room(transaction)? } else { 0 };
            Ok((ids, dropped))
        });
        let (ids, dropped) = written?;
        self.dropped = self.dropped.saturating_add(dropped);
        Ok(ids)
    }

    /// Writes the evidence so far. A power failure may take back the last of these, and nothing
    /// older than the last [`Journal::commit`].
    ///
    /// # Errors
    /// When it was not written.
    pub fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), JournalError> {
        let mut retention = std::mem::take(&mut self.retention);
        let written = self.write(Durability::Ordered, |transaction| {
            checkpoint::write(transaction, checkpoint)?;
            retention.enforce(transaction, checkpoint)
        });
        // What was counted of a write that failed makes the next look early, which is harmless.
        self.retention = retention;
        written
    }

    /// Moves what was committed from the write-ahead log into the database, as far as nobody reads
    /// there. SQLite does so once in a thousand pages, which for decisions is never; and it takes a
    /// log that is damaged, or was not copied along, for an empty one.
    pub fn tidy(&mut self) {
        // Whatever is wrong, the next write meets it.
        let _ = self.with(|connection| {
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        });
    }

    /// Deliveries that were given up since the journal was opened, as too many were waiting.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How often its file was found moved or deleted; see [`JournalError::Moved`].
    pub fn moves(&self) -> u64 {
        self.moves
    }

    fn write<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        self.with(|connection| {
            connection.execute_batch(match durability {
                Durability::Synced => "PRAGMA synchronous = FULL",
                Durability::Ordered => "PRAGMA synchronous = NORMAL",
            })?;
            // Immediate: a lock that somebody else has is met before there is anything to undo.
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
    }

    /// Does `work` on the connection, opening one if there is none.
    fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        let (mut connection, file) = match self.open.take() {
            // Writing on to a file that has no name would be to forget everything at the restart.
            Some((_, file)) if FileId::of(&self.path) != Some(file) => {
                self.moves += 1;
                return Err(JournalError::Moved { path: self.path.clone() });
            }
            Some(open) => open,
            None => connect::connect(&self.path)?,
        };
        let result = work(&mut connection).map_err(|error| JournalError::of(&self.path, &error));
        // After anything but a lock the connection itself may be what is wrong.
        if matches!(result, Ok(_) | Err(JournalError::Locked { .. })) {
            self.open = Some((connection, file));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// SQLite says the same when a database may have no more pages as when the disk is full.
    #[test]
    fn a_full_disk() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("tidegate.db");
        let mut journal = Journal::open(&path).unwrap();
        journal.open.as_ref().unwrap().0.execute_batch("PRAGMA max_page_count = 64").unwrap();
        let mut entry = Entry::new();
        for state in ["x".to_owned(), "x".repeat(1 << 20)] {
            entry.states.push(Saved { rollout: "shop".to_owned(), state });
        }
        let full = journal.commit(&entry).unwrap_err();
        assert_eq!(full, JournalError::Full { path: path.clone() });
        assert!(full.to_string().ends_with("tidegate.db is full"), "{full}");
        assert_eq!(journal.load().unwrap(), Contents::default(), "nothing half-written");
        journal.commit(&entry).unwrap();
    }
}

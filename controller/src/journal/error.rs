//! What may be wrong with a journal, in words that say what to do.

use rusqlite::ErrorCode;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Why the journal could not be opened, read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Another process has it.
    #[error("the journal {} is held by {}", path.display(), holder(*pid))]
    Held {
        /// The journal.
        path: PathBuf,
        /// The other process, if it said.
        pid: Option<u32>,
    },
    /// It cannot be opened or made.
    #[error("the journal {} cannot be opened: {reason}", path.display())]
    Open {
        /// The journal.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file is damaged.
    #[error(
        "the journal {0} is damaged ({reason}): move it away to start afresh, with every rollout \
         at its baseline; `sqlite3 {0} .recover` may show what was in it",
        path.display()
    )]
    Corrupt {
        /// The journal.
        path: PathBuf,
        /// What SQLite found.
        reason: String,
    },
    /// It is a database of something else.
    #[error("{} is a database of another program, not a journal: choose another path", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A later version of this program wrote it.
    #[error(
        "the journal {} was written by a later version (its schema is {found}, this version knows \
         {known}): run that version, or move the file away to start afresh",
        path.display()
    )]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Its schema's version.
        found: i64,
        /// The latest that is known here.
        known: i64,
    },
    /// The disk is full.
    #[error("the disk of the journal {} is full", path.display())]
    Full {
        /// The journal.
        path: PathBuf,
    },
    /// The disk does not do what it should.
    #[error("the journal {} cannot be read or written: {reason}", path.display())]
    Io {
        /// The journal.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
    /// Another program has locked it for longer than a write waits.
    #[error("the journal {} is locked by another program, such as `sqlite3`", path.display())]
    Locked {
        /// The journal.
        path: PathBuf,
    },
    /// It may not be written.
    #[error("the journal {} is read-only: see to the permissions of it and of its directory", path.display())]
    ReadOnly {
        /// The journal.
        path: PathBuf,
    },
    /// Somebody moved or deleted the file. The next call makes a new one, which lacks all that was
    /// saved before.
    #[error("the journal {} was moved or deleted while it was in use", path.display())]
    Moved {
        /// Where it was.
        path: PathBuf,
    },
    /// The disk takes its time. The write still waits for it.
    #[error("the journal's disk did not answer within {} ms", waited.as_millis())]
    Slow {
        /// How long was waited.
        waited: Duration,
    },
    /// The disk takes its time, and too much is waiting already. Nothing was done.
    #[error("too many writes wait for the journal's disk")]
    Busy,
    /// The writer has ended.
    #[error("the journal is closed")]
    Closed,
    /// Anything else that SQLite says.
    #[error("the journal {}: {reason}", path.display())]
    Sqlite {
        /// The journal.
        path: PathBuf,
        /// What it says.
        reason: String,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl JournalError {
    /// Sorts what SQLite says about the file at `path`.
    pub(super) fn of(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        let reason = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::SystemIoFailure) => {
                let what = error.sqlite_error().map_or("", |error| step(error.extended_code));
                Self::Io { path, reason: format!("{reason}{what}") }
            }
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { path, reason }
            }
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::Open { path, reason }
            }
            _ => Self::Sqlite { path, reason },
        }
    }
}

/// SQLite says "disk I/O error" for all of them.
fn step(extended_code: i32) -> &'static str {
    use rusqlite::ffi;
    match extended_code {
        ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ => " (read)",
        // Quotas and limits of a file's size end here; no space at all is `Full`.
        ffi::SQLITE_IOERR_WRITE => " (write; is there a quota or a limit of the file's size?)",
        ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC => " (fsync)",
        ffi::SQLITE_IOERR_TRUNCATE => " (truncate)",
        ffi::SQLITE_IOERR_SHMOPEN | ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_SHMMAP => {
            " (the -shm file beside it)"
        }
        ffi::SQLITE_IOERR_LOCK | ffi::SQLITE_IOERR_SHMLOCK => " (lock; a network file system?)",
        _ => "",
    }
}

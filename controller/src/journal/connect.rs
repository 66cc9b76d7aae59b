//! Connections to the file.

use super::{
    JournalError,
    check::{self, Found},
    schema::CREATE,
};
use rusqlite::{Connection, OpenFlags};
use std::{os::unix::fs::MetadataExt as _, path::Path, time::Duration};

/// How long a statement waits for somebody else's lock: long enough for a write of the `sqlite3`
/// command, and short against the second in which a rollback has to be in force.
const LOCK_PATIENCE: Duration = Duration::from_millis(250);

/// What the `-wal` file is cut back to, in bytes, once all of it is in the database.
const WAL_BYTES: i64 = 16 << 20;

/// Which file a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// `None` when there is no such file.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let data = std::fs::metadata(path).ok()?;
        Some(Self { device: data.dev(), inode: data.ino() })
    }
}

/// A connection that writes. Makes the file and its tables when they are not there.
pub(super) fn connect(path: &Path) -> Result<(Connection, FileId), JournalError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = open(path, flags)?;
    let found = check::find(&connection, path)?;
    prepare(&connection, found).map_err(|error| JournalError::of(path, &error))?;
    let file = FileId::of(path).ok_or(JournalError::Moved { path: path.to_owned() })?;
    Ok((connection, file))
}

/// A connection that reads; `None` when there is no journal yet.
pub(super) fn connect_to_read(path: &Path) -> Result<Option<Connection>, JournalError> {
    if FileId::of(path).is_none() {
        return Ok(None);
    }
    refuse_directory(path)?;
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    match check::find(&connection, path)? {
        Found::Empty => Ok(None),
        Found::Journal => Ok(Some(connection)),
    }
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, JournalError> {
    // Each connection stays with one thread at a time, which the borrow checker sees to.
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(LOCK_PATIENCE)?;
        Ok(connection)
    };
    open().map_err(|error| JournalError::of(path, &error))
}

fn prepare(connection: &Connection, found: Found) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES, |_| Ok(()))?;
    match found {
        Found::Empty => connection.execute_batch(CREATE),
        Found::Journal => Ok(()),
    }
}

/// SQLite would only say that it cannot open it.
pub(super) fn refuse_directory(path: &Path) -> Result<(), JournalError> {
    if path.is_dir() {
        let reason = "it is a directory; name a file in it".to_owned();
        return Err(JournalError::Open { path: path.to_owned(), reason });
    }
    Ok(())
}

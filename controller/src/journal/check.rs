//! Whose database it is, and whether it is sound.

use super::{
    JournalError,
    schema::{APPLICATION_ID, VERSION},
};
use rusqlite::Connection;
use std::path::Path;

/// What is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing yet.
    Empty,
    /// A journal that this version knows.
    Journal,
}

/// Looks without changing anything, so that a file of somebody else's stays as it is.
pub(super) fn find(connection: &Connection, path: &Path) -> Result<Found, JournalError> {
    let number = |sql: &str| -> Result<i64, JournalError> {
        let number = connection.query_row(sql, [], |row| row.get(0));
        number.map_err(|error| JournalError::of(path, &error))
    };
    let version = number("PRAGMA user_version")?;
    if version == 0 && number("SELECT count(*) FROM sqlite_schema")? == 0 {
        return Ok(Found::Empty);
    }
    if number("PRAGMA application_id")? != APPLICATION_ID {
        return Err(JournalError::Foreign { path: path.to_owned() });
    }
    if version > VERSION {
        return Err(JournalError::Newer { path: path.to_owned(), found: version, known: VERSION });
    }
    Ok(Found::Journal)
}

/// Looks for damage. Reads the whole file: a tenth of a second for the 50 MB that the ticks of a long
/// rollout take.
pub(super) fn is_sound(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    let found = found.map_err(|error| JournalError::of(path, &error))?;
    if found == "ok" {
        return Ok(());
    }
    Err(JournalError::Corrupt { path: path.to_owned(), reason: found.replace('\n', " ") })
}

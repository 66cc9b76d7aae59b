//! The tables.

/// Marks a database as a journal: `tide` in ASCII.
pub(super) const APPLICATION_ID: i64 = 0x7469_6465;

/// Counts changes of the tables. A version that knows fewer refuses the file.
pub(super) const VERSION: i64 = 1;

/// Makes all of them, in one transaction.
pub(super) const CREATE: &str = "
BEGIN IMMEDIATE;
-- Settings that outlive the process.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
-- The last run of each rollout.
CREATE TABLE runs (rollout TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT;
-- Commits that were made, each with the JSON array of its decisions' ids.
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, decisions TEXT NOT NULL
) STRICT;
CREATE TABLE decisions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time_ms INTEGER NOT NULL, rollout TEXT NOT NULL,
    run INTEGER NOT NULL, revision TEXT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
    step INTEGER NOT NULL, json TEXT NOT NULL
) STRICT;
CREATE INDEX decisions_by_rollout ON decisions (rollout, id);
CREATE TABLE ticks (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL, run INTEGER NOT NULL,
    time_ms INTEGER NOT NULL, step INTEGER NOT NULL, json TEXT NOT NULL
) STRICT;
CREATE INDEX ticks_by_run ON ticks (rollout, run, seq);
-- Webhooks to call; those without delivered_ms and failed_ms are waiting.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, decision INTEGER NOT NULL, event TEXT NOT NULL,
    url TEXT NOT NULL, secret_file TEXT, created_ms INTEGER NOT NULL, attempts INTEGER NOT NULL,
    next_ms INTEGER NOT NULL, delivered_ms INTEGER, failed_ms INTEGER, last_error TEXT
) STRICT;
CREATE INDEX outbox_waiting ON outbox (url, id) WHERE delivered_ms IS NULL AND failed_ms IS NULL;
PRAGMA application_id = 0x74696465;
PRAGMA user_version = 1;
COMMIT;
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_agree() {
        assert!(CREATE.contains(&format!("user_version = {VERSION};")));
        assert!(CREATE.contains(&format!("application_id = {APPLICATION_ID:#x};")));
    }
}

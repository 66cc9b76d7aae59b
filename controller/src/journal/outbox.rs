//! Webhooks that are to be called, and how far that is.

use super::{
    commit::signed,
    entry::{Recipient, Record},
    read::{list, unsigned},
};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use std::path::PathBuf;
use tidegate_judge::Time;

/// Deliveries that are kept, those that are done included: 3 MB or so.
const MAX_ROWS: i64 = 10_000;

/// A decision for one URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its number; of one URL, lower ones go first.
    pub id: i64,
    /// What happened, as in JSON: `rolled_back`.
    pub event: String,
    /// Where to.
    pub url: String,
    /// A file with the secret that the body is signed with.
    pub secret_file: Option<PathBuf>,
    /// When the decision was made.
    pub created: Time,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is to be tried again.
    pub next: Time,
    /// What is sent: the decision's JSON with its id.
    pub body: String,
}

/// What came of trying a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The delivery.
    pub id: i64,
    /// How often it was tried, this time included.
    pub attempts: u32,
    /// What came of it.
    pub outcome: Outcome,
}

/// How an attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It arrived.
    Delivered {
        /// When.
        at: Time,
    },
    /// It will be tried again.
    Retry {
        /// When.
        next: Time,
        /// Why it did not arrive.
        error: String,
    },
    /// It will not be tried again.
    GivenUp {
        /// When.
        at: Time,
        /// Why it did not arrive the last time.
        error: String,
    },
}

/// How many deliveries are kept, by how far they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Yet to arrive.
    pub waiting: u64,
    /// Arrived.
    pub delivered: u64,
    /// Given up.
    pub given_up: u64,
}

pub(super) fn enqueue(
    transaction: &Transaction<'_>,
    decision: i64,
    record: &Record,
    recipient: &Recipient,
) -> rusqlite::Result<()> {
    let secret_file = recipient.secret_file.as_ref().map(|path| path.to_string_lossy());
    let created = signed(record.time.0);
    transaction
        .execute(
            "INSERT INTO outbox
                 (decision, event, url, secret_file, created_ms, attempts, next_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, 0, ?5)",
            params![decision, record.action, recipient.url, secret_file, created],
        )
        .map(drop)
}

/// Deletes what is too much: first what arrived, then what was given up, then what waits, the oldest
/// first. Gives how many of those were waiting.
pub(super) fn make_room(transaction: &Transaction<'_>) -> rusqlite::Result<u64> {
    let rows: i64 = transaction.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))?;
    let excess = rows - MAX_ROWS;
    if excess <= 0 {
        return Ok(0);
    }
    let before = waiting(transaction)?;
    transaction.execute(
        "DELETE FROM outbox WHERE id IN (
             SELECT id FROM outbox ORDER BY delivered_ms IS NULL, failed_ms IS NULL, id LIMIT ?1)",
        [excess],
    )?;
    Ok(before - waiting(transaction)?)
}

pub(super) fn settle(transaction: &Transaction<'_>, attempt: &Attempt) -> rusqlite::Result<()> {
    let (next, delivered, failed, error) = match &attempt.outcome {
        Outcome::Delivered { at } => (None, Some(*at), None, None),
        Outcome::Retry { next, error } => (Some(*next), None, None, Some(error)),
        Outcome::GivenUp { at, error } => (None, None, Some(*at), Some(error)),
    };
    let number = |time: Option<Time>| time.map(|time| signed(time.0));
    transaction
        .execute(
            "UPDATE outbox SET attempts = ?2, next_ms = coalesce(?3, next_ms), delivered_ms = ?4,
                 failed_ms = ?5, last_error = ?6
             WHERE id = ?1",
            params![
                attempt.id,
                attempt.attempts,
                number(next),
                number(delivered),
                number(failed),
                error
            ],
        )
        .map(drop)
}

pub(super) fn waiting_urls(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT DISTINCT url FROM outbox
               WHERE delivered_ms IS NULL AND failed_ms IS NULL ORDER BY url";
    list(connection, sql, [], |row| row.get(0))
}

pub(super) fn next(
    connection: &Connection,
    url: &str,
    after: i64,
) -> rusqlite::Result<Option<Delivery>> {
    let sql = "SELECT o.id, o.event, o.url, o.secret_file, o.created_ms, o.attempts, o.next_ms,
                   o.decision, coalesce(d.json, '{}')
               FROM outbox o LEFT JOIN decisions d ON d.id = o.decision
               WHERE o.delivered_ms IS NULL AND o.failed_ms IS NULL AND o.url = ?1 AND o.id > ?2
               ORDER BY o.id LIMIT 1";
    connection
        .query_row(sql, params![url, after], |row| {
            Ok(Delivery {
                id: row.get(0)?,
                event: row.get(1)?,
                url: row.get(2)?,
                secret_file: row.get::<_, Option<String>>(3)?.map(PathBuf::from),
                created: Time(unsigned(row.get(4)?)),
                attempts: row.get(5)?,
                next: Time(unsigned(row.get(6)?)),
                body: with_id(row.get(7)?, row.get_ref(8)?.as_str()?),
            })
        })
        .optional()
}

pub(super) fn tally(connection: &Connection) -> rusqlite::Result<Tally> {
    let sql = "SELECT count(*), count(delivered_ms), count(failed_ms) FROM outbox";
    connection.query_row(sql, [], |row| {
        let (all, delivered, given_up) =
            (row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?);
        Ok(Tally {
            waiting: unsigned(all - delivered - given_up),
            delivered: unsigned(delivered),
            given_up: unsigned(given_up),
        })
    })
}

fn waiting(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT count(*) FROM outbox WHERE delivered_ms IS NULL AND failed_ms IS NULL";
    connection.query_row(sql, [], |row| row.get(0)).map(unsigned)
}

/// A decision's JSON with its id.
fn with_id(id: i64, json: &str) -> String {
    match json.trim_start().strip_prefix('{') {
        Some(rest) if rest.trim_start().starts_with('}') => format!("{{\"id\":{id}}}"),
        Some(rest) => format!("{{\"id\":{id},{rest}"),
        None => format!("{{\"id\":{id},\"decision\":{json}}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_comes_first() {
        assert_eq!(with_id(7, r#"{"a":{"b":1}}"#), r#"{"id":7,"a":{"b":1}}"#);
        assert_eq!(with_id(7, " { } "), r#"{"id":7}"#);
        assert_eq!(with_id(7, "[1]"), r#"{"id":7,"decision":[1]}"#);
    }
}

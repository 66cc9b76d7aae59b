//! Writing an entry.

use super::{
    entry::{Entry, Record},
    outbox,
};
use rusqlite::{OptionalExtension as _, Transaction, params};

/// Entries whose ids are remembered. An entry is tried again within seconds or minutes, and never
/// after so many others.
const MAX_ENTRIES: i64 = 10_000;

/// Decisions that are kept of one rollout; the oldest go.
const MAX_DECISIONS: i64 = 10_000;

/// Decisions that are kept of all rollouts, those that are gone included.
const MAX_ALL_DECISIONS: i64 = 100_000;

/// Writes the entry, or finds it written; gives the ids of its decisions.
pub(super) fn write(transaction: &Transaction<'_>, entry: &Entry) -> rusqlite::Result<Vec<i64>> {
    if let Some(ids) = find(transaction, entry.id())? {
        return Ok(ids);
    }
    for saved in &entry.states {
        save(transaction, &saved.rollout, &saved.state)?;
    }
    for rollout in &entry.removed {
        transaction.execute("DELETE FROM runs WHERE rollout = ?1", [rollout])?;
    }
    for (key, value) in &entry.settings {
        match value {
            Some(value) => transaction.execute(
                "INSERT INTO meta (key, value) VALUES (?1, ?2)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [key, value],
            )?,
            None => transaction.execute("DELETE FROM meta WHERE key = ?1", [key])?,
        };
    }
    let mut ids = Vec::with_capacity(entry.decisions.len());
    for record in &entry.decisions {
        let id = append(transaction, record)?;
        for recipient in &entry.webhooks {
            outbox::enqueue(transaction, id, record, recipient)?;
        }
        ids.push(id);
    }
    remember(transaction, entry.id(), &ids)?;
    Ok(ids)
}

/// Puts a state in the place of the rollout's earlier one.
pub(super) fn save(
    transaction: &Transaction<'_>,
    rollout: &str,
    state: &str,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO runs (rollout, state) VALUES (?1, ?2)
               ON CONFLICT (rollout) DO UPDATE SET state = excluded.state";
    transaction.prepare_cached(sql)?.execute([rollout, state]).map(drop)
}

fn append(transaction: &Transaction<'_>, record: &Record) -> rusqlite::Result<i64> {
    transaction.execute(
        "INSERT INTO decisions (time_ms, rollout, run, revision, actor, action, step, json)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            signed(record.time.0),
            record.rollout,
            record.run,
            record.revision,
            record.actor,
            record.action,
            signed(record.step as u64),
            record.json
        ],
    )?;
    let id = transaction.last_insert_rowid();
    // One comes, so at most one has to go.
    transaction.execute(
        "DELETE FROM decisions WHERE id = (
             SELECT id FROM decisions WHERE rollout = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        params![record.rollout, MAX_DECISIONS],
    )?;
    // Ids are not reused, so the last hundred thousand of them are at most as many rows.
    transaction.execute("DELETE FROM decisions WHERE id <= ?1", [id - MAX_ALL_DECISIONS])?;
    Ok(id)
}

fn find(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<Option<Vec<i64>>> {
    let sql = "SELECT decisions FROM entries WHERE id = ?1";
    let found: Option<String> = transaction.query_row(sql, [id], |row| row.get(0)).optional()?;
    Ok(found.map(|ids| serde_json::from_str(&ids).unwrap_or_default()))
}

fn remember(transaction: &Transaction<'_>, id: &str, ids: &[i64]) -> rusqlite::Result<()> {
    let ids = serde_json::Value::from(ids).to_string();
    transaction.execute("INSERT INTO entries (id, decisions) VALUES (?1, ?2)", [id, &ids])?;
    let seq = transaction.last_insert_rowid();
    transaction.execute("DELETE FROM entries WHERE seq <= ?1", [seq - MAX_ENTRIES]).map(drop)
}

/// SQLite's integers are signed; nothing that is counted here comes near their end.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

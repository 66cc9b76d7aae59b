//! Nothing grows for ever.

use crate::support::{entry, place, tick};
use tidegate_controller::journal::{Checkpoint, Journal};

#[test]
fn the_oldest_ticks_go() {
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    for batch in 0..60 {
        let mut checkpoint = Checkpoint::default();
        for number in 0..2_000 {
            checkpoint.record(tick("shop", batch * 2_000 + number));
        }
        checkpoint.record(tick("api", batch));
        journal.checkpoint(&checkpoint).unwrap();
    }
    let other = rusqlite::Connection::open(&path).unwrap();
    let (count, oldest, newest): (i64, i64, i64) = other
        .query_row(
            "SELECT count(*), min(time_ms), max(time_ms) FROM ticks WHERE rollout = 'shop'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert!((100_000..=102_000).contains(&count), "{count}");
    assert_eq!((newest, newest - oldest + 1), (119_999, count), "a row of the newest");
    assert_eq!(journal.reader().ticks("api", 1, 0, 100).unwrap().len(), 60, "others have theirs");
}

#[test]
fn ticks_that_wait_are_bounded() {
    let mut checkpoint = Checkpoint::default();
    for number in 0..10_005 {
        checkpoint.record(tick("shop", number));
    }
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    journal.checkpoint(&checkpoint).unwrap();
    let kept = journal.reader().ticks("shop", 1, 0, usize::MAX).unwrap();
    assert_eq!((kept.len(), kept[0].json.as_str()), (10_000, "5"));
}

#[test]
fn the_oldest_decisions_go() {
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    journal.commit(&entry("api", 0)).unwrap();
    // All at once: each commit waits for the disk.
    let mut many = entry("shop", 0);
    for number in 1..10_010 {
        many.decisions.push(crate::support::record("shop", number));
    }
    journal.commit(&many).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    let mut sql = other
        .prepare("SELECT rollout, count(*), min(json) FROM decisions GROUP BY rollout")
        .unwrap();
    let rows = sql.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let counts: Vec<(String, i64)> = rows.collect::<Result<_, _>>().unwrap();
    assert_eq!(counts, [("api".to_owned(), 1), ("shop".to_owned(), 10_000)]);
    let newest = journal.reader().decisions(Some("shop"), 1, None).unwrap();
    assert_eq!(newest[0].json, r#"{"number":10009}"#);
}

#[test]
fn entries_are_remembered_for_long_and_not_for_ever() {
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
             INSERT INTO entries (id, decisions) SELECT 'old ' || i, '[]' FROM n",
        )
        .unwrap();
    journal.commit(&entry("shop", 1)).unwrap();
    let count: i64 = other.query_row("SELECT count(*) FROM entries", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 10_000);
}

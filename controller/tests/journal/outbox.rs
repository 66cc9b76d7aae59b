//! Deliveries wait in the journal.

use crate::support::{entry_for, place};
use tidegate_controller::journal::{Attempt, Journal, JournalWriter, Outcome, Tally};
use tidegate_judge::Time;

#[test]
fn deliveries_of_a_url_in_order() {
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    for number in 1..=2 {
        journal.commit(&entry_for("http://a/", number)).unwrap();
        journal.commit(&entry_for("http://b/", number)).unwrap();
    }
    let reader = journal.reader();
    assert_eq!(reader.waiting_urls().unwrap(), ["http://a/", "http://b/"]);
    let first = reader.next_delivery("http://a/", 0).unwrap().unwrap();
    assert_eq!(first.body, r#"{"id":1,"number":1}"#);
    assert_eq!((first.event.as_str(), first.attempts), ("advanced", 0));
    let second = reader.next_delivery("http://a/", first.id).unwrap().unwrap();
    assert_eq!(second.body, r#"{"id":3,"number":2}"#);
    assert_eq!(reader.next_delivery("http://a/", second.id).unwrap(), None);
}

#[test]
fn attempts_are_kept() {
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    for number in 1..=3 {
        journal.commit(&entry_for("http://a/", number)).unwrap();
    }
    let writer = JournalWriter::start(journal).unwrap();
    let outcomes = [
        Outcome::Delivered { at: Time(7) },
        Outcome::GivenUp { at: Time(8), error: "no".to_owned() },
        Outcome::Retry { next: Time(9), error: "status 500".to_owned() },
    ];
    for (id, outcome) in (1..).zip(outcomes) {
        writer.settle(Attempt { id, attempts: 4, outcome });
    }
    assert!(writer.close(std::time::Duration::from_secs(10)));
    let reader = writer.reader();
    assert_eq!(reader.tally().unwrap(), Tally { waiting: 1, delivered: 1, given_up: 1 });
    let next = reader.next_delivery("http://a/", 0).unwrap().unwrap();
    assert_eq!((next.id, next.attempts, next.next), (3, 4, Time(9)));
}

#[test]
fn what_is_done_makes_room_before_what_waits() {
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    let fill = |delivered: &str, failed: &str, count: u32| {
        let sql = format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
             INSERT INTO outbox (decision, event, url, created_ms, attempts, next_ms, delivered_ms,
                 failed_ms)
             SELECT 0, 'advanced', 'http://a/', 0, 0, 0, {delivered}, {failed} FROM n"
        );
        other.execute_batch(&sql).unwrap();
    };
    fill("NULL", "NULL", 9_998);
    fill("NULL", "1", 1);
    fill("1", "NULL", 1);
    journal.commit(&entry_for("http://b/", 1)).unwrap();
    let tally = || journal.reader().tally().unwrap();
    assert_eq!(tally(), Tally { waiting: 9_999, delivered: 0, given_up: 1 });
    journal.commit(&entry_for("http://b/", 2)).unwrap();
    assert_eq!(journal.reader().tally().unwrap().given_up, 0);
    assert_eq!(journal.dropped(), 0);
    journal.commit(&entry_for("http://b/", 3)).unwrap();
    assert_eq!(journal.dropped(), 1);
    assert_eq!(journal.reader().next_delivery("http://a/", 0).unwrap().unwrap().id, 2);
    let commit_without = crate::support::entry("shop", 4);
    journal.commit(&commit_without).unwrap();
    assert_eq!(journal.reader().tally().unwrap().waiting, 10_000);
}

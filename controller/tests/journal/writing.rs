//! The writer's thread: nobody waits for longer than they said.

use crate::support::{checkpoint, entry, entry_for, place, saved};
use std::{
    sync::mpsc::channel,
    time::{Duration, Instant},
};
use tidegate_controller::journal::{Entry, Journal, JournalError, JournalWriter};

const LONG: Duration = Duration::from_secs(10);

/// Stands for a disk that hangs, for as long as it lives; waits fail after 250 ms.
fn lock(path: &std::path::Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.busy_timeout(LONG).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    connection
}

#[test]
fn a_slow_write_may_land_later_and_once() {
    let (_directory, path) = place();
    let writer = JournalWriter::start(Journal::open(&path).unwrap()).unwrap();
    let first = entry("shop", 1);
    let patience = Duration::from_millis(20);
    let lock = lock(&path);
    let started = Instant::now();
    let slow = writer.commit(&first, patience);
    assert_eq!(slow, Err(JournalError::Slow { waited: patience }));
    assert!(started.elapsed() < Duration::from_millis(200), "{:?}", started.elapsed());
    assert_eq!(writer.waiting(), 1);
    let again = writer.commit(&first, Duration::ZERO);
    assert_eq!(again, Err(JournalError::Slow { waited: Duration::ZERO }));
    assert_eq!(writer.waiting(), 1, "not queued again");
    drop(lock);
    let ids = writer.commit(&first, LONG).unwrap();
    assert_eq!(writer.commit(&first, LONG).unwrap(), ids);
    assert_eq!(writer.reader().decisions(None, 10, None).unwrap().len(), 1);
}

#[test]
fn the_queue_is_bounded() {
    let (_directory, path) = place();
    let writer = JournalWriter::start(Journal::open(&path).unwrap()).unwrap();
    let lock = lock(&path);
    let mut busy = 0;
    for number in 0..100 {
        match writer.commit(&entry("shop", number), Duration::ZERO) {
            Err(JournalError::Slow { .. }) => {}
            Err(JournalError::Busy) => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    // One or two may have been taken out, and have failed, meanwhile.
    assert!((33..=36).contains(&busy), "{busy}");
    drop(lock);
}

#[test]
fn what_is_wrong_is_told_until_it_is_right() {
    let (_directory, path) = place();
    let writer = JournalWriter::start(Journal::open(&path).unwrap()).unwrap();
    assert_eq!(writer.problem(), None);
    let lock = lock(&path);
    let failed = writer.commit(&entry("shop", 1), LONG);
    assert_eq!(failed, Err(JournalError::Locked { path: path.clone() }));
    assert_eq!(writer.problem(), failed.err());
    drop(lock);
    writer.commit(&entry("shop", 2), LONG).unwrap();
    assert_eq!(writer.problem(), None);
}

#[test]
fn a_checkpoint_that_failed_is_tried_again() {
    let (_directory, path) = place();
    let writer = JournalWriter::start(Journal::open(&path).unwrap()).unwrap();
    let lock = lock(&path);
    let started = Instant::now();
    writer.checkpoint(checkpoint("shop", 1));
    assert!(started.elapsed() < Duration::from_millis(100), "it does not wait");
    while writer.problem().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    writer.checkpoint(checkpoint("shop", 2));
    drop(lock);
    while writer.reader().ticks("shop", 1, 0, 10).unwrap().is_empty() {
        assert!(started.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(5));
    }
    let ticks = writer.reader().ticks("shop", 1, 0, 10).unwrap();
    assert_eq!(ticks.len(), 2, "both, in one transaction");
    assert_eq!(writer.reader().contents().unwrap().states, [saved("shop", "2")]);
}

/// The order of states is that of the calls, whatever waits for whatever.
#[test]
fn a_later_state_is_never_overwritten_by_an_earlier_one() {
    let (_directory, path) = place();
    let writer = JournalWriter::start(Journal::open(&path).unwrap()).unwrap();
    let held = lock(&path);
    // Keeps the thread busy, so that all else waits in the queue.
    let _ = writer.commit(&entry("other", 0), Duration::from_millis(10));
    writer.checkpoint(checkpoint("shop", 1));
    let _ = writer.commit(&entry("shop", 2), Duration::ZERO);
    writer.checkpoint(checkpoint("api", 3));
    let _ = writer.commit(&entry("api", 4), Duration::ZERO);
    writer.checkpoint(checkpoint("api", 5));
    drop(held);
    assert!(writer.close(LONG));
    let states = writer.reader().contents().unwrap().states;
    assert_eq!(states, [saved("api", "5"), saved("other", "0"), saved("shop", "2")]);
    assert_eq!(writer.reader().ticks("shop", 1, 0, 10).unwrap().len(), 1, "ticks are not lost");
}

#[test]
fn a_state_comes_back_when_the_entry_in_its_place_fails() {
    let (_directory, path) = place();
    let writer = JournalWriter::start(Journal::open(&path).unwrap()).unwrap();
    let held = lock(&path);
    let _ = writer.commit(&entry("other", 0), Duration::from_millis(10));
    writer.checkpoint(checkpoint("shop", 1));
    let failed = writer.commit(&entry("shop", 2), LONG);
    assert!(matches!(failed, Err(JournalError::Locked { .. })), "{failed:?}");
    drop(held);
    assert!(writer.close(LONG));
    assert_eq!(writer.reader().contents().unwrap().states, [saved("shop", "1")]);
}

#[test]
fn closing_writes_what_waits_and_lets_go() {
    let (_directory, path) = place();
    let writer = JournalWriter::start(Journal::open(&path).unwrap()).unwrap();
    writer.checkpoint(checkpoint("shop", 1));
    assert!(writer.close(LONG));
    assert_eq!(writer.commit(&Entry::new(), LONG), Err(JournalError::Closed));
    writer.checkpoint(checkpoint("shop", 2));
    let mut journal = Journal::open(&path).unwrap();
    assert_eq!(journal.load().unwrap().states, [saved("shop", "1")]);
}

#[test]
fn the_last_writer_closes() {
    let (_directory, path) = place();
    let writer = JournalWriter::start(Journal::open(&path).unwrap()).unwrap();
    let other = writer.clone();
    drop(writer);
    other.commit(&entry("shop", 1), LONG).unwrap();
    drop(other);
    let started = Instant::now();
    while Journal::open(&path).is_err() {
        assert!(started.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn deliveries_are_heard_of_once_they_are_durable() {
    let (_directory, path) = place();
    let writer = JournalWriter::start(Journal::open(&path).unwrap()).unwrap();
    let (sender, receiver) = channel();
    let reader = writer.reader();
    writer.on_enqueued(move || {
        let _ = sender.send(reader.waiting_urls().unwrap());
    });
    writer.commit(&entry("shop", 1), LONG).unwrap();
    writer.commit(&entry_for("http://a/", 2), LONG).unwrap();
    assert_eq!(receiver.recv_timeout(LONG).unwrap(), ["http://a/"]);
    assert!(receiver.try_recv().is_err());
}

#[test]
fn a_file_that_went_away_is_told_even_if_the_next_write_goes_well() {
    let (_directory, path) = place();
    let writer = JournalWriter::start(Journal::open(&path).unwrap()).unwrap();
    writer.commit(&entry("shop", 1), LONG).unwrap();
    std::fs::remove_file(&path).unwrap();
    let late = entry("shop", 2);
    assert_eq!(writer.commit(&late, LONG), Err(JournalError::Moved { path: path.clone() }));
    writer.commit(&late, LONG).unwrap();
    assert_eq!((writer.moves(), writer.problem()), (1, None));
    assert_eq!(writer.reader().contents().unwrap().states, [saved("shop", "2")]);
}

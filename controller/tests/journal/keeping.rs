//! What goes in comes out.

use crate::support::{checkpoint, entry, place, record, saved};
use tidegate_controller::journal::{Entry, Journal, JournalReader, Record, peek};
use tidegate_judge::{Decision, Time};

#[test]
fn states_and_settings_survive() {
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    journal.commit(&entry("shop", 1)).unwrap();
    journal.commit(&entry("api", 2)).unwrap();
    journal.commit(&entry("shop", 3)).unwrap();
    journal.set("freeze", Some("yes")).unwrap();
    journal.set("other", Some("no")).unwrap();
    journal.set("other", None).unwrap();
    drop(journal);
    let mut journal = Journal::open(&path).unwrap();
    let contents = journal.load().unwrap();
    assert_eq!(contents.states, [saved("api", "2"), saved("shop", "3")]);
    assert_eq!(contents.settings, [("freeze".to_owned(), "yes".to_owned())].into());
    assert_eq!(journal.get("freeze").unwrap().as_deref(), Some("yes"));
    assert_eq!(journal.get("other").unwrap(), None);
}

#[test]
fn a_removed_rollout_has_no_state_and_keeps_its_history() {
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    journal.commit(&entry("shop", 1)).unwrap();
    let mut removal = Entry::new();
    removal.removed.push("shop".to_owned());
    removal.settings.push(("shifts".to_owned(), Some("{}".to_owned())));
    assert!(journal.commit(&removal).unwrap().is_empty());
    assert_eq!(journal.load().unwrap().states, []);
    assert_eq!(journal.reader().decisions(Some("shop"), 10, None).unwrap().len(), 1);
}

#[test]
fn another_process_may_peek() {
    let (_directory, path) = place();
    assert_eq!(peek(&path).unwrap(), Default::default(), "there is no file");
    assert!(!path.exists());
    let mut journal = Journal::open(&path).unwrap();
    journal.commit(&entry("shop", 1)).unwrap();
    let found = peek(&path).unwrap().states;
    assert_eq!(found, [saved("shop", "1")]);
    drop(journal);
    assert_eq!(peek(&path).unwrap().states, found, "also when nobody has it");
}

#[test]
fn decisions_are_paged_newest_first() {
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    let mut ids = Vec::new();
    for number in 0..10 {
        let name = if number % 2 == 0 { "even" } else { "odd" };
        ids.extend(journal.commit(&entry(name, number)).unwrap());
    }
    assert!(ids.is_sorted());
    let reader = journal.reader();
    let numbers = |rollout, limit, before| -> Vec<String> {
        let found = reader.decisions(rollout, limit, before).unwrap();
        found.into_iter().map(|decision| decision.json).collect()
    };
    assert_eq!(numbers(None, 2, None), [r#"{"number":9}"#, r#"{"number":8}"#]);
    assert_eq!(numbers(None, 2, Some(ids[8])), [r#"{"number":7}"#, r#"{"number":6}"#]);
    assert_eq!(numbers(Some("even"), 2, Some(ids[8])), [r#"{"number":6}"#, r#"{"number":4}"#]);
    assert_eq!(numbers(Some("none"), 2, None), [""; 0]);
}

#[test]
fn ticks_of_a_run_in_order() {
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    for number in 0..5 {
        let mut ticks = checkpoint("shop", number);
        ticks.record(crate::support::tick("api", number));
        journal.checkpoint(&ticks).unwrap();
    }
    let reader = journal.reader();
    let first = reader.ticks("shop", 1, 0, 3).unwrap();
    let texts: Vec<&str> = first.iter().map(|tick| tick.json.as_str()).collect();
    assert_eq!(texts, ["0", "1", "2"]);
    assert_eq!((first[2].time, first[2].step), (Time(2), 1));
    assert_eq!(reader.ticks("shop", 1, first[2].seq, 10).unwrap().len(), 2);
    assert_eq!(reader.ticks("shop", 2, 0, 10).unwrap(), []);
    assert_eq!(journal.load().unwrap().states, [saved("shop", "4")]);
}

#[test]
fn an_entry_is_written_once() {
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    let first = entry("shop", 1);
    let ids = journal.commit(&first).unwrap();
    journal.commit(&entry("shop", 2)).unwrap();
    assert_eq!(journal.commit(&first.clone()).unwrap(), ids);
    drop(journal);
    let mut journal = Journal::open(&path).unwrap();
    assert_eq!(journal.commit(&first).unwrap(), ids, "also after a restart");
    assert_eq!(journal.load().unwrap().states, [saved("shop", "2")], "the later state stands");
    assert_eq!(journal.reader().decisions(None, 10, None).unwrap().len(), 2);
}

#[test]
fn ids_are_never_used_again() {
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    let last = journal.commit(&entry("shop", 1)).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute("DELETE FROM decisions", []).unwrap();
    assert!(journal.commit(&entry("shop", 2)).unwrap() > last);
}

#[test]
fn decisions_are_recorded_as_they_are() {
    let text = r#"{"time":5,"rollout":"shop","route":"r","revision":"2","run":3,
        "actor":"ann","action":"rolled_back","why":"errors","step":2,"steps":4,
        "weight_before":10000,"weight":0,"gates":[],"failed_requests":7,"samples":["a"]}"#;
    let decision: Decision = serde_json::from_str(text).unwrap();
    let kept = Record::try_from(&decision).unwrap();
    assert_eq!(
        (kept.time, kept.rollout.as_str(), kept.run, kept.revision.as_str()),
        (Time(5), "shop", 3, "2")
    );
    assert_eq!((kept.actor.as_str(), kept.action.as_str(), kept.step), ("ann", "rolled_back", 2));
    assert_eq!(serde_json::from_str::<Decision>(&kept.json).unwrap(), decision);
}

/// Anybody may look, and change things by hand, while the journal is open.
#[test]
fn the_sqlite_command_may_look() {
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    journal.commit(&entry("shop", 1)).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    let sql = "SELECT json FROM decisions WHERE rollout = 'shop' AND action = 'advanced'";
    let json: String = other.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(json, record("shop", 1).json);
    journal.commit(&entry("shop", 2)).unwrap();
    let count: i64 =
        other.query_row("SELECT count(*) FROM decisions", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 2);
}

/// Somebody who reads for long does not hold up the writer.
#[test]
fn readers_and_the_writer_do_not_wait_for_each_other() {
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    journal.commit(&entry("shop", 1)).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN; SELECT * FROM runs;").unwrap();
    journal.commit(&entry("shop", 2)).unwrap();
    other.execute_batch("COMMIT; BEGIN IMMEDIATE").unwrap();
    assert_eq!(JournalReader::new(&path).decisions(None, 10, None).unwrap().len(), 2);
}

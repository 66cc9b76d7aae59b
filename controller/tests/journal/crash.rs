//! Killed at any moment, it has all that it acknowledged, and nothing by halves.

use crate::support::{place, record, saved};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tidegate_controller::journal::{Checkpoint, Entry, Journal, Recipient};

/// Set in the process that is killed.
const CRASHING: &str = "TIDEGATE_TEST_CRASHING_JOURNAL";

/// Decisions of each entry.
const TOGETHER: usize = 3;

#[test]
fn nothing_acknowledged_is_lost() {
    let (_directory, path) = place();
    let mut acknowledged = 0;
    for round in 0..30 {
        let mut child = spawn(&path);
        // From before the first entry until after some dozens.
        let moment = Duration::from_micros(rand::random::<u64>() % 60_000);
        acknowledged = kill_after(&mut child, moment, acknowledged);
        verify(&path, acknowledged, round);
    }
    assert!(acknowledged > 30, "the test tested nothing: {acknowledged}");
}

fn spawn(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::commits_until_killed", "--nocapture"])
        .env(CRASHING, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads what the child acknowledges, kills it some time after it has opened the journal, and gives
/// the last number acknowledged.
fn kill_after(child: &mut Child, moment: Duration, before: usize) -> usize {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = before;
    let mut deadline = None;
    for line in lines.map_while(Result::ok) {
        if line == "open" {
            deadline = Some(Instant::now() + moment);
        }
        if let Some(number) = line.strip_prefix("acknowledged ") {
            // The last line may be cut short by the kill, but only after its number was kept.
            last = number.parse().unwrap_or(last).max(last);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            // kill -9; lines that are in the pipe already are still read.
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    last
}

fn verify(path: &Path, acknowledged: usize, round: usize) {
    let mut journal = Journal::open(path).unwrap();
    let contents = journal.load().unwrap();
    let state = contents.states.iter().find(|saved| saved.rollout == "shop");
    let number: usize = state.map_or(0, |saved| saved.state.parse().unwrap());
    assert!(number >= acknowledged, "round {round}: {number} < {acknowledged}");
    assert!(number <= acknowledged + 1, "round {round}: one at most was not acknowledged yet");
    let other = rusqlite::Connection::open(path).unwrap();
    let count = |sql: &str| -> usize {
        other.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().try_into().unwrap()
    };
    // Decisions 1..=3 of entry 1, and so on, all in order, each with its delivery.
    assert_eq!(count("SELECT count(*) FROM decisions"), number * TOGETHER);
    assert_eq!(count("SELECT count(*) FROM outbox"), number * TOGETHER);
    assert_eq!(count("SELECT count(*) FROM entries"), number);
    assert_eq!(
        count("SELECT count(*) FROM decisions WHERE id != time_ms - 1700000000000"),
        0,
        "round {round}: in order"
    );
    // Ticks are in the same transaction as the state they belong to.
    let evidence = contents.states.iter().find(|saved| saved.rollout == "evidence");
    let evidence = evidence.map_or(0, |saved| saved.state.parse().unwrap());
    assert_eq!(count("SELECT count(*) FROM ticks"), evidence);
    // Each kill may have come between an entry and its checkpoint, and takes no more than that.
    assert!(evidence + round + 1 >= number, "round {round}: {evidence} checkpoints");
}

/// Runs in the process that is killed, and does nothing in any other.
#[test]
fn commits_until_killed() {
    let Some(path) = std::env::var_os(CRASHING) else { return };
    let mut journal = Journal::open(Path::new(&path)).unwrap();
    let states = journal.load().unwrap().states;
    let last = |rollout: &str| -> usize {
        let state = states.iter().find(|saved| saved.rollout == rollout);
        state.map_or(0, |saved| saved.state.parse().unwrap())
    };
    let (first, mut evidence) = (last("shop") + 1, last("evidence"));
    let mut out = std::io::stdout();
    writeln!(out, "\nopen").unwrap();
    for number in first..10_000 {
        journal.commit(&numbered(number)).unwrap();
        writeln!(out, "acknowledged {number}").unwrap();
        evidence += 1;
        let mut checkpoint = Checkpoint::default();
        checkpoint.save("evidence", evidence.to_string());
        checkpoint.record(crate::support::tick("evidence", evidence));
        journal.checkpoint(&checkpoint).unwrap();
    }
}

fn numbered(number: usize) -> Entry {
    let mut entry = Entry::new();
    entry.states.push(saved("shop", &number.to_string()));
    for part in 1..=TOGETHER {
        entry.decisions.push(record("shop", (number - 1) * TOGETHER + part));
    }
    entry.webhooks.push(Recipient { url: "http://a/".to_owned(), secret_file: None });
    entry
}

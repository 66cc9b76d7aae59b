//! Entries to write.

use std::path::PathBuf;
use tempfile::TempDir;
use tidegate_controller::journal::{Checkpoint, Entry, Recipient, Record, RecordedTick, Saved};
use tidegate_judge::Time;

/// A directory that goes with the test, and the journal's path in it.
pub(crate) fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("tidegate.db");
    (directory, path)
}

pub(crate) fn saved(rollout: &str, state: &str) -> Saved {
    Saved { rollout: rollout.to_owned(), state: state.to_owned() }
}

pub(crate) fn record(rollout: &str, number: usize) -> Record {
    Record {
        time: Time(1_700_000_000_000 + number as u64),
        rollout: rollout.to_owned(),
        run: 1,
        revision: "2.3.1".to_owned(),
        actor: "controller".to_owned(),
        action: "advanced".to_owned(),
        step: 1,
        json: format!(r#"{{"number":{number}}}"#),
    }
}

/// One state and one decision, both with `number`.
pub(crate) fn entry(rollout: &str, number: usize) -> Entry {
    let mut entry = Entry::new();
    entry.states.push(saved(rollout, &number.to_string()));
    entry.decisions.push(record(rollout, number));
    entry
}

pub(crate) fn entry_for(url: &str, number: usize) -> Entry {
    let mut entry = entry("shop", number);
    entry.webhooks.push(Recipient { url: url.to_owned(), secret_file: None });
    entry
}

pub(crate) fn tick(rollout: &str, number: usize) -> RecordedTick {
    RecordedTick {
        rollout: rollout.to_owned(),
        run: 1,
        time: Time(number as u64),
        step: 1,
        json: number.to_string(),
    }
}

/// A state and one tick, both with `number`.
pub(crate) fn checkpoint(rollout: &str, number: usize) -> Checkpoint {
    let mut checkpoint = Checkpoint::default();
    checkpoint.save(rollout, number.to_string());
    checkpoint.record(tick(rollout, number));
    checkpoint
}

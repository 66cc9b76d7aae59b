//! What may be wrong with a file or its disk: each is told apart, and none is the end.

use crate::support::{checkpoint, entry, place, saved};
use std::{
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
    process::{Command, Output},
};
use tidegate_controller::journal::{Journal, JournalError, peek};

#[test]
fn there_is_one_owner() {
    let (_directory, path) = place();
    let journal = Journal::open(&path).unwrap();
    let second = Journal::open(&path).unwrap_err();
    let pid = Some(std::process::id());
    assert_eq!(second, JournalError::Held { path: path.clone(), pid });
    assert!(second.to_string().contains(&format!("held by process {}", std::process::id())));
    drop(journal);
    Journal::open(&path).unwrap();
}

#[test]
fn a_lock_is_met_for_a_moment_only() {
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    journal.commit(&entry("shop", 1)).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let started = std::time::Instant::now();
    let locked = JournalError::Locked { path: path.clone() };
    assert_eq!(journal.commit(&entry("shop", 2)), Err(locked.clone()));
    assert_eq!(journal.checkpoint(&checkpoint("shop", 2)), Err(locked));
    assert!(started.elapsed().as_millis() < 2000, "{:?}", started.elapsed());
    assert_eq!(journal.load().unwrap().states, [saved("shop", "1")]);
    drop(other);
    journal.commit(&entry("shop", 3)).unwrap();
    assert_eq!(journal.reader().decisions(None, 10, None).unwrap().len(), 2);
}

#[test]
fn a_file_of_something_else() {
    let (_directory, path) = place();
    let text = "not a database, but long enough to look like one. ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let error = Journal::open(&path).unwrap_err();
    assert!(matches!(&error, JournalError::Corrupt { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("move it away to start afresh"), "{said}");
    assert!(said.contains(path.to_str().unwrap()), "{said}");
    assert!(matches!(peek(&path), Err(JournalError::Corrupt { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "it is left as it was");
}

#[test]
fn another_programs_database() {
    let (_directory, path) = place();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(other);
    let before = std::fs::read(&path).unwrap();
    assert_eq!(Journal::open(&path).unwrap_err(), JournalError::Foreign { path: path.clone() });
    assert_eq!(std::fs::read(&path).unwrap(), before, "it is left as it was");
}

#[test]
fn a_later_versions_journal() {
    let (_directory, path) = place();
    drop(Journal::open(&path).unwrap());
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("PRAGMA user_version = 9").unwrap();
    drop(other);
    let newer = JournalError::Newer { path: path.clone(), found: 9, known: 1 };
    assert_eq!(Journal::open(&path).unwrap_err(), newer);
    assert_eq!(peek(&path).unwrap_err(), newer);
}

#[test]
fn damage_anywhere_is_found() {
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    for number in 0..200 {
        journal.checkpoint(&checkpoint("shop", number)).unwrap();
    }
    drop(journal);
    let whole = std::fs::read(&path).unwrap();
    let pages = whole.len() / 4096;
    assert!(pages > 10);
    for page in 0..pages {
        damage(&path, page as u64 * 4096);
        let error = Journal::open(&path).unwrap_err();
        // On the first page is what kind of file it is.
        assert!(matches!(&error, JournalError::Corrupt { .. }), "page {page}: {error}");
        std::fs::write(&path, &whole).unwrap();
    }
    assert_eq!(Journal::open(&path).unwrap().load().unwrap().states, [saved("shop", "199")]);
}

fn damage(path: &Path, at: u64) {
    let mut file = std::fs::File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[0xA5; 512]).unwrap();
}

/// A file that was cut short, as by a copy that did not finish.
#[test]
fn half_a_file() {
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    journal.commit(&entry("shop", 1)).unwrap();
    drop(journal);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2 / 4096 * 4096).unwrap();
    let error = Journal::open(&path).unwrap_err();
    assert!(matches!(&error, JournalError::Corrupt { .. }), "{error}");
}

/// What a crash between making the file and filling it leaves.
#[test]
fn an_empty_file_is_a_new_journal() {
    let (_directory, path) = place();
    std::fs::write(&path, "").unwrap();
    assert_eq!(peek(&path).unwrap(), Default::default());
    Journal::open(&path).unwrap().commit(&entry("shop", 1)).unwrap();
}

#[test]
fn places_where_there_can_be_none() {
    let (directory, _) = place();
    let of = |path: &Path| match Journal::open(path) {
        Err(JournalError::Open { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(of(directory.path()), "it is a directory; name a file in it");
    let lost = directory.path().join("no").join("tidegate.db");
    let reason = of(&lost);
    assert!(reason.contains("there is no directory") && reason.contains("no"), "{reason}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_file_that_went_away_is_not_written_to() {
    let (_directory, path) = place();
    let mut journal = Journal::open(&path).unwrap();
    journal.commit(&entry("shop", 1)).unwrap();
    std::fs::rename(&path, path.with_extension("old")).unwrap();
    let late = entry("shop", 2);
    assert_eq!(journal.commit(&late), Err(JournalError::Moved { path: path.clone() }));
    journal.commit(&late).unwrap();
    assert_eq!(peek(&path).unwrap().states, [saved("shop", "2")]);
}

/// Set in the process that is started with a limit of its files' sizes.
const LIMITED: &str = "TIDEGATE_TEST_LIMITED_JOURNAL";

#[test]
fn a_disk_that_takes_no_more() {
    let (_directory, path) = place();
    let output = limited(&path);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let number = |key: &str| -> usize {
        let line = said.lines().find_map(|line| line.split_once(key)).unwrap();
        line.1.trim().parse().unwrap()
    };
    // Without the limit it goes on, with all that was acknowledged and nothing of what was not.
    let mut journal = Journal::open(&path).unwrap();
    let acknowledged = number("acknowledged: ");
    assert!(acknowledged > 0, "{said}");
    let found = journal.reader().decisions(None, 1000, None).unwrap();
    assert_eq!(found.len(), acknowledged);
    journal.commit(&entry("shop", 1)).unwrap();
}

fn limited(path: &Path) -> Output {
    // 400 KiB in POSIX's blocks of 512 bytes; ignoring the signal makes writes fail instead.
    let script = "trap '' XFSZ; ulimit -f 800; exec \"$0\" \"$@\"";
    Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "faults::with_a_limit", "--nocapture"])
        .env(LIMITED, path)
        .output()
        .unwrap()
}

/// Runs in the process with the limit, and does nothing in any other.
#[test]
fn with_a_limit() {
    let Some(path) = std::env::var_os(LIMITED) else { return };
    let mut journal = Journal::open(Path::new(&path)).unwrap();
    let mut acknowledged = 0;
    let mut out_of_room = None;
    for number in 0..1000 {
        let mut entry = entry("shop", number);
        entry.decisions[0].json = format!(r#"{{"filling":"{}"}}"#, "x".repeat(4000));
        match journal.commit(&entry) {
            Ok(_) => acknowledged += 1,
            Err(error) => {
                out_of_room = Some(error);
                break;
            }
        }
    }
    let error = out_of_room.unwrap();
    assert!(
        matches!(&error, JournalError::Io { reason, .. } if reason.contains("limit")),
        "{error}"
    );
    // It can still be read, and says the same again.
    assert_eq!(journal.load().unwrap().states.len(), 1);
    assert_eq!(journal.reader().decisions(None, 1000, None).unwrap().len(), acknowledged);
    let mut out = std::io::stdout();
    writeln!(out, "\nacknowledged: {acknowledged}").unwrap();
}

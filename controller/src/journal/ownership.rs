//! One owner among all processes.
//!
//! A lock on a file of its own, and not on the database: SQLite's locks are between statements, and
//! any other descriptor on the database that a process closes would drop them. The file stays when
//! the owner ends; removing it would let two processes each lock a file of that name.

use super::JournalError;
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::File,
    io::{Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

/// The lock, for as long as it is not dropped. It ends with the process, however that ends.
#[derive(Debug)]
pub(super) struct Ownership(File);

impl Drop for Ownership {
    fn drop(&mut self) {
        // Closing it would do, but for a child that has been forked and has not begun its program
        // yet: the descriptor that it inherited holds the lock as well.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Ownership {
    pub(super) fn take(journal: &Path) -> Result<Self, JournalError> {
        let failed = |error: std::io::Error| JournalError::Open {
            path: journal.to_owned(),
            reason: explain(journal, &error),
        };
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(beside(journal))
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(JournalError::Held { path: journal.to_owned(), pid: owner(&mut file) });
            }
            Err(error) => return Err(failed(error.into())),
        }
        // The number is for people only: on a full disk the lock holds as well without it.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self(file))
    }
}

/// `tidegate.db.lock` beside `tidegate.db`.
fn beside(journal: &Path) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Enough for the digits of a process id.
const PID_BYTES: u64 = 32;

fn owner(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_BYTES).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn explain(journal: &Path, error: &std::io::Error) -> String {
    let directory = match journal.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if directory.is_dir() {
        return error.to_string();
    }
    format!("there is no directory {}", directory.display())
}

//! The file that keeps the state of rollouts, as anybody may read it: with Python's SQLite.

use crate::run;
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Prints what is in the file of the first argument.
const READ: &str = r#"
import json, sqlite3, sys
db = sqlite3.connect("file:" + sys.argv[1] + "?mode=ro", uri=True)
db.row_factory = sqlite3.Row
runs = {row["rollout"]: json.loads(row["state"]) for row in db.execute("SELECT * FROM runs")}
decisions = [dict(json.loads(row["json"]), id=row["id"])
             for row in db.execute("SELECT id, json FROM decisions ORDER BY id")]
outbox = [dict(row) for row in db.execute("SELECT * FROM outbox ORDER BY id")]
settings = {row["key"]: json.loads(row["value"]) for row in db.execute("SELECT * FROM meta")}
print(json.dumps({"runs": runs, "decisions": decisions, "outbox": outbox, "settings": settings}))
"#;

/// Holds the file of the first argument locked until its standard input ends.
const LOCK: &str = r#"
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=5)
db.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"#;

/// Changes the file of the first argument by the statement of the second.
const EXECUTE: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=5)
db.execute(sys.argv[2])
db.close()
";

/// A state file.
#[derive(Debug, Clone)]
pub struct StateFile(PathBuf);

/// What is in it.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// The last run of each rollout.
    pub runs: Map<String, Value>,
    /// All decisions with their ids, the oldest first.
    pub decisions: Vec<Value>,
    /// The deliveries of webhooks.
    pub outbox: Vec<Value>,
    /// What else outlives the process, by name.
    pub settings: Map<String, Value>,
}

/// A program that holds the file locked, until it is dropped.
#[derive(Debug)]
pub struct Locked(#[expect(dead_code, reason = "ends the program when dropped")] Child);

impl StateFile {
    /// The one at `path`.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What is in it, while somebody writes it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read(&self) -> Result<Kept> {
        read(&self.0).await
    }

    /// What whoever was killed has left. A copy is read: reading repairs, which is for the next
    /// owner to do.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read_remains(&self) -> Result<Kept> {
        let directory = TempDir::new()?;
        let copy = directory.path().join("copy.db");
        std::fs::copy(&self.0, &copy)?;
        let (wal, wal_copy) = (self.beside("-wal"), directory.path().join("copy.db-wal"));
        if wal.exists() {
            std::fs::copy(wal, wal_copy)?;
        }
        read(&copy).await
    }

    /// Has another program lock it.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn lock(&self) -> Result<Locked> {
        let mut child = Command::new("python3")
            .args(["-c", LOCK])
            .arg(&self.0)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start python3")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(crate::SOON, lines.next_line()).await.context("no lock in time")??;
        ensure!(line.as_deref() == Some("locked"), "the file is not locked: {line:?}");
        Ok(Locked(child))
    }

    /// Changes it with one statement of SQL.
    ///
    /// # Errors
    /// When that is not possible.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        let path = self.0.to_str().context("a path that is no text")?;
        let done = run("python3", &["-c", EXECUTE, path, sql], b"").await?;
        ensure!(done.code == Some(0), "{path}: {sql}: {}", done.stderr);
        Ok(())
    }

    /// The file of this name with an addition: SQLite's `-wal`, `-shm`, the `.lock`.
    pub fn beside(&self, addition: &str) -> PathBuf {
        let mut name = self.0.as_os_str().to_owned();
        name.push(addition);
        PathBuf::from(name)
    }
}

impl Kept {
    /// What was decided, in order, of all rollouts.
    pub fn actions(&self) -> Vec<&str> {
        self.decisions.iter().map(|one| one["action"].as_str().unwrap_or("?")).collect()
    }
}

async fn read(path: &Path) -> Result<Kept> {
    let path = path.to_str().context("a path that is no text")?;
    let read = run("python3", &["-c", READ, path], b"").await?;
    ensure!(read.code == Some(0), "{path} cannot be read: {}", read.stderr);
    let mut all = read.json()?;
    let list = |value: Value| match value {
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    let map = |value: Value| match value {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    Ok(Kept {
        runs: map(all["runs"].take()),
        decisions: list(all["decisions"].take()),
        outbox: list(all["outbox"].take()),
        settings: map(all["settings"].take()),
    })
}

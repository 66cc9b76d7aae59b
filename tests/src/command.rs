//! Running programs to their end.

use crate::SOON;
use anyhow::{Context, Result};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Standard output as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON: {self:?}"))
    }
}

/// Runs `program` with `arguments`, `input` on its standard input.
///
/// # Errors
/// When it cannot be started or does not end within [`SOON`].
pub async fn run(
    program: impl AsRef<OsStr>,
    arguments: &[impl AsRef<OsStr>],
    input: &[u8],
) -> Result<Finished> {
    run_within(SOON, program, arguments, input).await
}

/// Runs a program that may take longer.
///
/// # Errors
/// When it cannot be started or does not end within `limit`.
pub async fn run_within(
    limit: Duration,
    program: impl AsRef<OsStr>,
    arguments: &[impl AsRef<OsStr>],
    input: &[u8],
) -> Result<Finished> {
    let program = program.as_ref();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let input = input.to_owned();
    // A program that ends without reading its input closes the pipe; that is its right.
    tokio::spawn(async move { _ = stdin.write_all(&input).await });
    let output = timeout(limit, child.wait_with_output())
        .await
        .with_context(|| format!("{} does not end", program.display()))??;
    Ok(Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs `tidegate` with `arguments`.
///
/// # Errors
/// As [`run`].
pub async fn tidegate(arguments: &[impl AsRef<OsStr>]) -> Result<Finished> {
    run(tidegate_binary()?, arguments, b"").await
}

/// The binary under test: `TIDEGATE_BIN`, else the one that cargo built beside this test.
///
/// Cargo tells no package where another one's binary is, and building it from each test process
/// would make them wait for one another, so `make test` builds it first.
///
/// # Errors
/// When it is in neither place.
pub fn tidegate_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TIDEGATE_BIN") {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).context("the test runs from nowhere")?;
    let binary = profile.join("tidegate");
    anyhow::ensure!(
        binary.is_file(),
        "{} is not built: use `make test`, or `cargo build -p tidegate` before the tests, or set \
         TIDEGATE_BIN",
        binary.display()
    );
    Ok(binary)
}

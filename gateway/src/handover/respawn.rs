//! The running process starts the new one itself, from the file that it was started from.
//!
//! Under a service manager the new process has to be among those of the service; whoever is
//! started by the running one is.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What a service manager says to one process only.
const OF_ONE_PROCESS: [&str; 4] = ["LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_PID"];

/// Starts this command once more, to take over from this process, and sees to its end.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn respawn() -> io::Result<()> {
    let program = program()?;
    let mut command = Command::new(&program);
    command.args(env::args_os().skip(1)).stdin(Stdio::null());
    if !env::args_os().any(|argument| argument == "--upgrade") {
        command.arg("--upgrade");
    }
    for variable in OF_ONE_PROCESS {
        command.env_remove(variable);
    }
    let mut child = command.spawn().map_err(|error| {
        io::Error::new(error.kind(), format!("cannot start {}: {error}", program.display()))
    })?;
    tracing::info!(pid = child.id(), program = %program.display(), "started a new process");
    std::thread::Builder::new().name("successor".into()).spawn(move || match child.wait() {
        Ok(status) => tracing::warn!("the process that was started has ended: {status}"),
        Err(error) => tracing::warn!(%error, "the process that was started cannot be waited for"),
    })?;
    Ok(())
}

/// The file by the name that it was started with, which may lead to another one by now; the name of
/// the running program itself would lead to the old one, or say `(deleted)`.
fn program() -> io::Result<PathBuf> {
    let name = env::args_os().next().map(PathBuf::from);
    match name.filter(|name| name.components().count() > 1) {
        Some(path) => Ok(path),
        None => env::current_exe().map(|path| undeleted(&path)),
    }
}

/// Linux marks a file that was replaced.
fn undeleted(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    text.strip_suffix(" (deleted)").map_or_else(|| path.to_owned(), PathBuf::from)
}

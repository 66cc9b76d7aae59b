//! Printing: to standard output, and never a panic when nobody reads it.

use serde::Serialize;
use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};
use tidegate_config::{Failure, Loaded};

/// Prints `text` as it is.
pub(super) fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // `tidegate schema | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(super::FAILURE),
    }
}

/// Prints `value` as indented JSON.
pub(super) fn print_json(value: &impl Serialize) -> ExitCode {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&format!("{text}\n")),
        Err(error) => fail(&error.to_string()),
    }
}

/// Says why a command cannot be carried out.
pub(super) fn fail(why: &str) -> ExitCode {
    complain(&format!("tidegate: {why}\n"));
    ExitCode::from(super::FAILURE)
}

/// Prints all the errors of a configuration.
pub(super) fn fail_config(failure: &Failure) -> ExitCode {
    complain(&failure.render(color()));
    ExitCode::from(super::EX_CONFIG)
}

/// Prints the warnings of a configuration.
pub(super) fn warn(loaded: &Loaded) {
    complain(&loaded.render_warnings(color()));
}

/// Writes to standard error.
pub(super) fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Colour is for terminals whose owner did not refuse it (no-color.org).
pub(super) fn color() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

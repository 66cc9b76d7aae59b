//! `tidegate run`.

use super::{LogFormat, output};
use crate::server::{Server, until_told_to_stop};
use std::{io, path::PathBuf, process::ExitCode};
use tracing_subscriber::{EnvFilter, fmt};

/// The log's filter where `TIDEGATE_LOG` says nothing: pingora reports every client that goes away
/// as an error; the gateway counts these itself.
const DEFAULT_FILTER: &str = "info,pingora_core=off,pingora_proxy=off";

pub(super) fn run(config: PathBuf, log_format: LogFormat) -> ExitCode {
    init_log(log_format);
    raise_descriptor_limit();
    let loaded = match tidegate_config::load(&config, None) {
        Ok(loaded) => loaded,
        Err(failure) => return output::fail_config(&failure),
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let served = Server::bind(config, loaded).and_then(|server| {
        let stop = server.on_control(until_told_to_stop)?;
        server.run(stop)
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&error.to_string()),
    }
}

/// Two descriptors a request: takes what the system allows, as the soft limit is often 1,024 for the
/// sake of programs that use `select`.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(limit = current, %error, "cannot raise the limit of open files");
    }
}

fn init_log(format: LogFormat) {
    let filter =
        EnvFilter::try_from_env("TIDEGATE_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let log = fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log.with_target(false).with_ansi(output::color()).init(),
    }
}

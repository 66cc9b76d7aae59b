//! Admin, state, runtime, access log.

use crate::{
    plan::{AccessLog, Admin, LogTarget, Runtime},
    problem::{Problems, Span},
    schema::Document,
};
use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use tidegate_policies::Sample;

/// Beside the main file. As the schema says of `state.path`.
const STATE_FILE: &str = "tidegate.db";

pub(super) fn admin(
    document: &Document,
    directory: &Path,
    problems: &mut Problems,
) -> Option<Admin> {
    let admin = document.admin.as_ref()?;
    let address = admin.address.0;
    if !address.ip().to_canonical().is_loopback() && admin.token_file.is_none() {
        problems
            .error(admin.address.span, "an admin address beyond loopback needs a `token_file`")
            .help(format!("add `token_file`, or use `127.0.0.1:{}`", address.port()));
    }
    let token_file = admin.token_file.as_ref().map(|file| directory.join(&file.0));
    Some(Admin { address, token_file })
}

/// The file that keeps the state of rollouts.
pub(super) fn state(document: &Document, directory: &Path) -> PathBuf {
    directory.join(document.state.as_ref().map_or(STATE_FILE, |state| &state.path.0))
}

pub(super) fn runtime(document: &Document, directory: &Path) -> Runtime {
    let runtime = &document.runtime;
    let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Runtime {
        threads: runtime.threads.map_or_else(processors, |threads| threads.0),
        drain_delay: runtime.drain_delay.0,
        drain_timeout: runtime.drain_timeout.0,
        max_requests: runtime.max_requests,
        resolvers: runtime.resolvers.iter().map(|server| server.value.0).collect(),
        upgrade_socket: directory.join(&runtime.upgrade_socket.0),
        mirror_memory: usize::try_from(runtime.mirror_memory.0).unwrap_or(usize::MAX),
    }
}

/// Asking one server twice makes every failure take twice as long.
pub(super) fn resolvers(document: &Document, problems: &mut Problems) {
    let mut seen: HashMap<SocketAddr, Span> = HashMap::new();
    for server in document.runtime.resolvers.iter() {
        if let Some(first) = seen.insert(server.value.0, server.span) {
            problems.error(server.span, "this DNS server is here twice").note(first, "first here");
        }
    }
}

pub(super) fn access_log(document: &Document, directory: &Path) -> Option<AccessLog> {
    let log = document.access_log.as_ref()?;
    let target = match log.path.0.as_str() {
        "-" => LogTarget::Stdout,
        path => LogTarget::File(directory.join(path)),
    };
    // A share is never above the whole, so the fallback is out of reach.
    let sample = Sample::from_millionths(log.sample.0).unwrap_or(Sample::ALL);
    Some(AccessLog { target, sample })
}

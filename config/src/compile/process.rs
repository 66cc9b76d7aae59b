//! Listeners, admin, state, runtime, access log.

use super::Names;
use crate::{
    plan::{
        AccessLog, Admin, ClientTimeouts, Listener, ListenerLimits, ListenerProtocol, LogTarget,
        Runtime,
    },
    problem::{Problems, Span},
    schema::Document,
};
use std::{
    collections::HashMap,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};
use tidegate_policies::Sample;

/// Beside the main file. As the schema says of `state.path`.
const STATE_FILE: &str = "tidegate.db";

/// Beside the main file. As the schema says of `runtime.upgrade_socket`.
const UPGRADE_SOCKET: &str = "tidegate.sock";

pub(super) fn listeners(document: &Document, problems: &mut Problems) -> Vec<Listener> {
    let list = &document.listeners;
    if list.is_empty() && list.complete {
        problems
            .error(list.span, "there are no listeners")
            .help("add one, such as `{ name: web, address: 127.0.0.1:8080 }`".to_owned());
    }
    let mut names = Names::new("listener");
    let mut addresses: HashMap<SocketAddr, Span> = HashMap::new();
    let mut compiled = Vec::with_capacity(list.len());
    for (position, listener) in list.iter().enumerate() {
        names.add(&listener.name, position, problems);
        let address = listener.address.0;
        unique_address(address, listener.address.span, &mut addresses, problems);
        compiled.push(Listener {
            name: listener.name.0.as_str().into(),
            address,
            protocol: ListenerProtocol::Http1,
            limits: ListenerLimits { connections: None, connections_per_client: None },
            timeouts: ClientTimeouts {
                head: Duration::from_secs(10),
                idle: Duration::from_secs(75),
                body: Duration::from_secs(60),
                min_body_rate: 64,
            },
        });
    }
    if let Some(admin) = &document.admin {
        unique_address(admin.address.0, admin.address.span, &mut addresses, problems);
    }
    compiled
}

/// Port 0 is another port each time.
fn unique_address(
    address: SocketAddr,
    span: Span,
    addresses: &mut HashMap<SocketAddr, Span>,
    problems: &mut Problems,
) {
    if address.port() == 0 {
        return;
    }
    if let Some(first) = addresses.get(&address) {
        problems
            .error(span, format!("the address {address} is taken"))
            .note(*first, "it is used here");
        return;
    }
    addresses.insert(address, span);
}

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
        drain_delay: Duration::ZERO,
        drain_timeout: runtime.drain_timeout.0,
        max_requests: NonZeroU32::new(100_000).unwrap_or(NonZeroU32::MAX),
        resolvers: Vec::new(),
        upgrade_socket: directory.join(UPGRADE_SOCKET),
        mirror_memory: usize::try_from(runtime.mirror_memory.0).unwrap_or(usize::MAX),
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

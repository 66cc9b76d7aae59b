//! What works beside the requests of all upstreams: the resolver, and connections for health checks.

use super::{authorities_file, names::Names};
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use std::{fmt, net::SocketAddr, sync::OnceLock};

/// See the module. Shared by all pools of a configuration.
pub(crate) struct Background {
    pub(super) names: Names,
    /// Made with the first health check: it reads the system's authorities.
    connector: OnceLock<TransportConnector>,
}

impl Background {
    /// Names are looked up at `resolvers`, or where the system does.
    pub(crate) fn new(resolvers: &[SocketAddr]) -> Self {
        Self { names: Names::new(resolvers.to_vec()), connector: OnceLock::new() }
    }

    /// Whether it looks names up there.
    pub(crate) fn is_for(&self, resolvers: &[SocketAddr]) -> bool {
        self.names.servers() == resolvers
    }

    pub(super) fn connector(&self) -> &TransportConnector {
        self.connector.get_or_init(|| {
            let mut options = ConnectorOptions::new(0);
            options.ca_file = authorities_file();
            TransportConnector::new(Some(options))
        })
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").field("names", &self.names).finish_non_exhaustive()
    }
}

//! What the two processes say: one JSON object a line. Fields that are not known are passed over,
//! so that a later version may say more.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub(super) enum Say {
    /// The new process wants to take over.
    Upgrade {
        /// The versions of this protocol that it speaks.
        protocols: Vec<u32>,
        /// Its version, for people.
        release: String,
        pid: u32,
    },
    /// It will not; the connection ends with it.
    Refused { why: String },
    /// The running process is willing; `count` lines with a socket each follow.
    Sockets { protocol: u32, release: String, pid: u32, count: usize },
    /// A listening socket, whose descriptor comes with this line.
    Socket {
        /// The listener's.
        name: String,
        address: SocketAddr,
        /// The service manager has it, too.
        #[serde(default)]
        activated: bool,
    },
    /// The new process is prepared, and asks for the state of the rollouts.
    Rollouts,
    /// It may have it.
    Released,
    /// The new process accepts clients from the sockets at these addresses.
    Serving { kept: Vec<SocketAddr> },
    /// The old process does not any more.
    Draining,
    /// The new process ends because somebody wants it to.
    Farewell,
}

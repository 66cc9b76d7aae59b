//! A new process takes over from a running one: no connection is refused, no request is lost.
//!
//! ```text
//! new process                                   running process
//!   upgrade ──────────────────────────────────────>  is that user me, is there only one, can I?
//!   <───────────────────────────── sockets, socket…  still serves
//!   binds what is new, looks names up
//!   rollouts ─────────────────────────────────────>  writes all evidence, closes the journal
//!   <────────────────────────────────────── released  still serves, judges no more
//!   opens the journal, accepts clients
//!   serving ──────────────────────────────────────>  stops accepting, is not ready, drains
//!   <────────────────────────────────────── draining
//!   farewell, when it ends in order ──────────────>  (and if the connection breaks without: serves again)
//! ```
//!
//! Both processes hold the same listening sockets, so the kernel's queue of clients outlives either.
//! Until `serving` the running process loses nothing by the death of the new one, and takes the
//! journal up again; after it, it stands by while it drains. The new process goes on if the old one
//! dies, whenever that is.
//!
//! Rejected: `SO_REUSEPORT` (each process has a queue of its own, and what waits in the old one's is
//! reset); pingora's upgrade (the old process ends even if the new one never came up); starting the
//! new process as the first thing the old one does (who starts it is up to whoever runs it; see
//! [`respawn`] for those who want that).

mod give;
mod message;
mod path;
mod respawn;
mod sockets;
mod take;
mod wire;

pub(crate) use give::{Giver, Lent, Offer};
pub(crate) use respawn::respawn;
pub(crate) use sockets::Sockets;
pub(crate) use take::{Found, Predecessor, Takeover, ask};

use std::time::Duration;

/// The versions of the protocol that are spoken here.
const PROTOCOLS: &[u32] = &[1];

/// For an answer that needs no work.
const ANSWER: Duration = Duration::from_secs(5);

/// For the new process to get ready to accept. It has its certificates to read and names to look
/// up, and meanwhile nothing is amiss.
const PREPARATION: Duration = Duration::from_secs(120);

/// For the new process to accept once it has the rollouts: meanwhile nobody judges them.
const BEGINNING: Duration = Duration::from_secs(20);

/// For the running process to let go of the rollouts; longer than their controller may take.
const RELEASE: Duration = Duration::from_secs(15);

//! Ports for servers that cannot listen on one of the system's choice.

use anyhow::{Result, bail};
use std::net::{SocketAddr, TcpListener};

/// Ports to try from: below those that the system hands to clients, so that no connection of a test
/// beside this one takes the port between choosing and listening.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
const TRIES: usize = 10;

/// Tries free addresses until `start` gives something; it gives nothing when somebody else was
/// faster.
///
/// # Errors
/// Those of `start`, or when no port of several was free.
pub(crate) async fn first_free<T>(
    start: impl AsyncFn(SocketAddr) -> Result<Option<T>>,
) -> Result<T> {
    for _ in 0..TRIES {
        let address = SocketAddr::from(([127, 0, 0, 1], rand::random_range(PORTS)));
        if TcpListener::bind(address).is_ok()
            && let Some(started) = start(address).await?
        {
            return Ok(started);
        }
    }
    bail!("no free port in {TRIES} tries")
}

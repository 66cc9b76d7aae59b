//! A dark upstream that hangs.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};

/// Accepts connections for as long as this program runs, and never answers.
pub(crate) fn hung_upstream() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        let mut kept = VecDeque::new();
        // An error is that of a client that is gone, or there are too many files: make room.
        for stream in listener.incoming() {
            kept.extend(stream.ok());
            if kept.len() > KEPT_CONNECTIONS {
                kept.pop_front();
            }
        }
    });
    Ok(address)
}

/// Four times as many as a proxy opens in the 2 seconds after which it gives up, so that no
/// connection is closed on it before.
const KEPT_CONNECTIONS: usize = 4096;

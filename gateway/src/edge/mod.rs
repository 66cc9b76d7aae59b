//! Where clients arrive: listening sockets, and connections that are watched over.
//!
//! pingora brings its own listeners; this gateway accepts by itself and hands each connection to
//! pingora's proxy. That buys what pingora 0.9 cannot do: bind errors at start, port 0, a total
//! deadline for a request's head, answers of 408, 414 and 431, no 64 KiB read buffer for every idle
//! connection, and a drain that ends as soon as the last request does.

mod accept;
#[cfg_attr(not(test), allow(dead_code, reason = "the connection does not ask it yet"))]
mod chunks;
mod conn;
#[cfg_attr(not(test), allow(dead_code, reason = "the connection does not ask it yet"))]
pub(crate) mod head;
#[cfg_attr(not(test), allow(dead_code, reason = "the connection does not ask it yet"))]
mod scanner;
mod watch;

pub(crate) use accept::{Bound, bind, serve};
pub(crate) use conn::Conn;
pub(crate) use watch::{Drain, Phase};

//! Where clients arrive: listening sockets, and connections that are watched over.
//!
//! pingora brings its own listeners; this gateway accepts by itself and hands each connection to
//! pingora's proxy. That buys what pingora 0.9 cannot do: bind errors at start, port 0, a total
//! deadline for a request's head, answers of 408, 414 and 431, no 64 KiB read buffer for every idle
//! connection, and a drain that ends as soon as the last request does.
//! HTTP/2 is pingora's (the `h2` crate's), TLS is rustls'; here they get limits and deadlines.

mod accept;
mod chunks;
mod client;
mod conn;
pub(crate) mod head;
mod http1;
mod http2;
mod listener;
mod patience;
mod scanner;
mod stream;
mod tls;
mod transport;
mod watch;

pub(crate) use accept::{Bound, Doors, Reception, bind, serve};
pub(crate) use client::Link;
pub(crate) use conn::Conn;
pub(crate) use listener::{Listening, network};
pub(crate) use stream::link;
pub(crate) use watch::{Drain, Phase, StreamEnd};

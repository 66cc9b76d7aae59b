//! `admin`, `runtime`, `access_log`.

use crate::{
    address::{Address, Resolver},
    decode::{List, schema},
    problem::Spanned,
    text::{JsonFormat, Text, Threads},
    value::{Period, Share, Size},
};
use std::num::NonZeroU32;

schema! {
    /// The admin API and metrics.
    struct Admin {
        /// The IP address and port; beyond loopback `token_file` is required.
        address: Spanned<Address>,
        /// A file with the bearer token that requests have to carry, relative to this file.
        token_file: Option<Text>,
    }

    /// Settings of the process.
    struct Runtime {
        /// Worker threads; absent: the number of processors. A change needs a restart.
        threads: Option<Threads>,
        /// How long after SIGTERM new connections are still accepted, while the process already
        /// says that it is not ready.
        drain_delay: Period = "0s",
        /// How long after that requests in flight may take to finish.
        drain_timeout: Period = "30s",
        /// Requests in flight over all routes; further ones are answered 503 at once.
        max_requests: NonZeroU32 = "100000",
        /// DNS servers, as IP address and port. Empty: the system's. A change needs a restart.
        resolvers: List<Spanned<Resolver>> = [],
        /// The socket, relative to this file, at which a new process asks this one for its
        /// listeners. A change needs a restart.
        upgrade_socket: Text = "tidegate.sock",
        /// The memory that all mirrors together may hold: bodies of copies, and answers that are
        /// compared.
        mirror_memory: Size = "64MiB",
    }

    /// One line for each request.
    struct AccessLog {
        /// `-` for standard output, or a file (relative to this file) that is appended to.
        path: Text,
        /// `json`, the only format.
        format: JsonFormat = "json",
        /// The share of requests that is logged.
        sample: Share = "100%",
    }
}

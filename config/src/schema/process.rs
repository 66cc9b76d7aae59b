//! `listeners`, `admin`, `runtime`, `access_log`.

use crate::{
    decode::{Later, schema},
    problem::Spanned,
    text::{Address, JsonFormat, Name, Text, Threads},
    value::{Period, Share, Size},
};

schema! {
    /// An address that accepts clients (HTTP/1.1).
    struct Listener {
        /// Its unique name.
        name: Spanned<Name>,
        /// The IP address and port; port 0 lets the system choose.
        address: Spanned<Address>,
        /// `h2c` for HTTP/2 without TLS. Not supported yet.
        protocol: Later,
        /// Certificates, and the authority of client certificates. Not supported yet.
        tls: Later,
    }

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
        /// How long requests in flight may take to finish after SIGTERM.
        drain_timeout: Period = "30s",
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

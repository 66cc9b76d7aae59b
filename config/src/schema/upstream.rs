//! `upstreams`.

use crate::{
    decode::{Later, List, schema},
    plan::{LoadBalance, Protocol as Version},
    problem::Spanned,
    text::{Balance, Name, Protocol, Server},
    value::Timeout,
};
use std::num::NonZeroU32;

schema! {
    /// A named pool of endpoints.
    struct Upstream {
        /// Its unique name.
        name: Spanned<Name>,
        /// `host:port` of each server; names are resolved in the background.
        endpoints: Spanned<List<Spanned<Server>>>,
        /// How an endpoint is chosen: each in turn, the less busy of two drawn at random, or the
        /// same one for the same user.
        load_balance: Balance = "round_robin",
        /// Time limits.
        timeouts: Timeouts = {},
        /// Limits over all endpoints.
        limits: Limits = {},
        /// Active health checks. Not supported yet.
        health_check: Later,
        /// Ejection of endpoints that fail. Not supported yet.
        outlier_detection: Later,
        /// `http1`, or `h2c` for HTTP/2 without TLS, which is for upstreams of mirrors alone so far.
        protocol: Protocol = "http1",
        /// TLS to the endpoints. Not supported yet.
        tls: Later,
    }

    /// Time limits of an upstream.
    struct Timeouts {
        /// For a connection to be made.
        connect: Timeout = "1s",
        /// From sending the request to the head of the response.
        response: Timeout = "15s",
        /// The longest silence within a body, and of a kept connection between two requests.
        idle: Timeout = "60s",
    }

    /// Limits of an upstream.
    struct Limits {
        /// Connections in use.
        connections: NonZeroU32 = "1024",
        /// Requests in flight.
        requests: NonZeroU32 = "4096",
    }
}

impl Upstream {
    /// How an endpoint is chosen.
    pub(crate) fn balance(&self) -> LoadBalance {
        self.load_balance.0
    }

    /// What is spoken with the endpoints.
    pub(crate) fn version(&self) -> Version {
        self.protocol.0
    }
}

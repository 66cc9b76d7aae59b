//! `upstreams`.

use crate::{
    address::{HostField, Server, ServerName},
    choice::{Spoken, UpstreamProtocol},
    decode::{Given, List, schema},
    plan::LoadBalance,
    problem::Spanned,
    text::{Balance, Name, Target, Text},
    value::{Share, Timeout},
};
use std::num::NonZeroU32;

schema! {
    /// A named pool of endpoints.
    struct Upstream {
        /// Its unique name.
        name: Spanned<Name>,
        /// `host:port` of each server; names are resolved in the background.
        endpoints: Spanned<List<Spanned<Server>>>,
        /// What is spoken: `http1`; `h2c` for HTTP/2 (with prior knowledge where there is no TLS);
        /// or `h2`, the same over TLS alone.
        protocol: Given<Spanned<UpstreamProtocol>> = "http1",
        /// TLS to the endpoints; their certificates are verified. Absent: none.
        tls: Given<Spanned<ClientTls>>,
        /// How an endpoint is chosen: each in turn, the less busy of two drawn at random, or the
        /// same one for the same user.
        load_balance: Balance = "round_robin",
        /// How long the share of an endpoint that is new, or usable again, takes to grow. Absent:
        /// it has its whole share at once.
        slow_start: Option<Spanned<Timeout>>,
        /// Active health checks. Absent: none.
        health_check: Option<Spanned<HealthCheck>>,
        /// Ejection of endpoints that fail. Absent: none.
        outlier_detection: Option<Spanned<OutlierDetection>>,
        /// Time limits.
        timeouts: Timeouts = {},
        /// Limits over all endpoints.
        limits: Limits = {},
    }

    /// How endpoints are spoken to over TLS.
    struct ClientTls [whole] {
        /// The name that is asked for and verified. Absent: the name in `endpoints`, if there is
        /// one and the same alone.
        sni: Option<Spanned<ServerName>>,
        /// A PEM file with the authorities of the servers' certificates, relative to the main
        /// file. Absent: the system's.
        ca: Option<Spanned<Text>>,
        /// A PEM file with the certificate that is shown to servers, relative to the main file;
        /// with `key`. Absent: none.
        cert: Option<Spanned<Text>>,
        /// A PEM file with the private key of `cert`, relative to the main file.
        key: Option<Spanned<Text>>,
    }

    /// Active health checks: one of `path`, `grpc` and `tcp`.
    struct HealthCheck [whole] {
        /// A path that is asked for with GET; 200 to 399 is healthy.
        path: Option<Spanned<Target>>,
        /// The `host` of these requests. Absent: the endpoint's `host:port`.
        host: Option<Spanned<HostField>>,
        /// A service that gRPC's health checking protocol is asked about; empty: the whole server.
        grpc: Option<Spanned<String>>,
        /// `true`: a connection can be made.
        tcp: Option<Spanned<bool>>,
        /// Between two checks of an endpoint.
        interval: Timeout = "5s",
        /// For a check in total.
        timeout: Spanned<Timeout> = "1s",
        /// Failures in a row that take an endpoint out.
        unhealthy_after: NonZeroU32 = "3",
        /// Successes in a row that take it in again.
        healthy_after: NonZeroU32 = "2",
    }

    /// Ejection of endpoints that fail.
    struct OutlierDetection {
        /// Failures in a row (no connection, no answer, 5xx) that eject an endpoint.
        consecutive_failures: NonZeroU32 = "5",
        /// For the first time; the n-th time in a row takes n times as long, at most 10 times.
        eject_for: Timeout = "30s",
        /// The largest share of endpoints that is ejected at once; one may always be where there
        /// are two.
        max_ejected: Share = "50%",
    }

    /// Time limits of an upstream.
    struct Timeouts {
        /// For a connection to be made, with its TLS handshake.
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

    /// What is spoken with the endpoints; `None` when it was wrong, and reported.
    pub(crate) fn spoken(&self) -> Option<Spanned<Spoken>> {
        let protocol = self.protocol.right()?;
        Some(Spanned { value: protocol.value.0, span: protocol.span })
    }
}

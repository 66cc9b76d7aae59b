//! `listeners`.

use crate::{
    address::Address,
    choice::{ClientAuth, ListenerProtocol},
    decode::{List, schema},
    problem::Spanned,
    text::{Name, Text, TlsVersion},
    value::{Size, Timeout},
};
use std::num::NonZeroU32;

schema! {
    /// An address that accepts clients.
    struct Listener {
        /// Its unique name.
        name: Spanned<Name>,
        /// The IP address and port; port 0 lets the system choose.
        address: Spanned<Address>,
        /// What clients speak without TLS: `http1`, or `h2c` for HTTP/2 with prior knowledge.
        /// Absent: HTTP/1.1; with `tls`, what the client chooses.
        protocol: Option<Spanned<ListenerProtocol>>,
        /// TLS, with HTTP/2 or HTTP/1.1 as the client chooses. Absent: none.
        tls: Option<ServerTls>,
        /// Limits of its clients.
        limits: ListenerLimits = {},
        /// Time limits of its clients.
        timeouts: ListenerTimeouts = {},
        /// The size that a request's body has to have for each second, on average, from its 30th
        /// second on; not for gRPC. `0B`: any pace.
        min_body_rate: Size = "64B",
    }

    /// How a listener speaks TLS.
    struct ServerTls [whole] {
        /// At least one; the first serves clients whose server name no other has.
        certificates: Spanned<List<CertificateFiles>>,
        /// A PEM file with the authorities of client certificates, relative to the main file.
        /// Absent: clients show no certificate.
        client_ca: Option<Spanned<Text>>,
        /// Whether clients have to show a certificate: `required` or `optional`. Absent:
        /// `required`, where there is a `client_ca`.
        client_auth: Option<Spanned<ClientAuth>>,
        /// The lowest version that is spoken, `1.2` or `1.3`.
        min_version: TlsVersion = "1.2",
    }

    /// A certificate and its key.
    struct CertificateFiles [whole] {
        /// A PEM file with the certificate and then its intermediates, relative to the main file.
        cert: Spanned<Text>,
        /// A PEM file with its private key, relative to the main file.
        key: Spanned<Text>,
    }

    /// Limits of a listener's clients.
    struct ListenerLimits {
        /// Connections open at once. Absent: as many as the process's descriptors allow.
        connections: Option<NonZeroU32>,
        /// The same for each client address. Absent: any number.
        connections_per_client: Option<Spanned<NonZeroU32>>,
    }

    /// Time limits of a listener's clients.
    struct ListenerTimeouts {
        /// For a request's head, and for the TLS handshake, in total.
        head: Timeout = "10s",
        /// Between two requests of a connection.
        idle: Timeout = "75s",
        /// The longest silence within a request's body, and for a client to take some of its
        /// response.
        body: Timeout = "60s",
    }
}

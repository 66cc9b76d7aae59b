//! Who is connected, as every exchange of a connection knows it.

use super::{
    listener::{Listening, Place},
    watch::{Connected, Watch},
};
use http::HeaderValue;
use std::{net::IpAddr, sync::Arc};

/// The client of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// The address of whoever is connected, an IPv4 address mapped into IPv6 as IPv4.
    pub(crate) peer: IpAddr,
    /// The same as a header value.
    pub(crate) peer_value: HeaderValue,
    /// The connection is encrypted.
    pub(crate) tls: bool,
    /// The certificate that it showed, as RFC 9440 writes it.
    pub(crate) certificate: Option<HeaderValue>,
    /// There is no room for the connection: its first request is answered 503, and it closes.
    pub(crate) excess: bool,
    pub(crate) listening: Arc<Listening>,
    pub(super) _counted: Connected,
    pub(super) _place: Place,
}

/// One exchange's way back to its client and to its deadlines.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) client: Arc<Client>,
    pub(crate) watch: Arc<Watch>,
}

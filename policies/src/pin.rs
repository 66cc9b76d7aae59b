//! Pins: rules that send a request to one variant whatever the split says.

use crate::{HeaderMatch, QueryMatch, Request, ValueMatch, VariantId};
use ipnet::IpNet;

/// A pin; all present parts must hold.
#[derive(Debug, Clone)]
pub struct Pin {
    /// Where the request goes.
    pub variant: VariantId,
    /// A condition on a header.
    pub header: Option<HeaderMatch>,
    /// A condition on a cookie: name and value.
    pub cookie: Option<(String, ValueMatch)>,
    /// A condition on a query parameter.
    pub query: Option<QueryMatch>,
    /// The client's address is in one of these; empty: any address.
    pub from: Vec<IpNet>,
}

impl Pin {
    /// Whether this pin applies to `request`.
    pub fn applies(&self, _request: &Request<'_>) -> bool {
        todo!()
    }
}

//! Pins: rules that send a request to one variant whatever the split says.

use crate::{HeaderMatch, QueryMatch, Request, ValueMatch, VariantId, find_cookie};
use ipnet::IpNet;
use std::net::IpAddr;

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
    pub fn applies(&self, request: &Request<'_>) -> bool {
        self.header.as_ref().is_none_or(|header| header.holds(request.headers))
            && self.cookie.as_ref().is_none_or(|(name, value)| {
                value.any(find_cookie(request.headers, name).into_iter())
            })
            && self.query.as_ref().is_none_or(|query| query.holds(request.query))
            && self.comes_from(request.client)
    }

    fn comes_from(&self, client: IpAddr) -> bool {
        // Behind a dual-stack socket IPv4 clients look like ::ffff:192.0.2.1.
        let client = client.to_canonical();
        self.from.is_empty() || self.from.iter().any(|net| net.contains(&client))
    }
}

//! What a decision may look at.

use std::net::IpAddr;

/// A borrowed view of one request: all that routing, pinning and bucketing may depend on.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The request method.
    pub method: &'a http::Method,
    /// The authority as the client sent it: any case, with or without a port; empty if absent.
    pub host: &'a str,
    /// The path as sent (not decoded), without the query; starts with `/` (or is `*`).
    pub path: &'a str,
    /// The query as sent, without the `?`.
    pub query: Option<&'a str>,
    /// The header fields.
    pub headers: &'a http::HeaderMap,
    /// The client's address, after `trusted_proxies` were taken into account.
    pub client: IpAddr,
}

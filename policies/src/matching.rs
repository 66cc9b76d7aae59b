//! What a route asks of a request.

use crate::{HostPattern, Request};
use http::{HeaderName, Method};
use regex::bytes::Regex;

/// A condition on one value.
#[derive(Debug, Clone)]
pub enum ValueMatch {
    /// Byte for byte.
    Exact(Vec<u8>),
    /// The whole value matches (the expression is anchored by [`ValueMatch::regex`]).
    Regex(Regex),
    /// There is a value, whatever it is.
    Present,
}

impl ValueMatch {
    /// A regular expression that has to match the whole value. Linear time, size-limited.
    ///
    /// # Errors
    /// When the expression does not parse or compiles to more than the limit.
    pub fn regex(_expression: &str) -> Result<Self, regex::Error> {
        todo!()
    }

    /// Whether one of the `values` satisfies this.
    pub fn any<'a>(&self, _values: impl Iterator<Item = &'a [u8]>) -> bool {
        todo!()
    }
}

/// A condition on a header: some field of this name satisfies `value`.
#[derive(Debug, Clone)]
pub struct HeaderMatch {
    /// The field's name.
    pub name: HeaderName,
    /// The condition.
    pub value: ValueMatch,
}

/// A condition on a query parameter: the first of this name, percent-decoded, satisfies `value`.
#[derive(Debug, Clone)]
pub struct QueryMatch {
    /// The parameter's decoded name.
    pub name: String,
    /// The condition.
    pub value: ValueMatch,
}

/// A condition on the path as sent.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// The path's first elements: `/shop` matches `/shop`, `/shop/` and `/shop/x`, not `/shopping`.
    Prefix(String),
    /// The whole path matches.
    Regex(regex::Regex),
}

impl PathMatch {
    /// A regular expression that has to match the whole path. Linear time, size-limited.
    ///
    /// # Errors
    /// When the expression does not parse or compiles to more than the limit.
    pub fn regex(_expression: &str) -> Result<Self, regex::Error> {
        todo!()
    }
}

/// All the conditions of one route; all present parts must hold.
#[derive(Debug, Clone)]
pub struct RouteMatch {
    /// Any of these; empty: every host.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub path: PathMatch,
    /// Any of these; empty: every method.
    pub methods: Vec<Method>,
    /// All of these.
    pub headers: Vec<HeaderMatch>,
    /// All of these.
    pub query: Vec<QueryMatch>,
}

impl RouteMatch {
    /// Whether method, headers and query hold (host and path are the table's business).
    pub(crate) fn rest_holds(&self, _request: &Request<'_>) -> bool {
        todo!()
    }
}

//! Buckets: from a user's key to a stable point of `[0, 1)`.

use crate::Request;
use http::HeaderName;

/// A point of `[0, 1)` in 64-bit fixed point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point(pub u64);

impl Point {
    /// The point as a number in `[0, 1)`, with the 53 bits that an `f64` can hold.
    pub fn as_fraction(self) -> f64 {
        todo!()
    }
}

/// What a salted hash decides. Different purposes give independent points for the same key, so a
/// mirror's sample or a log's sample says nothing about the variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// Which variant.
    Split,
    /// Whether the mirror of this name gets a copy.
    Mirror(&'a str),
    /// Whether the access log gets a line.
    AccessLog,
    /// Which endpoint of an upstream, for `consistent_hash`.
    Endpoint,
}

/// A compiled salt for one decision: the seed of a hash (XXH3-64, whose output is specified and
/// the same on every platform).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt {}

impl Salt {
    /// The salt `text` for `purpose`.
    pub fn new(_text: &str, _purpose: Purpose<'_>) -> Self {
        todo!()
    }

    /// Where `key` lands; the same for the same salt and key on every machine and version.
    pub fn point(self, _key: &[u8]) -> Point {
        todo!()
    }

    /// Where a request without a key lands, from a random `draw` of its own. Hashed with the salt,
    /// so one draw serves several independent decisions.
    pub fn point_of_draw(self, _draw: u64) -> Point {
        todo!()
    }
}

/// Where a user's key is looked for; the first source of a list that is present wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The first value of a header; an empty one counts as absent.
    Header(HeaderName),
    /// The value of a cookie; an empty one counts as absent.
    Cookie(String),
    /// The client's address ([`Request::client`]), always present; an IPv4 address mapped into
    /// IPv6 counts as the IPv4 address.
    ClientIp,
}

impl KeySource {
    /// Calls `f` with the key bytes of the first source present in `request` and that source's
    /// position; `None` when no source is present.
    pub fn first<R>(
        _sources: &[KeySource],
        _request: &Request<'_>,
        _f: impl FnOnce(usize, &[u8]) -> R,
    ) -> Option<R> {
        todo!()
    }
}

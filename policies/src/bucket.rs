//! Buckets: from a user's key to a stable point of `[0, 1)`.
//!
//! The hash is XXH3-64: its output is specified, so replicas of any platform and version agree, and
//! it is the cheapest good hash for keys of a few bytes. The salt becomes the seed, so hashing a
//! request costs one pass over its key. Rejected: a cryptographic hash (nobody gains from forging a
//! bucket that a pin would not give, and it costs ten times as much), the standard library's
//! hasher (may change with any release).

use crate::{Request, find_cookie};
use http::HeaderName;
use std::net::IpAddr;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// A point of `[0, 1)` in 64-bit fixed point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point(pub u64);

impl Point {
    /// The point as a number in `[0, 1)`, with the 53 bits that an `f64` can hold.
    pub fn as_fraction(self) -> f64 {
        const BITS_DROPPED: u32 = u64::BITS - f64::MANTISSA_DIGITS;
        (self.0 >> BITS_DROPPED) as f64 / (1_u64 << f64::MANTISSA_DIGITS) as f64
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
    /// Which half of a rollout's baseline.
    Halves,
}

impl<'a> Purpose<'a> {
    /// What goes into the seed. Changing a tag would move every user: never do it.
    fn tag_and_name(self) -> (&'static str, &'a str) {
        match self {
            Purpose::Split => ("split", ""),
            Purpose::Mirror(name) => ("mirror", name),
            Purpose::AccessLog => ("access_log", ""),
            Purpose::Endpoint => ("endpoint", ""),
            Purpose::Halves => ("halves", ""),
        }
    }
}

/// A compiled salt for one decision: the seed of a hash (XXH3-64, whose output is specified and
/// the same on every platform).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt {
    keys: u64,
    /// A seed of its own, or a draw would land where the key of the same eight bytes does.
    draws: u64,
}

impl Salt {
    /// The salt `text` for `purpose`.
    pub fn new(text: &str, purpose: Purpose<'_>) -> Self {
        let (tag, name) = purpose.tag_and_name();
        // A zero byte is in no tag and in no name, so no two purposes or names run together.
        let keys = xxh3_64([tag, name, text].join("\0").as_bytes());
        Salt { keys, draws: xxh3_64_with_seed(b"draw", keys) }
    }

    /// Where `key` lands; the same for the same salt and key on every machine and version.
    pub fn point(self, key: &[u8]) -> Point {
        Point(xxh3_64_with_seed(key, self.keys))
    }

    /// Where a request without a key lands, from a random `draw` of its own. Hashed with the salt,
    /// so one draw serves several independent decisions.
    pub fn point_of_draw(self, draw: u64) -> Point {
        Point(xxh3_64_with_seed(&draw.to_le_bytes(), self.draws))
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
        sources: &[KeySource],
        request: &Request<'_>,
        f: impl FnOnce(usize, &[u8]) -> R,
    ) -> Option<R> {
        for (position, source) in sources.iter().enumerate() {
            let key = match source {
                KeySource::Header(name) => request.headers.get(name).map(|value| value.as_bytes()),
                KeySource::Cookie(name) => find_cookie(request.headers, name),
                KeySource::ClientIp => {
                    return Some(match request.client.to_canonical() {
                        IpAddr::V4(address) => f(position, &address.octets()),
                        IpAddr::V6(address) => f(position, &address.octets()),
                    });
                }
            };
            if let Some(key) = key.filter(|key| !key.is_empty()) {
                return Some(f(position, key));
            }
        }
        None
    }
}

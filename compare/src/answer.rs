//! A response as it was captured.

use bytes::Bytes;
use http::HeaderMap;

/// What a version answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header fields that [`Rules::keeps`](crate::Rules::keeps); others do no harm.
    pub headers: HeaderMap,
    /// The whole body as it came, maybe compressed. Empty for an answer to `HEAD`, whatever its
    /// fields say.
    pub body: Bytes,
}

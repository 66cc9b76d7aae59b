//! Finding one cookie in a request (RFC 6265bis §5.6), without allocating.

use http::HeaderMap;

/// The value of the first cookie called `name` in any `Cookie` field, as sent, without surrounding
/// whitespace or double quotes.
pub fn find<'a>(_headers: &'a HeaderMap, _name: &str) -> Option<&'a [u8]> {
    todo!()
}

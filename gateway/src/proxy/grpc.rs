//! What of a request and a response is gRPC: its deadline, its status, and the answers that the
//! gateway gives in its place.
//!
//! By the gRPC protocol over HTTP/2 (`PROTOCOL-HTTP2.md`) a call that failed is an HTTP 200 whose
//! trailers say so, or whose head does, if there is nothing else.

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use std::time::Duration;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// Statuses that there are, `OK` (0) to `UNAUTHENTICATED` (16).
pub(crate) const STATUSES: usize = 17;

/// A status that is not one of them, or that is not there.
pub(super) const UNKNOWN: u8 = 2;

/// The caller's time is over.
pub(super) const DEADLINE_EXCEEDED: u8 = 4;

/// The service cannot be had now.
pub(super) const UNAVAILABLE: u8 = 14;

/// Whether the request is a gRPC call. gRPC-Web is plain HTTP to whoever passes it on.
pub(super) fn is_call(head: &RequestHeader) -> bool {
    head.version == Version::HTTP_2
        && head.headers.get(header::CONTENT_TYPE).is_some_and(|value| {
            let rest = value.as_bytes().strip_prefix(b"application/grpc");
            rest.is_some_and(|rest| matches!(rest, [] | [b'+' | b';', ..]))
        })
}

/// How long the caller waits, if it says so: up to eight digits and a unit.
pub(super) fn deadline(head: &RequestHeader) -> Option<Duration> {
    let text = head.headers.get(TIMEOUT)?.to_str().ok()?;
    let unit = text.as_bytes().last()?;
    let digits = text.get(..text.len() - 1).filter(|digits| (1..=8).contains(&digits.len()))?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3_600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// The status in a head or in trailers, if it is there.
pub(super) fn status(fields: &HeaderMap) -> Option<u8> {
    let text = fields.get(STATUS)?.to_str().unwrap_or("");
    Some(text.parse().ok().filter(|status| usize::from(*status) < STATUSES).unwrap_or(UNKNOWN))
}

/// Whether the status says that the service failed, and not its caller: as the semantic conventions
/// of OpenTelemetry count errors of a server.
pub(super) fn is_failure(status: u8) -> bool {
    // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS
    matches!(status, 2 | 4 | 12 | 13 | 14 | 15)
}

/// What an answer of the gateway is in gRPC, by the protocol's "HTTP to gRPC Status Code Mapping";
/// 413 and 504, which it leaves out, by what they mean.
pub(super) fn of_http(status: u16) -> u8 {
    match status {
        400 | 431 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        413 => 8,
        408 | 504 => DEADLINE_EXCEEDED,
        429 | 502 | 503 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// A response that is nothing but a status.
pub(super) fn refusal(status: u8, why: &str) -> Result<ResponseHeader> {
    let mut response = ResponseHeader::build(200, Some(4))?;
    response.insert_header(header::CONTENT_TYPE, CONTENT_TYPE)?;
    for (name, value) in trailers(status, why).drain() {
        if let Some(name) = name {
            response.insert_header(name, value)?;
        }
    }
    Ok(response)
}

/// The trailers of a response that ends with `status`. `why` is ASCII without `%`.
pub(super) fn trailers(status: u8, why: &str) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(STATUS, HeaderValue::from(u16::from(status)));
    if let Ok(why) = HeaderValue::from_str(why) {
        trailers.insert(MESSAGE, why);
    }
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(fields: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut head = RequestHeader::build("POST", b"/shop.Shop/Buy", None).expect("a request");
        head.set_version(Version::HTTP_2);
        for (name, value) in fields {
            head.insert_header(*name, *value).expect("a field");
        }
        head
    }

    #[test]
    fn calls_are_told_by_their_content_type() {
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=x", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_call(&call(&[("content-type", content_type)])), expected);
        }
        assert!(!is_call(&call(&[])));
    }

    #[test]
    fn deadlines_have_units() {
        let of = |text| deadline(&call(&[("grpc-timeout", text)]));
        assert_eq!(of("2S"), Some(Duration::from_secs(2)));
        assert_eq!(of("150m"), Some(Duration::from_millis(150)));
        assert_eq!(of("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for bad in ["", "S", "1", "123456789S", "-1S", "+1S", "1s", "1 S"] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn statuses_that_are_none_are_unknown() {
        let of = |text| status(&HeaderMap::from_iter([(STATUS, HeaderValue::from_static(text))]));
        assert_eq!((of("0"), of("14"), of("17"), of("x")), (Some(0), Some(14), Some(2), Some(2)));
        assert_eq!(status(&HeaderMap::new()), None);
    }
}

//! From a request's head to its route and variant, or a refusal.

use super::{Ctx, grpc, link};
use crate::{
    edge::head as limits,
    metrics::Rejection,
    mirror::{Mirrors, Shadow},
};
use http::{HeaderMap, Method, Uri, Version, header};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use std::net::IpAddr;
use tidegate_config::plan::Route;
use tidegate_policies::{KeySource, Reason, Request, client_address, is_trusted};

/// Why a request goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) why: &'static str,
    pub(crate) rejection: Rejection,
}

const fn refusal(status: u16, rejection: Rejection, why: &'static str) -> Refusal {
    Refusal { status, why, rejection }
}

/// Decides where the request goes.
pub(crate) fn admit(session: &Session, ctx: &mut Ctx, mirrors: &Mirrors) -> Result<(), Refusal> {
    let head = session.req_header();
    let peer = link(session).map_or(ctx.client, |link| link.client.peer);
    if link(session).is_some_and(|link| link.client.excess) {
        return Err(refusal(503, Rejection::TooManyConnections, "too many connections"));
    }
    let most = ctx.serving().plan().runtime.max_requests;
    if ctx.in_flight.as_ref().is_some_and(|place| !place.is_within(most)) {
        return Err(refusal(503, Rejection::Overload, "too many requests at once"));
    }
    let trusted = &ctx.serving().plan().trusted_proxies;
    let client = client_address(peer, trusted, &head.headers);
    ctx.trusted = is_trusted(peer, trusted);
    ctx.client = client;

    let raw = session.as_http1().map(|http1| http1.get_headers_raw_bytes());
    check_head(head, raw.as_deref())?;
    let request = view(head, client);
    check_host(head, request.host)?;
    check_framing(&head.headers)?;

    let snapshot = std::sync::Arc::clone(&ctx.snapshot);
    let plan = snapshot.state.plan();
    let Some(id) = plan.table.find(&request) else {
        return Err(refusal(404, Rejection::NoRoute, "no route matches"));
    };
    let route = &plan.routes[id.0 as usize];
    if !route.access.admits(client) {
        return Err(refusal(403, Rejection::Forbidden, "this address may not use the route"));
    }
    check_length(&head.headers, route.max_body)?;
    if let Some(rates) = &snapshot.state.route(id).rates
        && let Err(wait) = rates.admit(head, client)
    {
        ctx.retry_after = Some(wait);
        return Err(refusal(429, Rejection::RateLimited, "too many requests"));
    }
    if let Some(retries) = &snapshot.state.route(id).retries {
        retries.deposit();
    }
    ctx.grpc = grpc::is_call(head);
    ctx.may_rest = ctx.grpc || session.is_upgrade_req();
    if ctx.grpc {
        ctx.caller_waits = grpc::deadline(head);
        if let Some(link) = link(session) {
            link.watch.let_rest();
        }
    }

    let decision = match lacks_id(route, &request) {
        // The new id decides already, so that a client's first request is served like its next.
        Some(source) => {
            let id = rand::random();
            ctx.issued = Some(id);
            route.policy.decide_as(&request, source, id_text(id).as_bytes())
        }
        None => route.policy.decide(&request, ctx.draw),
    };
    if !matches!(decision.reason, Reason::Pin(_)) {
        snapshot.state.route(id).variant(decision.variant).decide();
    }
    ctx.shadow =
        Shadow::begin(&snapshot, mirrors, id, decision, &head.method, session.is_upgrade_req());
    ctx.choose(id, decision);
    Ok(())
}

/// The position of the route's issuing cookie among its key sources, if the request is to get one:
/// no source up to the cookie is present.
fn lacks_id(route: &Route, request: &Request<'_>) -> Option<u16> {
    let source = route.issue.as_ref()?.source;
    let before = route.policy.bucket_by.get(..=source)?;
    let found = KeySource::first(before, request, |_, _| ()).is_some();
    u16::try_from(source).ok().filter(|_| !found)
}

/// A random id as it is written into cookies and headers: 32 hex digits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdText([u8; 32]);

pub(crate) fn id_text(id: u128) -> IdText {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |place: usize| DIGITS[(id >> (4 * (31 - place)) & 0xf) as usize];
    IdText(std::array::from_fn(digit))
}

impl IdText {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What decisions may look at.
pub(crate) fn view(head: &RequestHeader, client: IpAddr) -> Request<'_> {
    let uri: &Uri = &head.uri;
    let host = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or(""),
    };
    Request {
        method: &head.method,
        host,
        path: uri.path(),
        query: uri.query(),
        headers: &head.headers,
        client,
    }
}

fn check_head(head: &RequestHeader, raw: Option<&[u8]>) -> Result<(), Refusal> {
    if head.raw_path().len() > limits::MAX_TARGET {
        return Err(refusal(414, Rejection::TargetTooLong, "the request target is too long"));
    }
    let too_large = raw.is_some_and(|raw| raw.len() > limits::MAX_HEAD);
    if too_large || head.headers.len() > limits::MAX_FIELDS {
        return Err(refusal(431, Rejection::FieldsTooLarge, "the header fields are too large"));
    }
    if !is_target(head) {
        return Err(refusal(400, Rejection::BadRequest, "the request target is no path"));
    }
    if has_dot_segment(head.uri.path()) {
        return Err(refusal(400, Rejection::BadRequest, "the path has a `.` or `..` segment"));
    }
    Ok(())
}

/// Whether the target is a path, an `http` URL, or the `*` of OPTIONS (RFC 9112 §3.2).
fn is_target(head: &RequestHeader) -> bool {
    let begins = |raw: &[u8], scheme: &[u8]| {
        raw.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    match head.raw_path() {
        [b'/', ..] => true,
        b"*" => head.method == Method::OPTIONS,
        // pingora has compared the URL's host with the Host field.
        raw => begins(raw, b"http://") || begins(raw, b"https://"),
    }
}

/// Whether a segment of `path` is `.` or `..`, as written or percent-encoded. A gateway that
/// matches such a path on one reading and an upstream that serves it on another is a way around
/// every rule by path; clients remove these segments themselves (RFC 3986 §5.2.4).
fn has_dot_segment(path: &str) -> bool {
    if !path.contains("/.") && !path.contains("/%2") {
        return false;
    }
    path.split('/').any(|segment| {
        let bytes = segment.as_bytes();
        let (mut rest, mut dots) = (bytes, 0);
        while let Some(after) = strip_dot(rest) {
            (rest, dots) = (after, dots + 1);
        }
        rest.is_empty() && (dots == 1 || dots == 2)
    })
}

fn strip_dot(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// pingora refuses more than one Host and one that contradicts the target; this refuses none and
/// what is no authority.
fn check_host(head: &RequestHeader, host: &str) -> Result<(), Refusal> {
    const BAD: Refusal = refusal(400, Rejection::BadRequest, "the host is missing or malformed");
    // HTTP/2 has it in `:authority`.
    let given = head.headers.contains_key(header::HOST) || head.uri.authority().is_some();
    if !given && head.version != Version::HTTP_10 {
        return Err(BAD);
    }
    if host.is_empty() {
        return if given { Err(BAD) } else { Ok(()) };
    }
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or(BAD)?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port_digits = port.strip_prefix(':').unwrap_or(port);
    let port_ok = (port.is_empty() || port.starts_with(':'))
        && port_digits.bytes().all(|byte| byte.is_ascii_digit())
        && (port_digits.is_empty() || port_digits.parse::<u16>().is_ok());
    let name_ok = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:%".contains(&b));
    if port_ok && name_ok { Ok(()) } else { Err(BAD) }
}

/// Refuses what pingora takes and another parser could read differently: a repeated framing field,
/// a list of equal lengths, a coding before `chunked`.
fn check_framing(headers: &HeaderMap) -> Result<(), Refusal> {
    const BAD: Refusal = refusal(400, Rejection::BadRequest, "the framing is ambiguous");
    if let Some(coding) = headers.get(header::TRANSFER_ENCODING) {
        let chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        let once = headers.get_all(header::TRANSFER_ENCODING).iter().nth(1).is_none();
        return if chunked && once { Ok(()) } else { Err(BAD) };
    }
    if let Some(length) = headers.get(header::CONTENT_LENGTH) {
        // No leading zero either: there are parsers that take it for octal.
        let text = length.as_bytes();
        let digits = text == b"0" || !text.starts_with(b"0") && text.iter().all(u8::is_ascii_digit);
        let once = headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_none();
        return if digits && once { Ok(()) } else { Err(BAD) };
    }
    Ok(())
}

/// Refuses a body that says beforehand that it is too large.
fn check_length(headers: &HeaderMap, max: u64) -> Result<(), Refusal> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match length.and_then(|text| text.trim().parse::<u64>().ok()) {
        Some(length) if length > max => {
            Err(refusal(413, Rejection::BodyTooLarge, "the request body is too large"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hex() {
        for id in [0, 1, 0xdead_beef, u128::MAX, 1 << 124] {
            assert_eq!(id_text(id).as_bytes(), format!("{id:032x}").as_bytes());
        }
    }

    #[test]
    fn dot_segments_are_seen_in_any_spelling() {
        for path in ["/..", "/a/../b", "/a/./b", "/%2e%2E/x", "/.%2e", "/a/.."] {
            assert!(has_dot_segment(path), "{path}");
        }
        for path in ["/", "/a.b", "/...", "/.well-known/x", "/a..b/c", "/%2ea", "/%20", "//"] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }
}

//! The request as the upstream sees it.
//!
//! pingora has already taken the hop-by-hop fields away. What a client says of itself in forwarding
//! headers is believed only from `trusted_proxies`; everybody else's is replaced.

use super::{Ctx, admit::id_text, link};
use crate::edge::Link;
use http::{HeaderName, HeaderValue, Version, header};
use pingora_error::{ErrorType, OrErr, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use tidegate_config::plan::{HeaderOps, Rewrite};

// As text: pingora copies the bytes of any other kind of name.
const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_HOST: &str = "x-forwarded-host";
const REQUEST_ID: &str = "x-request-id";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
const CLIENT_CERT: &str = "client-cert";
const CLIENT_CERT_CHAIN: &str = "client-cert-chain";
/// Header names that only this gateway uses.
pub(super) const INTERNAL_PREFIX: &str = "x-tidegate-";

const HTTP: HeaderValue = HeaderValue::from_static("http");
const HTTPS: HeaderValue = HeaderValue::from_static("https");

/// Longer ids are replaced: they are stored by everybody who handles the request.
const MAX_REQUEST_ID: usize = 128;

/// Changes `upstream`, a copy of the client's request.
pub(super) fn prepare(
    session: &Session,
    upstream: &mut RequestHeader,
    ctx: &mut Ctx,
) -> Result<()> {
    // Copies of the request may outlive the client.
    if upstream.version == Version::HTTP_2 || session.as_http1().is_none() {
        upstream.extensions_mut().remove::<Link>();
    }
    strip_claims(upstream, ctx.trusted);
    set_certificate(session, upstream)?;
    set_host(upstream)?;
    if upstream.version == Version::HTTP_2 && takes_trailers(session.req_header()) {
        // pingora takes it away with the fields of a connection; gRPC servers ask for it.
        upstream.insert_header(header::TE, "trailers")?;
    }
    set_forwarded(session, upstream)?;
    set_request_id(upstream, ctx)?;
    make_origin_form(upstream);
    let Some((route, _)) = ctx.route() else { return Ok(()) };
    if let Some(rewrite) = &route.rewrite {
        rewrite_path(upstream, rewrite)?;
    }
    apply(upstream, &route.request_headers)
}

/// Takes away what an untrusted client says about itself; and from everybody such names written with
/// underscores, which no proxy sends and many servers (CGI, WSGI, Rack) take for the same.
fn strip_claims(upstream: &mut RequestHeader, trusted: bool) {
    let claims = |name: &HeaderName| {
        let name = name.as_str();
        let begins = |with: &str| {
            let same = |(a, b): (u8, u8)| a == b || (a, b) == (b'_', b'-');
            name.len() >= with.len() && name.bytes().zip(with.bytes()).all(same)
        };
        let claim = begins("x-forwarded-")
            || begins(INTERNAL_PREFIX)
            || name == "forwarded"
            || begins("x-real-ip")
            || begins(CLIENT_CERT);
        claim && (!trusted || name.contains('_'))
    };
    // Almost no request has any: look before allocating.
    while let Some(name) = upstream.headers.keys().find(|name| claims(name)).cloned() {
        upstream.remove_header(&name);
    }
}

/// HTTP/2 has the host in `:authority`; what follows looks for it in `Host`, from which pingora
/// makes an `:authority` again.
fn set_host(upstream: &mut RequestHeader) -> Result<()> {
    match upstream.uri.authority().map(|authority| authority.as_str().to_owned()) {
        Some(host) if !upstream.headers.contains_key(header::HOST) => {
            upstream.insert_header(header::HOST, host)
        }
        _ => Ok(()),
    }
}

/// What a client showed in its TLS handshake (RFC 9440). Nobody else can say that.
fn set_certificate(session: &Session, upstream: &mut RequestHeader) -> Result<()> {
    let claims = |name: &HeaderName| {
        let name = name.as_str().as_bytes();
        let is = |claim: &[u8]| {
            name.len() == claim.len()
                && name.iter().zip(claim).all(|(a, b)| a == b || (*a == b'_' && *b == b'-'))
        };
        is(CLIENT_CERT.as_bytes()) || is(CLIENT_CERT_CHAIN.as_bytes())
    };
    while let Some(name) = upstream.headers.keys().find(|name| claims(name)).cloned() {
        upstream.remove_header(&name);
    }
    match link(session).and_then(|link| link.client.certificate.clone()) {
        Some(certificate) => upstream.insert_header(CLIENT_CERT, certificate),
        None => Ok(()),
    }
}

fn takes_trailers(head: &RequestHeader) -> bool {
    head.headers.get(header::TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"))
}

fn set_forwarded(session: &Session, upstream: &mut RequestHeader) -> Result<()> {
    let Some(client) = link(session).map(|link| &*link.client) else { return Ok(()) };
    if upstream.headers.contains_key(FORWARDED_FOR) {
        let hops = upstream.headers.get_all(FORWARDED_FOR).iter();
        let mut chain: Vec<_> = hops.map(HeaderValue::as_bytes).collect();
        chain.push(client.peer_value.as_bytes());
        // As it came, readable or not: leaving something out makes another hop the last.
        let chain = HeaderValue::from_bytes(&chain.join(&b", "[..]));
        let chain = chain.or_err(ErrorType::InternalError, "header values joined are one")?;
        upstream.insert_header(FORWARDED_FOR, chain)?;
    } else {
        upstream.insert_header(FORWARDED_FOR, client.peer_value.clone())?;
    }
    if !upstream.headers.contains_key(FORWARDED_PROTO) {
        upstream.insert_header(FORWARDED_PROTO, if client.tls { HTTPS } else { HTTP })?;
    }
    if !upstream.headers.contains_key(FORWARDED_HOST)
        && let Some(host) = upstream.headers.get(header::HOST).cloned()
    {
        upstream.insert_header(FORWARDED_HOST, host)?;
    }
    Ok(())
}

/// Takes the scheme and host out of a target that has them: origins expect a path (RFC 9112 §3.2).
fn make_origin_form(upstream: &mut RequestHeader) {
    if matches!(upstream.raw_path(), [b'/' | b'*', ..]) {
        return;
    }
    // The URI is the path and query already; setting it drops the raw target.
    upstream.set_uri(upstream.uri.clone());
}

/// Gives the request an id that the access log and every service behind share.
fn set_request_id(upstream: &mut RequestHeader, ctx: &mut Ctx) -> Result<()> {
    let Some(id) = draw_request_id(upstream, ctx) else { return Ok(()) };
    upstream.insert_header(
        REQUEST_ID,
        HeaderValue::from_bytes(id_text(id).as_bytes())
            .or_err(ErrorType::InternalError, "hex digits are a header value")?,
    )
}

/// The id of a request that brought none, or none that can be passed on. One that no upstream will
/// ever see has it too: it is in the access log, and in what a rollout shows of failures.
pub(super) fn draw_request_id(request: &RequestHeader, ctx: &mut Ctx) -> Option<u128> {
    let sane =
        |id: &HeaderValue| !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.to_str().is_ok();
    let has_one = request.headers.get(REQUEST_ID).is_some_and(sane);
    (!has_one).then(|| *ctx.request_id.get_or_insert_with(rand::random))
}

/// Replaces the prefix that the route matched.
fn rewrite_path(upstream: &mut RequestHeader, rewrite: &Rewrite) -> Result<()> {
    let path = upstream.uri.path();
    let rest = match &*rewrite.from_prefix {
        "/" => path,
        prefix => path.strip_prefix(prefix).unwrap_or(path),
    };
    let to = rewrite.to_prefix.strip_suffix('/').unwrap_or(&rewrite.to_prefix);
    let mut target = String::with_capacity(to.len() + rest.len() + 1);
    target.push_str(to);
    if !rest.starts_with('/') && (to.is_empty() || !rest.is_empty()) {
        target.push('/');
    }
    target.push_str(rest);
    if let Some(query) = upstream.uri.query() {
        target.push('?');
        target.push_str(query);
    }
    let uri = target
        .parse()
        .or_err(ErrorType::HTTPStatus(400), "the rewritten path is no request target")?;
    upstream.set_uri(uri);
    Ok(())
}

/// Removes, sets, then adds.
fn apply(upstream: &mut RequestHeader, ops: &HeaderOps) -> Result<()> {
    for name in &ops.remove {
        upstream.remove_header(name);
    }
    for (name, value) in &ops.set {
        upstream.insert_header(name.clone(), value.clone())?;
    }
    for (name, value) in &ops.add {
        upstream.append_header(name.clone(), value.clone())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_seen_in_both_spellings() {
        let left = |name: &'static str, trusted| {
            let mut header = RequestHeader::build("GET", b"/", None).expect("a request");
            header.insert_header(name, "x").expect("a field");
            strip_claims(&mut header, trusted);
            header.headers.contains_key(name)
        };
        for name in ["x-forwarded-for", "x-real-ip", "forwarded", "x-tidegate-shadow"] {
            assert!(!left(name, false) && left(name, true), "{name}");
        }
        for name in ["x_forwarded_for", "x-forwarded_proto", "x_real_ip", "client_cert_chain"] {
            assert!(!left(name, false) && !left(name, true), "{name}");
        }
        for name in ["x-forward", "x_trace_id", "x-real", "xx-forwarded-for", "client-ce"] {
            assert!(left(name, false), "{name}");
        }
    }

    fn rewritten(from: &str, to: &str, target: &str) -> String {
        let mut header = RequestHeader::build("GET", target.as_bytes(), None).expect("a request");
        let rewrite = Rewrite { from_prefix: from.into(), to_prefix: to.into() };
        rewrite_path(&mut header, &rewrite).expect("a valid path");
        header.uri.to_string()
    }

    /// The cases of the Gateway API's `ReplacePrefixMatch`.
    #[test]
    fn prefixes_are_replaced_by_elements() {
        assert_eq!(rewritten("/foo", "/xyz", "/foo/bar"), "/xyz/bar");
        assert_eq!(rewritten("/foo", "/xyz/", "/foo/bar"), "/xyz/bar");
        assert_eq!(rewritten("/foo", "/xyz", "/foo"), "/xyz");
        assert_eq!(rewritten("/foo", "/xyz", "/foo/"), "/xyz/");
        assert_eq!(rewritten("/foo", "/", "/foo/bar?a=1"), "/bar?a=1");
        assert_eq!(rewritten("/foo", "/", "/foo?a=1"), "/?a=1");
        assert_eq!(rewritten("/", "/v2", "/foo"), "/v2/foo");
        assert_eq!(rewritten("/", "/", "/foo//bar"), "/foo//bar");
    }
}

//! The response: what the upstream said, the client's view of it, and the gateway's own answers.

use super::{
    Ctx,
    admit::id_text,
    context,
    forward::INTERNAL_PREFIX,
    grpc, link,
    retry::{self, Failure},
    trial,
};
use crate::metrics::Outcome;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, Version, header};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use tidegate_config::plan::IssueCookie;

const VARIANT: HeaderName = HeaderName::from_static("x-tidegate-variant");

/// Fields of one connection that must not reach the next (RFC 9110 §7.6.1); pingora itself writes
/// `connection` and `transfer-encoding`.
const HOP_BY_HOP: [HeaderName; 3] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
];

/// Fields that `Connection` cannot nominate away: an upgrade's own, and the framing.
const KEPT: [HeaderName; 3] = [header::UPGRADE, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

/// Notes the upstream's answer.
pub(super) fn received(
    session: &mut Session,
    response: &mut ResponseHeader,
    ctx: &mut Ctx,
) -> Result<()> {
    let status = response.status;
    if status == StatusCode::SWITCHING_PROTOCOLS && !session.is_upgrade_req() {
        let why = "the upstream switched protocols unasked";
        return Err(Error::explain(ErrorType::InvalidHTTPHeader, why).into_up());
    }
    make_framing_plain(response)?;
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    if retried(session, response, ctx) {
        return Err(Error::explain(ErrorType::HTTPStatus(503), "the attempt is repeated").into_up());
    }
    ctx.bodyless = session.req_header().method == http::Method::HEAD
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    strip_hop_by_hop(response);
    // Every hop speaks its own version (RFC 9110 §2.5), whatever the upstream's is.
    response.set_version(Version::HTTP_11);
    if let Some(attempt) = &mut ctx.attempt {
        attempt.responded = true;
        ctx.upstream_time = Some(attempt.dispatched.elapsed());
        ctx.head_after = Some(ctx.started.elapsed());
    }
    if let Some(shadow) = &mut ctx.shadow {
        shadow.answer(response);
    }
    context::set_rest_deadline(session, ctx);
    if ctx.grpc {
        ctx.grpc_status = grpc::status(&response.headers);
        if let Some(attempt) = &mut ctx.attempt {
            // A status in the head is all there is.
            attempt.complete = ctx.grpc_status.is_some();
        }
        ctx.begin_stream(session);
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        trial::streaming(ctx);
        ctx.begin_stream(session);
        // A stream lives as long as its two ends want.
        session.set_read_timeout(None);
        if let Some(link) = link(session) {
            link.watch.expire_in(None);
            link.watch.let_rest();
            link.watch.open_tunnel();
        }
    }
    if link(session).is_some_and(|link| link.watch.draining()) {
        session.set_keepalive(None);
    }
    Ok(())
}

/// Whether the attempt is made again instead of passing its response on.
fn retried(session: &Session, response: &ResponseHeader, ctx: &mut Ctx) -> bool {
    if ctx.route().is_none_or(|(route, _)| route.retry.is_none()) {
        return false;
    }
    let status = response.status.as_u16();
    let call = grpc::status(&response.headers).filter(|_| ctx.grpc && status == 200);
    let failure = call.map_or(Failure::Status(status), Failure::Grpc);
    let failed = status >= 500 || call.is_some_and(grpc::is_failure);
    // Where the next attempt must not go.
    let here = ctx.attempt.as_ref().map(|attempt| attempt.lease.address());
    ctx.tried.extend(here);
    if !retry::again(session, ctx, failure) {
        ctx.tried.pop();
        return false;
    }
    ctx.end_attempt(if failed { Outcome::ServerError } else { Outcome::Success });
    true
}

/// Leaves the response's framing one reading. pingora has decided where the body ends, and is generous
/// in that; whoever reads next has to decide the same.
fn make_framing_plain(response: &mut ResponseHeader) -> Result<()> {
    let mut codings = response.headers.get_all(header::TRANSFER_ENCODING).iter();
    let (coding, more_codings) = (codings.next(), codings.next());
    let mut lengths = response.headers.get_all(header::CONTENT_LENGTH).iter();
    let (length, more_lengths) = (lengths.next(), lengths.next());
    if coding.is_none() && length.is_none() {
        return Ok(());
    }
    if response.status.is_informational() || response.status == StatusCode::NO_CONTENT {
        // These have no body, and may not look as if they had (RFC 9110 §8.6, RFC 9112 §6.1).
        response.remove_header(&header::TRANSFER_ENCODING);
        response.remove_header(&header::CONTENT_LENGTH);
        return Ok(());
    }
    if let Some(coding) = coding {
        // Any other is encoded twice, or ends with the connection for some and not for others.
        let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        return if chunked && more_codings.is_none() { Ok(()) } else { Err(ambiguous()) };
    }
    let text = length.map_or(&b""[..], HeaderValue::as_bytes);
    let plain = text == b"0" || !text.starts_with(b"0") && text.iter().all(u8::is_ascii_digit);
    if plain && more_lengths.is_none() {
        return Ok(());
    }
    // Several, which pingora found to be equal, or with leading zeros.
    let first = text.split(|byte| *byte == b',').next().and_then(|text| str::from_utf8(text).ok());
    let number = first.and_then(|text| text.trim().parse::<u64>().ok()).ok_or_else(ambiguous)?;
    response.insert_header(header::CONTENT_LENGTH, number)
}

fn ambiguous() -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, "the response's framing is ambiguous").into_up()
}

fn strip_hop_by_hop(response: &mut ResponseHeader) {
    let nominations = response.headers.get_all(header::CONNECTION).iter();
    let nominations = nominations.filter_map(|value| value.to_str().ok());
    // The usual value names no field that is not removed below.
    let unusual = nominations.filter(|value| !value.eq_ignore_ascii_case("keep-alive"));
    let names = unusual.flat_map(|value| value.split(','));
    let names = names.filter_map(|name| name.trim().parse::<HeaderName>().ok());
    let names: Vec<_> = names.filter(|name| !KEPT.contains(name)).collect();
    for name in &names {
        response.remove_header(name);
    }
    // Almost no response has any: look before removing.
    while let Some(name) = response.headers.keys().find(|name| HOP_BY_HOP.contains(name)).cloned() {
        response.remove_header(&name);
    }
    if response.status != StatusCode::SWITCHING_PROTOCOLS {
        response.remove_header(&header::UPGRADE);
    }
}

/// Changes the response for the client.
pub(super) fn prepare(
    session: &mut Session,
    response: &mut ResponseHeader,
    ctx: &Ctx,
) -> Result<()> {
    // pingora would close the connection because of `100 Continue`, when the body is yet to come.
    session.set_close_on_response_before_downstream_finish(!response.status.is_informational());
    let switches = response.status == StatusCode::SWITCHING_PROTOCOLS;
    if response.status.is_informational() && !switches {
        return Ok(());
    }
    if session.req_header().version < Version::HTTP_11 {
        // pingora would send chunks, which HTTP/1.0 does not know: the end of the connection ends
        // the body (RFC 9112 §6.1).
        if response.remove_header(&header::TRANSFER_ENCODING).is_some() {
            session.set_keepalive(None);
        }
    }
    // Only this gateway speaks in these names.
    while let Some(name) =
        response.headers.keys().find(|name| name.as_str().starts_with(INTERNAL_PREFIX)).cloned()
    {
        response.remove_header(&name);
    }
    let (Some((route, _)), Some((variant, _))) = (ctx.route(), ctx.variant()) else {
        return Ok(());
    };
    let ops = &route.response_headers;
    for name in &ops.remove {
        response.remove_header(name);
    }
    for (name, value) in &ops.set {
        response.insert_header(name.clone(), value.clone())?;
    }
    for (name, value) in &ops.add {
        response.append_header(name.clone(), value.clone())?;
    }
    if route.expose_variant {
        response.insert_header(VARIANT, &*variant.name)?;
    }
    if let (Some(id), Some(issue)) = (ctx.issued, &route.issue) {
        response.append_header(header::SET_COOKIE, set_cookie(issue, id))?;
    }
    Ok(())
}

fn set_cookie(issue: &IssueCookie, id: u128) -> String {
    let IssueCookie { name, max_age, .. } = issue;
    let (id, seconds) = (id_text(id), max_age.as_secs());
    let id = String::from_utf8_lossy(id.as_bytes());
    format!("{name}={id}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Lax")
}

/// Answers for the gateway itself. A client that may come back soon is told so.
pub(super) async fn refuse(
    session: &mut Session,
    ctx: &mut Ctx,
    status: u16,
    why: &str,
) -> Result<()> {
    if grpc::is_call(session.req_header()) {
        let call = grpc::of_http(status);
        write_head(session, grpc::refusal(call, why)?, true).await?;
        ctx.own_status = Some(status);
        ctx.grpc_status = Some(call);
        return Ok(());
    }
    let body = Bytes::from(format!("{status} {why}\n"));
    let mut response = ResponseHeader::build(status, Some(5))?;
    response.insert_header(header::CONTENT_LENGTH, body.len())?;
    response.insert_header(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))?;
    response.insert_header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))?;
    if let Some(wait) = ctx.retry_after {
        response.insert_header(header::RETRY_AFTER, wait.as_secs().max(1))?;
    } else if status == 503 {
        response.insert_header(header::RETRY_AFTER, HeaderValue::from_static("1"))?;
    }
    // After these the connection's state is in doubt, or the client is not worth it.
    let excess = link(session).is_some_and(|link| link.client.excess);
    if excess || matches!(status, 400 | 408 | 413 | 414 | 431) {
        session.set_keepalive(None);
        if let Some(link) = link(session) {
            link.watch.refuse();
        }
    }
    let head = session.req_header().method == http::Method::HEAD;
    write_head(session, response, head).await?;
    if !head {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}

/// Writes a response's head, which is all of it if it is the `end`: pingora does not tell an HTTP/2
/// stream so.
async fn write_head(session: &mut Session, head: ResponseHeader, end: bool) -> Result<()> {
    match session.as_mut().as_custom_mut() {
        Some(stream) => stream.write_response_header(Box::new(head), end).await,
        None => session.write_response_header(Box::new(head), end).await,
    }
}

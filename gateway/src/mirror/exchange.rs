//! One exchange with a dark upstream: send a copy, read the answer. Bounded in time and in bytes.

use super::{answer::Answering, copy::Payload, outcome::Outcome};
use crate::upstream::{Pool, Unavailable};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use pingora_core::{connectors::http::Connector, protocols::http::client::HttpSession};
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_http::RequestHeader;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tidegate_compare::Rules;
use tidegate_config::plan::{HeaderOps, Protocol};
use tidegate_policies::Point;
use tokio::time::{Instant, timeout_at};

/// What says that a request is a copy, and whose.
const SHADOW: HeaderName = HeaderName::from_static("x-tidegate-shadow");

/// How much of an answer is read that nobody compares, so that its connection can be used again.
/// Closing it is cheaper than reading more.
const DISCARDED: usize = 1 << 20;

/// Fields that HTTP/2 does not have (RFC 9113 §8.2.2), and the host, which is in `:authority`.
const NOT_IN_H2: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    header::HOST,
];

/// Where and how a copy is sent.
pub(super) struct Exchange<'a> {
    pub(super) connector: &'a Connector,
    pub(super) pool: &'a Arc<Pool>,
    pub(super) payload: &'a Payload,
    pub(super) mirror: &'a str,
    pub(super) changes: &'a HeaderOps,
    pub(super) point: Point,
    pub(super) draw: u64,
    /// Another endpoint than this, where there is one.
    pub(super) besides: Option<SocketAddr>,
    pub(super) timeout: Duration,
    /// What is kept of the answer, if it is kept at all.
    pub(super) rules: Option<&'a Rules>,
}

/// How it went.
#[derive(Debug)]
pub(super) struct Exchanged {
    pub(super) outcome: Outcome,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) status: Option<u16>,
    /// Bytes of the answer's body.
    pub(super) received: usize,
    pub(super) took: Duration,
}

impl Exchanged {
    /// Nothing was sent.
    pub(super) fn nothing(outcome: Outcome) -> Self {
        Self { outcome, endpoint: None, status: None, received: 0, took: Duration::ZERO }
    }
}

impl Exchange<'_> {
    /// Sends the copy and reads the answer, into `answering` if it is to be kept.
    pub(super) async fn run(&self, answering: &mut Option<Answering>) -> Exchanged {
        let started = Instant::now();
        let mut exchanged = Exchanged::nothing(Outcome::Reset);
        exchanged.outcome = self.attempt(started + self.timeout, answering, &mut exchanged).await;
        exchanged.took = started.elapsed();
        exchanged
    }

    async fn attempt(
        &self,
        deadline: Instant,
        answering: &mut Option<Answering>,
        exchanged: &mut Exchanged,
    ) -> Outcome {
        let http2 = self.pool.config().protocol == Protocol::Http2;
        let Ok(head) = self.head(http2) else { return Outcome::Unsendable };
        let lease = match self.pool.lease_besides(self.point, self.draw, self.besides) {
            Ok(lease) => lease,
            Err(Unavailable::NoEndpoint | Unavailable::AllTried) => return Outcome::NoEndpoint,
            Err(Unavailable::Overloaded) => return Outcome::Overloaded,
        };
        exchanged.endpoint = Some(lease.address());
        let peer = lease.peer_ref();
        let mut tried_again = false;
        loop {
            let session = timeout_at(deadline, self.connector.get_http_session(peer)).await;
            let Ok(session) = session else { return Outcome::Timeout };
            let Ok((mut session, reused)) = session else { return Outcome::ConnectFailure };
            let conversation = self.converse(&mut session, head.clone(), answering, exchanged);
            match timeout_at(deadline, conversation).await {
                Ok(Ok(reusable)) => {
                    if reusable {
                        let idle = peer.options.idle_timeout;
                        self.connector.release_http_session(session, peer, idle).await;
                    } else {
                        session.shutdown().await;
                    }
                    return exchanged.status.map_or(Outcome::Reset, Outcome::answered);
                }
                // A kept connection that the other side had closed: as if it had not been tried,
                // but once.
                Ok(Err(mut error)) => {
                    error.retry.decide_reuse(reused);
                    let repeatable = self.payload.repeatable() && exchanged.status.is_none();
                    if !error.retry() || !repeatable || tried_again {
                        return Outcome::Reset;
                    }
                    tried_again = true;
                }
                Err(_) => {
                    // Whatever is wrong with the connection would be so for the next copy, too.
                    if let Some(http2) = session.as_http2() {
                        http2.conn.mark_shutdown();
                    }
                    return Outcome::Timeout;
                }
            }
        }
    }

    /// Whether the connection is at the end of the answer, and can be used again.
    async fn converse(
        &self,
        session: &mut HttpSession,
        head: RequestHeader,
        answering: &mut Option<Answering>,
        exchanged: &mut Exchanged,
    ) -> Result<bool> {
        session.write_request_header(Box::new(head)).await?;
        let sent = self.send_body(session).await;
        let whole = sent.is_ok();
        // A server may answer before it has read everything, and close.
        let status = match (read_head(session).await, sent) {
            (Ok(status), _) => status,
            (Err(_), Err(error)) | (Err(error), Ok(())) => return Err(error),
        };
        exchanged.status = Some(status.as_u16());
        if let (Some(answering), Some(head)) = (answering.as_mut(), session.response_header()) {
            let keeps = |name: &HeaderName| self.rules.is_some_and(|rules| rules.keeps(name));
            answering.head(head, keeps);
        }
        let limit = self.rules.map_or(0, |rules| rules.max_body);
        while let Some(piece) = session.read_response_body().await? {
            exchanged.received += piece.len();
            if let Some(answering) = answering.as_mut() {
                answering.body(&piece, limit);
            }
            let kept = answering.as_ref().is_some_and(|answering| !answering.is_lost());
            if !kept && exchanged.received > DISCARDED {
                return Ok(false);
            }
        }
        Ok(whole)
    }

    async fn send_body(&self, session: &mut HttpSession) -> Result<()> {
        for piece in self.payload.body() {
            session.write_request_body(Bytes::clone(piece), false).await?;
        }
        session.finish_request_body().await
    }

    /// The head of the request as its variant got it, with what makes it a copy.
    fn head(&self, http2: bool) -> Result<RequestHeader> {
        let mut head = self.payload.head().clone();
        // The whole body follows at once.
        head.remove_header(&header::EXPECT);
        for name in &self.changes.remove {
            head.remove_header(name);
        }
        for (name, value) in &self.changes.set {
            head.insert_header(name.clone(), value.clone())?;
        }
        for (name, value) in &self.changes.add {
            head.append_header(name.clone(), value.clone())?;
        }
        let mirror = HeaderValue::from_str(self.mirror)
            .or_err(ErrorType::InternalError, "a mirror's name is a header value")?;
        head.insert_header(SHADOW, mirror)?;
        if http2 {
            let scheme = if self.pool.config().tls.is_some() { "https" } else { "http" };
            to_http2(&mut head, scheme)?;
        } else if self.payload.chunked() {
            head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
        Ok(head)
    }
}

fn to_http2(head: &mut RequestHeader, scheme: &str) -> Result<()> {
    let host = head.headers.get(header::HOST).map_or(&b""[..], HeaderValue::as_bytes);
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let uri = Uri::builder().scheme(scheme).authority(host).path_and_query(target).build();
    let uri = uri.or_err(ErrorType::InvalidHTTPHeader, "the host is no authority")?;
    head.set_uri(uri);
    for name in &NOT_IN_H2 {
        head.remove_header(name);
    }
    if head.headers.get(header::TE).is_some_and(|te| te != "trailers") {
        head.remove_header(&header::TE);
    }
    Ok(())
}

/// The status of the final response.
async fn read_head(session: &mut HttpSession) -> Result<StatusCode> {
    loop {
        session.read_response_header().await?;
        let Some(head) = session.response_header() else {
            return Err(Error::explain(ErrorType::ReadError, "no response"));
        };
        match head.status {
            StatusCode::SWITCHING_PROTOCOLS => {
                return Err(Error::explain(ErrorType::InvalidHTTPHeader, "nobody asked to switch"));
            }
            status if status.is_informational() && session.as_http1().is_some() => {}
            status => return Ok(status),
        }
    }
}

//! A well-behaved HTTP/1.1 client.
//!
//! hyper's connection type rather than a client with a pool: tests have to say which connection a
//! request uses, and nothing may retry behind their back.

use crate::SOON;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, header::HOST, response::Parts};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, net::SocketAddr, time::Duration};
use tokio::{net::TcpStream, time::timeout};

pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// How large the pieces of a chunked body are.
const CHUNK: usize = 16 * 1024;

/// A request to be sent, once or often.
#[derive(Debug, Clone)]
pub struct Call {
    address: SocketAddr,
    method: Method,
    target: String,
    host: Option<String>,
    headers: Vec<(String, String)>,
    body: Bytes,
    chunked: bool,
    limit: Duration,
}

impl Call {
    /// A GET of `target` (path and query) at `address`.
    pub fn get(address: SocketAddr, target: &str) -> Self {
        Self::new(address, "GET", target)
    }

    /// Any method.
    ///
    /// # Panics
    /// When `method` is not a token.
    pub fn new(address: SocketAddr, method: &str, target: &str) -> Self {
        Self {
            address,
            method: method.parse().expect("a method is a token"),
            target: target.to_owned(),
            host: None,
            headers: Vec::new(),
            body: Bytes::new(),
            chunked: false,
            limit: SOON,
        }
    }

    /// Where it goes.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends this `Host` in place of the address.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends a body with its length.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends a body in chunks, without saying its length.
    #[must_use]
    pub fn chunked(mut self, body: impl Into<Bytes>) -> Self {
        self.chunked = true;
        self.body(body)
    }

    /// Waits this long for the whole answer.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sends the request over a connection of its own.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub async fn send(&self) -> Result<Response> {
        Connection::open(self.address).await?.send(self).await
    }

    pub(crate) fn time(&self) -> Duration {
        self.limit
    }

    /// As it is sent over HTTP/2: the host is in the target.
    pub(crate) fn request_2(&self) -> Result<Request<Body>> {
        let host = self.host.clone().unwrap_or_else(|| self.address.to_string());
        let target = format!("http://{host}{}", self.target);
        let mut request = Request::builder().method(self.method.clone()).uri(target);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        // The request's end is in its head where there is no body, as clients send it.
        Ok(request.version(http::Version::HTTP_2).body(self.framed())?)
    }

    fn request(&self) -> Result<Request<Body>> {
        let mut request = Request::builder().method(self.method.clone()).uri(&self.target);
        let host = self.host.clone().unwrap_or_else(|| self.address.to_string());
        request = request.header(HOST, host);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        Ok(request.body(self.framed())?)
    }

    fn framed(&self) -> Body {
        if !self.chunked {
            return Full::new(self.body.clone()).boxed();
        }
        let mut rest = self.body.clone();
        let pieces = std::iter::from_fn(move || {
            let length = rest.len().min(CHUNK);
            (length > 0).then(|| Ok(Frame::data(rest.split_to(length))))
        });
        StreamBody::new(Pieces(pieces)).boxed()
    }
}

/// An iterator as a stream that is always ready.
struct Pieces<I>(I);

impl<I: Iterator + Unpin> futures_core::Stream for Pieces<I> {
    type Item = I::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<I::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}

/// A connection that is kept.
#[derive(Debug)]
pub struct Connection {
    sender: http1::SendRequest<Body>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When that fails or takes longer than [`SOON`].
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = timeout(SOON, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its errors reach the sender as well.
        tokio::spawn(async move { _ = connection.await });
        Ok(Self { sender })
    }

    /// Whether the server has said, or shown, that this connection is over. Waits until that is
    /// known.
    pub async fn is_over(&mut self) -> bool {
        self.sender.ready().await.is_err()
    }

    /// Whether the server closes this idle connection within `limit`.
    pub async fn closes_within(&mut self, limit: Duration) -> bool {
        crate::within(limit, "the connection's end", async || self.sender.is_closed().then_some(()))
            .await
            .is_ok()
    }

    /// Sends `call`, whose address is not looked at.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub async fn send(&mut self, call: &Call) -> Result<Response> {
        let exchange = async {
            self.sender.ready().await.context("the connection is over")?;
            let response = self.sender.send_request(call.request()?).await?;
            let (parts, body) = response.into_parts();
            anyhow::Ok(Response::read(parts, body).await?)
        };
        match timeout(call.limit, exchange).await {
            Ok(answer) => answer.with_context(|| format!("{} {}", call.method, call.target)),
            Err(_) => bail!("{} {}: no answer in {:?}", call.method, call.target, call.limit),
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The fields after the body.
    pub trailers: HeaderMap,
}

impl Response {
    pub(crate) async fn read(parts: Parts, body: Incoming) -> Result<Self> {
        let body = body.collect().await.context("the body breaks off")?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let (status, headers) = (parts.status.as_u16(), parts.headers);
        Ok(Self { status, headers, body: body.to_bytes(), trailers })
    }

    /// A header's first value; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{} with no JSON: {:?}", self.status, self.text()))
    }

    /// The name of the [`crate::Origin`] or [`crate::Nginx`] that answered; empty when the gateway
    /// did itself.
    pub fn origin(&self) -> &str {
        self.header("x-origin")
    }
}

//! One client connection: a TCP stream under deadlines, with a small write buffer.
//!
//! pingora reads and writes through this. What it adds to the socket: the deadlines of
//! [`Watch`], the limits of [`HeadCounter`], and one system call for a response's head and small
//! body. It keeps no read buffer: pingora's parser brings its own.

use crate::metrics::Rejection;

use super::{
    head::{BadHead, HeadCounter},
    watch::{Phase, Watch},
};
use async_trait::async_trait;
use http::HeaderValue;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType, raw_connect::ProxyDigest,
};
use std::{
    io::{self, ErrorKind, IoSlice},
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    runtime::Handle,
};

/// For a request's head, in total.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(10);

/// Between two requests.
pub(crate) const IDLE_TIME: Duration = Duration::from_secs(75);

/// For a client to take some bytes of its response.
const WRITE_TIME: Duration = Duration::from_secs(60);

/// For a client that may still be sending to read its answer: closing a socket with unread input resets the
/// connection, and the reset can overtake the answer.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// What is read and thrown away in that time at most.
const LINGER_BYTES: usize = 1 << 20;

/// Responses up to this size leave in one system call.
const WRITE_BUFFER: usize = 4096;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Conn {
    /// There until it is dropped.
    tcp: Option<TcpStream>,
    peer: SocketAddr,
    peer_value: HeaderValue,
    watch: Arc<Watch>,
    head: HeadCounter,
    /// Bytes given to the parser since the request began.
    given: u64,
    /// The request began with the first of them, and not with bytes read before.
    aligned: bool,
    out: Vec<u8>,
    /// How much of `out` is already on the wire.
    sent: usize,
}

impl Conn {
    pub(crate) fn new(tcp: TcpStream, peer: SocketAddr, watch: Arc<Watch>) -> Self {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let text = peer.ip().to_string();
        let peer_value =
            HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("unknown"));
        let head = HeadCounter::default();
        let (given, aligned, out, sent) = (0, true, Vec::new(), 0);
        let tcp = Some(tcp);
        Self { tcp, peer, peer_value, watch, head, given, aligned, out, sent }
    }

    /// The address of whoever is connected, an IPv4 address mapped into IPv6 as IPv4.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer.ip()
    }

    /// [`Conn::peer`] as a header value.
    pub(crate) fn peer_value(&self) -> &HeaderValue {
        &self.peer_value
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Gets ready for the next request.
    pub(crate) fn next_request(&mut self) {
        // A client may pipeline: the parser then holds the beginning of the next request.
        self.aligned = self.aligned && self.watch.request_length() == Some(self.given);
        self.given = 0;
        self.head = if self.aligned { HeadCounter::default() } else { HeadCounter::midway() };
        self.watch.enter(Phase::Idle, Some(IDLE_TIME));
    }

    /// What a read that found nothing means.
    fn nothing_to_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch.register(cx.waker());
        match self.watch.phase() {
            // The end of the stream, as if the client had closed.
            Phase::Idle if self.watch.unwanted() || self.watch.overdue() => Poll::Ready(Ok(())),
            Phase::Head if self.watch.overdue() => {
                Poll::Ready(Err(self.refuse(Rejection::HeadTimeout, TIMEOUT)))
            }
            Phase::Exchange if self.watch.overdue() => {
                Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the request took too long")))
            }
            _ => Poll::Pending,
        }
    }

    /// Looks at the bytes of a head on their way to the parser.
    fn inspect(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.given = self.given.saturating_add(bytes.len() as u64);
        if self.watch.phase() == Phase::Exchange {
            return Ok(());
        }
        if bytes.is_empty() {
            let cut_off = self.head.started() && !self.head.done();
            return if cut_off { Err(self.refuse(Rejection::BadRequest, BAD)) } else { Ok(()) };
        }
        if self.watch.phase() == Phase::Idle {
            self.watch.enter(Phase::Head, Some(HEAD_TIME));
        }
        self.head.count(bytes).map_err(|bad| {
            let (rejection, response) = match bad {
                BadHead::LongTarget => (Rejection::TargetTooLong, TARGET_TOO_LONG),
                BadHead::LargeFields => (Rejection::FieldsTooLarge, FIELDS_TOO_LARGE),
                BadHead::RequestLine => (Rejection::BadRequest, BAD),
            };
            self.refuse(rejection, response)
        })
    }

    /// Answers before the parser would, as far as the socket takes it at once: nobody waits for a
    /// client that misbehaves.
    fn refuse(&mut self, rejection: Rejection, response: &'static [u8]) -> io::Error {
        self.watch.reject(rejection);
        self.watch.refuse();
        if let Some(tcp) = &self.tcp {
            let _ = tcp.try_write(response);
        }
        io::Error::new(ErrorKind::InvalidData, "refused by the limits of a request's head")
    }

    /// Whether the client may be sending something that nobody has read.
    fn has_unread(&self) -> bool {
        match self.watch.phase() {
            _ if self.watch.refused() => true,
            Phase::Idle => false,
            Phase::Head => self.head.started(),
            Phase::Exchange => !self.request_complete(),
        }
    }

    /// All bytes of the request, as its head counts them, were given to the parser.
    fn request_complete(&self) -> bool {
        self.watch.request_length().is_some_and(|length| self.aligned && self.given >= length)
    }

    /// After its request a client sends nothing, or the next request. Such bytes stay in the socket:
    /// a byte taken out would be one that the parser holds, and nobody would look at the deadline
    /// or at the client's end any more.
    fn poll_beyond(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(tcp) = &self.tcp else { return Poll::Ready(Err(ErrorKind::NotConnected.into())) };
        let mut byte = [0];
        match tcp.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(_)) | Poll::Pending => self.nothing_to_read(cx),
        }
    }

    /// Writes what is held, then as much of `more` as the socket takes; how much of that was taken.
    fn poll_drain(&mut self, cx: &mut Context<'_>, more: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let held = self.out.len() - self.sent;
            if held == 0 && more.is_empty() {
                return Poll::Ready(Ok(0));
            }
            let written = ready!(self.poll_socket(cx, more))?;
            if written < held {
                self.sent += written;
                continue;
            }
            self.out.clear();
            self.sent = 0;
            if written > held {
                return Poll::Ready(Ok(written - held));
            }
        }
    }

    /// One system call for what is held and `more`.
    fn poll_socket(&mut self, cx: &mut Context<'_>, more: &[u8]) -> Poll<io::Result<usize>> {
        let held = &self.out[self.sent..];
        let Some(tcp) = &mut self.tcp else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        let tcp = Pin::new(tcp);
        let polled = match (held, more) {
            (one, []) | ([], one) => tcp.poll_write(cx, one),
            (held, more) => tcp.poll_write_vectored(cx, &[IoSlice::new(held), IoSlice::new(more)]),
        };
        match polled {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(ErrorKind::WriteZero.into())),
            Poll::Ready(done) => {
                self.watch.write_progressed();
                Poll::Ready(done)
            }
            Poll::Pending if self.watch.write_stalled(WRITE_TIME) => Poll::Ready(Err(
                io::Error::new(ErrorKind::TimedOut, "the client does not take its response"),
            )),
            Poll::Pending => {
                self.watch.register(cx.waker());
                Poll::Pending
            }
        }
    }
}

const TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    content-length: 0\r\nconnection: close\r\n\r\n";
const BAD: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-length: 0\r\nconnection: close\r\n\r\n";
const TARGET_TOO_LONG: &[u8] = b"HTTP/1.1 414 URI Too Long\r\n\
    content-length: 0\r\nconnection: close\r\n\r\n";
const FIELDS_TOO_LARGE: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\n\
    content-length: 0\r\nconnection: close\r\n\r\n";

// === the socket's side ===

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.watch.phase() == Phase::Exchange && self.request_complete() {
            return self.poll_beyond(cx);
        }
        let before = buf.filled().len();
        let Some(tcp) = &mut self.tcp else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        match Pin::new(tcp).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => Poll::Ready(self.inspect(&buf.filled()[before..])),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.nothing_to_read(cx),
        }
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.out.len() + bytes.len() <= WRITE_BUFFER {
            self.out.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        self.poll_drain(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_drain(cx, &[]).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx, &[]))?;
        match &mut self.tcp {
            Some(tcp) => Pin::new(tcp).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

#[async_trait]
impl Shutdown for Conn {
    async fn shutdown(&mut self) {
        if !self.watch.refused() && self.watch.phase() == Phase::Head {
            // The parser refused it, and has said so.
            self.watch.reject(Rejection::BadRequest);
        }
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

/// A connection that closes while its client may still be sending lingers.
impl Drop for Conn {
    fn drop(&mut self) {
        if !self.has_unread() {
            return;
        }
        if let (Some(tcp), Ok(runtime)) = (self.tcp.take(), Handle::try_current()) {
            runtime.spawn(linger(tcp, Arc::clone(&self.watch)));
        }
    }
}

/// Says that nothing more comes, and throws away what the client still sends, within limits. The
/// watch keeps the process from ending before that.
async fn linger(mut tcp: TcpStream, _watch: Arc<Watch>) {
    let discard = async {
        let _ = tcp.shutdown().await;
        let (mut scratch, mut left) = ([0; 4096], LINGER_BYTES);
        while let Ok(read @ 1..) = tcp.read(&mut scratch).await {
            left = left.saturating_sub(read);
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_TIME, discard).await;
}

impl UniqueID for Conn {
    fn id(&self) -> UniqueIDType {
        self.tcp.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }
}

impl Ssl for Conn {}
impl Peek for Conn {}

impl GetTimingDigest for Conn {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Conn {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Conn {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

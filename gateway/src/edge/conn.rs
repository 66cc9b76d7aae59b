//! One client connection: a stream under deadlines, with a small write buffer.
//!
//! pingora reads and writes through this. What it adds to the socket: the deadlines of
//! [`Watch`], for HTTP/1.1 what [`RequestScanner`] refuses, and one system call for a response's head
//! and small body. It keeps no read buffer: pingora's parser brings its own. The deadlines of
//! HTTP/2 are those of its streams; here it has the one for a client that takes nothing.

use crate::metrics::Rejection;

use super::{
    client::Link,
    head::Bad,
    patience::Patience,
    scanner::RequestScanner,
    transport::Transport,
    watch::{Phase, Watch},
};
use async_trait::async_trait;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType, raw_connect::ProxyDigest,
};
use std::{
    io::{self, ErrorKind, IoSlice},
    os::fd::AsRawFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tidegate_config::plan::ClientTimeouts;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    runtime::Handle,
};

/// For a client that may still be sending to read its answer: closing a socket with unread input resets the
/// connection, and the reset can overtake the answer.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// The same for HTTP/2, where a large response may be on its way when the connection ends.
const FRAMED_LINGER_TIME: Duration = Duration::from_secs(2);

/// What is read and thrown away in that time at most.
const LINGER_BYTES: usize = 1 << 20;

/// Responses up to this size leave in one system call.
const WRITE_BUFFER: usize = 4096;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Conn {
    /// There until it is dropped.
    io: Option<Transport>,
    link: Link,
    timeouts: ClientTimeouts,
    /// HTTP/2: frames that others look at.
    framed: bool,
    scanner: RequestScanner,
    patience: Patience,
    /// Bytes given to the parser since the request began.
    given: u64,
    out: Vec<u8>,
    /// How much of `out` is already on the wire.
    sent: usize,
}

impl Conn {
    pub(super) fn new(io: Transport, link: Link, framed: bool) -> Self {
        Self {
            io: Some(io),
            timeouts: link.client.listening.settings().timeouts,
            link,
            framed,
            scanner: RequestScanner::default(),
            patience: Patience::default(),
            given: 0,
            out: Vec::new(),
            sent: 0,
        }
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    fn watch(&self) -> &Watch {
        &self.link.watch
    }

    /// Gets ready for the next request.
    pub(super) fn next_request(&mut self) {
        self.scanner.taken();
        self.given = 0;
        self.patience = Patience::default();
        // A client may pipeline: the parser then holds the beginning of the next request.
        match self.scanner.within_head() {
            true => self.watch().enter(Phase::Head, Some(self.timeouts.head)),
            false => self.watch().enter(Phase::Idle, Some(self.timeouts.idle)),
        }
    }

    /// Ready when the next request begins to arrive, or when none will: what serves a request takes
    /// far more memory than what waits for it.
    pub(super) fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Where the parser holds the beginning already, or something else came, it has to look.
        let idle = self.scanner.idle();
        let Some(io) = self.io.as_mut().filter(|_| idle) else { return Poll::Ready(()) };
        if io.poll_readable(cx).is_ready() {
            return Poll::Ready(());
        }
        if self.out.is_empty() {
            self.out = Vec::new();
        }
        self.nothing_to_read(cx).map(|_| ())
    }

    /// What a read that found nothing means.
    fn nothing_to_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.framed {
            return Poll::Pending;
        }
        self.link.watch.register(cx.waker());
        match self.watch().phase() {
            // The end of the stream, as if the client had closed.
            Phase::Idle if self.watch().unwanted() || self.watch().overdue() => Poll::Ready(Ok(())),
            Phase::Head if self.watch().overdue() => {
                Poll::Ready(Err(self.refuse(cx, Rejection::HeadTimeout, TIMEOUT)))
            }
            Phase::Exchange => {
                self.await_body();
                if self.watch().overdue() {
                    let why = "the request took too long";
                    return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, why)));
                }
                Poll::Pending
            }
            _ => Poll::Pending,
        }
    }

    /// The client has the time that its patience allows to go on with its request.
    fn await_body(&mut self) {
        if self.request_complete() {
            return;
        }
        let ClientTimeouts { body, min_body_rate, .. } = self.timeouts;
        let now = self.watch().now();
        if let Some(left) = self.patience.wait(now, self.given, body, min_body_rate) {
            self.watch().await_body(Some(left));
        }
    }

    /// Looks at bytes on their way to the parser; how many of them may pass.
    fn inspect(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize> {
        if self.framed {
            return Ok(bytes.len());
        }
        self.given = self.given.saturating_add(bytes.len() as u64);
        let phase = self.watch().phase();
        if phase == Phase::Exchange && self.patience.came(self.watch().now()) {
            self.watch().await_body(None);
        }
        if self.watch().tunnel() {
            return Ok(bytes.len());
        }
        if bytes.is_empty() {
            let cut_off = phase != Phase::Exchange && self.scanner.within_head();
            return if cut_off { Err(self.refuse(cx, Rejection::BadRequest, BAD)) } else { Ok(0) };
        }
        let passed = self.scanner.feed(bytes).map_err(|bad| self.refuse_bad(cx, bad))?;
        // Empty lines are no beginning.
        if phase == Phase::Idle && !self.scanner.idle() {
            self.watch().enter(Phase::Head, Some(self.timeouts.head));
        }
        Ok(passed)
    }

    /// Answers a request that has more than one reading.
    fn refuse_bad(&mut self, cx: &mut Context<'_>, bad: Bad) -> io::Error {
        if self.watch().phase() == Phase::Exchange {
            // Its head passed: whoever serves it answers.
            self.watch().refuse();
            return io::Error::new(ErrorKind::InvalidData, "the request's body is malformed");
        }
        let (rejection, response) = match bad {
            Bad::LongTarget => (Rejection::TargetTooLong, TARGET_TOO_LONG),
            Bad::LargeFields => (Rejection::FieldsTooLarge, FIELDS_TOO_LARGE),
            Bad::Malformed => (Rejection::BadRequest, BAD),
        };
        self.refuse(cx, rejection, response)
    }

    /// Answers before the parser would, as far as the socket takes it at once: nobody waits for a
    /// client that misbehaves.
    fn refuse(
        &mut self,
        cx: &mut Context<'_>,
        rejection: Rejection,
        response: &'static [u8],
    ) -> io::Error {
        self.watch().reject(rejection);
        self.watch().refuse();
        if let Some(io) = &mut self.io {
            let _ = Pin::new(&mut *io).poll_write(cx, response);
            let _ = Pin::new(io).poll_flush(cx);
        }
        io::Error::new(ErrorKind::InvalidData, "refused by the limits of a request's head")
    }

    /// Whether the client may be sending something that nobody has read.
    fn has_unread(&self) -> bool {
        match self.watch().phase() {
            // Frames may be on their way at any time.
            _ if self.framed => true,
            _ if self.watch().refused() => true,
            Phase::Idle => false,
            Phase::Head => true,
            Phase::Exchange => !self.request_complete(),
        }
    }

    /// All bytes of the request were given to the parser.
    fn request_complete(&self) -> bool {
        self.scanner.complete() && !self.watch().tunnel()
    }

    /// After its request a client sends nothing, or the next request. Such bytes stay in the socket:
    /// a byte taken out would be one that the parser holds, and nobody would look at the deadline
    /// or at the client's end any more.
    fn poll_beyond(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        match io.poll_peek(cx) {
            Poll::Ready(Ok(false)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(true)) | Poll::Pending => self.nothing_to_read(cx),
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
        let Some(io) = &mut self.io else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        let io = Pin::new(io);
        let polled = match (held, more) {
            (one, []) | ([], one) => io.poll_write(cx, one),
            (held, more) => io.poll_write_vectored(cx, &[IoSlice::new(held), IoSlice::new(more)]),
        };
        match self.progress(cx, polled) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(ErrorKind::WriteZero.into())),
            polled => polled,
        }
    }

    /// A client that takes nothing of its response is waited for, but not for ever.
    fn progress<T>(
        &self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(done) => {
                self.watch().write_progressed();
                Poll::Ready(done)
            }
            Poll::Pending if self.watch().write_stalled(self.timeouts.body) => Poll::Ready(Err(
                io::Error::new(ErrorKind::TimedOut, "the client does not take its response"),
            )),
            Poll::Pending => {
                self.watch().register(cx.waker());
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
        if !self.framed && self.watch().phase() == Phase::Exchange && self.request_complete() {
            return self.poll_beyond(cx);
        }
        if let Some(bad) = self.scanner.bad() {
            return Poll::Ready(Err(self.refuse_bad(cx, bad)));
        }
        let before = buf.filled().len();
        let Some(io) = &mut self.io else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        match Pin::new(io).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let passed = self.inspect(cx, &buf.filled()[before..])?;
                buf.set_filled(before + passed);
                Poll::Ready(Ok(()))
            }
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
        ready!(self.poll_drain(cx, &[]))?;
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(())) };
        let flushed = Pin::new(io).poll_flush(cx);
        self.progress(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx, &[]))?;
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(())) };
        let shut = Pin::new(io).poll_shutdown(cx);
        self.progress(cx, shut)
    }
}

#[async_trait]
impl Shutdown for Conn {
    async fn shutdown(&mut self) {
        if !self.framed && !self.watch().refused() && self.watch().phase() == Phase::Head {
            // The parser refused it, and has said so.
            self.watch().reject(Rejection::BadRequest);
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
        if let (Some(io), Ok(runtime)) = (self.io.take(), Handle::try_current()) {
            let limit = if self.framed { FRAMED_LINGER_TIME } else { LINGER_TIME };
            runtime.spawn(linger(io, limit, self.link.clone()));
        }
    }
}

/// Says that nothing more comes, and throws away what the client still sends, within limits. The
/// watch keeps the process from ending before that.
async fn linger(mut io: Transport, limit: Duration, _link: Link) {
    let discard = async {
        let _ = io.shutdown().await;
        let (mut scratch, mut left) = ([0; 4096], LINGER_BYTES);
        while let Ok(read @ 1..) = io.read(&mut scratch).await {
            left = left.saturating_sub(read);
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(limit, discard).await;
}

impl UniqueID for Conn {
    fn id(&self) -> UniqueIDType {
        self.io.as_ref().map_or(-1, AsRawFd::as_raw_fd)
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

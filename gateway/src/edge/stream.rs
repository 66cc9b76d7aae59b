//! One stream of an HTTP/2 connection, under the deadlines that an HTTP/1.1 request has.
//!
//! pingora's own HTTP/2 session waits for a client without any limit. This one is pingora's with a
//! [`Watch`]: what a connection does for HTTP/1.1, the stream does here.

use super::{
    Drain,
    client::Link,
    patience::Patience,
    watch::{Phase, Watch},
};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use pingora_core::protocols::{
    Digest,
    http::{
        HttpTask,
        custom::{CustomMessageWrite, server::Session},
        v2::server::HttpSession,
    },
    l4::socket::SocketAddr,
};
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};
use tidegate_config::plan::ClientTimeouts;

/// Conversations that a client may break off before it is looked at how many it finished.
const ABORTS: u32 = 100;

/// Conversations that are remembered.
const MEMORY: u32 = 1024;

/// Streams that may be unfinished here, when a client may have 100 at once: more are those that it
/// broke off while an upstream takes nothing of them.
const UNFINISHED: u32 = 400;

/// Watches that are kept for streams to come.
const SPARE: usize = 8;

/// What the streams of a connection share.
#[derive(Debug)]
pub(super) struct Streams {
    link: Link,
    timeouts: ClientTimeouts,
    open: AtomicU32,
    begun: AtomicU32,
    aborted: AtomicU32,
    /// How long the connection may be without a stream, in milliseconds.
    rest: AtomicU64,
    /// Watches of streams that are over.
    spare: Mutex<Vec<Arc<Watch>>>,
}

impl Streams {
    pub(super) fn new(link: Link, timeouts: ClientTimeouts) -> Arc<Self> {
        let rest = u64::try_from(timeouts.idle.as_millis()).unwrap_or(u64::MAX);
        Arc::new(Self {
            link,
            timeouts,
            open: AtomicU32::new(0),
            begun: AtomicU32::new(0),
            aborted: AtomicU32::new(0),
            rest: AtomicU64::new(rest),
            spare: Mutex::default(),
        })
    }

    /// The connection's.
    pub(super) fn watch(&self) -> &Watch {
        &self.link.watch
    }

    pub(super) fn open(&self) -> u32 {
        self.open.load(Ordering::Acquire)
    }

    /// The client breaks off most of what it begins.
    pub(super) fn is_abused(&self) -> bool {
        let aborted = self.aborted.load(Ordering::Relaxed);
        self.open() > UNFINISHED
            || aborted > ABORTS && aborted > self.begun.load(Ordering::Relaxed) / 2
    }

    /// There is no room for the connection: it ends after its first streams.
    pub(super) fn is_excess(&self) -> bool {
        self.link.client.excess
    }

    /// Counts a request that was none.
    pub(super) fn reject(&self) {
        self.watch().reject(crate::metrics::Rejection::BadRequest);
    }

    /// The connection is to end this long after its last stream.
    pub(super) fn close_within(&self, limit: Duration) {
        self.rest.store(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if self.open() == 0 {
            self.watch().expire_in(Some(limit));
        }
    }

    fn begin(&self, drain: &Arc<Drain>) -> Link {
        self.open.fetch_add(1, Ordering::AcqRel);
        if self.begun.fetch_add(1, Ordering::Relaxed) > MEMORY {
            // What was long ago counts less and less.
            for count in [&self.begun, &self.aborted] {
                count.store(count.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
            }
        }
        self.watch().expire_in(None);
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let watch = spare.unwrap_or_else(|| drain.watch(self.timeouts.head));
        watch.renew(self.timeouts.head);
        Link { client: Arc::clone(&self.link.client), watch }
    }

    fn end(&self, watch: Arc<Watch>) {
        watch.enter(Phase::Exchange, None);
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            spare.push(watch);
        }
        drop(spare);
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            let rest = Duration::from_millis(self.rest.load(Ordering::Relaxed));
            self.watch().expire_in(Some(rest));
        }
    }
}

/// One request and its response.
pub(super) struct Stream {
    inner: HttpSession,
    link: Link,
    patience: Patience,
    streams: Arc<Streams>,
    /// All of the body was read. With trailers behind it `h2` never says so.
    read: bool,
    /// The response is complete: nobody needs the rest of the request (RFC 9113 §8.1).
    answered: bool,
}

impl Stream {
    pub(super) fn new(mut inner: HttpSession, streams: &Arc<Streams>, drain: &Arc<Drain>) -> Self {
        inner.set_write_timeout(Some(streams.timeouts.body));
        let link = streams.begin(drain);
        let head = inner.req_header_mut();
        join_cookies(head);
        head.extensions_mut().insert(link.clone());
        Self {
            inner,
            link,
            patience: Patience::default(),
            streams: Arc::clone(streams),
            read: false,
            answered: false,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.streams.end(Arc::clone(&self.link.watch));
    }
}

/// HTTP/2 clients may send a cookie header in crumbs (RFC 9113 §8.2.3); HTTP/1.1 has one.
fn join_cookies(head: &mut RequestHeader) {
    if head.headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> =
        head.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        let _ = head.insert_header(header::COOKIE, whole);
    }
}

/// The exchange behind a request's head, if it came by HTTP/2.
pub(crate) fn link(head: &RequestHeader) -> Option<&Link> {
    head.extensions.get()
}

#[async_trait]
impl Session for Stream {
    fn req_header(&self) -> &RequestHeader {
        self.inner.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.inner.req_header_mut()
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        let read = self.inner.read_body_bytes().await;
        self.read |= matches!(read, Ok(None));
        read
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.inner.drain_request_body().await
    }

    async fn write_response_header(&mut self, resp: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.inner.write_response_header(resp, end)?;
        self.answered |= end;
        Ok(())
    }

    async fn write_response_header_ref(&mut self, resp: &ResponseHeader, end: bool) -> Result<()> {
        self.inner.write_response_header_ref(resp, end)?;
        self.answered |= end;
        Ok(())
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.inner.write_body(data, end).await?;
        self.answered |= end;
        Ok(())
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.inner.write_trailers(trailers)?;
        self.answered = true;
        Ok(())
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let written = self.inner.response_duplex_vec(tasks).await;
        self.answered |= matches!(written, Ok(true));
        // What pingora does not say: writing fails because of the client.
        written.map_err(|error| match error.esource() {
            ErrorSource::Unset => error.into_down(),
            _ => error,
        })
    }

    /// The watch has all limits.
    fn set_read_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.inner.get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.inner.get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.inner.request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.inner.response_written()
    }

    async fn shutdown(&mut self, _code: u32, _ctx: &str) {
        self.inner.shutdown();
    }

    fn is_body_done(&mut self) -> bool {
        self.read || self.inner.is_body_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.inner.finish()
    }

    /// A stream that was reset has no body to come, either; a request that announced one is not
    /// complete without it.
    fn is_body_empty(&mut self) -> bool {
        let announced = self.inner.req_header().headers.get(header::CONTENT_LENGTH);
        self.inner.is_body_empty() && announced.is_none_or(|length| length == "0")
    }

    /// pingora's, with an end.
    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        let Self { inner, link, patience, streams, read: all, answered } = self;
        if *answered && !*all && !inner.is_body_done() {
            *all = true;
            return Ok(None);
        }
        let watch = &*link.watch;
        let no_body_expected = no_body_expected || *all;
        let incomplete = !no_body_expected && !inner.is_body_done();
        let read = inner.body_bytes_read() as u64;
        let ClientTimeouts { body, min_body_rate, .. } = streams.timeouts;
        let result = {
            let mut reading = pin!(inner.read_body_or_idle(no_body_expected));
            poll_fn(|cx| {
                if let Poll::Ready(result) = reading.as_mut().poll(cx) {
                    return Poll::Ready(Some(result));
                }
                watch.register(cx.waker());
                if incomplete
                    && let Some(left) = patience.wait(watch.now(), read, body, min_body_rate)
                {
                    watch.await_body(Some(left));
                }
                if watch.overdue() { Poll::Ready(None) } else { Poll::Pending }
            })
            .await
        };
        match result {
            Some(result) => {
                if patience.came(watch.now()) {
                    watch.await_body(None);
                }
                *all |= matches!(result, Ok(None));
                if result.is_err() && inner.response_written().is_none() {
                    streams.aborted.fetch_add(1, Ordering::Relaxed);
                }
                result
            }
            None => {
                let why = "the request took too long";
                Err(Error::explain(ErrorType::ReadTimedout, why).into_down())
            }
        }
    }

    fn body_bytes_sent(&self) -> usize {
        self.inner.body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.inner.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.inner.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.inner.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.inner.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.inner.server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.inner.pseudo_raw_h1_request_header()
    }

    fn enable_retry_buffering(&mut self) {
        self.inner.enable_retry_buffering();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.inner.retry_buffer_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.inner.get_retry_buffer()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    /// Nothing beside the request and its response.
    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn futures_core::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>>
    {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _reader: Box<
            dyn futures_core::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static,
        >,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> Result<()> {
        Ok(())
    }
}

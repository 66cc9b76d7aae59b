//! Deadlines of connections, without a timer for each request.
//!
//! Every connection has a [`Watch`]: a few atomics and the waker of its task. One sweeper looks at
//! all of them ten times a second and wakes those that are overdue. So setting a deadline, which
//! happens several times a request, is one atomic store; the price is a resolution of
//! [`SWEEP`].

use crate::metrics::{Metrics, Rejection};
use futures_util::task::AtomicWaker;
use std::{
    sync::{
        Arc, LazyLock, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

/// How often deadlines are looked at.
const SWEEP: Duration = Duration::from_millis(100);

/// How long idle connections stay when the gateway goes away: a request that is on its way to one
/// still gets its answer, and `connection: close` with it.
const IDLE_GRACE: Duration = Duration::from_millis(250);

/// No deadline.
const NEVER: u64 = u64::MAX;

/// Where a connection is in its cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between requests: no byte of the next one has come.
    Idle,
    /// The head of a request is arriving.
    Head,
    /// The head is complete: the request is being served.
    Exchange,
}

/// What the sweeper knows of one connection, or of one stream of an HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct Watch {
    phase: AtomicU8,
    /// Milliseconds of the sweeper's clock.
    deadline: AtomicU64,
    /// The same, for a client that does not take its response.
    write_deadline: AtomicU64,
    /// The same, for a client that does not send what its request still lacks.
    body_deadline: AtomicU64,
    /// The deadline of an exchange has passed.
    expired: AtomicBool,
    /// The body's deadline has passed.
    stalled: AtomicBool,
    /// The request's body may rest, as streams do.
    may_rest: AtomicBool,
    /// A live stream: closed at this time, which others set.
    stream: Mutex<Option<Arc<StreamEnd>>>,
    streaming: AtomicBool,
    /// The stream was ended by others.
    ended: AtomicBool,
    /// What the client sends is no HTTP any more.
    tunnel: AtomicBool,
    /// The client was refused while it may still be sending.
    refused: AtomicBool,
    waker: AtomicWaker,
    drain: Arc<Drain>,
}

impl Watch {
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Exchange,
        }
    }

    /// Enters `phase` with `limit` to stay in it.
    pub(crate) fn enter(&self, phase: Phase, limit: Option<Duration>) {
        self.expired.store(false, Ordering::Relaxed);
        self.stalled.store(false, Ordering::Relaxed);
        self.ended.store(false, Ordering::Relaxed);
        self.may_rest.store(false, Ordering::Relaxed);
        self.body_deadline.store(NEVER, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.expire_in(limit);
    }

    /// Gets ready for another stream.
    pub(super) fn renew(&self, limit: Duration) {
        self.refused.store(false, Ordering::Relaxed);
        self.write_progressed();
        self.stream_until(None);
        self.enter(Phase::Head, Some(limit));
    }

    /// Sets the time left in this phase.
    pub(crate) fn expire_in(&self, limit: Option<Duration>) {
        self.expired.store(false, Ordering::Relaxed);
        self.deadline.store(self.drain.after(limit), Ordering::Relaxed);
    }

    /// Sets the time left for the client to go on with its request; `None`: nobody waits for it.
    pub(crate) fn await_body(&self, limit: Option<Duration>) {
        let limit = limit.filter(|_| !self.may_rest.load(Ordering::Relaxed));
        self.body_deadline.store(self.drain.after(limit), Ordering::Relaxed);
    }

    /// Whether the client is waited for to go on with its request.
    pub(crate) fn awaits_body(&self) -> bool {
        self.body_deadline.load(Ordering::Relaxed) != NEVER
    }

    /// The body of this request may rest.
    pub(crate) fn let_rest(&self) {
        self.may_rest.store(true, Ordering::Relaxed);
        self.body_deadline.store(NEVER, Ordering::Relaxed);
    }

    /// Whether the phase's time is over.
    pub(crate) fn overdue(&self) -> bool {
        let now = self.drain.now();
        if self.phase() != Phase::Exchange {
            return self.deadline.load(Ordering::Relaxed) <= now;
        }
        let ended = self.stream_ends(now);
        if ended {
            self.ended.store(true, Ordering::Relaxed);
        }
        let expired = self.deadline.load(Ordering::Relaxed) <= now || ended;
        let stalled = self.body_deadline.load(Ordering::Relaxed) <= now;
        if expired {
            self.expired.store(true, Ordering::Relaxed);
        } else if stalled {
            self.stalled.store(true, Ordering::Relaxed);
        }
        expired || stalled
    }

    /// Whether the exchange was ended by its deadline.
    pub(crate) fn expired(&self) -> bool {
        self.expired.load(Ordering::Relaxed)
    }

    /// Whether the exchange was ended because the client did not go on with its request.
    pub(crate) fn stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Whether the stream was ended because its variant was taken away.
    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// From now on the exchange is a live stream, which ends when `end` says so.
    pub(crate) fn stream_until(&self, end: Option<Arc<StreamEnd>>) {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        self.streaming.store(end.is_some(), Ordering::Relaxed);
        *stream = end;
    }

    fn stream_ends(&self, now: u64) -> bool {
        if !self.streaming.load(Ordering::Relaxed) {
            return false;
        }
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.as_ref().is_some_and(|end| end.0.load(Ordering::Relaxed) <= now)
    }

    /// Milliseconds of the sweeper's clock.
    pub(crate) fn now(&self) -> u64 {
        self.drain.now()
    }

    /// Notes that the client was refused while it may still be sending.
    pub(crate) fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Counts a request that never got as far as the proxy.
    pub(crate) fn reject(&self, rejection: Rejection) {
        self.drain.metrics.reject(rejection);
    }

    /// Whether the client was refused while it may still be sending.
    pub(crate) fn refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// From now on what the client sends is no HTTP any more.
    pub(crate) fn open_tunnel(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    /// Whether what the client sends is no HTTP any more.
    pub(super) fn tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Relaxed)
    }

    /// A write made no progress: gives the client `limit`, counted from the first such write.
    pub(crate) fn write_stalled(&self, limit: Duration) -> bool {
        match self.write_deadline.load(Ordering::Relaxed) {
            NEVER => {
                self.write_deadline.store(self.drain.after(Some(limit)), Ordering::Relaxed);
                false
            }
            deadline => deadline <= self.drain.now(),
        }
    }

    /// A write made progress.
    pub(crate) fn write_progressed(&self) {
        if self.write_deadline.load(Ordering::Relaxed) != NEVER {
            self.write_deadline.store(NEVER, Ordering::Relaxed);
        }
    }

    /// Whether the gateway is going away, so that this exchange is the connection's last.
    pub(crate) fn draining(&self) -> bool {
        self.drain.idle_end.load(Ordering::Relaxed) != NEVER
    }

    /// Whether idle connections close.
    pub(crate) fn unwanted(&self) -> bool {
        self.drain.unwanted()
    }

    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }
}

/// When the live streams of a variant end: never, until its rollout takes the variant away.
#[derive(Debug)]
pub(crate) struct StreamEnd(AtomicU64);

impl Default for StreamEnd {
    fn default() -> Self {
        Self(AtomicU64::new(NEVER))
    }
}

impl StreamEnd {
    /// Ends all of them in `limit` from now.
    pub(crate) fn end_in(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(NEVER);
        self.0.store(milliseconds().saturating_add(limit), Ordering::Relaxed);
    }
}

/// What clocks count from.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

fn milliseconds() -> u64 {
    u64::try_from(EPOCH.elapsed().as_millis()).unwrap_or(NEVER)
}

/// All connections of the process, and whether they are being drained.
#[derive(Debug)]
pub(crate) struct Drain {
    /// Milliseconds since the epoch, as of the last sweep: requests read no clock for deadlines.
    clock: AtomicU64,
    /// When idle connections close, in milliseconds since the epoch.
    idle_end: AtomicU64,
    /// Watches there are: connections, and streams of HTTP/2 connections.
    open: AtomicUsize,
    /// Connections open now.
    connections: AtomicUsize,
    watches: Mutex<Vec<Weak<Watch>>>,
    metrics: Arc<Metrics>,
}

impl Drain {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            clock: AtomicU64::new(milliseconds()),
            idle_end: AtomicU64::new(NEVER),
            open: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            watches: Mutex::default(),
            metrics,
        })
    }

    /// Registers a new connection or stream, which has `limit` to send its first request's head.
    pub(crate) fn watch(self: &Arc<Self>, limit: Duration) -> Arc<Watch> {
        let watch = Arc::new(Watch {
            phase: AtomicU8::new(Phase::Idle as u8),
            deadline: AtomicU64::new(self.after(Some(limit))),
            write_deadline: AtomicU64::new(NEVER),
            body_deadline: AtomicU64::new(NEVER),
            expired: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            may_rest: AtomicBool::new(false),
            stream: Mutex::default(),
            streaming: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            tunnel: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            drain: Arc::clone(self),
        });
        self.open.fetch_add(1, Ordering::Relaxed);
        self.lock().push(Arc::downgrade(&watch));
        watch
    }

    /// Connections and streams open now.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Client connections open now.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection, until the guard is dropped.
    pub(super) fn connect(self: &Arc<Self>) -> Connected {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connected(Arc::clone(self))
    }

    /// Counts a connection that found no room.
    pub(super) fn refuse_connection(&self) {
        self.metrics.reject(Rejection::TooManyConnections);
    }

    /// Counts a connection that did not get through its TLS handshake.
    pub(super) fn refuse_handshake(&self) {
        self.metrics.reject(Rejection::TlsHandshake);
    }

    /// From now on a connection closes after the request it has, or soon if it has none.
    pub(crate) fn start(&self) {
        self.idle_end.store(self.after(Some(IDLE_GRACE)), Ordering::Relaxed);
    }

    /// Connections stay after all.
    pub(crate) fn cancel(&self) {
        self.idle_end.store(NEVER, Ordering::Relaxed);
    }

    /// Wakes overdue connections, for ever.
    pub(crate) async fn sweep(self: Arc<Self>) {
        let mut tick = tokio::time::interval(SWEEP);
        loop {
            tick.tick().await;
            let now = milliseconds();
            self.clock.store(now, Ordering::Relaxed);
            self.lock().retain(|watch| {
                let Some(watch) = watch.upgrade() else { return false };
                let due = watch.deadline.load(Ordering::Relaxed) <= now
                    || watch.write_deadline.load(Ordering::Relaxed) <= now
                    || watch.body_deadline.load(Ordering::Relaxed) <= now
                    || watch.stream_ends(now)
                    || (self.unwanted() && watch.phase() == Phase::Idle);
                if due {
                    watch.waker.wake();
                }
                true
            });
        }
    }

    fn unwanted(&self) -> bool {
        self.idle_end.load(Ordering::Relaxed) <= self.now()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Watch>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn after(&self, limit: Option<Duration>) -> u64 {
        let Some(limit) = limit else { return NEVER };
        // The clock may be one sweep behind: late rather than early.
        let limit = u64::try_from(limit.saturating_add(SWEEP).as_millis()).unwrap_or(NEVER);
        self.now().saturating_add(limit)
    }
}

/// A connection that is counted.
#[derive(Debug)]
pub(crate) struct Connected(Arc<Drain>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.drain.open.fetch_sub(1, Ordering::Release);
    }
}

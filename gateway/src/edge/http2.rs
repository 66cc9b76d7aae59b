//! The streams of an HTTP/2 connection, all at once.
//!
//! What a client can make this gateway hold is bounded: streams, header lists and windows by what
//! is announced here, resets that wait to be noticed by the `h2` crate, and conversations that the
//! client breaks off again and again (rapid reset, CVE-2023-44487) by [`Streams::is_abused`].

use super::{
    Conn, Drain,
    stream::{Stream, Streams},
    watch::{Phase, Watch},
};
use h2::Reason;
use pingora_core::{
    apps::HttpServerApp,
    protocols::{
        Digest,
        http::{
            ServerSession,
            v2::server::{H2Accept, H2Options, HttpSession, default_h2_options, handshake},
        },
    },
    server::ShutdownWatch,
};
use std::{
    future::poll_fn,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::timeout};

/// What a stream may send before it is read.
const STREAM_WINDOW: u32 = 256 * 1024;

/// What all streams of a connection may.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What is held of a response for a client that does not take it.
const SEND_BUFFER: usize = 64 * 1024;

/// Streams that a client may make this side reset (MadeYouReset, CVE-2025-8671).
const LOCAL_RESETS: usize = 512;

/// Requests that are no HTTP, on one connection.
const MALFORMED: u32 = 32;

/// For a client to close after it was told that nothing more is served.
const FAREWELL: Duration = Duration::from_secs(1);

/// How often a connection with streams is looked at.
const BUSY: Duration = Duration::from_secs(10);

/// For streams to end whose connection is gone.
const AFTERMATH: Duration = Duration::from_secs(5);

fn options() -> H2Options {
    let mut options = default_h2_options();
    options
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_local_error_reset_streams(Some(LOCAL_RESETS));
    options
}

/// Serves the streams of one connection.
pub(super) async fn converse<A>(
    conn: Conn,
    app: Arc<A>,
    drain: Arc<Drain>,
    mut shutdown: ShutdownWatch,
) where
    A: HttpServerApp + Send + Sync + 'static,
{
    let link = conn.link().clone();
    let timeouts = link.client.listening.settings().timeouts;
    link.watch.enter(Phase::Exchange, Some(timeouts.head));
    let shaken = timeout(timeouts.head, handshake(Box::new(conn), Some(options()))).await;
    let Ok(Ok(mut h2)) = shaken else { return };
    let digest = Arc::new(Digest::default());
    let streams = Streams::new(link, timeouts);
    let mut tasks = JoinSet::new();
    // Once it closes: until when its client may take what was written last.
    let (mut malformed, mut closing) = (0, None);
    let until = || Some(Instant::now() + timeouts.body);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop), if closing.is_none() => None,
            () = idle(&streams) => {
                if closing.is_some_and(|end| !h2.has_streams() || Instant::now() >= end) {
                    break;
                }
                None
            }
            accepted = HttpSession::from_h2_conn(&mut h2, Arc::clone(&digest)) => Some(accepted),
        };
        match accepted {
            // Nobody wants more of this connection: its streams end, and then it does. What they
            // wrote last may still be on its way.
            None => {
                if closing.is_none() {
                    h2.graceful_shutdown();
                }
                closing = closing.or_else(until);
                streams.close_within(FAREWELL);
            }
            Some(Ok(Some(H2Accept::Session(session)))) => {
                if streams.is_abused() {
                    h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    closing = closing.or_else(until);
                    streams.close_within(FAREWELL);
                    continue;
                }
                if streams.is_excess() && closing.is_none() {
                    closing = until();
                    streams.close_within(FAREWELL);
                    h2.graceful_shutdown();
                }
                let stream = Stream::new(session, &streams, &drain);
                let (app, shutdown) = (Arc::clone(&app), shutdown.clone());
                while tasks.try_join_next().is_some() {}
                tasks.spawn(async move {
                    let session = ServerSession::new_custom(Box::new(stream));
                    app.process_new_http(session, &shutdown).await;
                });
            }
            Some(Ok(Some(H2Accept::Rejected))) => {
                malformed += 1;
                streams.reject();
                if malformed > MALFORMED {
                    h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    closing = closing.or_else(until);
                    streams.close_within(FAREWELL);
                }
            }
            Some(Ok(None) | Err(_)) => break,
        }
    }
    let farewell = async {
        h2.abrupt_shutdown(Reason::NO_ERROR);
        while let Some(Ok(_)) = h2.accept().await {}
    };
    let _ = timeout(FAREWELL, farewell).await;
    drop(h2);
    // The client is gone. Most streams notice it, but one that waits for its upstream to take some
    // bytes would wait for as long as that likes.
    let _ = timeout(AFTERMATH, async { while tasks.join_next().await.is_some() {} }).await;
    tasks.abort_all();
}

/// Ends when the connection has had no stream for as long as it may.
async fn idle(streams: &Streams) {
    let watch: &Watch = streams.watch();
    poll_fn(|cx| {
        watch.register(cx.waker());
        if !watch.overdue() {
            return Poll::Pending;
        }
        if streams.open() > 0 {
            // Not for ever: the last of them may be ending just now.
            watch.expire_in(Some(BUSY));
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

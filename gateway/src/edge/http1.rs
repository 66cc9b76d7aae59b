//! The requests of an HTTP/1.1 connection, one after the other.

use super::Conn;
use pingora_core::{apps::HttpServerApp, protocols::http::ServerSession, server::ShutdownWatch};
use std::{future::poll_fn, sync::Arc};

/// Requests a connection may carry, after the first.
const REUSES: u32 = 999;

/// Serves the requests of one connection.
pub(super) async fn converse<A>(conn: Conn, app: Arc<A>, shutdown: ShutdownWatch)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let (mut conn, mut settings) = (Box::new(conn), None);
    let mut left = Some(REUSES);
    loop {
        poll_fn(|cx| conn.poll_request(cx)).await;
        let mut session = ServerSession::new_http1(conn);
        match settings.take() {
            Some(kept) => {
                pingora_core::apps::HttpPersistentSettings::apply_to_session(kept, &mut session);
            }
            None => {
                session.set_keepalive_reuses_remaining(left.take());
                session.set_pipelining_enabled(true);
            }
        }
        // No time limit of pingora's own between requests: the connection's watch has them all.
        session.set_keepalive(Some(0));
        let Some(reused) = app.process_new_http(session, &shutdown).await else { return };
        let (stream, kept) = reused.consume();
        let Ok(next) = stream.into_any().downcast::<Conn>() else { return };
        conn = next;
        conn.next_request();
        settings = kept;
    }
}

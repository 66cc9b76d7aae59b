//! Listening and accepting.

use super::{Conn, Drain, conn::HEAD_TIME};
use pingora_core::{apps::HttpServerApp, protocols::http::ServerSession, server::ShutdownWatch};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Requests a connection may carry, after the first.
const REUSES: u32 = 999;

/// How long to wait when the process has no file descriptor left: `accept` would fail at once.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// A socket that listens.
#[derive(Debug)]
pub(crate) struct Bound {
    /// The listener's name.
    pub(crate) name: Arc<str>,
    /// Where it really listens (port 0 is resolved).
    pub(crate) address: SocketAddr,
    /// The service manager has the socket, too: who waits there may wait for the next process.
    pub(crate) activated: bool,
    socket: std::net::TcpListener,
}

/// Who takes the clients of a socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doors {
    /// This process.
    Open,
    /// Another process, from the same socket.
    Elsewhere,
    /// Nobody: who waits is taken, then the socket closes.
    Closed,
}

/// Binds `address`.
///
/// # Errors
/// When the system refuses; the message names the address.
pub(crate) fn bind(name: &Arc<str>, address: SocketAddr) -> io::Result<Bound> {
    let describe = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen on {address} (`{name}`): {error}"))
    };
    let listen = || {
        use socket2::{Domain, Protocol, Socket, Type};
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(std::net::TcpListener::from(socket))
    };
    let socket = listen().map_err(describe)?;
    Bound::adopt(name, socket, false)
}

impl Bound {
    /// A socket that listens already; see [`Bound::activated`].
    ///
    /// # Errors
    /// When the system does not say where it listens.
    pub(crate) fn adopt(
        name: &Arc<str>,
        socket: std::net::TcpListener,
        activated: bool,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { name: Arc::clone(name), address: socket.local_addr()?, activated, socket })
    }

    /// The same socket once more, for another process.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(crate) fn lend(&self) -> io::Result<std::net::TcpListener> {
        self.socket.try_clone()
    }

    /// The socket, for a server other than [`serve`].
    pub(crate) fn into_socket(self) -> std::net::TcpListener {
        self.socket
    }
}

/// Accepts clients while the `doors` are open. Then, if another process takes them, gives the socket
/// back as it is; else takes those that already wait and closes it.
pub(crate) async fn serve<A>(
    bound: Bound,
    app: Arc<A>,
    drain: Arc<Drain>,
    mut doors: watch::Receiver<Doors>,
    shutdown: ShutdownWatch,
) -> io::Result<Option<Bound>>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let Bound { name, address, activated, socket } = bound;
    let listener = TcpListener::from_std(socket)?;
    let elsewhere = loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            told = doors.wait_for(|doors| *doors != Doors::Open) => {
                break told.is_ok_and(|doors| *doors == Doors::Elsewhere);
            }
        };
        match accepted {
            Ok((tcp, peer)) => start(tcp, peer, &app, &drain, &shutdown),
            Err(error) => {
                tracing::warn!(listener = %name, %error, "cannot accept a connection");
                tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
            }
        }
    };
    let socket = listener.into_std()?;
    if elsewhere {
        return Ok(Some(Bound { name, address, activated, socket }));
    }
    if activated {
        return Ok(None);
    }
    // Whoever is in the backlog was told that the connection stands: closing now would reset it.
    loop {
        match socket.accept() {
            Ok((tcp, peer)) => {
                tcp.set_nonblocking(true)?;
                start(TcpStream::from_std(tcp)?, peer, &app, &drain, &shutdown);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return Ok(None),
        }
    }
}

fn start<A>(
    tcp: TcpStream,
    peer: SocketAddr,
    app: &Arc<A>,
    drain: &Arc<Drain>,
    shutdown: &ShutdownWatch,
) where
    A: HttpServerApp + Send + Sync + 'static,
{
    // Small responses are complete writes: waiting to fill a segment only delays them.
    let _ = tcp.set_nodelay(true);
    let conn = Conn::new(tcp, peer, drain.watch(HEAD_TIME));
    tokio::spawn(converse(conn, Arc::clone(app), shutdown.clone()));
}

/// Serves the requests of one connection.
async fn converse<A>(conn: Conn, app: Arc<A>, shutdown: ShutdownWatch)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let mut session = ServerSession::new_http1(Box::new(conn));
    session.set_keepalive_reuses_remaining(Some(REUSES));
    session.set_pipelining_enabled(true);
    loop {
        // No time limit of pingora's own between requests: the connection's watch has them all.
        session.set_keepalive(Some(0));
        let Some(reused) = app.process_new_http(session, &shutdown).await else { return };
        let (stream, settings) = reused.consume();
        let Ok(mut conn) = stream.into_any().downcast::<Conn>() else { return };
        conn.next_request();
        session = ServerSession::new_http1(conn);
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
    }
}

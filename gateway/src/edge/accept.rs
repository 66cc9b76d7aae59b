//! Listening and accepting.

use super::{
    Conn, Drain,
    client::{Client, Link},
    http1, http2,
    listener::{Listening, Place, Speaks},
    tls,
    transport::Transport,
};
use http::HeaderValue;
use pingora_core::{apps::HttpServerApp, server::ShutdownWatch};
use socket2::TcpKeepalive;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// How long to wait when the process has no file descriptor left: `accept` would fail at once.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// A client that is gone without a word is found out after two minutes.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEPALIVE_TIMES: u32 = 4;

/// What a client hears for which there is no room, not even for a conversation.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-length: 0\r\nretry-after: 1\r\nconnection: close\r\n\r\n";

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

/// What serves the connections of a listener.
pub(crate) struct Reception<A> {
    pub(crate) listening: Arc<Listening>,
    pub(crate) app: Arc<A>,
    pub(crate) drain: Arc<Drain>,
    pub(crate) shutdown: ShutdownWatch,
}

impl<A> Clone for Reception<A> {
    fn clone(&self) -> Self {
        Self {
            listening: Arc::clone(&self.listening),
            app: Arc::clone(&self.app),
            drain: Arc::clone(&self.drain),
            shutdown: self.shutdown.clone(),
        }
    }
}

/// Accepts clients while the `doors` are open. Then, if another process takes them, gives the socket
/// back as it is; else takes those that already wait and closes it.
pub(crate) async fn serve<A>(
    bound: Bound,
    reception: Reception<A>,
    mut doors: watch::Receiver<Doors>,
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
            Ok((tcp, peer)) => reception.start(tcp, peer),
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
                reception.start(TcpStream::from_std(tcp)?, peer);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return Ok(None),
        }
    }
}

impl<A> Reception<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    fn start(&self, tcp: TcpStream, peer: SocketAddr) {
        // Small responses are complete writes: waiting to fill a segment only delays them.
        let _ = tcp.set_nodelay(true);
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_AFTER)
            .with_interval(KEEPALIVE_EVERY)
            .with_retries(KEEPALIVE_TIMES);
        let _ = socket2::SockRef::from(&tcp).set_tcp_keepalive(&keepalive);
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let Some(place) = self.listening.enter(peer.ip()) else {
            if matches!(self.listening.settings().speaks, Speaks::Http1) {
                let _ = tcp.try_write(FULL);
            }
            self.drain.refuse_connection();
            return;
        };
        tokio::spawn(self.clone().converse(tcp, peer, place));
    }

    /// One connection, from its first byte.
    async fn converse(self, tcp: TcpStream, peer: SocketAddr, place: Place) {
        let settings = self.listening.settings();
        let head = settings.timeouts.head;
        let watch = self.drain.watch(head);
        let mut client = Client {
            peer: peer.ip(),
            peer_value: HeaderValue::try_from(peer.ip().to_string())
                .unwrap_or(HeaderValue::from_static("unknown")),
            tls: false,
            certificate: None,
            excess: place.excess,
            listening: Arc::clone(&self.listening),
            _counted: self.drain.connect(),
            _place: place,
        };
        let (io, framed) = match &settings.speaks {
            Speaks::Http1 => (Transport::Plain(tcp), false),
            Speaks::H2c => (Transport::Plain(tcp), true),
            Speaks::Tls(acceptor, _) => {
                // Whoever does not finish the handshake in time, or speaks no TLS, is gone.
                let Ok(Ok(stream)) = timeout(head, acceptor.accept(tcp)).await else {
                    self.drain.refuse_handshake();
                    return;
                };
                let (_, session) = stream.get_ref();
                let framed = session.alpn_protocol() == Some(b"h2");
                client.tls = true;
                client.certificate =
                    session.peer_certificates().and_then(<[_]>::first).and_then(tls::client_cert);
                (Transport::tls(stream), framed)
            }
        };
        drop(settings);
        let conn = Conn::new(io, Link { client: Arc::new(client), watch }, framed);
        let Self { app, drain, shutdown, .. } = self;
        if framed {
            http2::converse(conn, app, drain, shutdown).await;
        } else {
            http1::converse(conn, app, shutdown).await;
        }
    }
}

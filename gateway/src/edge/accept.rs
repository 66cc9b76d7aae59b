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
    socket: std::net::TcpListener,
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
    Ok(Bound { name: Arc::clone(name), address: socket.local_addr()?, socket })
}

impl Bound {
    /// The socket, for a server other than [`serve`].
    pub(crate) fn into_socket(self) -> std::net::TcpListener {
        self.socket
    }
}

/// What serves the connections of a listener.
#[derive(Debug)]
pub(crate) struct Service<A> {
    pub(crate) listening: Arc<Listening>,
    pub(crate) app: Arc<A>,
    pub(crate) drain: Arc<Drain>,
    pub(crate) shutdown: ShutdownWatch,
}

impl<A> Clone for Service<A> {
    fn clone(&self) -> Self {
        Self {
            listening: Arc::clone(&self.listening),
            app: Arc::clone(&self.app),
            drain: Arc::clone(&self.drain),
            shutdown: self.shutdown.clone(),
        }
    }
}

/// Accepts clients until `shutdown` turns true, then takes those that already wait and closes the
/// socket.
pub(crate) async fn serve<A>(bound: Bound, service: Service<A>) -> io::Result<()>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let listener = TcpListener::from_std(bound.socket)?;
    let mut shutdown = service.shutdown.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.changed() => break,
        };
        match accepted {
            Ok((tcp, peer)) => service.start(tcp, peer),
            Err(error) => {
                tracing::warn!(listener = %bound.name, %error, "cannot accept a connection");
                tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
            }
        }
    }
    // Whoever is in the backlog was told that the connection stands: closing now would reset it.
    let listener = listener.into_std()?;
    loop {
        match listener.accept() {
            Ok((tcp, peer)) => {
                tcp.set_nonblocking(true)?;
                service.start(TcpStream::from_std(tcp)?, peer);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return Ok(()),
        }
    }
}

impl<A> Service<A>
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
            Speaks::Tls(acceptor) => {
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

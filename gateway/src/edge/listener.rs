//! What a listener is set to, and how many clients it has.

use super::tls;
use arc_swap::ArcSwap;
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};
use tidegate_config::plan::{self, ClientTimeouts, ListenerProtocol, ServerTls};
use tokio_rustls::TlsAcceptor;

/// Connections beyond a listener's limit that may wait for their 503 at once; more are closed.
const EXCESS: u32 = 64;

/// A listener at run time.
#[derive(Debug)]
pub(crate) struct Listening {
    /// The listener's name.
    pub(crate) name: Arc<str>,
    settings: ArcSwap<Settings>,
    open: AtomicU32,
    excess: AtomicU32,
    /// Connections of each client, where these are limited.
    clients: Mutex<HashMap<IpAddr, u32>>,
}

/// What a reload can change.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(super) speaks: Speaks,
    pub(crate) timeouts: ClientTimeouts,
    connections: u32,
    connections_per_client: u32,
}

/// What is spoken with clients.
pub(super) enum Speaks {
    Http1,
    H2c,
    Tls(TlsAcceptor, Arc<ServerTls>),
}

impl std::fmt::Debug for Speaks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http1 => "Http1",
            Self::H2c => "H2c",
            Self::Tls(..) => "Tls",
        })
    }
}

/// A client's place at a listener; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    listening: Arc<Listening>,
    /// The client, where its connections are counted.
    client: Option<IpAddr>,
    /// There was no room.
    pub(super) excess: bool,
}

impl Settings {
    /// # Errors
    /// When the certificates are no use; the message says why.
    fn new(config: &plan::Listener, old: Option<&Speaks>) -> io::Result<Self> {
        let speaks = match &config.protocol {
            ListenerProtocol::Http1 => Speaks::Http1,
            ListenerProtocol::H2c => Speaks::H2c,
            ListenerProtocol::Tls(tls) => match old {
                // With it clients can take up the sessions that they have.
                Some(Speaks::Tls(acceptor, same)) if same == tls => {
                    Speaks::Tls(acceptor.clone(), Arc::clone(tls))
                }
                _ => Speaks::Tls(tls::acceptor(tls)?, Arc::clone(tls)),
            },
        };
        let limits = config.limits;
        let most = |limit: Option<std::num::NonZeroU32>| limit.map(std::num::NonZeroU32::get);
        Ok(Self {
            speaks,
            timeouts: config.timeouts,
            connections: most(limits.connections).unwrap_or_else(descriptors),
            connections_per_client: most(limits.connections_per_client).unwrap_or(u32::MAX),
        })
    }
}

/// Connections that the process has descriptors for. A quarter is left to upstreams, files and the
/// admin API: most clients are idle at any time.
fn descriptors() -> u32 {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    u32::try_from(limit - limit / 4).unwrap_or(u32::MAX)
}

impl Listening {
    /// # Errors
    /// When the certificates are no use; the message says why.
    pub(crate) fn new(config: &plan::Listener) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            name: Arc::clone(&config.name),
            settings: ArcSwap::from_pointee(Settings::new(config, None)?),
            open: AtomicU32::new(0),
            excess: AtomicU32::new(0),
            clients: Mutex::default(),
        }))
    }

    /// Takes over what can change while the listener is open; connections that exist keep what they
    /// have.
    ///
    /// # Errors
    /// When the certificates are no use; then nothing changes.
    pub(crate) fn adopt(&self, config: &plan::Listener) -> io::Result<()> {
        let old = self.settings.load();
        let next = Settings::new(config, Some(&old.speaks))?;
        let same = std::mem::discriminant(&next.speaks) == std::mem::discriminant(&old.speaks);
        if same {
            self.settings.store(Arc::new(next));
        }
        Ok(())
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// A place for a client at `peer`; `None`: not even for a refusal.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let settings = self.settings.load();
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let mut place = Place { listening: Arc::clone(self), client: None, excess: false };
        let mut over = open >= settings.connections;
        if settings.connections_per_client < u32::MAX {
            let client = network(peer);
            place.client = Some(client);
            let mut clients = self.clients();
            let count = clients.entry(client).or_insert(0);
            *count += 1;
            over |= *count > settings.connections_per_client;
        }
        if over {
            place.excess = true;
            if self.excess.fetch_add(1, Ordering::Relaxed) >= EXCESS {
                return None;
            }
        }
        Some(place)
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who counts as one client: an IPv4 address, or a /64 of IPv6, which is what one of them is given.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.listening.open.fetch_sub(1, Ordering::Relaxed);
        if self.excess {
            self.listening.excess.fetch_sub(1, Ordering::Relaxed);
        }
        let Some(client) = self.client else { return };
        let mut clients = self.listening.clients();
        if let Some(count) = clients.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&client);
            }
        }
    }
}

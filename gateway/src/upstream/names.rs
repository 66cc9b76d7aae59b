//! Names to addresses: a resolver of this process's own, so that it is the same in a static binary
//! and in an empty file system, says how long its answers hold, and never holds up a thread.
//!
//! It reads `/etc/resolv.conf` and `/etc/hosts`, again when they change. A name's IPv4 addresses are
//! used, and those of IPv6 only where it has none of IPv4, like HAProxy and Envoy use one family: a
//! server that has both would count twice, with health and load of its own each time, and of
//! `localhost` the half that nobody listens at would fail.

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData, RecordType},
    system_conf::read_system_conf,
};
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// Where resolvers are configured, and names that need none.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// For an answer of one server; the system's own is longer than a look-up may take in total.
const PATIENCE: Duration = Duration::from_secs(2);

/// For a look-up in total.
const LIMIT: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Names {
    /// Empty: the system's.
    servers: Vec<SocketAddr>,
    resolver: Mutex<Option<(Stamp, Resolver)>>,
}

/// What names are looked up with. The search list is gone through here, and not by the crate, which
/// would forget a server that failed over a later one that never heard of the name.
#[derive(Debug, Clone)]
struct Resolver {
    inner: TokioResolver,
    search: Arc<[Name]>,
    /// A name with as many dots is tried as it is before the search list.
    ndots: usize,
}

/// When the files changed, and how large they are.
type Stamp = [Option<(SystemTime, u64)>; 2];

/// What a look-up found.
#[derive(Debug)]
pub(super) enum Found {
    /// These, and until when that holds.
    Addresses(Vec<IpAddr>, Instant),
    /// The DNS knows that the name has no address.
    Nothing(String),
    /// The DNS could not say.
    Failure(String),
}

impl Names {
    pub(super) fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers, resolver: Mutex::new(None) }
    }

    pub(super) fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    pub(super) async fn look_up(&self, host: &str) -> Found {
        let resolver = match self.resolver() {
            Ok(resolver) => resolver,
            Err(error) => return Found::Failure(error.to_string()),
        };
        match tokio::time::timeout(LIMIT, resolver.look_up(host)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => failure(&error),
            Err(_) => Found::Failure(format!("no answer within {} s", LIMIT.as_secs())),
        }
    }

    /// The resolver, a new one if what it was made of changed.
    fn resolver(&self) -> Result<Resolver, NetError> {
        let stamp = FILES.map(|file| {
            let metadata = fs::metadata(file).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        });
        let mut current = self.resolver.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_of, resolver)) = &*current
            && *made_of == stamp
        {
            return Ok(resolver.clone());
        }
        let resolver = build(&self.servers)?;
        *current = Some((stamp, resolver.clone()));
        Ok(resolver)
    }
}

fn build(servers: &[SocketAddr]) -> Result<Resolver, NetError> {
    let (config, system) = match read_system_conf() {
        _ if !servers.is_empty() => (of_servers(servers), ResolverOpts::default()),
        Ok(system) => system,
        // As resolv.conf(5) has it.
        Err(NetError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
            (of_servers(&[here]), ResolverOpts::default())
        }
        Err(error) => return Err(error),
    };
    let (domain, mut search, servers) = config.into_parts();
    search.extend(domain);
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.edns0 = system.edns0;
    options.timeout = system.timeout.min(PATIENCE);
    // Each answer is asked for when the last one expires.
    options.cache_size = 0;
    options.try_tcp_on_error = true;
    Ok(Resolver { inner: builder.build()?, search: search.into(), ndots: system.ndots })
}

fn of_servers(servers: &[SocketAddr]) -> ResolverConfig {
    let server = |server: &SocketAddr| {
        let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
        (udp.port, tcp.port) = (server.port(), server.port());
        NameServerConfig::new(server.ip(), true, vec![udp, tcp])
    };
    ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect())
}

impl Resolver {
    async fn look_up(&self, host: &str) -> Result<Found, NetError> {
        let mut nothing = None;
        let mut broken = None;
        for name in self.candidates(host)? {
            match self.of_any_type(&name).await {
                Ok(found) => return Ok(found),
                Err(error) if is_nothing(&error) => nothing = nothing.or(Some(error)),
                Err(error) => broken = broken.or(Some(error)),
            }
        }
        Err(broken.or(nothing).unwrap_or(NetError::Message("it is no name")))
    }

    /// What `host` may be short for.
    fn candidates(&self, host: &str) -> Result<Vec<Name>, NetError> {
        let mut full = Name::from_str_relaxed(host)?;
        if full.is_fqdn() || full.is_localhost() {
            full.set_fqdn(true);
            return Ok(vec![full]);
        }
        let longer =
            self.search.iter().filter_map(|search| full.clone().append_domain(search).ok());
        let mut names: Vec<_> = longer.collect();
        let first = host.matches('.').count() >= self.ndots;
        full.set_fqdn(true);
        names.insert(if first { 0 } else { names.len() }, full);
        names.iter_mut().for_each(|name| name.set_fqdn(true));
        Ok(names)
    }

    /// IPv4 addresses, or else those of IPv6.
    async fn of_any_type(&self, name: &Name) -> Result<Found, NetError> {
        match self.of_type(name, RecordType::A).await {
            Err(error) if is_nothing(&error) => self.of_type(name, RecordType::AAAA).await,
            Ok(Found::Nothing(_)) => self.of_type(name, RecordType::AAAA).await,
            answer => answer,
        }
    }

    async fn of_type(&self, name: &Name, record: RecordType) -> Result<Found, NetError> {
        let answer: Lookup = self.inner.lookup(name.clone(), record).await?;
        let addresses = answer.answers().iter().filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        });
        match addresses.collect::<Vec<_>>() {
            // An alias of nothing.
            addresses if addresses.is_empty() => Ok(Found::Nothing("it has no address".to_owned())),
            addresses => Ok(Found::Addresses(addresses, answer.valid_until())),
        }
    }
}

fn is_nothing(error: &NetError) -> bool {
    matches!(error, NetError::Dns(DnsError::NoRecordsFound(_)))
}

fn failure(error: &NetError) -> Found {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            Found::Nothing(format!("it has no address ({})", none.response_code))
        }
        error => Found::Failure(error.to_string()),
    }
}

//! The compiled configuration: names resolved to positions, texts parsed to types. Immutable.

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};
use tidegate_compare::Rules;
use tidegate_policies::{
    DayBudget, MirrorPolicy, RateLimit, RouteTable, Sample, VariantId, VariantPolicy,
};

/// A whole configuration, ready to serve from.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Addresses that accept clients; at least one.
    pub listeners: Vec<Listener>,
    /// The admin API; absent: none.
    pub admin: Option<Admin>,
    /// Process-wide settings.
    pub runtime: Runtime,
    /// Absent: no access log.
    pub access_log: Option<AccessLog>,
    /// Peers whose `x-forwarded-*` headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Upstream pools; [`Variant::upstream`] indexes them.
    pub upstreams: Vec<Upstream>,
    /// Routes; `RouteId` indexes them.
    pub routes: Vec<Route>,
    /// The lookup over `routes`.
    pub table: RouteTable,
    /// The file that keeps the state of rollouts. It is made when there are rollouts, and what they
    /// left is still in force when there are none any more.
    pub state: PathBuf,
    /// Plans that move weight step by step. No route and no mirror is in two of them.
    pub rollouts: Vec<Rollout>,
}

/// A plan that moves weight step by step, and who hears of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// What is judged; its names are those of this configuration.
    pub plan: Arc<tidegate_judge::Plan>,
    /// Who is told of decisions.
    pub notify: Vec<Webhook>,
    /// How long live streams (WebSocket, gRPC) on the candidate may go on after it was taken away;
    /// then they are closed. Absent: until they end by themselves.
    pub drain_streams: Option<Duration>,
}

/// A URL that decisions are posted to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Webhook {
    /// `http` or `https`.
    pub url: Arc<str>,
    /// A file with the secret that bodies are signed with. Resolved against the configuration
    /// file's directory.
    pub secret_file: Option<PathBuf>,
}

/// An address that accepts clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its unique name.
    pub name: Arc<str>,
    /// Where it listens; port 0 lets the system choose.
    pub address: SocketAddr,
    /// What clients speak.
    pub protocol: ListenerProtocol,
    /// Limits of its clients.
    pub limits: ListenerLimits,
    /// Time limits of its clients.
    pub timeouts: ClientTimeouts,
}

/// What the clients of a listener speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenerProtocol {
    /// HTTP/1.1 without TLS (the default).
    Http1,
    /// HTTP/2 without TLS, with prior knowledge.
    H2c,
    /// TLS, with HTTP/2 or HTTP/1.1 as the client chooses (ALPN).
    Tls(Arc<ServerTls>),
}

impl ListenerProtocol {
    /// What cannot change while the listener is open, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::H2c => "h2c",
            Self::Tls(_) => "tls",
        }
    }
}

/// How a listener speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// At least one. The first serves clients whose server name no other has.
    pub certificates: Vec<Certificate>,
    /// Absent: clients show no certificate.
    pub client_auth: Option<ClientAuth>,
    /// The lowest version that is spoken. Default 1.2.
    pub min_version: TlsVersion,
}

/// A certificate with its key, read and checked when the configuration was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The end-entity certificate first.
    pub chain: Arc<[CertificateDer<'static>]>,
    /// The end-entity certificate's; not shown by `Debug`.
    pub key: Arc<PrivateKeyDer<'static>>,
    /// The DNS names that it is for, in lower case, perhaps `*.example.com`.
    pub names: Vec<Arc<str>>,
}

/// Who may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuth {
    /// Authorities of client certificates; at least one.
    pub authorities: Arc<[CertificateDer<'static>]>,
    /// Clients without a certificate are served, too. Default: they are not.
    pub optional: bool,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
}

/// Limits of a listener's clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Connections open at once. Absent: as many as the process's descriptors allow.
    pub connections: Option<NonZeroU32>,
    /// The same for each client address. Absent: any number.
    pub connections_per_client: Option<NonZeroU32>,
}

/// Time limits of a listener's clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// For a request's head, and for the TLS handshake, in total. Default 10 s.
    pub head: Duration,
    /// Between two requests. Default 75 s.
    pub idle: Duration,
    /// The longest silence within a request's body, and for a client to take some bytes of its
    /// response. Default 60 s.
    pub body: Duration,
    /// Bytes a second that a request's body has to have on average, looked at from its 30th second
    /// on; not for gRPC, whose streams may rest. 0: any pace. Default 64.
    pub min_body_rate: u64,
}

/// The admin API's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
    /// A file that holds the bearer token; always set when `address` is not loopback. Resolved
    /// against the configuration file's directory.
    pub token_file: Option<PathBuf>,
}

/// Process-wide settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Worker threads of the proxy; absent in the file: the number of processors.
    pub threads: usize,
    /// How long after SIGTERM new connections are still accepted, while the process already says
    /// that it is not ready. Default 0.
    pub drain_delay: Duration,
    /// How long after that requests in flight may take to finish. Default 30 s.
    pub drain_timeout: Duration,
    /// Requests in flight over all routes; further ones are answered 503 at once. Default 100,000.
    pub max_requests: NonZeroU32,
    /// DNS servers; empty: the system's (`/etc/resolv.conf`).
    pub resolvers: Vec<SocketAddr>,
    /// Where a new process asks this one for its sockets (`run --upgrade`). Default `tidegate.sock`
    /// beside the configuration file.
    pub upgrade_socket: PathBuf,
    /// Bytes that all mirrors together may hold. Default 64 MiB.
    pub mirror_memory: usize,
}

/// Where a log line of each (sampled) request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Standard output (`-`) or a file, appended to.
    pub target: LogTarget,
    /// Which share of requests is logged.
    pub sample: Sample,
}

/// A log's destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// A file, resolved against the configuration file's directory.
    File(PathBuf),
}

/// A named pool of endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its unique name.
    pub name: Arc<str>,
    /// At least one.
    pub endpoints: Vec<Endpoint>,
    /// What is spoken with them.
    pub protocol: Protocol,
    /// TLS to the endpoints. Absent: none.
    pub tls: Option<ClientTls>,
    /// How an endpoint is chosen.
    pub load_balance: LoadBalance,
    /// How long the share of an endpoint that is new, or usable again, takes to grow. Absent: none.
    pub slow_start: Option<Duration>,
    /// Active health checks. Absent: none.
    pub health_check: Option<HealthCheck>,
    /// Ejection of endpoints that fail. Absent: none.
    pub outlier_detection: Option<OutlierDetection>,
    /// Time limits.
    pub timeouts: UpstreamTimeouts,
    /// Concurrency limits.
    pub limits: UpstreamLimits,
}

/// How an upstream is spoken to over TLS. The server's certificate is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// The name that is asked for and verified; never empty.
    pub sni: Arc<str>,
    /// Absent: the system's authorities.
    pub authorities: Option<Arc<[CertificateDer<'static>]>>,
    /// What this gateway shows to the server, if anything.
    pub certificate: Option<Certificate>,
}

/// Active health checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Between two checks of an endpoint. Default 5 s.
    pub interval: Duration,
    /// For a check in total. Default 1 s.
    pub timeout: Duration,
    /// Failures in a row that take an endpoint out. Default 3.
    pub unhealthy_after: NonZeroU32,
    /// Successes in a row that take it in again. Default 2.
    pub healthy_after: NonZeroU32,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// GET; 200 to 399 is healthy.
    Http {
        /// The path and query.
        path: Arc<str>,
        /// The `Host`; absent: the endpoint's `host:port`.
        host: Option<Arc<str>>,
    },
    /// The gRPC health checking protocol's `Check`; `SERVING` is healthy.
    Grpc {
        /// The service; empty: the server as a whole.
        service: Arc<str>,
    },
    /// A connection can be made (and its TLS handshake, if the upstream has TLS).
    Tcp,
}

/// Ejection of endpoints that fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Failures in a row (no connection, no answer, 5xx) that eject an endpoint. Default 5.
    pub consecutive_failures: NonZeroU32,
    /// For the first time; the n-th time in a row takes n times as long, at most 10 times. Default
    /// 30 s.
    pub eject_for: Duration,
    /// The largest share of endpoints that is ejected at once, in parts per million; one may always
    /// be where there are two. Default 50 %.
    pub max_ejected: u32,
}

/// `host:port`; a name is resolved in the background, to all its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An address.
    Address(SocketAddr),
    /// A name and a port.
    Name(Arc<str>, u16),
}

/// What is spoken with an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 (the default).
    Http1,
    /// HTTP/2: over TLS where the upstream has that, else with prior knowledge.
    Http2,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadBalance {
    /// Each in turn (the default).
    RoundRobin,
    /// The one with fewer requests in flight of two drawn at random (Mitzenmacher 2001).
    LeastRequest,
    /// The same endpoint for the same user key.
    ConsistentHash,
}

/// Time limits of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    /// For a connection to be made. Default 1 s.
    pub connect: Duration,
    /// From the request's dispatch to the response's head. Default 15 s.
    pub response: Duration,
    /// The longest silence: of a body in the middle of an exchange, and of a kept connection
    /// between two. Default 60 s.
    pub idle: Duration,
}

/// Concurrency limits of an upstream, over all its endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Connections in use. Default 1,024.
    pub connections: NonZeroU32,
    /// Requests in flight. Default 4,096.
    pub requests: NonZeroU32,
}

/// A match (in [`Plan::table`]) and what to do with it.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its unique name.
    pub name: Arc<str>,
    /// How a variant is chosen; `policy.split` numbers [`Route::variants`].
    pub policy: VariantPolicy,
    /// At least one; the first is the baseline.
    pub variants: Vec<Variant>,
    /// A cookie that gives an id to clients that have none. Its source is part of
    /// `policy.bucket_by`.
    pub issue: Option<IssueCookie>,
    /// Dark upstreams that get copies.
    pub mirrors: Vec<Mirror>,
    /// From the arrival of the request's head to the end of the response; absent: unlimited.
    pub timeout: Option<Duration>,
    /// Attempts after a failure. Absent: none.
    pub retry: Option<Retry>,
    /// Who may ask.
    pub access: Access,
    /// Requests that a client may make. Absent: any number.
    pub rate_limit: Option<ClientRate>,
    /// The largest request body in bytes. Default 100 MiB.
    pub max_body: u64,
    /// Changes of the request's target.
    pub rewrite: Option<Rewrite>,
    /// Changes of the request's headers.
    pub request_headers: HeaderOps,
    /// Changes of the response's headers.
    pub response_headers: HeaderOps,
    /// The response says `x-tidegate-variant`.
    pub expose_variant: bool,
    /// What is compiled beyond recognition, in words.
    pub text: RouteText,
}

/// Attempts after a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// How many, after the first attempt. Default 1, at most 10.
    pub attempts: u32,
    /// Which failures.
    pub on: RetryOn,
    /// Which share of the route's requests may be retries, in parts per million. Default 20 %.
    pub budget: u32,
    /// For each attempt's response head. Absent: the upstream's `timeouts.response`.
    pub per_try_timeout: Option<Duration>,
    /// The pause before the first retry, doubled for each further one; jittered. Default 25 ms.
    pub backoff: Duration,
    /// Requests whose method is not idempotent are repeated, too, once they were sent. Default no.
    pub non_idempotent: bool,
}

/// The failures that are retried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetryOn {
    /// No connection.
    pub connect_failure: bool,
    /// The connection broke before the response's head.
    pub reset: bool,
    /// No response's head in time.
    pub timeout: bool,
    /// These statuses, in order.
    pub statuses: Vec<u16>,
    /// These gRPC statuses in a response without messages, in order.
    pub grpc_statuses: Vec<u8>,
}

/// Who may ask: 403 for everybody else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Empty: everybody.
    pub allow: Vec<IpNet>,
    /// Even if allowed.
    pub deny: Vec<IpNet>,
}

impl Access {
    /// Whether `client` may ask.
    pub fn admits(&self, client: std::net::IpAddr) -> bool {
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&client));
        (self.allow.is_empty() || within(&self.allow)) && !within(&self.deny)
    }
}

/// Requests that a client may make: 429 for more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRate {
    /// This many on average …
    pub requests: NonZeroU32,
    /// … in this time. Default 1 s.
    pub per: Duration,
    /// This many at once. Default: `requests`.
    pub burst: NonZeroU32,
    /// What tells clients apart. Default: their address. A request without the header counts by its
    /// address.
    pub by: RateKey,
}

/// What tells clients apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateKey {
    /// The client's address; of an IPv6 address the first 64 bits.
    ClientIp,
    /// The value of a header field.
    Header(HeaderName),
}

/// Parts of a route as texts that people can read and that can be compared: equal texts mean equal
/// behaviour. They hold the values that conditions ask for, which may be secrets: not for the admin
/// API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteText {
    /// The match, as in `host shop.example.com; path prefix /shop`.
    pub matching: Arc<str>,
    /// The pins in order, as in `to canary; header x-canary = "always"`.
    pub pins: Vec<Arc<str>>,
    /// The salt of the split.
    pub salt: Arc<str>,
}

/// One version of a service on a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Unique in its route.
    pub name: Arc<str>,
    /// Index into [`Plan::upstreams`].
    pub upstream: usize,
    /// As written, or in parts per million where written as a percentage.
    pub weight: u32,
    /// Serves the request when this variant cannot be reached. Never itself; chains are not
    /// followed.
    pub fallback: Option<VariantId>,
}

/// Copies of a route's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Unique in its route.
    pub name: Arc<str>,
    /// Index into [`Plan::upstreams`].
    pub upstream: usize,
    /// Which requests are copied.
    pub policy: MirrorPolicy,
    /// The largest request body in bytes. Default 64 KiB.
    pub max_body: usize,
    /// For a copy in total. Default 5 s.
    pub timeout: Duration,
    /// What it may cost.
    pub limits: MirrorLimits,
    /// Changes of the copies' header fields.
    pub headers: HeaderOps,
    /// Absent: the answers are thrown away.
    pub compare: Option<Compare>,
}

/// What a mirror may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MirrorLimits {
    /// Copies under way. Default 256.
    pub concurrent: NonZeroU32,
    /// Absent: any rate.
    pub per_second: Option<RateLimit>,
    /// Absent: any number.
    pub per_day: Option<DayBudget>,
}

/// How a mirror's answers are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    /// What is compared and what is shown.
    pub rules: Rules,
    /// Index into [`Plan::upstreams`]: where a second copy goes, to learn what is noise.
    pub noise_upstream: Option<usize>,
}

/// A cookie with a random id for clients that have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueCookie {
    /// The cookie's name.
    pub name: Arc<str>,
    /// Position of its source in `policy.bucket_by`.
    pub source: usize,
    /// `Max-Age`.
    pub max_age: Duration,
}

/// Changes of the request's target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// The prefix of the route's match, as the table compares it (no trailing `/` unless root).
    pub from_prefix: Arc<str>,
    /// What takes its place.
    pub to_prefix: Arc<str>,
}

/// Changes of headers: `remove`, then `set` (replaces), then `add` (appends).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderOps {
    /// Fields to take away.
    pub remove: Vec<HeaderName>,
    /// Fields to replace.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields to append.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

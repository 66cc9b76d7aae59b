//! The compiled configuration: names resolved to positions, texts parsed to types. Immutable.

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
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

/// An address that accepts clients (plain HTTP/1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its unique name.
    pub name: Arc<str>,
    /// Where it listens; port 0 lets the system choose.
    pub address: SocketAddr,
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
    /// How long after SIGTERM requests in flight may take to finish. Default 30 s.
    pub drain_timeout: Duration,
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

/// A named pool of endpoints, without TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its unique name.
    pub name: Arc<str>,
    /// At least one.
    pub endpoints: Vec<Endpoint>,
    /// What is spoken with them.
    pub protocol: Protocol,
    /// How an endpoint is chosen.
    pub load_balance: LoadBalance,
    /// Time limits.
    pub timeouts: UpstreamTimeouts,
    /// Concurrency limits.
    pub limits: UpstreamLimits,
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
    /// HTTP/2 without TLS, with prior knowledge. Only for upstreams of mirrors.
    H2c,
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

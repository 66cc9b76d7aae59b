//! The workloads that the micro-benchmarks and the instruction counts share.
//!
//! Each table has as many routes as asked for, and each is asked by a set of requests spread over
//! its routes, so that one lucky cache line does not pass for a fast lookup.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tidegate_policies::{
    HeaderMatch, HostPattern, KeySource, PathMatch, Pin, Purpose, Request, RouteMatch, RouteTable,
    Salt, Split, ValueMatch, VariantId, VariantPolicy,
};

/// The sizes of table that are measured.
pub const ROUTE_COUNTS: [usize; 3] = [1, 100, 10_000];

/// How many different requests a workload cycles through.
pub const REQUEST_COUNT: usize = 256;

/// A request that owns its parts.
#[derive(Debug, Clone)]
pub struct OwnedRequest {
    host: String,
    path: String,
    headers: HeaderMap,
}

impl OwnedRequest {
    fn new(host: String, path: String) -> Self {
        Self { host, path, headers: HeaderMap::new() }
    }

    fn with_header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// The view that decisions take.
    pub fn view(&self) -> Request<'_> {
        Request {
            method: &Method::GET,
            host: &self.host,
            path: &self.path,
            query: None,
            headers: &self.headers,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}

/// A kind of route table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// A host for every ten routes, which differ by exact path.
    ExactPaths,
    /// A host for every ten routes, which differ by path prefix.
    Prefixes,
    /// All on one host, by exact path.
    OneHostExactPaths,
    /// All on one host, by path prefix.
    OneHostPrefixes,
    /// A wildcard host for each route.
    WildcardHosts,
    /// As `ExactPaths`, asked for what is not there.
    Miss,
}

impl TableKind {
    /// All of them, in the order of reports.
    pub const ALL: [TableKind; 6] = [
        TableKind::ExactPaths,
        TableKind::Prefixes,
        TableKind::OneHostExactPaths,
        TableKind::OneHostPrefixes,
        TableKind::WildcardHosts,
        TableKind::Miss,
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            TableKind::ExactPaths => "hosts x exact paths",
            TableKind::Prefixes => "hosts x prefixes",
            TableKind::OneHostExactPaths => "one host, exact paths",
            TableKind::OneHostPrefixes => "one host, prefixes",
            TableKind::WildcardHosts => "wildcard hosts",
            TableKind::Miss => "no such path",
        }
    }

    /// A table of `count` routes and the requests to ask it.
    pub fn build(self, count: usize) -> (RouteTable, Vec<OwnedRequest>) {
        let table = RouteTable::build((0..count).map(|n| self.route(n)));
        // A stride that is prime to the counts visits routes all over the table.
        let requests = (0..REQUEST_COUNT).map(|n| self.request(n * 7_919 % count)).collect();
        (table, requests)
    }

    fn route(self, n: usize) -> RouteMatch {
        let exact = HostPattern::Exact;
        let (host, path) = match self {
            TableKind::ExactPaths | TableKind::Miss => {
                (exact(grouped_host(n)), PathMatch::Exact(exact_path(n % 10)))
            }
            TableKind::Prefixes => (exact(grouped_host(n)), PathMatch::Prefix(prefix(n % 10))),
            TableKind::OneHostExactPaths => {
                (exact(ONE_HOST.into()), PathMatch::Exact(exact_path(n)))
            }
            TableKind::OneHostPrefixes => (exact(ONE_HOST.into()), PathMatch::Prefix(prefix(n))),
            TableKind::WildcardHosts => {
                (HostPattern::Wildcard(grouped_host(n * 10)), PathMatch::Prefix("/".into()))
            }
        };
        RouteMatch { hosts: vec![host], path, methods: vec![], headers: vec![], query: vec![] }
    }

    fn request(self, n: usize) -> OwnedRequest {
        let (host, path) = match self {
            TableKind::ExactPaths => (grouped_host(n), exact_path(n % 10)),
            TableKind::Prefixes => (grouped_host(n), prefix(n % 10) + "/items/42"),
            TableKind::OneHostExactPaths => (ONE_HOST.into(), exact_path(n)),
            TableKind::OneHostPrefixes => (ONE_HOST.into(), prefix(n) + "/items/42"),
            TableKind::WildcardHosts => (format!("eu.{}", grouped_host(n * 10)), "/".into()),
            TableKind::Miss => (grouped_host(n), exact_path(10)),
        };
        OwnedRequest::new(host, path)
    }
}

const ONE_HOST: &str = "shop.example.com";

fn grouped_host(n: usize) -> String {
    format!("shop-{}.example.com", n / 10)
}

fn exact_path(n: usize) -> String {
    format!("/v1/resource-{n}")
}

fn prefix(n: usize) -> String {
    format!("/api/service-{n}/v1")
}

/// A kind of variant decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecisionKind {
    /// Two variants by a user's key.
    Keyed,
    /// Two variants by the request's own draw.
    Unkeyed,
    /// As `Keyed`, with ten pins of which none applies.
    KeyedPastPins,
    /// Ten pins of which the last applies.
    Pinned,
    /// Five variants by a user's key.
    KeyedFive,
}

impl DecisionKind {
    /// All of them, in the order of reports.
    pub const ALL: [DecisionKind; 5] = [
        DecisionKind::Keyed,
        DecisionKind::Unkeyed,
        DecisionKind::KeyedPastPins,
        DecisionKind::Pinned,
        DecisionKind::KeyedFive,
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            DecisionKind::Keyed => "split by key, 2 variants",
            DecisionKind::Unkeyed => "split by draw, 2 variants",
            DecisionKind::KeyedPastPins => "10 pins that do not apply, split by key",
            DecisionKind::Pinned => "10 pins, the last applies",
            DecisionKind::KeyedFive => "split by key, 5 variants",
        }
    }

    /// A policy and the requests to ask it.
    pub fn build(self) -> (VariantPolicy, Vec<OwnedRequest>) {
        let weights: &[_] = match self {
            DecisionKind::KeyedFive => {
                &[("stable", 60), ("canary", 10), ("b", 10), ("c", 10), ("d", 10)]
            }
            _ => &[("stable", 90), ("canary", 10)],
        };
        let bucket_by = match self {
            DecisionKind::Unkeyed => vec![],
            _ => vec![KeySource::Header(HeaderName::from_static("x-user-id"))],
        };
        let pins = match self {
            DecisionKind::KeyedPastPins | DecisionKind::Pinned => (0..10).map(pin).collect(),
            _ => vec![],
        };
        let policy = VariantPolicy {
            pins,
            bucket_by,
            salt: Salt::new("shop", Purpose::Split),
            #[expect(clippy::expect_used, reason = "constant weights, which are right")]
            split: Split::new(weights.iter().copied()).expect("the weights make a split"),
        };
        (policy, (0..REQUEST_COUNT).map(|n| self.request(n)).collect())
    }

    fn request(self, n: usize) -> OwnedRequest {
        let group = if self == DecisionKind::Pinned { "group-9" } else { "group-none" };
        OwnedRequest::new(ONE_HOST.into(), "/".into())
            .with_header("accept", "*/*")
            .with_header("user-agent", "benches")
            .with_header("x-group", group)
            .with_header("x-user-id", &format!("user-{n:08}"))
    }
}

fn pin(n: usize) -> Pin {
    let value = ValueMatch::Exact(format!("group-{n}").into_bytes());
    Pin {
        variant: VariantId(1),
        header: Some(HeaderMatch { name: HeaderName::from_static("x-group"), value }),
        cookie: None,
        query: None,
        from: vec![],
    }
}

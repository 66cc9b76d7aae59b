//! The route table: from a request to the most specific route, by the precedence of the Kubernetes
//! Gateway API's HTTPRoute.
//!
//! In order: exact host, wildcard host (longest suffix first), no host; within a host: exact path,
//! regular expression (longest first), prefix (most elements first); on the same path: a condition
//! on the method, most conditions on headers, most on query parameters, configuration order. The
//! first route of that order that matches wins, so a more specific host whose routes do not match
//! hides nothing. The Gateway API leaves the place of regular expressions open; between exact and
//! prefix is where Envoy Gateway has them.
//!
//! Hosts and exact paths are hash maps and prefixes a tree of path elements, so the lookup costs
//! the same however many there are. Rejected: one big regular expression set (compiles slowly, and
//! has no precedence), a radix tree of characters (prefixes go by elements), sorting all routes
//! and trying each (grows with the routes).

mod paths;

use crate::host::RequestHost;
use crate::{HostPattern, PathMatch, Request, RouteMatch};
use foldhash::fast::FixedState;
use paths::Paths;
use std::cmp::Reverse;
use std::collections::HashMap;

/// A route by its position in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u32);

/// All routes, compiled for lookup.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    routes: Vec<RouteMatch>,
    exact_hosts: Map<Paths>,
    wildcards: Map<Paths>,
    /// The length of the longest wildcard's suffix; longer ones need no lookup.
    longest_wildcard: usize,
    any_host: Paths,
}

impl RouteTable {
    /// Compiles routes in configuration order; the n-th gets `RouteId(n)`.
    pub fn build(routes: impl IntoIterator<Item = RouteMatch>) -> Self {
        let routes: Vec<RouteMatch> = routes.into_iter().collect();
        let mut table = RouteTable::default();
        for index in by_precedence(&routes) {
            let route = &routes[index as usize];
            if route.hosts.is_empty() {
                table.any_host.insert(&route.path, RouteId(index));
            }
            for host in &route.hosts {
                table.paths_of(host).insert(&route.path, RouteId(index));
            }
        }
        table.longest_wildcard =
            table.wildcards.keys().map(|suffix| suffix.len()).max().unwrap_or(0);
        RouteTable { routes, ..table }
    }

    /// The route that serves `request`.
    pub fn find(&self, request: &Request<'_>) -> Option<RouteId> {
        let host = RequestHost::parse(request.host);
        host.and_then(|host| self.find_by_host(&host, request))
            .or_else(|| self.find_by_path(&self.any_host, request))
    }

    fn find_by_host(&self, host: &RequestHost<'_>, request: &Request<'_>) -> Option<RouteId> {
        let exact = self.exact_hosts.get(host.as_bytes());
        let suffixes = host.suffixes().filter(|suffix| suffix.len() <= self.longest_wildcard);
        let wildcards = suffixes.filter_map(|suffix| self.wildcards.get(suffix));
        exact.into_iter().chain(wildcards).find_map(|paths| self.find_by_path(paths, request))
    }

    fn find_by_path(&self, paths: &Paths, request: &Request<'_>) -> Option<RouteId> {
        paths.find(request.path, |route| self.routes[route.0 as usize].rest_holds(request))
    }

    fn paths_of(&mut self, host: &HostPattern) -> &mut Paths {
        match host {
            HostPattern::Exact(name) => self.exact_hosts.entry(name.as_bytes().into()).or_default(),
            HostPattern::Wildcard(suffix) => {
                self.wildcards.entry(suffix.as_bytes().into()).or_default()
            }
        }
    }
}

/// The positions of `routes`, those first that win on the same host and kind of path.
fn by_precedence(routes: &[RouteMatch]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..).take(routes.len()).collect();
    order.sort_by_key(|index| {
        let route = &routes[*index as usize];
        (
            Reverse(expression_length(&route.path)),
            route.methods.is_empty(),
            Reverse(route.headers.len()),
            Reverse(route.query.len()),
        )
    });
    order
}

/// Other paths need no order: different exact paths do not match the same request, and the tree
/// knows which prefix is longer.
fn expression_length(path: &PathMatch) -> usize {
    match path {
        PathMatch::Regex(regex) => regex.as_str().len(),
        PathMatch::Exact(_) | PathMatch::Prefix(_) => 0,
    }
}

/// By bytes, for lookups without a check of the encoding. The fixed seed is safe: what is inserted
/// comes from the configuration, and requests only look up.
type Map<V> = HashMap<Box<[u8]>, V, FixedState>;

//! The precedence of routes as its definition reads: try every route, sort what matches.

use std::cmp::Reverse;
use std::net::Ipv6Addr;
use tidegate_policies::{HostPattern, PathMatch, Request, RouteMatch, ValueMatch};

/// The position of the route that has to serve `request`.
pub(crate) fn find(routes: &[RouteMatch], request: &Request<'_>) -> Option<usize> {
    let matching = routes.iter().enumerate().filter_map(|(index, route)| {
        let host = host_rank(&route.hosts, request.host)?;
        let path = path_rank(&route.path, request.path)?;
        let conditions =
            (route.methods.is_empty(), Reverse(route.headers.len()), Reverse(route.query.len()));
        rest_holds(route, request).then_some((host, path, conditions, index))
    });
    matching.min().map(|(.., index)| index)
}

/// Smaller comes first.
type Rank = (u8, Reverse<usize>);

fn host_rank(hosts: &[HostPattern], authority: &str) -> Option<Rank> {
    if hosts.is_empty() {
        return Some((2, Reverse(0)));
    }
    let host = host(authority)?;
    let ranks = hosts.iter().filter_map(|pattern| match pattern {
        HostPattern::Exact(name) => (*name == host).then_some((0, Reverse(0))),
        HostPattern::Wildcard(suffix) => {
            let label = host.strip_suffix(suffix.as_str())?.strip_suffix('.')?;
            (!label.is_empty()).then_some((1, Reverse(suffix.len())))
        }
    });
    ranks.min()
}

fn host(authority: &str) -> Option<String> {
    let host = match authority.rsplit_once(':') {
        Some((host, port))
            if port.chars().all(|c| c.is_ascii_digit())
                && (!host.starts_with('[') || host.ends_with(']')) =>
        {
            host
        }
        _ => authority,
    };
    if let Some(rest) = host.strip_prefix('[') {
        let address: Ipv6Addr = rest.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    (name.len() <= 253 && !name.contains(':')).then(|| name.to_ascii_lowercase())
}

fn path_rank(pattern: &PathMatch, path: &str) -> Option<Rank> {
    match pattern {
        PathMatch::Exact(exact) => (exact == path).then_some((0, Reverse(0))),
        PathMatch::Regex(regex) => {
            regex.is_match(path).then_some((1, Reverse(regex.as_str().len())))
        }
        PathMatch::Prefix(prefix) => {
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            let is_rooted = path.starts_with('/');
            let rest = path.strip_prefix(prefix)?;
            (is_rooted && (rest.is_empty() || rest.starts_with('/')))
                .then_some((2, Reverse(prefix.len())))
        }
    }
}

fn rest_holds(route: &RouteMatch, request: &Request<'_>) -> bool {
    let method = route.methods.is_empty() || route.methods.iter().any(|m| m == request.method);
    let headers = route.headers.iter().all(|wanted| {
        let values = request.headers.get_all(&wanted.name).iter();
        values.map(|value| value.as_bytes()).any(|value| holds(&wanted.value, value))
    });
    let parameters: Vec<(String, String)> =
        form_urlencoded::parse(request.query.unwrap_or("").as_bytes()).into_owned().collect();
    let query = route.query.iter().all(|wanted| {
        let found = parameters.iter().find(|(name, _)| *name == wanted.name);
        found.is_some_and(|(_, value)| holds(&wanted.value, value.as_bytes()))
    });
    method && headers && query
}

fn holds(condition: &ValueMatch, value: &[u8]) -> bool {
    match condition {
        ValueMatch::Exact(exact) => exact == value,
        ValueMatch::Regex(regex) => regex.is_match(value),
        ValueMatch::Present => true,
    }
}

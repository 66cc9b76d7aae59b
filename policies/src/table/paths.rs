//! The routes of one host, by path.

use super::{Map, RouteId};
use crate::PathMatch;
use regex::Regex;

/// Routes by path. They have to be inserted in order of precedence.
#[derive(Debug, Clone, Default)]
pub(super) struct Paths {
    exact: Map<Vec<RouteId>>,
    expressions: Vec<(Regex, RouteId)>,
    prefixes: PrefixTree,
}

impl Paths {
    pub(super) fn insert(&mut self, path: &PathMatch, route: RouteId) {
        match path {
            PathMatch::Exact(path) => {
                self.exact.entry(path.as_bytes().into()).or_default().push(route);
            }
            PathMatch::Prefix(prefix) => self.prefixes.insert(prefix, route),
            PathMatch::Regex(regex) => self.expressions.push((regex.clone(), route)),
        }
    }

    /// The first route in order of precedence whose path matches and for which `rest_holds`.
    pub(super) fn find(&self, path: &str, rest_holds: impl Fn(RouteId) -> bool) -> Option<RouteId> {
        let first = |routes: &[RouteId]| routes.iter().copied().find(|route| rest_holds(*route));
        let exact = self.exact.get(path.as_bytes());
        exact
            .and_then(|routes| first(routes))
            .or_else(|| {
                let mut expressions = self.expressions.iter();
                let found =
                    expressions.find(|(regex, route)| rest_holds(*route) && regex.is_match(path));
                found.map(|(_, route)| *route)
            })
            .or_else(|| self.prefixes.longest_first(path).find_map(first))
    }
}

/// Prefixes as a tree of path elements: finding all that match costs one walk along the path, and
/// hashes no byte twice.
#[derive(Debug, Clone)]
struct PrefixTree {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    children: Map<usize>,
    parent: Option<usize>,
    /// The routes of just this prefix.
    routes: Vec<RouteId>,
}

impl Default for PrefixTree {
    fn default() -> Self {
        PrefixTree { nodes: vec![Node::default()] }
    }
}

impl PrefixTree {
    fn insert(&mut self, prefix: &str, route: RouteId) {
        let mut node = ROOT;
        // `/shop/` is `/shop`, and `/` has no elements at all.
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if !prefix.is_empty() {
            // A path that does not start with a slash has no elements, and none starts with this.
            let Some(elements) = elements(prefix) else { return };
            for element in elements {
                node = self.child(node, element);
            }
        }
        self.nodes[node].routes.push(route);
    }

    fn child(&mut self, parent: usize, element: &[u8]) -> usize {
        let new = self.nodes.len();
        let child = *self.nodes[parent].children.entry(element.into()).or_insert(new);
        if child == new {
            self.nodes.push(Node { parent: Some(parent), ..Node::default() });
        }
        child
    }

    /// The routes of each prefix of `path`.
    fn longest_first(&self, path: &str) -> impl Iterator<Item = &[RouteId]> {
        let longest = elements(path).map(|elements| {
            let mut node = ROOT;
            for element in elements {
                match self.nodes[node].children.get(element) {
                    Some(child) => node = *child,
                    None => break,
                }
            }
            node
        });
        std::iter::successors(longest, |node| self.nodes[*node].parent)
            .map(|node| &self.nodes[node].routes[..])
    }
}

/// What is between the slashes of `path`; `None` if it does not start with one.
fn elements(path: &str) -> Option<impl Iterator<Item = &[u8]>> {
    Some(path.strip_prefix('/')?.as_bytes().split(|byte| *byte == b'/'))
}

/// Stands for the prefix `/`.
const ROOT: usize = 0;

//! The route table: from a request to the most specific route, by the precedence of the Kubernetes
//! Gateway API's HTTPRoute.

use crate::{Request, RouteMatch};

/// A route by its position in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u32);

/// All routes, compiled for lookup.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {}

impl RouteTable {
    /// Compiles routes in configuration order; the n-th gets `RouteId(n)`.
    pub fn build(_routes: impl IntoIterator<Item = RouteMatch>) -> Self {
        todo!()
    }

    /// The route that serves `request`.
    pub fn find(&self, _request: &Request<'_>) -> Option<RouteId> {
        todo!()
    }
}

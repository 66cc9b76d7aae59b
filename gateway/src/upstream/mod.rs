//! Upstream pools: which endpoint takes a request, and how many it may have at once.

mod pool;
mod resolve;

pub(crate) use pool::{Lease, Pool, Unavailable, Verdict};
pub(crate) use resolve::{keep_resolving, resolve_first};

//! What the benchmarks share: workloads for lookups and decisions; a machine, an origin, a gateway
//! and statistics for those that load whole proxies.
#![forbid(unsafe_code)]

pub mod gateway;
pub mod machine;
pub mod origin;
pub mod spread;
mod workloads;

pub use workloads::{DecisionKind, OwnedRequest, REQUEST_COUNT, ROUTE_COUNTS, TableKind};

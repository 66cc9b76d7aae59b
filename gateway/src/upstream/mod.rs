//! Upstream pools: which endpoint takes a request, and how many it may have at once.
//!
//! ```text
//! Pool      limits: of clients, and of mirrors' copies
//!  Members  the endpoints of an upstream, shared by both; tasks beside the requests keep them:
//!             resolve  names to addresses          (names: the resolver)
//!             health   active checks               (probe: one check)
//!             tend     ejections that end, endpoints that warm up or drain
//!   Roster  who may be used, at one moment; the choice among them
//!    Endpoint  load, and what is known of one address
//! ```

mod authorities;
mod background;
mod clock;
mod endpoint;
mod grpc;
mod health;
mod members;
mod metrics;
mod names;
mod peer;
mod pool;
mod probe;
mod resolve;
mod roster;
mod tend;

pub(crate) use authorities::authorities_file;
pub(crate) use background::Background;
pub(crate) use members::Standing;
pub(crate) use metrics::{UpstreamMetrics, UpstreamSeries};
pub(crate) use pool::{Lease, Pool, Unavailable, Verdict};
pub(crate) use tend::{first_look, start};

use endpoint::Endpoint;
use pool::Traffic;

//! The configuration as users write it (DESIGN §3). Read these structs as the reference: their
//! comments are the descriptions in the JSON Schema.

mod document;
mod guard;
mod listener;
mod mirror;
mod process;
mod rollout;
mod route;
mod upstream;

pub(crate) use document::{Document, Included};
pub(crate) use guard::{RateBy, RateLimit, Retry, RetryReason};
pub(crate) use listener::{Listener, ServerTls};
pub(crate) use mirror::{Compare, Mirror};
pub(crate) use rollout::{Gate, Prometheus, Rollout, State, Step};
pub(crate) use route::{
    BucketSource, HeaderCondition, HeaderOps, Match, NameCondition, PathKind, Pin, Route, present,
};
pub(crate) use upstream::{ClientTls, HealthCheck, Upstream};

pub use document::{SchemaKey, json_schema, schema_keys};

//! From YAML bytes to the snapshot that requests are served from.
//!
//! ```text
//! files ── source ──> text ── yaml ──> spanned tree ── decode ──> schema ── compile ──> Plan
//!                                                                                        │
//!                       requests <── Store (one ArcSwap, numbered generations) <── publish
//! ```
//!
//! Every step reports *all* its errors, each with file, line, column, key path and a suggestion.
#![forbid(unsafe_code)]

mod address;
mod choice;
mod compile;
mod credentials;
mod decode;
mod describe;
mod diagnostic;
mod diff;
mod effective;
mod include;
mod line;
mod load;
pub mod plan;
mod problem;
mod render;
mod schema;
mod shift;
mod source;
mod store;
mod text;
mod url;
mod value;
mod watch;
mod yaml;
#[cfg(test)]
mod yaml_tests;

pub use credentials::Material;
pub use diagnostic::{Diagnostic, Place, Severity};
pub use diff::{PlanDiff, RouteDiff, WeightDiff, diff};
pub use effective::effective;
pub use load::{Failure, Loaded, Source, compile_text, load};
pub use plan::Plan;
pub use render::render;
pub use schema::{SchemaKey, json_schema, schema_keys};
pub use shift::Shift;
pub use store::{Snapshot, StaleParent, Store};
pub use watch::Watcher;

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

pub mod plan;

pub use plan::Plan;

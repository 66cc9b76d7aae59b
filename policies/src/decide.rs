//! The variant decision: pins, then the split.

use crate::{KeySource, Pin, Point, Request, Salt, Split, VariantId};

/// Everything a route needs to choose a variant.
#[derive(Debug, Clone)]
pub struct VariantPolicy {
    /// Rules that come before the split; the first that applies wins.
    pub pins: Vec<Pin>,
    /// Where the user's key is looked for; empty: each request draws afresh.
    pub bucket_by: Vec<KeySource>,
    /// The salt of the split.
    pub salt: Salt,
    /// The weights.
    pub split: Split,
}

/// Why a variant was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The pin at this position applied.
    Pin(u16),
    /// The split, for a key from the `bucket_by` source at this position.
    Keyed(u16),
    /// The split, for a request without a key.
    Draw,
}

/// The outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The variant that serves the request.
    pub variant: VariantId,
    /// Why.
    pub reason: Reason,
    /// Where the request (or its user) landed; known for pinned requests too.
    pub point: Point,
}

impl VariantPolicy {
    /// Decides for `request`. `draw` is a uniformly random number, used when the request has no
    /// key.
    pub fn decide(&self, _request: &Request<'_>, _draw: u64) -> Decision {
        todo!()
    }
}

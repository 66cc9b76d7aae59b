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
    pub fn decide(&self, request: &Request<'_>, draw: u64) -> Decision {
        let keyed = KeySource::first(&self.bucket_by, request, |source, key| {
            (self.salt.point(key), Reason::Keyed(position(source)))
        });
        let (point, reason) =
            keyed.unwrap_or_else(|| (self.salt.point_of_draw(draw), Reason::Draw));
        self.decide_at(request, point, reason)
    }

    /// Decides as if the `bucket_by` source at `source` had given `key`: for a client that is just
    /// being given an id.
    pub fn decide_as(&self, request: &Request<'_>, source: u16, key: &[u8]) -> Decision {
        self.decide_at(request, self.salt.point(key), Reason::Keyed(source))
    }

    fn decide_at(&self, request: &Request<'_>, point: Point, reason: Reason) -> Decision {
        match self.pins.iter().enumerate().find(|(_, pin)| pin.applies(request)) {
            Some((pin, Pin { variant, .. })) => {
                Decision { variant: *variant, reason: Reason::Pin(position(pin)), point }
            }
            None => Decision { variant: self.split.pick(point), reason, point },
        }
    }
}

/// A position for the record; one that no sane configuration has is shown as the last possible.
fn position(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

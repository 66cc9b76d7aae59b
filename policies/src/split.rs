//! The split: which variant serves a point of `[0, 1)`.
//!
//! A stateless rule, so every replica and every restart agrees. It has to move as few users as
//! possible when weights change:
//!
//! * the first variant (the baseline) is the middle of the line, the second grows from the left
//!   end, the third from the right end. Each of these two depends on its own share alone, so share
//!   that moves between the baseline and one of them moves just those users. Three growing sets
//!   that each depend on their own share alone cannot stay disjoint, so this is as far as
//!   exactness goes;
//! * further variants share the middle with the baseline by weighted rendezvous hashing
//!   (Thaler & Ravishankar 1998, in the logarithmic form of Schindelhauer & Schomaker 2005).
//!   When one of them shrinks only its own users move, when one grows users move only to it, and
//!   they come from (go to) the others in proportion. From these two facts any change of weights
//!   moves at most twice the share that changed.
//!
//! Rejected: cumulative intervals in list order (a change of the first shifts everybody after it),
//! a modulo of 100 buckets (no fine shares), rendezvous hashing alone (exact for two only).

use crate::Point;

/// The largest weight of a variant.
pub const MAX_WEIGHT: u32 = 1_000_000;

/// A variant by its position in the route's list; 0 is the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VariantId(pub u16);

/// Why weights make no split.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSplit {
    /// There is no variant at all.
    #[error("a split needs at least one variant")]
    Empty,
    /// More variants than a [`VariantId`] can number.
    #[error("{0} variants are more than 65,535")]
    TooMany(usize),
    /// One weight is above [`MAX_WEIGHT`].
    #[error("a weight of {0} is more than 1,000,000")]
    TooHeavy(u32),
    /// No variant would get any request.
    #[error("the weights add up to 0")]
    ZeroSum,
}

/// Compiled weights of a route's variants.
#[derive(Debug, Clone)]
pub struct Split {}

impl Split {
    /// Compiles `(name, weight)` pairs in list order. Names seed the rendezvous hash of the fourth
    /// and later variants, so these keep their users when the list is reordered.
    ///
    /// # Errors
    /// See [`InvalidSplit`].
    pub fn new<'a>(_variants: impl IntoIterator<Item = (&'a str, u32)>) -> Result<Self, InvalidSplit> {
        todo!()
    }

    /// The variant that serves `point`; never one of weight 0.
    pub fn pick(&self, _point: Point) -> VariantId {
        todo!()
    }

    /// The share of points that `variant` serves, in `[0, 1]`.
    pub fn share(&self, _variant: VariantId) -> f64 {
        todo!()
    }
}

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
//!   (Thaler & Ravishankar 1998, in the logarithmic form of Schindelhauer & Schomaker 2005): the
//!   smallest of `E_i / w_i` wins, where the `E_i` are exponential variables that a hash draws for
//!   each point and name.
//!
//! # Why at most twice the share that changed moves
//!
//! Let a share `s_i` become `t_i`. Points that enter or leave an end number at most
//! `|s_1 - t_1| + |s_2 - t_2|`. Of the points that stay in the middle, contender `i` keeps those
//! where `E_i / min(s_i, t_i)` is less than every other `E_j / max(s_j, t_j)`: a share of at least
//! `min(s_i, t_i) / M`, with `M` the sum of the `max(s_j, t_j)`. So at most
//! `(M - Σ min(s_i, t_i)) / M = Σ |s_i - t_i| / M` of the middle moves, and as the middle is no
//! longer than `M`, that is at most `Σ |s_i - t_i|` of the line. Both together are the sum of all
//! `|s_i - t_i|`, which is twice the share that changed.
//!
//! # Why growing a variant at another's expense takes no user out of it
//!
//! An end only extends. A contender that had the smallest `E_i / w_i` has it even more so with a
//! larger `w_i` and no other weight larger, and no point in the middle leaves it, as no end grows.
//!
//! Rejected: cumulative intervals in list order (a change of the first shifts everybody after it),
//! a modulo of 100 buckets (no fine shares), rendezvous hashing alone (exact for two only, and
//! dearer than two comparisons).

use crate::Point;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

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
pub struct Split {
    /// The first point that is not the second variant's.
    left_end: u64,
    /// The last point that is not the third variant's.
    right_start: u64,
    middle: Middle,
    weights: Box<[u32]>,
    sum: u64,
}

/// Who serves the points of neither end.
#[derive(Debug, Clone)]
enum Middle {
    One(VariantId),
    Rendezvous(Box<[Contender]>),
}

#[derive(Debug, Clone, Copy)]
struct Contender {
    variant: VariantId,
    weight: u32,
    /// From the name, so the list's order does not matter.
    seed: u64,
}

impl Split {
    /// Compiles `(name, weight)` pairs in list order; only the ratios of the weights matter. Names
    /// have to differ: they seed the rendezvous hash of the fourth and later variants, so these
    /// keep their users when the list is reordered.
    ///
    /// # Errors
    /// See [`InvalidSplit`].
    pub fn new<'a>(
        variants: impl IntoIterator<Item = (&'a str, u32)>,
    ) -> Result<Self, InvalidSplit> {
        let (names, weights): (Vec<&str>, Vec<u32>) = variants.into_iter().unzip();
        let count = weights.len();
        if count == 0 {
            return Err(InvalidSplit::Empty);
        }
        if count > usize::from(u16::MAX) {
            return Err(InvalidSplit::TooMany(count));
        }
        if let Some(weight) = weights.iter().find(|weight| **weight > MAX_WEIGHT) {
            return Err(InvalidSplit::TooHeavy(*weight));
        }
        let sum: u64 = weights.iter().copied().map(u64::from).sum();
        if sum == 0 {
            return Err(InvalidSplit::ZeroSum);
        }
        let (left_end, right_start) = ends(&weights, sum);
        let middle = Middle::new(&names, &weights);
        Ok(Split { left_end, right_start, middle, weights: weights.into(), sum })
    }

    /// The variant that serves `point`; never one of weight 0.
    #[inline]
    pub fn pick(&self, point: Point) -> VariantId {
        if point.0 < self.left_end {
            LEFT
        } else if point.0 > self.right_start {
            RIGHT
        } else {
            match &self.middle {
                Middle::One(variant) => *variant,
                Middle::Rendezvous(contenders) => rendezvous(contenders, point),
            }
        }
    }

    /// Where its intervals start, if it is made of intervals alone.
    pub(crate) fn intervals(&self) -> Option<[u64; 3]> {
        match self.middle {
            Middle::One(_) => Some([0, self.left_end, self.right_start.saturating_add(1)]),
            Middle::Rendezvous(_) => None,
        }
    }

    /// The share of points that `variant` serves, in `[0, 1]`.
    pub fn share(&self, variant: VariantId) -> f64 {
        let weight = self.weights.get(usize::from(variant.0)).copied().unwrap_or(0);
        f64::from(weight) / self.sum as f64
    }
}

/// `left_end` and `right_start` of a [`Split`].
///
/// One is rounded up and the other down, so two that share the whole line meet exactly, and each
/// is still a function of its own share alone.
fn ends(weights: &[u32], sum: u64) -> (u64, u64) {
    let line = 1_u128 << u64::BITS;
    let weight = |variant: VariantId| weights.get(usize::from(variant.0)).copied().unwrap_or(0);
    let left = (u128::from(weight(LEFT)) * line).div_ceil(u128::from(sum));
    let right = u128::from(weight(RIGHT)) * line / u128::from(sum);
    // An end that is the whole line does not fit; such a variant is alone and takes the middle.
    let left_end = u64::try_from(left).unwrap_or(0);
    let right_start = u64::MAX - u64::try_from(right).unwrap_or(0);
    (left_end, right_start)
}

impl Middle {
    /// `weights` have a sum above 0.
    fn new(names: &[&str], weights: &[u32]) -> Self {
        let contenders: Box<[Contender]> = (0..=u16::MAX)
            .map(VariantId)
            .zip(names.iter().zip(weights))
            .filter(|(variant, (_, weight))| **weight > 0 && ![LEFT, RIGHT].contains(variant))
            .map(|(variant, (name, weight))| {
                let seed = xxh3_64(name.as_bytes());
                Contender { variant, weight: *weight, seed }
            })
            .collect();
        match contenders[..] {
            [Contender { variant, .. }] => Middle::One(variant),
            // No point falls here, unless one end is the whole line.
            [] if weights.get(1).is_some_and(|weight| *weight > 0) => Middle::One(LEFT),
            [] => Middle::One(RIGHT),
            _ => Middle::Rendezvous(contenders),
        }
    }
}

/// The contender with the smallest `E / weight`. Compared as cross products of integers: exact, so
/// a common factor of all weights changes nothing.
fn rendezvous(contenders: &[Contender], point: Point) -> VariantId {
    let mut winner = VariantId(0);
    let (mut best, mut best_weight) = (u64::MAX, 0);
    for contender in contenders {
        let draw = exponential(point, contender.seed);
        let is_smaller = u128::from(draw) * u128::from(best_weight)
            < u128::from(best) * u128::from(contender.weight);
        if is_smaller {
            (winner, best, best_weight) = (contender.variant, draw, contender.weight);
        }
    }
    winner
}

/// An exponential variable for `point` and `seed`, in fixed point.
fn exponential(point: Point, seed: u64) -> u64 {
    let hash = xxh3_64_with_seed(&point.0.to_le_bytes(), seed);
    // 52 bits and a half: exact in an f64, and neither 0 nor 1.
    let uniform = ((hash >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    // `libm` computes the same bits on every platform; the standard library does not promise to.
    // The largest value, 53 ln 2 = 36.7, leaves room for 58 bits behind the point.
    (-libm::log(uniform) * (1_u64 << 58) as f64) as u64
}

const LEFT: VariantId = VariantId(1);
const RIGHT: VariantId = VariantId(2);

//! How many users a change moves.
//!
//! Counted over synthetic users instead of computed from the weights: a count takes salts, renamed
//! variants and every rule of the split into account, and asks the same code that decides.

use crate::{VariantId, VariantPolicy};

/// The share of users, in `[0, 1]`, whose variant differs between `old` and `new`, counted over
/// `keys` synthetic users (always the same ones).
///
/// `same` says whether an old variant and a new one are the same thing, for example the same
/// name. Only the splits and their salts are compared: synthetic users match no pin, and they are
/// the same users whatever `bucket_by` says. With `keys` of 0 nobody moves.
pub fn moved_users(
    old: &VariantPolicy,
    new: &VariantPolicy,
    same: impl Fn(VariantId, VariantId) -> bool,
    keys: u32,
) -> f64 {
    let stays = |user: &u32| {
        let key = user.to_le_bytes();
        let variant = |policy: &VariantPolicy| policy.split.pick(policy.salt.point(&key));
        same(variant(old), variant(new))
    };
    let moved = keys as usize - (0..keys).filter(stays).count();
    moved as f64 / f64::from(keys.max(1))
}

//! How many users a change moves.

use crate::{Point, Split, VariantId, VariantPolicy};

/// The share of users, in `[0, 1]`, whose variant differs between `old` and `new`.
///
/// `same` says whether an old variant and a new one are the same thing, for example the same
/// name. Only the splits and their salts are compared, as if every user had a key and matched no
/// pin. Where both splits are intervals of one salt's line the share is exact; otherwise it is
/// counted over `keys` synthetic users, always the same ones, by the code that decides (with
/// `keys` of 0 nobody moves).
pub fn moved_users(
    old: &VariantPolicy,
    new: &VariantPolicy,
    same: impl Fn(VariantId, VariantId) -> bool,
    keys: u32,
) -> f64 {
    match (old.split.intervals(), new.split.intervals()) {
        (Some(before), Some(after)) if old.salt == new.salt => {
            let ends = before.into_iter().chain(after).collect();
            exactly(&old.split, &new.split, same, ends)
        }
        _ => counted(old, new, same, keys),
    }
}

/// Adds up the stretches between any two `starts` of intervals, on which neither split changes.
fn exactly(
    old: &Split,
    new: &Split,
    same: impl Fn(VariantId, VariantId) -> bool,
    mut starts: Vec<u64>,
) -> f64 {
    const END: u128 = 1 << 64;
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).map(|end| u128::from(*end)).chain([END]);
    let moved: u128 = starts
        .iter()
        .zip(ends)
        .filter(|(start, _)| !same(old.pick(Point(**start)), new.pick(Point(**start))))
        .map(|(start, end)| end - u128::from(*start))
        .sum();
    moved as f64 / END as f64
}

fn counted(
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

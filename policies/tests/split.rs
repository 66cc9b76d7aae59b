//! What the split promises: shares, who moves, and never a variant of weight 0.

#![allow(clippy::expect_used, missing_docs)]

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidegate_policies::{InvalidSplit, MAX_WEIGHT, Point, Purpose, Salt, Split, VariantId};

/// Counts vary by chance: a fixed seed decides once and for all whether these tests pass.
fn counting(cases: u32) -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(20);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(counting(150))]

    #[test]
    fn shares_converge(weights in weights(1..9), salt in any::<u32>()) {
        let split = split(&weights);
        let mut counts = vec![0; weights.len()];
        for point in points(salt, USERS) {
            counts[usize::from(split.pick(point).0)] += 1;
        }
        for (variant, count) in (0..).map(VariantId).zip(counts) {
            let share = split.share(variant);
            let error = (f64::from(count) - share * f64::from(USERS)).abs();
            prop_assert!(error <= slack(share), "{:?}: {} of {}", variant, count, share);
        }
    }

    #[test]
    fn any_change_moves_at_most_twice_the_share_that_changed(
        (old, new) in (weights(1..9), weights(1..9)),
        salt in any::<u32>(),
    ) {
        moves_at_most_twice_the_change(&old, &new, salt)?;
    }

    #[test]
    fn a_small_change_moves_at_most_twice_as_much(
        old in weights(2..9),
        (index, weight) in (any::<prop::sample::Index>(), weight()),
        salt in any::<u32>(),
    ) {
        // One weight changes, to or from 0 as it may be, and with it all the other shares a bit.
        let mut new = old.clone();
        new[index.index(old.len())] = weight;
        prop_assume!(new.iter().any(|weight| *weight > 0));
        moves_at_most_twice_the_change(&old, &new, salt)?;
    }
}

fn moves_at_most_twice_the_change(
    old: &[u32],
    new: &[u32],
    salt: u32,
) -> Result<(), TestCaseError> {
    // Missing variants have share 0, so the lists may differ in length.
    let (before, after) = (split(old), split(new));
    let variants = (0..old.len().max(new.len()) as u16).map(VariantId);
    let differences = variants.map(|variant| (before.share(variant) - after.share(variant)).abs());
    let bound = differences.sum::<f64>().min(1.0); // twice the total variation distance
    let moved = points(salt, USERS).filter(|p| before.pick(*p) != after.pick(*p)).count();
    prop_assert!(moved as f64 <= bound * f64::from(USERS) + slack(bound), "{} > {}", moved, bound);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn share_of_baseline_and_one_end_moves_only_their_users(
        old in weights(3..4),
        (end, end_gains) in (1_usize..=2, any::<bool>()),
        part in any::<prop::sample::Index>(),
        (scale, salt) in (1_u32..20, any::<u32>()),
    ) {
        let (gainer, loser) = if end_gains { (end, 0) } else { (0, end) };
        let new = shifted(&old, gainer, loser, part, scale);
        let (before, after) = (split(&old), split(&new));
        for point in points(salt, 300).chain(edges(&old)).chain(edges(&new)) {
            let (was, is) = (before.pick(point), after.pick(point));
            let moved_right = usize::from(was.0) == loser && usize::from(is.0) == gainer;
            prop_assert!(was == is || moved_right, "{:?}: {:?} to {:?}", point, was, is);
        }
    }

    #[test]
    fn growing_at_anothers_expense_takes_nobody_out(
        old in weights(2..9),
        (gainer, loser) in any::<(prop::sample::Index, prop::sample::Index)>(),
        part in any::<prop::sample::Index>(),
        (scale, salt) in (1_u32..20, any::<u32>()),
    ) {
        let (gainer, loser) = (gainer.index(old.len()), loser.index(old.len()));
        prop_assume!(gainer != loser);
        let new = shifted(&old, gainer, loser, part, scale);
        let (before, after) = (split(&old), split(&new));
        let mut points = points(salt, 300).chain(edges(&old)).chain(edges(&new));
        let grown = VariantId(gainer as u16);
        prop_assert!(points.all(|p| before.pick(p) != grown || after.pick(p) == grown));
    }

    #[test]
    fn only_ratios_matter(weights in weights(1..9), scale in 1_u32..=1000, salt in any::<u32>()) {
        let small: Vec<u32> = weights.iter().map(|weight| weight.div_ceil(1000)).collect();
        let large: Vec<u32> = small.iter().map(|weight| weight * scale).collect();
        let (small, large) = (split(&small), split(&large));
        for point in points(salt, 300).chain(edges(&weights)) {
            prop_assert_eq!(small.pick(point), large.pick(point));
        }
    }

    #[test]
    fn weight_0_is_never_picked(weights in weights(1..9), salt in any::<u32>()) {
        let split = split(&weights);
        for point in points(salt, 300).chain(edges(&weights)) {
            prop_assert!(weights[usize::from(split.pick(point).0)] > 0, "{:?}", point);
        }
    }

    #[test]
    fn further_variants_may_change_places(weights in weights(4..9), salt in any::<u32>()) {
        let names = ["v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7"];
        let named: Vec<(&str, u32)> = names.into_iter().zip(weights.iter().copied()).collect();
        let mut turned = named.clone();
        turned[3..].reverse();
        let (before, after) = (Split::new(named.clone()), Split::new(turned.clone()));
        let (before, after) = (before.expect("a split"), after.expect("a split"));
        for point in points(salt, 300) {
            let (was, is) = (before.pick(point), after.pick(point));
            prop_assert_eq!(named[usize::from(was.0)].0, turned[usize::from(is.0)].0);
        }
    }
}

#[test]
fn what_is_no_split_says_why() {
    let error = |weights: &[u32]| Split::new(weights.iter().map(|w| ("v", *w))).map(|_| ());
    assert_eq!(error(&[]), Err(InvalidSplit::Empty));
    assert_eq!(error(&[0, 0]), Err(InvalidSplit::ZeroSum));
    assert_eq!(error(&[1, MAX_WEIGHT + 1]), Err(InvalidSplit::TooHeavy(MAX_WEIGHT + 1)));
    assert_eq!(error(&[1; 65_536]), Err(InvalidSplit::TooMany(65_536)));
    assert_eq!(error(&[MAX_WEIGHT; 65_535]), Ok(()));
}

#[test]
fn shares_are_exact() {
    let split = split(&[900_000, 1, 99_999]);
    let shares = [0, 1, 2, 3].map(|variant| split.share(VariantId(variant)));
    assert_eq!(shares, [0.9, 0.000_001, 0.099_999, 0.0]);
}

/// `part` of the loser's weight goes to the gainer, and all are multiplied by `scale` as far as
/// the largest weight allows.
fn shifted(
    old: &[u32],
    gainer: usize,
    loser: usize,
    part: prop::sample::Index,
    scale: u32,
) -> Vec<u32> {
    let mut new = old.to_vec();
    let most = old[loser].min(MAX_WEIGHT - old[gainer]);
    let part = part.index(most as usize + 1) as u32;
    new[loser] -= part;
    new[gainer] += part;
    let heaviest = new.iter().copied().max().unwrap_or(1).max(1);
    let scale = scale.min(MAX_WEIGHT / heaviest).max(1);
    new.iter().map(|weight| weight * scale).collect()
}

fn weight() -> impl Strategy<Value = u32> {
    prop_oneof![2 => Just(0), 2 => 1..=4_u32, 2 => 1..=100_u32, 2 => 0..=MAX_WEIGHT, 1 => Just(MAX_WEIGHT)]
}

fn weights(variants: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(weight(), variants)
        .prop_filter("a sum above 0", |weights| weights.iter().any(|weight| *weight > 0))
}

fn split(weights: &[u32]) -> Split {
    let names: Vec<String> = (0..weights.len()).map(|index| format!("v{index}")).collect();
    let variants = names.iter().map(String::as_str).zip(weights.iter().copied());
    Split::new(variants).expect("weights make a split")
}

fn points(salt: u32, users: u32) -> impl Iterator<Item = Point> {
    let salt = Salt::new(&salt.to_string(), Purpose::Split);
    (0..users).map(move |user| salt.point(format!("user-{user}").as_bytes()))
}

/// The ends of the line and the points around the borders, where rounding would show.
fn edges(weights: &[u32]) -> impl Iterator<Item = Point> {
    let sum: u128 = weights.iter().copied().map(u128::from).sum();
    let length = |variant: usize| {
        let weight = u128::from(weights.get(variant).copied().unwrap_or(0));
        ((weight << 64) / sum) as u64
    };
    let borders = [0, length(1), 0_u64.wrapping_sub(length(2))];
    let around = |border: u64| (0..5).map(move |step| border.wrapping_add(step).wrapping_sub(2));
    borders.into_iter().flat_map(around).map(Point)
}

/// How far a count of [`USERS`] with this `share` strays (Bernstein's inequality): further with a
/// chance of less than one in a million, as five sigma are, but also true of the rarest.
fn slack(share: f64) -> f64 {
    const LOG_CHANCE: f64 = 15.0;
    let variance = share * (1.0 - share) * f64::from(USERS);
    (2.0 * LOG_CHANCE * variance).sqrt() + LOG_CHANCE * 2.0 / 3.0
}

const USERS: u32 = 20_000;

//! The weights that rollouts set, in the place of the file's.

use crate::plan::{Plan, Route};
use tidegate_judge::Share;
use tidegate_policies::{Sample, Split};

/// What a rollout sets: how two variants of a route share what they have together, and how much a
/// mirror copies.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Shift {
    /// The route.
    pub route: String,
    /// The variant that has the rest.
    pub baseline: String,
    /// The variant that has `weight`.
    pub candidate: String,
    /// The candidate's share of what the two have together.
    pub weight: Share,
    /// A mirror of the route, and the share of requests that it copies.
    pub mirror: Option<(String, Share)>,
}

impl Plan {
    /// This plan with `shifts`, one after the other. Names that there are not are left alone, and
    /// so is every variant that is not in a shift.
    #[must_use]
    pub fn shifted<'a>(&self, shifts: impl IntoIterator<Item = &'a Shift>) -> Plan {
        let mut plan = self.clone();
        for shift in shifts {
            let route = plan.routes.iter_mut().find(|route| *route.name == *shift.route);
            if let Some(route) = route {
                set_weights(route, shift);
                set_mirror(route, shift);
            }
        }
        plan
    }
}

fn set_weights(route: &mut Route, shift: &Shift) {
    let position = |name: &str| route.variants.iter().position(|variant| *variant.name == *name);
    let (Some(baseline), Some(candidate)) = (position(&shift.baseline), position(&shift.candidate))
    else {
        return;
    };
    if baseline == candidate {
        return;
    }
    let mut weights: Vec<u32> = route.variants.iter().map(|variant| variant.weight).collect();
    reweigh(&mut weights, baseline, candidate, shift.weight);
    let names = route.variants.iter().map(|variant| &*variant.name);
    // They add up to a million, so there is a split.
    let Ok(split) = Split::new(names.zip(weights.iter().copied())) else { return };
    route.policy.split = split;
    for (variant, weight) in route.variants.iter_mut().zip(weights) {
        variant.weight = weight;
    }
}

/// Makes `weights` millionths, of which the candidate has `share` of the pair's. What the pair has
/// together, and what everybody else has, does not depend on `share`: so a larger share takes no
/// user out of the candidate, and of up to three variants, no user of another one moves.
fn reweigh(weights: &mut [u32], baseline: usize, candidate: usize, share: Share) {
    let (old, new) = (weights[baseline], weights[candidate]);
    let mut parts: Vec<u64> = weights.iter().copied().map(u64::from).collect();
    parts[candidate] = 0;
    parts[baseline] = u64::from(old) + u64::from(new);
    if parts.iter().all(|part| *part == 0) {
        parts[baseline] = 1;
    }
    let mut parts = millionths(&parts);
    let pair = u64::from(parts[baseline]);
    // Rounded up: a share above nothing is some of it, where there is any.
    let given = (pair * u64::from(share.millionths())).div_ceil(u64::from(MILLION)) as u32;
    parts[candidate] = given;
    parts[baseline] -= given;
    weights.copy_from_slice(&parts);
}

/// Each part's millionths of the whole, which is above 0; they add up to a million (the method of
/// the largest remainder).
fn millionths(parts: &[u64]) -> Vec<u32> {
    let whole: u64 = parts.iter().sum();
    let scaled = |part: &u64| part * u64::from(MILLION);
    let mut shares: Vec<u32> = parts.iter().map(|part| (scaled(part) / whole) as u32).collect();
    let missing = MILLION - shares.iter().sum::<u32>();
    let mut by_remainder: Vec<usize> = (0..parts.len()).collect();
    by_remainder.sort_by_key(|part| std::cmp::Reverse(scaled(&parts[*part]) % whole));
    for part in by_remainder.into_iter().take(missing as usize) {
        shares[part] += 1;
    }
    shares
}

fn set_mirror(route: &mut Route, shift: &Shift) {
    let Some((name, share)) = &shift.mirror else { return };
    let mirror = route.mirrors.iter_mut().find(|mirror| *mirror.name == **name);
    if let (Some(mirror), Some(sample)) = (mirror, Sample::from_millionths(share.millionths())) {
        mirror.policy.sample = sample;
    }
}

const MILLION: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile_text;
    use proptest::prelude::*;
    use tidegate_policies::{Point, VariantId};

    fn plan(weights: &[u32]) -> Plan {
        let variants = weights.iter().enumerate().map(|(i, weight)| {
            format!("      - {{ name: v{i}, upstream: up, weight: {weight} }}\n")
        });
        let text = format!(
            "listeners: [{{ name: web, address: 127.0.0.1:0 }}]\n\
             upstreams: [{{ name: up, endpoints: [127.0.0.1:1] }}]\n\
             routes:\n  - name: shop\n    match: {{ path: {{ prefix: / }} }}\n    variants:\n{}    \
             mirrors:\n      - {{ name: dark, upstream: up, percent: 10 }}\n",
            variants.collect::<String>()
        );
        compile_text("test.yaml", &text).expect("a plan")
    }

    fn shift(candidate: usize, millionths: u32) -> Shift {
        Shift {
            route: "shop".into(),
            baseline: "v0".into(),
            candidate: format!("v{candidate}"),
            weight: Share::from_millionths(millionths).expect("a share"),
            mirror: None,
        }
    }

    fn weights(plan: &Plan) -> Vec<u32> {
        plan.routes[0].variants.iter().map(|variant| variant.weight).collect()
    }

    #[test]
    fn the_pair_shares_what_it_has_together() {
        let shifted = |file: &[u32], candidate, share| {
            weights(&plan(file).shifted([&shift(candidate, share)]))
        };
        assert_eq!(shifted(&[90, 10], 1, 10_000), [990_000, 10_000]);
        assert_eq!(shifted(&[90, 10], 1, 0), [1_000_000, 0]);
        assert_eq!(shifted(&[90, 10], 1, 1_000_000), [0, 1_000_000]);
        assert_eq!(shifted(&[100, 0], 1, 500_000), [500_000, 500_000]);
        assert_eq!(shifted(&[60, 20, 20], 1, 250_000), [600_000, 200_000, 200_000]);
        assert_eq!(shifted(&[60, 20, 20], 2, 0), [800_000, 200_000, 0]);
        assert_eq!(shifted(&[1, 1, 1], 2, 500_000), [333_333, 333_333, 333_334]);
        assert_eq!(shifted(&[0, 0, 7], 1, 500_000), [0, 0, 1_000_000]);
    }

    #[test]
    fn a_pair_of_nothing_gets_everything() {
        let mut weights = [0, 0];
        reweigh(&mut weights, 0, 1, Share::from_millionths(250_000).expect("a share"));
        assert_eq!(weights, [750_000, 250_000]);
    }

    #[test]
    fn shifts_follow_one_another_and_unknown_names_change_nothing() {
        let file = plan(&[50, 30, 20]);
        let next = file.shifted(&[shift(1, 0), shift(2, 500_000)]);
        assert_eq!(weights(&next), [500_000, 0, 500_000]);
        let elsewhere = Shift { route: "blog".into(), ..shift(1, 0) };
        let nobody = Shift { candidate: "v9".into(), ..shift(1, 0) };
        let itself = Shift { candidate: "v0".into(), ..shift(1, 0) };
        assert_eq!(weights(&file.shifted(&[elsewhere, nobody, itself])), [50, 30, 20]);
    }

    #[test]
    fn a_mirror_is_turned_up() {
        let all = Share::from_millionths(1_000_000).expect("a share");
        let up = Shift { mirror: Some(("dark".into(), all)), ..shift(1, 0) };
        let file = plan(&[1, 1]);
        assert_eq!(file.shifted([&up]).routes[0].mirrors[0].policy.sample, Sample::ALL);
        let other = Shift { mirror: Some(("darker".into(), all)), ..shift(1, 0) };
        let sample = file.shifted([&other]).routes[0].mirrors[0].policy.sample;
        assert_eq!(sample.millionths(), 100_000);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// With the split that serves: a larger share takes nobody out of the candidate, and where
        /// the split can be exact, all who come were the baseline's.
        #[test]
        fn growing_takes_no_user_out_of_the_candidate(
            weights in prop::collection::vec(0..=1_000_000_u32, 2..6),
            candidate in 1..5_usize,
            shares in (0..=1_000_000_u32, 0..=1_000_000_u32),
            points in prop::collection::vec(any::<u64>(), 200),
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let candidate = 1 + candidate % (weights.len() - 1);
            let file = plan(&weights);
            let (small, large) = (shares.0.min(shares.1), shares.0.max(shares.1));
            let split =
                |share| file.shifted([&shift(candidate, share)]).routes[0].policy.split.clone();
            let (before, after) = (split(small), split(large));
            for point in points.into_iter().map(Point) {
                let (was, is) = (before.pick(point), after.pick(point));
                let new = VariantId(candidate as u16);
                prop_assert!(was != new || is == new, "{was:?} -> {is:?}");
                let grew = was == VariantId(0) && is == new;
                prop_assert!(was == is || grew || weights.len() > 3, "{was:?} -> {is:?}");
            }
        }

        #[test]
        fn everybody_else_keeps_their_share(
            file in prop::collection::vec(0..=1_000_000_u32, 2..6),
            share in 0..=1_000_000_u32,
        ) {
            prop_assume!(file.iter().any(|weight| *weight > 0));
            let after = weights(&plan(&file).shifted([&shift(1, share)]));
            prop_assert_eq!(after.iter().sum::<u32>(), MILLION);
            let whole: f64 = file.iter().copied().map(f64::from).sum();
            for (before, after) in file.iter().zip(&after).skip(2) {
                let before = f64::from(*before) / whole * 1e6;
                prop_assert!((before - f64::from(*after)).abs() <= 1.0);
            }
        }
    }
}

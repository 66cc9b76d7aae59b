//! What the choice among endpoints, their health and their ejection promise.

#![allow(clippy::expect_used, missing_docs)]

use proptest::prelude::*;
use std::{num::NonZeroU32, time::Duration};
use tidegate_policies::{
    Census, FULL_WEIGHT, Health, HealthThresholds, OutlierPolicy, Point, Purpose, Salt, claim,
    second_is_lighter, turn, two_of, warm_weight, weighted_claim,
};

fn not_zero(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

fn seeds(count: usize) -> Vec<Salt> {
    (0..count).map(|i| Salt::new(&format!("10.0.0.{i}:80"), Purpose::Endpoint)).collect()
}

/// Users spread over the line.
fn users() -> impl Iterator<Item = Point> {
    (0..4_000_u64).map(|user| Salt::new("users", Purpose::Split).point_of_draw(user))
}

fn owner(seeds: &[Salt], weights: &[u32], point: Point) -> usize {
    let claim = |i: &usize| weighted_claim(seeds[*i], point, weights[*i]);
    (0..seeds.len()).max_by(|a, b| claim(a).total_cmp(&claim(b))).expect("not empty")
}

proptest! {
    #[test]
    fn turns_follow_weights_and_spread(
        weights in prop::collection::vec(1..=FULL_WEIGHT, 1..12),
        start in any::<u64>(),
    ) {
        let total = weights.iter().map(|w| u64::from(*w)).sum();
        const TURNS: u64 = 10_000;
        let mut counts = vec![0_u64; weights.len()];
        for i in 0..TURNS {
            let position = turn(start.wrapping_add(i), weights.iter().copied(), total);
            counts[position] += 1;
            // Nobody waits long, at any moment: what is due came, give or take a few.
            let due = (i + 1) as f64 * f64::from(weights[position]) / total as f64;
            prop_assert!((counts[position] as f64 - due).abs() < 12.0, "{} of {}", counts[position], due);
        }
        for (count, weight) in counts.iter().zip(&weights) {
            let due = TURNS as f64 * f64::from(*weight) / total as f64;
            prop_assert!((*count as f64 - due).abs() < 12.0, "{} of {}", count, due);
        }
    }

    #[test]
    fn weights_grow_in_a_straight_line(age in 0..2_000_u64, slow_start in 1..1_000_u64) {
        let weight = |age| warm_weight(Duration::from_millis(age), Duration::from_millis(slow_start));
        prop_assert!((100..=FULL_WEIGHT).contains(&weight(age)));
        prop_assert!(weight(age) <= weight(age + 1));
        prop_assert_eq!(weight(0), 100);
    }

    #[test]
    fn two_are_different(len in 2..1_000_usize, draw in any::<u64>()) {
        let (first, second) = two_of(len, draw);
        prop_assert!(first < len && second < len && first != second);
    }

    #[test]
    fn of_equals_the_less_loaded_takes_it(a in 0..1_000_u32, b in 0..1_000_u32, draw in any::<u64>()) {
        let second = second_is_lighter((a, FULL_WEIGHT), (b, FULL_WEIGHT), draw);
        prop_assert!(a == b || second == (b < a));
        // By weight, ten requests at a warm endpoint are as one at a cold one.
        prop_assert!(second_is_lighter((10, 100), (10, FULL_WEIGHT), draw));
        prop_assert!(!second_is_lighter((10 * a, FULL_WEIGHT), (a + 1, 100), draw));
    }

    #[test]
    fn health_changes_after_as_many_in_a_row(
        unhealthy_after in 1..6_u32,
        healthy_after in 1..6_u32,
        checks in prop::collection::vec(any::<bool>(), 1..60),
    ) {
        let thresholds = HealthThresholds {
            unhealthy_after: not_zero(unhealthy_after),
            healthy_after: not_zero(healthy_after),
        };
        let mut health = Health::default();
        prop_assert!(health.is_usable());
        for (i, passed) in checks.iter().copied().enumerate() {
            let before = health;
            health = health.after(passed, thresholds);
            let in_a_row = checks[..=i].iter().rev().take_while(|check| **check == passed).count();
            let needed = if passed { healthy_after } else { unhealthy_after };
            if i == 0 {
                prop_assert_eq!(health.is_usable(), passed);
            } else if before.is_usable() == passed {
                prop_assert_eq!(health.is_usable(), passed);
            } else {
                prop_assert_eq!(health.is_usable() == passed, in_a_row >= needed as usize);
            }
        }
    }

    /// A model of an endpoint with plain fields, beside the number.
    #[test]
    fn an_endpoint_is_ejected_after_as_many_failures_in_a_row(
        threshold in 1..8_u32,
        eject_for in 1..5_000_u64,
        events in prop::collection::vec((0..4_u8, 1..4_000_u64), 1..200),
    ) {
        let policy =
            OutlierPolicy::new(not_zero(threshold), Duration::from_millis(eject_for), 500_000);
        let (mut state, mut now) = (0, 1);
        let (mut in_a_row, mut times, mut until) = (0, 0_u64, 0);
        for (event, pause) in events {
            now += pause;
            if event == 0 {
                state = policy.success(state);
                in_a_row = 0;
            } else {
                let (next, enough) = policy.failure(state, now);
                state = next;
                if now >= until {
                    in_a_row += 1;
                }
                prop_assert_eq!(enough, now >= until && in_a_row == threshold);
                if enough {
                    times = (times.saturating_sub((now - until) / eject_for) + 1).min(10);
                    until = now + times * eject_for;
                    in_a_row = 0;
                    state = policy.eject(state, now);
                }
            }
            prop_assert_eq!(OutlierPolicy::until(state), until);
            prop_assert_eq!(OutlierPolicy::failures(state), in_a_row);
        }
    }

    #[test]
    fn never_more_than_the_share_is_ejected(
        endpoints in 0..200_usize,
        unhealthy in 0..200_usize,
        max_ejected in 0..=1_000_000_u32,
    ) {
        let policy = OutlierPolicy::new(not_zero(1), Duration::from_secs(1), max_ejected);
        let mut usable = endpoints.saturating_sub(unhealthy);
        let mut ejected = 0;
        while usable > 0 && policy.may_eject(Census { endpoints, usable, ejected }) {
            (usable, ejected) = (usable - 1, ejected + 1);
        }
        let share = endpoints as f64 * f64::from(max_ejected) / 1e6;
        prop_assert!(ejected as f64 <= share.max(1.0));
        prop_assert!(endpoints > 1 || ejected == 0);
        // One may always be, unless nothing would be left.
        prop_assert!(ejected > 0 || endpoints.saturating_sub(unhealthy) < 2 || endpoints < 2);
        prop_assert!(usable > 0 || endpoints <= unhealthy || max_ejected == 1_000_000);
    }
}

#[test]
fn a_failure_that_everybody_shares_ejects_half_by_default() {
    let policy = OutlierPolicy::new(not_zero(5), Duration::from_secs(30), 500_000);
    let may = |endpoints, usable, ejected| policy.may_eject(Census { endpoints, usable, ejected });
    assert!(!may(1, 1, 0));
    assert!(may(2, 2, 0) && !may(2, 1, 1));
    assert!(may(4, 3, 1) && !may(4, 2, 2));
    // The others are down already.
    assert!(!may(4, 1, 0));
}

#[test]
fn long_times_do_not_overflow() {
    let policy = OutlierPolicy::new(NonZeroU32::MAX, Duration::MAX, u32::MAX);
    let state = policy.eject(policy.failure(u64::MAX, u64::MAX).0, u64::MAX);
    assert!(OutlierPolicy::until(state) > 0);
    assert!(policy.may_eject(Census { endpoints: 2, usable: 1, ejected: 1 }));
}

#[test]
fn equal_weights_claim_as_no_weights_do() {
    let seeds = seeds(7);
    for point in users() {
        let plain = (0..7).max_by_key(|i| claim(seeds[*i], point));
        assert_eq!(plain, Some(owner(&seeds, &[FULL_WEIGHT; 7], point)));
    }
}

#[test]
fn users_spread_by_weight_and_only_move_to_what_grows() {
    let seeds = seeds(4);
    let mut before: Vec<_> =
        users().map(|point| owner(&seeds, &[1_000, 1_000, 1_000, 100], point)).collect();
    for weight in [100, 300, 600, 1_000] {
        let after: Vec<_> =
            users().map(|point| owner(&seeds, &[1_000, 1_000, 1_000, weight], point)).collect();
        assert!(before.iter().zip(&after).all(|(before, after)| before == after || *after == 3));
        let share = after.iter().filter(|owner| **owner == 3).count() as f64 / after.len() as f64;
        let due = f64::from(weight) / (3_000.0 + f64::from(weight));
        // Four standard deviations of 4,000 users are at most 0.028.
        assert!((share - due).abs() < 0.028, "{share} for {due}");
        before = after;
    }
}

#[test]
fn an_idle_cold_endpoint_gets_a_little() {
    let draws = (0..100_000_u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17));
    let cold = draws.filter(|d| second_is_lighter((0, FULL_WEIGHT), (0, 100), *d)).count();
    assert!((4_000..6_000).contains(&cold), "{cold} of 100,000");
}

//! What the retry budget and the backoff promise.

#![allow(clippy::expect_used, missing_docs)]

use proptest::prelude::*;
use std::time::Duration;
use tidegate_policies::{RetryBudget, backoff};

proptest! {
    /// In every stretch of a history, retries are at most the share of its requests, and what was
    /// saved up before.
    #[test]
    fn retries_are_a_share_of_requests(
        share in 0..=1_000_000_u32,
        history in prop::collection::vec((0..200_u32, 0..200_u32), 1..40),
    ) {
        let budget = RetryBudget::from_millionths(share);
        let mut state = budget.start();
        let first = RetryBudget::left(state);
        let (mut requests, mut retries) = (0_u64, 0_u64);
        for (asked, wanted) in history {
            let saved = RetryBudget::left(state);
            prop_assert!(saved <= 100);
            for _ in 0..asked {
                state = budget.deposit(state);
            }
            let mut made = 0;
            for _ in 0..wanted {
                let Some(next) = budget.withdraw(state) else { break };
                (state, made) = (next, made + 1);
            }
            prop_assert!(made <= saved + 1 + u64::from(asked) * u64::from(share) / 1_000_000);
            (requests, retries) = (requests + u64::from(asked), retries + made);
            prop_assert!(retries * 1_000_000 <= first * 1_000_000 + requests * u64::from(share));
        }
    }

    #[test]
    fn a_pause_is_within_its_range(
        base in 0..10_000_000_u64, number in 0..u32::MAX, draw in any::<u64>(),
    ) {
        let base = Duration::from_micros(base);
        let range = base * 2_u32.saturating_pow(number.saturating_sub(1)).min(10);
        let pause = backoff(base, number, draw);
        prop_assert!(pause < range || range.is_zero() && pause.is_zero());
        prop_assert!(range - backoff(base, number, u64::MAX) <= Duration::from_nanos(100));
        prop_assert_eq!(backoff(base, number, 0), Duration::ZERO);
        prop_assert!(backoff(base, number, draw) <= backoff(base, number.saturating_add(1), draw));
    }
}

#[test]
fn a_budget_starts_with_ten_and_saves_a_hundred() {
    let budget = RetryBudget::from_millionths(200_000);
    assert_eq!(RetryBudget::left(budget.start()), 10);
    let full = (0..1_000).fold(budget.start(), |state, _| budget.deposit(state));
    assert_eq!(RetryBudget::left(full), 100);
    assert_eq!(budget.deposit(full), full);
}

#[test]
fn no_share_is_no_retry() {
    let budget = RetryBudget::from_millionths(0);
    assert_eq!(budget.withdraw(budget.deposit(budget.start())), None);
}

#[test]
fn a_pause_of_any_length_does_not_overflow() {
    assert!(backoff(Duration::MAX, u32::MAX, u64::MAX) > Duration::from_secs(1 << 33));
}

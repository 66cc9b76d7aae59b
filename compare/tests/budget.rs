//! One budget under several threads.

#![allow(clippy::expect_used, missing_docs)]

use tidegate_compare::{Budget, Charge};

#[test]
fn threads_never_pass_the_limit_together() {
    let budget = Budget::new(64);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    let mut charge = Charge::new(&budget);
                    let granted = charge.grow(24);
                    assert_eq!(charge.bytes(), if granted { 24 } else { 0 });
                    assert!(budget.used() <= 64);
                }
            });
        }
    });
    assert_eq!(budget.used(), 0);
}

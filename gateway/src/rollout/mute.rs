//! Whose requests do not count for the moment: users whose last one has just failed.
//!
//! A failed request is tried again, by the client's library or by the hand of its user, and most
//! likely fails again. Counted each, one broken user would look like hundreds, and the tests, which
//! take requests for independent, would find a version bad that is as good as the other. So for one
//! second after a failure that counted, no further request of the same user counts, good or bad,
//! and such a request does not make the second longer.
//!
//! Whether a request counts is settled by what ended before it, never by how it ends itself. So the
//! requests that count fail at the rate that requests fail at. Rejected: to count each failing user
//! once a minute and every good request. A user with many requests would then have many good ones
//! and one bad one, and whoever makes the most requests makes the rate look the smallest.
//!
//! Requests without a key are drawn each for itself, so there is nobody to mute.
//!
//! The table is of a fixed size: where two users meet in one slot, the later failure takes it, and
//! the other user's retries count. That is the past, too.

use super::Side;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tidegate_policies::Point;

/// How long a failure mutes its user, in milliseconds.
const SPAN: u64 = 1000;

/// 128 KiB. While 1,000 users fail each second, another one takes a user's slot with a chance of
/// 6 %.
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 14;

/// The time is in the lower bits of a slot: good for 34 years, so it never wraps. The upper bits
/// say whose failure it was.
const TIME_BITS: u32 = 40;
const TIME: u64 = (1 << TIME_BITS) - 1;

/// The users who are muted.
#[derive(Debug)]
pub(super) struct Mute {
    slots: Box<[AtomicU64]>,
}

impl Mute {
    pub(super) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Whether a request counts that ended just now, `now` milliseconds after the lane began. It is
    /// of the user at `user` and went to `side`. A failure that counts mutes the user.
    pub(super) fn admits(&self, user: Point, side: Side, failed: bool, now: u64) -> bool {
        // From a second on: an empty slot, of time 0, mutes nobody.
        let now = (now + SPAN) & TIME;
        let (slot, whose) = self.place(user, side);
        let mut seen = slot.load(Relaxed);
        loop {
            // A failure that another thread noted later than `now` was at the same time.
            if seen & !TIME == whose && now.saturating_sub(seen & TIME) < SPAN {
                return false;
            }
            if !failed {
                return true;
            }
            // Of two failures at once one counts.
            match slot.compare_exchange_weak(seen, whose | now, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(other) => seen = other,
            }
        }
    }

    /// The user's slot and mark. Points are hashes, and their lower bits are as good for every
    /// user of a variant: those of a small share have the upper ones in common.
    fn place(&self, user: Point, side: Side) -> (&AtomicU64, u64) {
        let slot = &self.slots[user.0 as usize % SLOTS];
        let whose = (user.0 >> SLOT_BITS) << 1 | side as u64;
        (slot, whose << TIME_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use tidegate_policies::{Purpose, Salt};

    fn user(n: u32) -> Point {
        Salt::new("shop", Purpose::Split).point(&n.to_be_bytes())
    }

    #[test]
    fn a_failure_mutes_its_user_for_a_second_and_no_longer() {
        let mute = Mute::new();
        let counts = |failed, now| mute.admits(user(1), Side::Candidate, failed, now);
        assert!(counts(true, 0));
        assert!(!counts(true, 1));
        assert!(!counts(false, 500));
        assert!(!counts(true, 999));
        assert!(counts(true, 1000), "the failures in between do not make it longer");
        assert!(!counts(false, 1999));
        assert!(counts(false, 2000));
        assert!(counts(false, 2001));
    }

    #[test]
    fn nobody_else_is_muted() {
        let mute = Mute::new();
        assert!(mute.admits(user(1), Side::Candidate, true, 0));
        assert!(mute.admits(user(2), Side::Candidate, true, 0));
        assert!(mute.admits(user(1), Side::Baseline, true, 0), "a user who moves starts afresh");
        let fresh = Mute::new();
        assert!((0..10_000).all(|n| fresh.admits(user(n), Side::Baseline, false, 0)));
        assert!(fresh.admits(Point(0), Side::Baseline, true, 0), "an empty slot is nobody's");
    }

    #[test]
    fn a_later_failure_takes_the_slot() {
        let mute = Mute::new();
        let (one, other) = (Point(7), Point(7 | 1 << SLOT_BITS));
        assert!(mute.admits(one, Side::Baseline, true, 0));
        assert!(mute.admits(other, Side::Baseline, true, 1));
        assert!(mute.admits(one, Side::Baseline, false, 2));
        assert!(!mute.admits(other, Side::Baseline, false, 2));
    }

    #[test]
    fn users_of_a_small_share_do_not_share_slots() {
        // The left end of the line: the twenty upper bits are 0.
        let mute = Mute::new();
        let points = (0..100_u32).map(|n| Point(user(n).0 >> 20));
        assert!(points.into_iter().all(|point| mute.admits(point, Side::Candidate, true, 0)));
    }

    #[test]
    fn of_failures_at_once_one_counts() {
        let mute = Mute::new();
        let counted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..10_000 {
                        let counts = mute.admits(user(n % 10), Side::Candidate, true, 0);
                        counted.fetch_add(u64::from(counts), Relaxed);
                    }
                });
            }
        });
        assert_eq!(counted.into_inner(), 10);
    }
}

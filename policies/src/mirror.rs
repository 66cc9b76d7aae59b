//! Mirroring: which requests get a copy, and what a dark launch may cost.
//!
//! A mirror samples by the point where the request's user landed, hashed again with a salt of its
//! own. So the same user is in or out for good, a larger sample includes a smaller one, and the
//! sample says nothing about the variant: a 10 % mirror of a 90/10 route sees 90/10. Rejected:
//! looking the user's key up once more (twice the work, the same answer), the split's own point
//! (the first 10 % of users would be the canary's), a draw for each request (a user would be in
//! and out).

use crate::{Decision, Point, Purpose, Salt, Sample};
use http::Method;
use std::num::{NonZeroU32, NonZeroU64};

/// Which requests a mirror gets copies of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorPolicy {
    /// Only requests of these methods.
    pub methods: Vec<Method>,
    /// The share of users, or of requests without a key.
    pub sample: Sample,
    /// What makes this sample independent of all other decisions.
    pub salt: Salt,
}

/// Whether a request is to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorChoice {
    /// It is.
    Copy,
    /// Its method is not one of the mirror's.
    Method,
    /// It is not in the sample.
    NotSampled,
}

impl MirrorPolicy {
    /// The salt of the mirror `name` on a route whose salt is `route`.
    pub fn salt(route: &str, name: &str) -> Salt {
        Salt::new(route, Purpose::Mirror(name))
    }

    /// Decides for a request of `method` whose variant was chosen by `decision`.
    pub fn choose(&self, method: &Method, decision: &Decision) -> MirrorChoice {
        if !self.methods.contains(method) {
            MirrorChoice::Method
        } else if self.sample.includes(self.point(decision)) {
            MirrorChoice::Copy
        } else {
            MirrorChoice::NotSampled
        }
    }

    /// Where the request stands for this mirror.
    fn point(&self, decision: &Decision) -> Point {
        self.salt.point(&decision.point.0.to_le_bytes())
    }
}

/// A rate with bursts of up to one second's worth, as the virtual scheduling algorithm of
/// ITU-T I.371 (the generic cell rate algorithm). Its state is one number of nanoseconds, so that
/// callers can keep it in an atomic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit(NonZeroU32);

impl RateLimit {
    /// At most `count` a second on average.
    pub fn per_second(count: NonZeroU32) -> Self {
        Self(count)
    }

    /// The state after one more at `now`, in nanoseconds of any clock that does not go back;
    /// `None`: not now. The first state is 0.
    pub fn admit(self, state: u64, now: u64) -> Option<u64> {
        // When the bucket will be full again if nothing more comes.
        let full = state.max(now);
        let interval = SECOND / u64::from(self.0.get());
        let next = full.saturating_add(interval);
        (next - now <= SECOND).then_some(next)
    }
}

const SECOND: u64 = 1_000_000_000;

/// A number of things a day. Its state is one number, so that callers can keep it in an atomic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayBudget(NonZeroU64);

/// The day is in the upper bits of a [`DayBudget`]'s state, the count below: enough for 10^12.
const COUNT_BITS: u32 = 40;

impl DayBudget {
    /// The largest budget.
    pub const MAX: u64 = (1 << COUNT_BITS) - 1;

    /// `count` a day; more than [`DayBudget::MAX`] is as much as that.
    pub fn per_day(count: NonZeroU64) -> Self {
        Self(count)
    }

    /// The state after one more on `day` (days since 1970, UTC); `None`: the day's budget is spent.
    /// The first state is 0.
    pub fn admit(self, state: u64, day: u32) -> Option<u64> {
        let used = Self::used(state, day);
        (used < self.0.get().min(Self::MAX)).then(|| (u64::from(day) << COUNT_BITS) | (used + 1))
    }

    /// How many of `day` are in `state`.
    pub fn used(state: u64, day: u32) -> u64 {
        // 24 bits of days: until the year 47,000.
        if state >> COUNT_BITS == u64::from(day) { state & Self::MAX } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reason, VariantId};

    fn at(point: u64) -> Decision {
        Decision { variant: VariantId(0), reason: Reason::Draw, point: Point(point) }
    }

    fn policy(millionths: u32) -> MirrorPolicy {
        MirrorPolicy {
            methods: vec![Method::GET, Method::HEAD],
            sample: Sample::from_millionths(millionths).expect("a share"),
            salt: MirrorPolicy::salt("shop", "dark"),
        }
    }

    /// Points spread evenly over the line, as a split sees them.
    fn line(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(move |i| i * (u64::MAX / count))
    }

    #[test]
    fn the_sample_is_the_share_in_every_part_of_the_split() {
        let policy = policy(100_000);
        let copied = |from: u64, to: u64| {
            let points: Vec<_> =
                line(100_000).skip(from as usize).take((to - from) as usize).collect();
            let copied = points
                .iter()
                .filter(|p| policy.choose(&Method::GET, &at(**p)) == MirrorChoice::Copy)
                .count();
            copied as f64 / points.len() as f64
        };
        // Four standard deviations of a share of 10 % are 0.012 for 10,000 points.
        for tenth in 0..10 {
            let share = copied(tenth * 10_000, (tenth + 1) * 10_000);
            assert!((share - 0.1).abs() < 0.012, "{share} of tenth {tenth}");
        }
    }

    #[test]
    fn a_larger_sample_includes_a_smaller_one() {
        let (small, large) = (policy(10_000), policy(300_000));
        for point in line(20_000) {
            let copied = |policy: &MirrorPolicy| policy.choose(&Method::GET, &at(point));
            if copied(&small) == MirrorChoice::Copy {
                assert_eq!(copied(&large), MirrorChoice::Copy);
            }
        }
    }

    #[test]
    fn methods_come_first() {
        assert_eq!(policy(0).choose(&Method::POST, &at(0)), MirrorChoice::Method);
        assert_eq!(policy(0).choose(&Method::GET, &at(0)), MirrorChoice::NotSampled);
        assert_eq!(policy(1_000_000).choose(&Method::HEAD, &at(0)), MirrorChoice::Copy);
    }

    #[test]
    fn a_rate_allows_a_burst_and_then_its_pace() {
        let rate = RateLimit::per_second(NonZeroU32::new(10).expect("not zero"));
        let (mut state, mut admitted) = (0, 0);
        let start = 5 * SECOND;
        for _ in 0..50 {
            if let Some(next) = rate.admit(state, start) {
                (state, admitted) = (next, admitted + 1);
            }
        }
        assert_eq!(admitted, 10);
        assert_eq!(rate.admit(state, start + SECOND / 10 - 1), None);
        let next = rate.admit(state, start + SECOND / 10).expect("one interval is over");
        assert_eq!(rate.admit(next, start + SECOND / 10), None);
        // A pause of any length fills the bucket and no more.
        let (mut state, mut admitted) = (next, 0);
        while let Some(next) = rate.admit(state, start + 3_600 * SECOND) {
            (state, admitted) = (next, admitted + 1);
        }
        assert_eq!(admitted, 10);
    }

    #[test]
    fn a_rate_of_billions_does_not_divide_to_nothing() {
        let rate = RateLimit::per_second(NonZeroU32::MAX);
        assert!(rate.admit(0, 0).is_some() && rate.admit(u64::MAX, u64::MAX).is_some());
    }

    #[test]
    fn a_budget_starts_anew_each_day() {
        let budget = DayBudget::per_day(NonZeroU64::new(2).expect("not zero"));
        let one = budget.admit(0, 20_000).expect("the first");
        let two = budget.admit(one, 20_000).expect("the second");
        assert_eq!(budget.admit(two, 20_000), None);
        assert_eq!(DayBudget::used(two, 20_000), 2);
        let next = budget.admit(two, 20_001).expect("another day");
        assert_eq!((DayBudget::used(next, 20_001), DayBudget::used(next, 20_000)), (1, 0));
        let huge = DayBudget::per_day(NonZeroU64::MAX);
        assert_eq!(huge.admit((7 << COUNT_BITS) | DayBudget::MAX, 7), None);
    }
}

//! What a rollout counts while requests go by.
//!
//! A request counts when the first attempt at the version that the split gave it has ended. What a
//! fallback saved counts as failed; what a client broke off does not count. Requests that a pin
//! sent there do not count: their users are not like the others. For users whose last request has
//! just failed, see [`super::mute`].

use super::{cells::Cells, mute::Mute, samples::Samples};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tidegate_judge::{Arms, Plan, Tick};
use tidegate_policies::{Decision, Purpose, Reason, Salt, VariantId};

/// The counts of one rollout since they were last taken.
#[derive(Debug)]
pub(crate) struct Lane {
    /// The plan that it was made for. A plan of other steps or gates may have the lane, too.
    plan: Arc<Plan>,
    /// Ascending.
    latencies: Vec<Duration>,
    epoch: Instant,
    /// The baseline's users in two halves.
    halves: [Cells; 2],
    halving: Salt,
    candidate: Cells,
    dark_baseline: Cells,
    dark_candidate: Cells,
    matched: AtomicU64,
    mismatched: AtomicU64,
    mute: Mute,
    samples: Samples,
    /// The first generation of the setting that is judged.
    since: AtomicU64,
}

/// A route's lane, and who is who on the route.
#[derive(Debug, Clone)]
pub(crate) struct RouteLane {
    pub(crate) lane: Arc<Lane>,
    pub(crate) baseline: VariantId,
    pub(crate) candidate: VariantId,
    /// Position of the mirror that copies to the dark candidate.
    pub(crate) mirror: Option<usize>,
}

/// One of the two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Baseline,
    Candidate,
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) failed: bool,
    /// `None`: its time says nothing about latency.
    pub(crate) took: Option<Duration>,
}

impl Lane {
    pub(crate) fn new(plan: &Arc<Plan>) -> Self {
        let latencies = plan.latencies();
        let cells = || Cells::new(latencies.len());
        Self {
            epoch: Instant::now(),
            halves: [cells(), cells()],
            halving: Salt::new(&plan.name, Purpose::Halves),
            candidate: cells(),
            dark_baseline: cells(),
            dark_candidate: cells(),
            matched: AtomicU64::new(0),
            mismatched: AtomicU64::new(0),
            mute: Mute::new(),
            samples: Samples::default(),
            since: AtomicU64::new(0),
            plan: Arc::clone(plan),
            latencies,
        }
    }

    /// Whether it counts what `plan` asks for.
    pub(crate) fn serves(&self, plan: &Plan) -> bool {
        let old = &*self.plan;
        old.name == plan.name
            && old.route == plan.route
            && old.baseline == plan.baseline
            && old.candidate == plan.candidate
            && self.latencies == plan.latencies()
    }

    /// From now on only requests count that began in `generation` or later. A version that just
    /// began first shows its failures, which are fast, and then its answers, while the other one
    /// shows what it always does; of requests that began at the same time both show the same.
    pub(crate) fn begin(&self, generation: u64) {
        self.since.store(generation, Relaxed);
    }

    /// Whether a request counts that began in `generation`.
    pub(crate) fn judges(&self, generation: u64) -> bool {
        generation >= self.since.load(Relaxed)
    }

    /// A user's request that `decision` gave to `side` has ended, at `now`.
    pub(crate) fn count(&self, side: Side, decision: &Decision, ended: Ended, now: Instant) {
        let counts = match decision.reason {
            Reason::Pin(_) => return,
            Reason::Draw => true,
            Reason::Keyed(_) => {
                let now = now.saturating_duration_since(self.epoch).as_millis() as u64;
                self.mute.admits(decision.point, side, ended.failed, now)
            }
        };
        let cells = self.cells(side, decision);
        if counts {
            cells.count(ended.failed, self.exceeded(ended));
        } else if ended.failed {
            cells.count_failed();
        }
    }

    /// A user's request failed that has been counted already.
    pub(crate) fn count_failed(&self, side: Side, decision: &Decision) {
        if !matches!(decision.reason, Reason::Pin(_)) {
            self.cells(side, decision).count_failed();
        }
    }

    /// A copied request has ended at the baseline, or its copy at the dark candidate.
    pub(crate) fn count_dark(&self, side: Side, ended: Ended) {
        let cells = match side {
            Side::Baseline => &self.dark_baseline,
            Side::Candidate => &self.dark_candidate,
        };
        cells.count(ended.failed, self.exceeded(ended));
    }

    /// The dark candidate's answer was compared with the baseline's.
    pub(crate) fn count_compared(&self, mismatch: bool) {
        let cell = if mismatch { &self.mismatched } else { &self.matched };
        cell.fetch_add(1, Relaxed);
    }

    /// The candidate failed the request of this id.
    pub(crate) fn sample(&self, id: &str) {
        self.samples.push(id);
    }

    /// What was counted since the last time. How long that was, and whether the mirror copies
    /// anything, is for the caller to say.
    pub(crate) fn take(&self) -> Tick {
        let halves = Arms { baseline: self.halves[0].take(), candidate: self.halves[1].take() };
        let mut baseline = halves.baseline.clone();
        baseline.add(&halves.candidate);
        let (matched, mismatched) =
            (self.matched.swap(0, Relaxed), self.mismatched.swap(0, Relaxed));
        Tick {
            latencies: self.latencies.clone(),
            users: Arms { baseline, candidate: self.candidate.take() },
            dark: Arms {
                baseline: self.dark_baseline.take(),
                candidate: self.dark_candidate.take(),
            },
            halves,
            compared: matched + mismatched,
            mismatched,
            samples: self.samples.take(),
            ..Tick::default()
        }
    }

    /// The half of a user is as independent of the split as a mirror's sample is.
    fn cells(&self, side: Side, decision: &Decision) -> &Cells {
        match side {
            Side::Baseline => {
                let half = self.halving.point(&decision.point.0.to_le_bytes());
                &self.halves[half.0 as usize % 2]
            }
            Side::Candidate => &self.candidate,
        }
    }

    /// Whether it took longer than any gate allows.
    pub(crate) fn is_slow(&self, ended: Ended) -> bool {
        self.exceeded(ended) > 0
    }

    /// How many of the latencies it exceeded.
    fn exceeded(&self, ended: Ended) -> usize {
        let over = |took| self.latencies.partition_point(|latency| took > *latency);
        ended.took.map_or(0, over)
    }
}

impl RouteLane {
    /// Which of the two `variant` is.
    pub(crate) fn side(&self, variant: VariantId) -> Option<Side> {
        if variant == self.baseline {
            Some(Side::Baseline)
        } else {
            (variant == self.candidate).then_some(Side::Candidate)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_judge::Arm;
    use tidegate_policies::Point;

    fn plan(latencies: &[u64]) -> Arc<Plan> {
        Arc::new(super::super::testing::rollout("shop-v2", "shop", "canary", latencies))
    }

    fn keyed(point: u64) -> Decision {
        Decision { variant: VariantId(1), reason: Reason::Keyed(0), point: Point(point) }
    }

    fn drawn(point: u64) -> Decision {
        Decision { reason: Reason::Draw, ..keyed(point) }
    }

    const fn after(milliseconds: u64) -> Ended {
        Ended { failed: false, took: Some(Duration::from_millis(milliseconds)) }
    }

    const FAILED: Ended = Ended { failed: true, took: Some(Duration::ZERO) };

    #[test]
    fn what_is_taken_is_what_was_counted_since() {
        let lane = Lane::new(&plan(&[300, 100]));
        let now = lane.epoch;
        for took in [50, 100, 101, 301] {
            lane.count(Side::Candidate, &drawn(1), after(took), now);
        }
        lane.count(Side::Candidate, &drawn(1), Ended { failed: false, took: None }, now);
        lane.count(Side::Candidate, &drawn(1), Ended { failed: true, ..after(500) }, now);
        lane.count_dark(Side::Baseline, after(200));
        lane.count_dark(Side::Candidate, FAILED);
        lane.count_compared(true);
        lane.count_compared(false);
        lane.sample("id");
        let tick = lane.take();
        assert_eq!(tick.latencies, [100, 300].map(Duration::from_millis));
        let candidate = Arm { requests: 6, failures: 1, failed: 1, over: vec![3, 2] };
        assert_eq!(tick.users.candidate, candidate);
        assert_eq!(tick.dark.baseline, Arm { requests: 1, over: vec![1, 0], ..Arm::default() });
        let dark = Arm { requests: 1, failures: 1, failed: 1, over: vec![0, 0] };
        assert_eq!(tick.dark.candidate, dark);
        assert_eq!((tick.compared, tick.mismatched), (2, 1));
        assert_eq!(tick.samples, ["id"]);
        let nothing = lane.take();
        assert!(nothing.users.is_empty() && nothing.dark.is_empty() && nothing.halves.is_empty());
        assert_eq!((nothing.compared, nothing.samples), (0, Vec::new()));
    }

    #[test]
    fn the_halves_are_the_baseline_by_user() {
        let lane = Lane::new(&plan(&[100]));
        let salt = Salt::new("shop", Purpose::Split);
        for user in 0..1000_u32 {
            let decision = keyed(salt.point(&user.to_be_bytes()).0);
            let ended = Ended { failed: user % 10 == 0, took: after(200).took };
            lane.count(Side::Baseline, &decision, ended, lane.epoch);
            lane.count(Side::Baseline, &decision, after(50), lane.epoch);
        }
        let Tick { users, halves, .. } = lane.take();
        let all = Arm { requests: 1900, failures: 100, failed: 100, over: vec![1000] };
        assert_eq!(users.baseline, all, "each failing user once");
        assert!(users.candidate.over == [0] && users.candidate.requests == 0);
        let mut sum = halves.baseline.clone();
        sum.add(&halves.candidate);
        assert_eq!(sum, all);
        assert!((800..1100).contains(&halves.baseline.requests), "{halves:?}");
        // The same user, the same half.
        for _ in 0..10 {
            lane.count(Side::Baseline, &keyed(7), after(1), lane.epoch);
        }
        let halves = lane.take().halves;
        assert_eq!(halves.baseline.requests % 10, 0, "{halves:?}");
    }

    #[test]
    fn the_retries_of_a_user_are_seen_and_not_counted() {
        let lane = Lane::new(&plan(&[100]));
        let now = |milliseconds| lane.epoch + Duration::from_millis(milliseconds);
        lane.count(Side::Candidate, &keyed(1), FAILED, now(0));
        lane.count(Side::Candidate, &keyed(1), FAILED, now(10));
        lane.count(Side::Candidate, &keyed(1), after(500), now(20));
        lane.count(Side::Candidate, &keyed(2), after(1), now(20));
        lane.count(Side::Candidate, &keyed(1), after(1), now(1000));
        let arm = Arm { requests: 3, failures: 1, failed: 2, over: vec![0] };
        assert_eq!(lane.take().users.candidate, arm);
        for _ in 0..5 {
            lane.count(Side::Candidate, &drawn(1), FAILED, now(2000));
        }
        assert_eq!(lane.take().users.candidate.failures, 5, "draws are nobody's retries");
        let pinned = Decision { reason: Reason::Pin(0), ..keyed(1) };
        lane.count(Side::Candidate, &pinned, FAILED, now(9000));
        lane.count_failed(Side::Candidate, &pinned);
        lane.count_failed(Side::Candidate, &keyed(1));
        let arm = Arm { failed: 1, over: vec![0], ..Arm::default() };
        assert_eq!(lane.take().users.candidate, arm);
    }

    #[test]
    fn a_lane_serves_plans_of_the_same_names_and_latencies() {
        let lane = Lane::new(&plan(&[100, 300]));
        assert!(lane.serves(&plan(&[300, 100, 100])));
        assert!(!lane.serves(&plan(&[100])));
        for change in [
            (|plan: &mut Plan| plan.name = "x".into()) as fn(&mut Plan),
            |plan| plan.route = "x".into(),
            |plan| plan.baseline = "x".into(),
            |plan| plan.candidate = "x".into(),
        ] {
            let mut other = (*plan(&[100, 300])).clone();
            change(&mut other);
            assert!(!lane.serves(&other), "{other:?}");
        }
    }
}

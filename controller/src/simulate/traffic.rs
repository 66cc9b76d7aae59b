//! What traffic is made up.

use std::time::Duration;
use tidegate_judge::{Measure, Plan};

/// The traffic to a baseline and a candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// Requests a second to the two variants together, on average: a Poisson process.
    pub rate: f64,
    /// The share of the baseline's requests that fail.
    pub errors: f64,
    /// The share of the baseline's requests that are slower than each of
    /// [`tidegate_judge::Plan::latencies`]; what is absent is 0. Each is drawn apart from failures
    /// and from the others, the hardest case for an alpha that gates share.
    pub slow: Vec<f64>,
    /// The share of compared copies that differ while the candidate is healthy.
    pub mismatches: f64,
    /// The share that the mirror copies where a step says nothing about it.
    pub mirrored: f64,
    /// How much worse the candidate is.
    pub worse: Worse,
    /// Something that both versions need is down for a while.
    pub outage: Option<Outage>,
    /// About once a minute the rate is ten times as high, for some seconds.
    pub bursts: bool,
    /// The baseline is judged against itself too. This decides nothing, so it is left out unless
    /// somebody asks how the lane does.
    pub halves: bool,
    /// How often is looked.
    pub ticks: Ticks,
}

/// How many times the baseline's rates the candidate's are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worse {
    /// Of failures.
    pub errors: f64,
    /// Of slow requests.
    pub slow: f64,
    /// Of mismatches.
    pub mismatches: f64,
    /// Until then it is healthy.
    pub from: Duration,
}

/// A time in which the failures of both versions are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When it begins.
    pub from: Duration,
    /// How long it takes.
    pub lasting: Duration,
    /// By how much.
    pub times: u32,
}

/// How long ticks are.
///
/// A gateway looks several times a second. To do so for thousands of hours takes long and shows
/// little: a tick in which nothing fails moves the evidence by next to nothing. Longer ticks find
/// a regression later by up to a tick, and never more often: a test that holds at every moment
/// holds at some of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ticks {
    /// All the same.
    Fixed(Duration),
    /// As long as it takes for this many failures, slow requests or mismatches (whatever the plan
    /// asks for that is most frequent) to be expected, but a second at least and ten at most.
    Events(f64),
    /// This much of the time that has gone by, but long enough for as many failures to be expected.
    /// Evidence moves by what a tick adds to all that was before: late ticks may be longer.
    Growing {
        /// Expected in a tick, at least.
        events: f64,
        /// Of the time so far.
        part: f64,
    },
}

impl Default for Ticks {
    /// Three ticks or four from one failure to the next.
    fn default() -> Self {
        Ticks::Events(0.3)
    }
}

impl Worse {
    /// As good as the baseline.
    pub const HEALTHY: Worse =
        Worse { errors: 1.0, slow: 1.0, mismatches: 1.0, from: Duration::ZERO };
}

impl Default for Traffic {
    /// A service of medium size that is healthy.
    fn default() -> Self {
        Self {
            rate: 200.0,
            errors: 0.001,
            slow: Vec::new(),
            mismatches: 0.0,
            mirrored: 0.0,
            worse: Worse::HEALTHY,
            outage: None,
            bursts: false,
            halves: false,
            ticks: Ticks::default(),
        }
    }
}

/// Shares at one moment: of the baseline's requests and of the candidate's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shares {
    pub(super) baseline: f64,
    pub(super) candidate: f64,
}

impl Shares {
    fn new(baseline: f64, times: f64) -> Self {
        let chance = |share: f64| share.clamp(0.0, 1.0);
        Self { baseline: chance(baseline), candidate: chance(baseline * times) }
    }
}

impl Traffic {
    /// Failures in a tick that begins at `from`.
    pub(super) fn errors_at(&self, from: Duration, elapsed: Duration) -> Shares {
        let outage = self.outage.map_or(1.0, |outage| {
            1.0 + (f64::from(outage.times) - 1.0) * outage.part_of(from, elapsed)
        });
        Shares::new(self.errors * outage, self.times(self.worse.errors, from))
    }

    /// Requests over the latency at `position`.
    pub(super) fn slow_at(&self, position: usize, from: Duration) -> Shares {
        let slow = self.slow.get(position).copied().unwrap_or(0.0);
        Shares::new(slow, self.times(self.worse.slow, from))
    }

    /// The share of compared copies that differ.
    pub(super) fn mismatches_at(&self, from: Duration) -> f64 {
        Shares::new(self.mismatches, self.times(self.worse.mismatches, from)).candidate
    }

    fn times(&self, times: f64, from: Duration) -> f64 {
        if from < self.worse.from { 1.0 } else { times }
    }

    /// How long the tick that begins at `from` is, if the candidate's share is `weight`.
    pub(super) fn tick_at(&self, plan: &Plan, from: Duration, weight: f64) -> Duration {
        /// Not often enough for nothing to happen in vain, not so seldom that it is felt.
        const BOUNDS: [f64; 2] = [1.0, 10.0];
        let seconds = |events: f64| {
            let share = plan
                .gates
                .iter()
                .map(|gate| self.share_against(plan, &gate.measure, from, weight))
                .fold(0.0, f64::max);
            events / (self.rate * share).max(1e-9)
        };
        match self.ticks {
            Ticks::Fixed(length) => length,
            Ticks::Events(events) => {
                Duration::from_secs_f64(seconds(events).clamp(BOUNDS[0], BOUNDS[1]))
            }
            Ticks::Growing { events, part } => {
                Duration::from_secs_f64(seconds(events).min(1e9)).max(from.mul_f64(part))
            }
        }
    }

    /// The share of all requests that counts against one of the two, by this measure.
    fn share_against(&self, plan: &Plan, measure: &Measure, from: Duration, weight: f64) -> f64 {
        let both = |shares: Shares| shares.baseline * (1.0 - weight) + shares.candidate * weight;
        match measure {
            Measure::Errors(_) => both(self.errors_at(from, Duration::from_millis(1))),
            Measure::Latency { over, .. } => {
                let position = plan.latencies().iter().position(|latency| latency == over);
                position.map_or(0.0, |position| both(self.slow_at(position, from)))
            }
            Measure::Mismatches { .. } => self.mismatches_at(from),
            Measure::Query { .. } => 0.0,
        }
    }
}

impl Outage {
    /// The part of the time from `from` on in which it lasts.
    fn part_of(self, from: Duration, elapsed: Duration) -> f64 {
        let begins = self.from.max(from);
        let ends = (self.from + self.lasting).min(from + elapsed);
        let both = ends.saturating_sub(begins).as_secs_f64();
        if elapsed.is_zero() { 0.0 } else { both / elapsed.as_secs_f64() }
    }
}

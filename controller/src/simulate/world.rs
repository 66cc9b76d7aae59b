//! Seeded traffic, tick by tick.

use super::traffic::{Shares, Traffic};
use rand::{RngExt as _, SeedableRng as _, rngs::Xoshiro256PlusPlus};
use rand_distr::{Binomial, Distribution as _, Exp1, Poisson};
use std::time::Duration;
use tidegate_judge::{Answer, Arm, Arms, Bound, Measure, Plan, Reading, Setting, Share, Tick};

/// A route's users, its two versions, and a Prometheus server that is content.
pub struct World<'a> {
    plan: &'a Plan,
    traffic: &'a Traffic,
    latencies: Vec<Duration>,
    queries: Vec<Query<'a>>,
    burst: Burst,
    elapsed: Duration,
    // Not the standard generator: which one that is may change, and a seed with it.
    rng: Xoshiro256PlusPlus,
}

/// A gate that asks elsewhere.
struct Query<'a> {
    gate: &'a str,
    value: f64,
    every: Duration,
    next: Duration,
}

/// The burst under way, or the next.
struct Burst {
    from: f64,
    until: f64,
}

/// How much more traffic a burst is.
const BURST: f64 = 10.0;
/// Seconds between two bursts, on average.
const BETWEEN_BURSTS: f64 = 60.0;
/// Seconds of the longest burst.
const LONGEST_BURST: f64 = 5.0;

impl<'a> World<'a> {
    /// A world at its beginning.
    pub fn new(plan: &'a Plan, traffic: &'a Traffic, seed: u64) -> Self {
        let queries = plan.gates.iter().filter_map(|gate| match &gate.measure {
            Measure::Query { bound, every, .. } => Some(Query {
                gate: &gate.name,
                value: admitted(*bound),
                every: *every,
                next: Duration::ZERO,
            }),
            _ => None,
        });
        let queries = queries.collect();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let burst = Burst::after(0.0, &mut rng);
        let latencies = plan.latencies();
        Self { plan, traffic, latencies, queries, burst, elapsed: Duration::ZERO, rng }
    }

    /// How long it has been going on.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// What is counted next, while `setting` is in force, for at most this long.
    pub fn tick(&mut self, setting: Setting, at_most: Duration) -> Tick {
        let (from, weight) = (self.elapsed, setting.weight.fraction());
        let elapsed = self.traffic.tick_at(self.plan, from, weight).min(at_most);
        self.elapsed += elapsed;
        let expected = self.traffic.rate * elapsed.as_secs_f64() * self.burst(from);
        let requests = poisson(expected, &mut self.rng);
        let candidate = binomial(requests, weight, &mut self.rng);
        let users = self.arms([requests - candidate, candidate], from, elapsed);
        let mut tick = Tick {
            elapsed,
            latencies: self.latencies.clone(),
            users,
            readings: self.readings(),
            ..Tick::default()
        };
        if self.plan.mirror.is_some() {
            self.copy(&mut tick, setting.mirror, from);
        }
        if self.traffic.halves {
            tick.halves = self.halves(&tick.users.baseline);
        }
        tick
    }

    /// Copies the baseline's requests to the candidate, and compares the answers.
    fn copy(&mut self, tick: &mut Tick, mirror: Option<Share>, from: Duration) {
        let share = mirror.map_or(self.traffic.mirrored, Share::fraction);
        tick.mirrored = share > 0.0;
        let copies = binomial(tick.users.baseline.requests, share, &mut self.rng);
        tick.dark = self.arms([copies, copies], from, tick.elapsed);
        tick.compared = copies;
        tick.mismatched = binomial(copies, self.traffic.mismatches_at(from), &mut self.rng);
    }

    fn arms(&mut self, requests: [u64; 2], from: Duration, elapsed: Duration) -> Arms {
        let errors = self.traffic.errors_at(from, elapsed);
        let slow = (0..self.latencies.len()).map(|i| self.traffic.slow_at(i, from));
        let slow: Vec<Shares> = slow.collect();
        let mut arm = |requests: u64, of: fn(&Shares) -> f64| {
            let failures = binomial(requests, of(&errors), &mut self.rng);
            let over = slow.iter().map(|slow| binomial(requests, of(slow), &mut self.rng));
            Arm { requests, failures, failed: failures, over: over.collect() }
        };
        let baseline = arm(requests[0], |shares| shares.baseline);
        let candidate = arm(requests[1], |shares| shares.candidate);
        Arms { baseline, candidate }
    }

    /// Tosses a coin for each request of the baseline: in which half it is.
    fn halves(&mut self, baseline: &Arm) -> Arms {
        let rng = &mut self.rng;
        let failures = binomial(baseline.failures, 0.5, rng);
        let passed = binomial(baseline.requests - baseline.failures, 0.5, rng);
        let requests = failures + passed;
        let over: Vec<u64> = baseline.over.iter().map(|slow| binomial(*slow, 0.5, rng)).collect();
        let rest = baseline.over.iter().zip(&over).map(|(all, half)| all - half);
        Arms {
            baseline: Arm {
                requests: baseline.requests - requests,
                failures: baseline.failures - failures,
                failed: baseline.failures - failures,
                over: rest.collect(),
            },
            candidate: Arm { requests, failures, failed: failures, over },
        }
    }

    fn readings(&mut self) -> Vec<Reading> {
        let now = self.elapsed;
        let due = self.queries.iter_mut().filter(|query| query.next <= now);
        let answer = |query: &mut Query<'_>| {
            query.next = now + query.every;
            Reading { gate: query.gate.to_owned(), answer: Answer::Value(query.value) }
        };
        due.map(answer).collect()
    }

    /// How many times the usual rate is met between `from` and now.
    fn burst(&mut self, from: Duration) -> f64 {
        if !self.traffic.bursts {
            return 1.0;
        }
        let (from, until) = (from.as_secs_f64(), self.elapsed.as_secs_f64());
        let mut seconds = 0.0;
        while self.burst.from < until {
            seconds += (self.burst.until.min(until) - self.burst.from.max(from)).max(0.0);
            if self.burst.until > until {
                break;
            }
            self.burst = Burst::after(self.burst.until, &mut self.rng);
        }
        1.0 + (BURST - 1.0) * seconds / (until - from)
    }
}

impl Burst {
    fn after(time: f64, rng: &mut Xoshiro256PlusPlus) -> Self {
        let wait: f64 = Exp1.sample(rng);
        let from = time + wait * BETWEEN_BURSTS;
        Self { from, until: from + 1.0 + rng.random::<f64>() * (LONGEST_BURST - 1.0) }
    }
}

/// A number that is right.
fn admitted(bound: Bound) -> f64 {
    match bound {
        Bound::Max(max) => max,
        Bound::Min(min) => min,
        Bound::Between(min, max) => min + (max - min) / 2.0,
    }
}

fn poisson(mean: f64, rng: &mut Xoshiro256PlusPlus) -> u64 {
    // Without a mean there is no such distribution: nobody comes.
    Poisson::new(mean).map_or(0, |distribution| distribution.sample(rng) as u64)
}

fn binomial(trials: u64, chance: f64, rng: &mut Xoshiro256PlusPlus) -> u64 {
    if trials == 0 || chance <= 0.0 {
        return 0;
    }
    Binomial::new(trials, chance.min(1.0)).map_or(0, |distribution| distribution.sample(rng))
}

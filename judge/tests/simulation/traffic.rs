//! What really happens: how good the candidate is, and what of it is counted.

use rand::{RngExt as _, rngs::StdRng};
use std::time::Duration;
use tidegate_judge::{Answer, Arm, Arms, Gate, Measure, Plan, Reading, Setting, Share, Tick};

/// The truth, which nobody in the model knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Truth {
    pub(crate) per_second: f64,
    /// The share of requests that fail: `[baseline, candidate]`.
    pub(crate) failing: [f64; 2],
    pub(crate) slow: [f64; 2],
    pub(crate) mismatching: f64,
    pub(crate) source: Source,
    pub(crate) load: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Source {
    Works,
    Silent,
    NoData,
    Broken,
    /// Says what is no number that JSON could keep.
    Nonsense,
}

impl Truth {
    pub(crate) const HEALTHY: Truth = Truth {
        per_second: 3000.0,
        failing: [0.01, 0.01],
        slow: [0.02, 0.02],
        mismatching: 0.0005,
        source: Source::Works,
        load: 0.5,
    };

    pub(crate) const BAD: Truth =
        Truth { failing: [0.01, 0.25], slow: [0.02, 0.4], ..Truth::HEALTHY };

    /// Another state of affairs.
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        let healthy = Truth { per_second: pick(rng, &[2.0, 50.0, 3000.0]), ..Truth::HEALTHY };
        let faults = [Source::Silent, Source::NoData, Source::Broken, Source::Nonsense];
        let source = if rng.random_bool(0.3) { pick(rng, &faults) } else { Source::Works };
        let truth = match rng.random_range(0..10) {
            0..4 => healthy,
            4 => Truth { per_second: 0.0, ..healthy },
            5 => Truth { failing: [0.01, 0.03], ..healthy },
            6 => Truth { failing: [0.3, 0.3], slow: [0.5, 0.5], ..healthy },
            7 => Truth { load: 2.0, ..healthy },
            8 => Truth { mismatching: 0.05, ..healthy },
            _ => Truth { per_second: healthy.per_second, ..Truth::BAD },
        };
        Truth { source, ..truth }
    }
}

pub(crate) fn pick<T: Copy>(rng: &mut StdRng, of: &[T]) -> T {
    of[rng.random_range(0..of.len())]
}

/// What is counted in `elapsed` under `setting`, by gateways that know the latencies of `known`.
pub(crate) fn tick(
    rng: &mut StdRng,
    truth: &Truth,
    elapsed: Duration,
    (setting, known): (Setting, &Plan),
    gates: &[Gate],
) -> Tick {
    let latencies = known.latencies();
    let all = count(rng, truth.per_second * elapsed.as_secs_f64());
    let candidate = binomial(rng, all, setting.weight.fraction());
    let mut arm = |requests: u64, who: usize| {
        let failures = binomial(rng, requests, truth.failing[who]);
        let retries = rng.random_range(0..=failures / 4);
        let over = latencies.iter().map(|_| binomial(rng, requests, truth.slow[who])).collect();
        Arm { requests, failures, failed: failures + retries, over }
    };
    let users = Arms { baseline: arm(all - candidate, 0), candidate: arm(candidate, 1) };
    let share = setting.mirror.unwrap_or(Share::NONE);
    let copies = (all as f64 * share.fraction()) as u64;
    let dark = Arms { baseline: arm(copies, 0), candidate: arm(copies, 1) };
    let half = users.baseline.requests / 2;
    let halves = Arms { baseline: arm(half, 0), candidate: arm(half, 0) };
    let samples = (0..users.candidate.failed.min(3)).map(|i| format!("request-{i}")).collect();
    Tick {
        elapsed,
        latencies,
        users,
        dark,
        halves,
        mirrored: share > Share::NONE,
        compared: copies,
        mismatched: binomial(rng, copies, truth.mismatching),
        readings: gates.iter().filter_map(|gate| reading(rng, truth, elapsed, gate)).collect(),
        samples,
    }
}

fn reading(rng: &mut StdRng, truth: &Truth, elapsed: Duration, gate: &Gate) -> Option<Reading> {
    let Measure::Query { every, .. } = gate.measure else { return None };
    let due = elapsed.as_secs_f64() / every.as_secs_f64();
    if truth.source == Source::Silent || !rng.random_bool(due.min(1.0)) {
        return None;
    }
    let answer = match truth.source {
        Source::Works | Source::Silent => Answer::Value(truth.load),
        Source::NoData => Answer::NoData,
        Source::Broken => Answer::Broken("refused".to_owned()),
        Source::Nonsense => Answer::Value(pick(rng, &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY])),
    };
    Some(Reading { gate: gate.name.clone(), answer })
}

/// About `mean`, as a Poisson distribution has it.
fn count(rng: &mut StdRng, mean: f64) -> u64 {
    if mean > 30.0 {
        return normal(rng, mean, mean.sqrt());
    }
    let (limit, mut product, mut count) = ((-mean).exp(), rng.random::<f64>(), 0);
    while product > limit {
        product *= rng.random::<f64>();
        count += 1;
    }
    count
}

/// How many of `n` happen, if each does with chance `p`; roughly, and never more than `n`.
fn binomial(rng: &mut StdRng, n: u64, p: f64) -> u64 {
    let mean = n as f64 * p;
    if p > 0.5 {
        return n - binomial(rng, n, 1.0 - p);
    }
    let drawn =
        if mean > 30.0 { normal(rng, mean, (mean * (1.0 - p)).sqrt()) } else { count(rng, mean) };
    drawn.min(n)
}

fn normal(rng: &mut StdRng, mean: f64, deviation: f64) -> u64 {
    // The sum of twelve uniforms has a variance of 1.
    let z: f64 = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
    (mean + deviation * z).round().max(0.0) as u64
}

//! What evidence promises: it is found, it is not made up, and silence says nothing.

#![allow(clippy::expect_used, missing_docs)]

mod common;

use common::{gate, margin, percent, plan, risk, silence, step, users};
use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};
use tidegate_judge::{
    AdvanceWhen, Freedom, Lines, Measure, Outcome, Plan, Run, Share, TestReport, Tick, Time,
    step as judge,
};

/// One line of failures, and a step that never ends by itself.
fn one(lines: Lines, alpha: f64) -> Plan {
    let plan = plan(vec![step(50.0, 1_000_000, 0)], vec![gate("errors", Measure::Errors(lines))]);
    Plan { alpha: risk(alpha), ..plan }
}

fn start(plan: &Plan) -> Run {
    Run::start(plan, None, "configuration", Time(0)).0
}

fn after(run: &Run, tick: &Tick) -> Run {
    judge(run, tick, Freedom::Free, Time(0)).0
}

fn tests(run: &Run) -> Vec<TestReport> {
    run.report(Freedom::Free).gates.into_iter().flat_map(|gate| gate.tests).collect()
}

/// `n` coins of which each fails with chance `p`.
fn coins(rng: &mut StdRng, n: u64, p: f64) -> [u64; 2] {
    [n, (0..n).filter(|_| rng.random_bool(p)).count() as u64]
}

/// Nothing is written beside the sources.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn evidence_is_never_negative_and_silence_says_nothing(
        counts in prop::collection::vec((any::<[u64; 4]>(), 0..64_u32), 1..20),
        max in 0..1_000_000_u32,
        over in any::<u32>(),
    ) {
        let max = Share::from_millionths(max).expect("a share");
        let mut run = start(&one(Lines::Both(max, tidegate_judge::Margin(over)), 1.0));
        for (counts, shift) in counts {
            let [b, fb, c, fc] = counts.map(|count| count >> shift);
            run = after(&run, &users(1, [b, fb], [c, fc]));
            for test in tests(&run) {
                prop_assert!(test.evidence >= 0.0 && test.evidence.is_finite(), "{:?}", test);
                prop_assert!(test.certainty >= 0.0 && test.certainty.is_finite(), "{:?}", test);
            }
            let evidence = |run: &Run| -> Vec<[f64; 2]> {
                tests(run).iter().map(|test| [test.evidence, test.certainty]).collect()
            };
            let quiet = after(&after(&run, &silence(10)), &Tick::default());
            prop_assert_eq!(evidence(&quiet), evidence(&run));
        }
    }
}

#[test]
fn one_of_them_alone_is_not_compared() {
    let plan = one(Lines::WorseThanBaseline(margin(10.0)), 1.0);
    for tick in [users(10, [1000, 500], [0, 0]), users(10, [0, 0], [1000, 500])] {
        let mut run = start(&plan);
        for _ in 0..100 {
            run = after(&run, &tick);
        }
        let test = &tests(&run)[0];
        assert!((test.evidence - 1.0).abs() < 1e-9, "{test:?}");
        assert!((test.certainty - 1.0).abs() < 1e-9, "{test:?}");
    }
}

/// What becomes of runs in which the rates are `rates(tick)`.
struct Trials {
    crossed: f64,
    certified: f64,
    /// The mean of the evidence at the end, none counted for more than [`MOST`].
    mean: f64,
}

/// A cut makes a mean smaller, and known from fewer trials.
const MOST: f64 = 30.0;

/// Requests of the two in a tick.
type Sizes = [std::ops::Range<u64>; 2];
const MANY: Sizes = [20..60, 5..40];
const FEW: Sizes = [0..4, 0..3];

fn trials(
    plan: &Plan,
    number: u32,
    (ticks, sizes): (u32, Sizes),
    rates: impl Fn(u32) -> [f64; 2],
) -> Trials {
    let mut rng = StdRng::seed_from_u64(7);
    let mut all = Trials { crossed: 0.0, certified: 0.0, mean: 0.0 };
    let part = 1.0 / f64::from(number);
    for _ in 0..number {
        let mut run = start(plan);
        // Evidence goes on after a rollback in a copy that cannot be rolled back.
        let mut undecided = start(&Plan { alpha: risk(0.0001), ..plan.clone() });
        for tick in 0..ticks {
            let [base, rate] = rates(tick);
            let requests = sizes.clone().map(|size| rng.random_range(size));
            let tick =
                users(1, coins(&mut rng, requests[0], base), coins(&mut rng, requests[1], rate));
            run = after(&run, &tick);
            undecided = after(&undecided, &tick);
        }
        all.crossed += part * f64::from(u8::from(run.outcome() == Some(Outcome::RolledBack)));
        all.certified += part * f64::from(u8::from(run.outcome() == Some(Outcome::Promoted)));
        let end = tests(&undecided).iter().map(|test| test.evidence).fold(0.0, f64::max);
        all.mean += part * end.min(MOST);
    }
    all
}

/// Four standard deviations.
fn slack(chance: f64, number: u32) -> f64 {
    4.0 * (chance * (1.0 - chance) / f64::from(number)).sqrt()
}

#[test]
fn on_the_border_nothing_is_won_and_alpha_holds() {
    const TRIALS: u32 = 1500;
    let relative = one(Lines::WorseThanBaseline(margin(10.0)), 5.0);
    let ceiling = one(Lines::Max(percent(20.0)), 5.0);
    for (plan, rates) in [
        (&relative, [0.2, 0.22]),
        (&relative, [0.01, 0.011]),
        (&relative, [0.8, 0.88]),
        (&ceiling, [0.01, 0.2]),
    ] {
        for sizes in [MANY, FEW] {
            let all = trials(plan, TRIALS, (30, sizes), |_| rates);
            assert!(all.crossed <= 0.05 + slack(0.05, TRIALS), "{rates:?}: {}", all.crossed);
            assert!(all.mean <= 1.1, "{rates:?}: a stake of 1 becomes {}", all.mean);
            assert!(all.mean > 0.02, "{rates:?}: nothing is tested: {}", all.mean);
        }
    }
}

#[test]
fn what_befalls_both_is_not_blamed_on_the_candidate() {
    const TRIALS: u32 = 500;
    let plan = one(Lines::WorseThanBaseline(margin(10.0)), 5.0);
    let storms: [fn(u32) -> f64; 3] = [
        |tick| if tick % 10 < 5 { 0.001 } else { 0.4 },
        |tick| 0.001 * 1.2_f64.powi(tick.min(30) as i32),
        |tick| if tick < 20 { 0.5 } else { 0.005 },
    ];
    for storm in storms {
        for sizes in [MANY, FEW] {
            let all = trials(&plan, TRIALS, (40, sizes), |tick| [storm(tick); 2]);
            assert!(all.crossed <= 0.05 + slack(0.05, TRIALS), "{}", all.crossed);
        }
    }
}

#[test]
fn what_is_not_good_is_hardly_ever_certified() {
    const TRIALS: u32 = 1000;
    for (lines, rates) in [
        (Lines::WorseThanBaseline(margin(20.0)), [0.2, 0.24]),
        (Lines::Max(percent(10.0)), [0.1, 0.1]),
    ] {
        let hold = vec![step(50.0, 1, 0)];
        let plan = Plan { steps: hold, advance_when: AdvanceWhen::Certified, ..one(lines, 0.0001) };
        let all = trials(&plan, TRIALS, (30, MANY), |_| rates);
        assert!(all.certified <= 0.05 + slack(0.05, TRIALS), "{lines:?}: {}", all.certified);
        let all = trials(&plan, 100, (200, MANY), |_| rates.map(|rate| rate * 0.2));
        assert!(rates[0] != rates[1] || all.certified > 0.9, "{lines:?}: {}", all.certified);
    }
}

#[test]
fn a_candidate_that_breaks_after_an_hour_is_found() {
    let plan = one(Lines::Both(percent(2.0), margin(10.0)), 1.0);
    let mut rng = StdRng::seed_from_u64(3);
    let mut run = start(&plan);
    for _ in 0..3600 {
        run = after(&run, &users(1, coins(&mut rng, 900, 0.002), coins(&mut rng, 100, 0.002)));
    }
    assert_eq!(run.outcome(), None);
    let seconds = (1..).find(|_| {
        run = after(&run, &users(1, coins(&mut rng, 900, 0.002), coins(&mut rng, 100, 0.05)));
        run.outcome().is_some()
    });
    // A fresh test takes some three seconds.
    assert!(seconds.is_some_and(|seconds| seconds < 15), "{seconds:?}");
}

#[test]
fn the_lane_of_the_baseline_against_itself_cries_wolf_as_rarely_as_promised() {
    let plan = one(Lines::WorseThanBaseline(margin(10.0)), 5.0);
    let mut rng = StdRng::seed_from_u64(11);
    let mut run = start(&plan);
    for _ in 0..60_000 {
        let mut tick = users(90, [1, 0], [1, 0]);
        tick.halves = users(0, coins(&mut rng, 40, 0.1), coins(&mut rng, 40, 0.1)).users;
        run = after(&run, &tick);
    }
    let halves = run.halves();
    assert!(halves.trials >= 1500, "{}", halves.trials);
    let rate = halves.alarms as f64 / halves.trials as f64;
    assert!(rate <= 0.05 + slack(0.05, 1500), "{rate} of {}", halves.trials);
}

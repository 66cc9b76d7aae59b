//! Whole rollouts, simulated: how often a healthy candidate is rolled back, how soon a bad one is,
//! and that a recording gives the decision that was made on it.

use std::time::Duration;
use tidegate_controller::simulate::{
    Ending, Episode, Outage, Recorded, Summary, Ticks, Traffic, World, Worse, play, play_many,
    replay, seed_of, usual_time,
};
use tidegate_judge::{
    Action, AdvanceWhen, Bound, Freedom, Gate, Lines, Margin, Measure, OnBreach, OnSourceBroken,
    Plan, Risk, Run, Share, Step, Time, Until, step,
};

const ALPHA: f64 = 0.01;

fn share(percent: f64) -> Share {
    Share::from_millionths((percent * 1e4) as u32).expect("at most all")
}

fn held(weight: f64, seconds: u64) -> Step {
    let until = Until::Held { hold: Duration::from_secs(seconds), min_requests: 0 };
    Step { weight: share(weight), mirror: None, until }
}

fn gate(name: &str, measure: Measure) -> Gate {
    Gate { name: name.to_owned(), measure, on_source_broken: OnSourceBroken::Hold }
}

fn no_worse(margin: u32) -> Gate {
    gate("errors", Measure::Errors(Lines::WorseThanBaseline(Margin(margin))))
}

fn plan(steps: Vec<Step>, gates: Vec<Gate>) -> Plan {
    let risk = |part: f64| Risk::from_millionths((part * 1e6) as u32).expect("a risk");
    Plan {
        name: "shop-v2".to_owned(),
        route: "shop".to_owned(),
        baseline: "stable".to_owned(),
        candidate: "canary".to_owned(),
        mirror: None,
        revision: "1".to_owned(),
        steps,
        gates,
        alpha: risk(ALPHA),
        beta: risk(0.05),
        advance_when: AdvanceWhen::Held,
        failed_requests: None,
        on_breach: OnBreach::Rollback,
    }
}

/// A plan that stays at one weight.
fn constant(weight: f64) -> Plan {
    plan(vec![held(weight, 1 << 40)], vec![no_worse(0)])
}

/// From nobody to everybody, with every kind of gate, in about 13 minutes.
fn whole() -> Plan {
    let dark = Step { mirror: Some(Share::ALL), ..held(0.0, 120) };
    let approval = Step { weight: share(10.0), mirror: None, until: Until::Promoted };
    let steps =
        vec![dark, held(1.0, 120), held(10.0, 240), approval, held(50.0, 240), held(100.0, 60)];
    let over = Duration::from_millis(300);
    let query = Measure::Query {
        url: "http://127.0.0.1:9090".to_owned(),
        query: "up".to_owned(),
        bound: Bound::Between(0.2, 0.8),
        every: Duration::from_secs(15),
        failures: 2,
    };
    let gates = vec![
        no_worse(100_000),
        gate("ceiling", Measure::Errors(Lines::Max(share(2.0)))),
        gate("slow", Measure::Latency { over, lines: Lines::Both(share(1.0), Margin(200_000)) }),
        gate("diffs", Measure::Mismatches { max: share(0.1) }),
        gate("saturation", query),
    ];
    Plan { mirror: Some("dark".to_owned()), ..plan(steps, gates) }
}

fn times(errors: f64) -> Worse {
    Worse { errors, ..Worse::HEALTHY }
}

#[test]
fn the_seed_decides_and_the_threads_do_not() {
    let (plan, limit) = (whole(), Duration::from_secs(3600));
    let traffic = Traffic {
        slow: vec![0.005],
        worse: times(3.0),
        bursts: true,
        halves: true,
        ..Traffic::default()
    };
    let many = play_many(&plan, &traffic, limit, 16, 7);
    // One after the other, on one thread.
    let serial: Vec<Episode> =
        (0..16).map(|run| play(&plan, &traffic, limit, seed_of(7, run))).collect();
    assert_eq!(many, serial);
    assert_ne!(many, play_many(&plan, &traffic, limit, 16, 8));
}

#[test]
fn a_healthy_candidate_gets_to_everybody_in_the_time_of_its_steps() {
    let plan = whole();
    let traffic = Traffic { slow: vec![0.005], ..Traffic::default() };
    let usual = usual_time(&plan, traffic.rate);
    assert_eq!(usual, Duration::from_secs(780));
    let episode = play(&plan, &traffic, usual * 2, 1);
    assert_eq!(episode.ending, Ending::Promoted);
    assert_eq!(episode.step, plan.steps.len());
    let late = episode.elapsed.saturating_sub(usual);
    assert!(late < Duration::from_secs(15), "{late:?}: a tick a step, and one for the approval");
}

#[test]
fn a_dark_candidate_is_rolled_back_before_users_meet_it() {
    let traffic = Traffic {
        slow: vec![0.005],
        mismatches: 0.0005,
        worse: Worse { mismatches: 20.0, ..Worse::HEALTHY },
        ..Traffic::default()
    };
    let episode = play(&whole(), &traffic, Duration::from_secs(3600), 1);
    assert_eq!(episode.rolled_back_by(), Some("diffs"));
    assert_eq!((episode.step, episode.candidate_requests), (1, 0));
}

/// Alpha is a promise: 2,000 healthy candidates each, exactly on the line.
#[test]
fn healthy_candidates_are_rolled_back_no_more_often_than_alpha_says() {
    // Watched for 1,000 failures; early on is when a test is most easily fooled.
    let traffic = |errors: f64| Traffic {
        rate: 1000.0,
        errors,
        ticks: Ticks::Growing { events: 0.3, part: 0.02 },
        ..Traffic::default()
    };
    let for_failures = |errors: f64| Duration::from_secs_f64(1000.0 / (1000.0 * errors));
    let ramp = plan(vec![held(1.0, 300), held(10.0, 300), held(50.0, 400)], vec![no_worse(0)]);
    let ceiling = Plan {
        gates: vec![no_worse(0), gate("ceiling", Measure::Errors(Lines::Max(share(1.0))))],
        ..constant(10.0)
    };
    for (what, plan, errors) in [
        ("1 % of the requests", constant(1.0), 0.001),
        ("half of the requests, common failures", constant(50.0), 0.1),
        ("changing weights", ramp, 0.001),
        ("two lines, on both", ceiling, 0.01),
    ] {
        let episodes = play_many(&plan, &traffic(errors), for_failures(errors), 2000, 1);
        let rate = Summary::of(&episodes).rolled_back;
        assert!(rate.share <= ALPHA, "{what}: {rate:?}");
    }
}

/// Wald (1945): on average no test with this alpha needs fewer failures.
#[test]
fn a_regression_is_found_nearly_as_soon_as_possible() {
    for (weight, errors, worse) in [(0.1, 0.001, 3.0), (0.1, 0.001, 10.0), (0.5, 0.01, 2.0)] {
        let theta = weight * worse / (weight * worse + 1.0 - weight);
        let part = |p: f64, q: f64| p * f64::ln(p / q);
        let bound = -f64::ln(ALPHA) / (part(theta, weight) + part(1.0 - theta, 1.0 - weight));
        let a_second = 200.0 * errors * (1.0 - weight + weight * worse);
        let tick = (bound / 100.0).max(0.3) / a_second;
        let traffic = Traffic {
            errors,
            worse: times(worse),
            ticks: Ticks::Fixed(Duration::from_secs_f64(tick)),
            ..Traffic::default()
        };
        let limit = Duration::from_secs_f64(30.0 * bound / a_second);
        let episodes = play_many(&constant(weight * 100.0), &traffic, limit, 500, 1);
        let summary = Summary::of(&episodes);
        assert_eq!(summary.rolled_back.count, 500, "{weight} {errors} {worse}");
        let ratio = summary.errors.expect("all were found").mean / bound;
        assert!((1.0..=1.4).contains(&ratio), "{weight} {errors} {worse}: {ratio}");
    }
}

#[test]
fn a_candidate_of_a_service_with_few_requests_is_found_too() {
    // A request a second, five looks a second: most looks see nothing at all.
    let traffic = Traffic {
        rate: 1.0,
        errors: 0.01,
        worse: times(10.0),
        ticks: Ticks::Fixed(Duration::from_millis(200)),
        ..Traffic::default()
    };
    let hour = Duration::from_secs(3600);
    let summary = Summary::of(&play_many(&constant(10.0), &traffic, hour, 50, 1));
    assert!(summary.rolled_back.share >= 0.95, "{:?}", summary.rolled_back);
    let failures = summary.errors.expect("most were found").mean;
    assert!(failures < 16.0, "8.1 would be Wald's bound: {failures}");
}

#[test]
fn an_outage_of_both_is_nobodys_fault_and_hides_nobody() {
    let outage =
        Outage { from: Duration::from_secs(300), lasting: Duration::from_secs(120), times: 50 };
    let traffic = Traffic { outage: Some(outage), ..Traffic::default() };
    let limit = Duration::from_secs(900);
    let healthy = Summary::of(&play_many(&constant(10.0), &traffic, limit, 400, 1));
    assert!(healthy.rolled_back.low <= ALPHA, "{:?}", healthy.rolled_back);

    let middle = Duration::from_secs(360);
    let worse = Worse { from: middle, ..times(5.0) };
    let bad = play_many(&constant(10.0), &Traffic { worse, ..traffic }, limit, 100, 1);
    let soon = |episode: &&Episode| {
        episode.rolled_back_by().is_some()
            && episode.elapsed > middle
            && episode.elapsed < middle + Duration::from_secs(30)
    };
    assert!(bad.iter().filter(soon).count() >= 98, "{:?}", Summary::of(&bad));
}

/// Plays a rollout and keeps what a gateway would.
fn record(plan: &Plan, traffic: &Traffic) -> (Vec<Recorded>, Run, Vec<Action>) {
    let mut world = World::new(plan, traffic, 3);
    let (mut run, _) = Run::start(plan, None, "test", Time(0));
    let (mut ticks, mut actions) = (Vec::new(), Vec::new());
    while run.outcome().is_none() && world.elapsed() < Duration::from_secs(3600) {
        let tick = world.tick(run.setting(), Duration::from_secs(1));
        let position = run.position() + 1;
        let (next, decisions) = step(&run, &tick, Freedom::Free, Time(0).after(world.elapsed()));
        ticks.push(Recorded { run: Some(1), step: Some(position), tick });
        actions.extend(decisions.iter().map(|decision| decision.action));
        run = next;
    }
    (ticks, run, actions)
}

fn without_approval() -> Plan {
    let mut plan = whole();
    plan.steps.retain(|step| step.until != Until::Promoted);
    plan
}

#[test]
fn a_replay_decides_what_was_decided() {
    let plan = without_approval();
    let bad = Traffic { slow: vec![0.005], worse: times(3.0), ..Traffic::default() };
    let (ticks, run, actions) = record(&plan, &bad);
    assert_eq!(actions.last(), Some(&Action::RolledBack));
    let replayed = replay(&plan, &ticks);
    let stop = replayed.stop.expect("it was rolled back");
    assert_eq!((stop.at.tick, stop.at.step), (ticks.len(), run.position() + 1));
    assert_eq!(stop.action, Action::RolledBack);
    assert!(stop.why.starts_with("`errors` is bad"), "{}", stop.why);
    assert_eq!(replayed.gates[0].bad.map(|at| at.tick), Some(ticks.len()));

    let good = Traffic { slow: vec![0.005], ..Traffic::default() };
    let (ticks, _, actions) = record(&plan, &good);
    assert_eq!(actions.last(), Some(&Action::Promoted));
    let replayed = replay(&plan, &ticks);
    assert_eq!((replayed.stop, replayed.ticks), (None, ticks.len()));
}

#[test]
fn a_replay_tells_what_other_gates_would_have_done() {
    let plan = without_approval();
    let bad = Traffic { slow: vec![0.005], worse: times(3.0), ..Traffic::default() };
    let (ticks, ..) = record(&plan, &bad);
    let lax = Plan { gates: vec![no_worse(9_000_000)], ..plan.clone() };
    assert_eq!(replay(&lax, &ticks).stop, None);
    let paused = Plan { on_breach: OnBreach::Pause, ..plan.clone() };
    assert_eq!(replay(&paused, &ticks).stop.map(|stop| stop.action), Some(Action::Paused));
    // Ticks whose steps nobody wrote down: the plan's own steps.
    let alone: Vec<Recorded> =
        ticks.iter().map(|tick| Recorded { run: None, step: None, ..tick.clone() }).collect();
    let stop = replay(&plan, &alone).stop.expect("the same");
    assert_eq!(stop.at.tick, ticks.len());

    let (ticks, _, actions) = record(&plan, &Traffic { slow: vec![0.005], ..Traffic::default() });
    assert_eq!(actions.last(), Some(&Action::Promoted));
    let cautious = Plan { failed_requests: Some(5), ..plan };
    let stop = replay(&cautious, &ticks).stop.expect("more than five requests failed");
    assert!(stop.at.failed_requests == 6 && stop.why.starts_with("`budget`"), "{stop:?}");
}

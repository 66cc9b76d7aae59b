//! One rollout from its beginning to its end.

use super::{traffic::Traffic, world::World};
use serde::Serialize;
use std::time::Duration;
use tidegate_judge::{Action, Decision, Freedom, Plan, Run, State, Tick, Time, Until, Verb, step};

/// How one rollout went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Episode {
    /// How it ended.
    pub ending: Ending,
    /// After how long.
    pub elapsed: Duration,
    /// In which step, from 1.
    pub step: usize,
    /// Requests of users that the candidate got.
    pub candidate_requests: u64,
    /// Of these, those that it failed.
    pub failed_requests: u64,
    /// Failures of both that were judged (in the dark: of copies).
    pub errors: u64,
    /// Requests to both that were judged.
    pub requests: u64,
}

/// How a rollout ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Everybody has the candidate.
    Promoted,
    /// The candidate was taken away, or the rollout paused where its plan wants that.
    RolledBack {
        /// The gate that was bad, or `budget`.
        gate: String,
    },
    /// Neither, when the time was over.
    Undecided,
}

/// Plays a rollout for at most `limit`. Where a step waits for a person, one says `promote`.
pub fn play(plan: &Plan, traffic: &Traffic, limit: Duration, seed: u64) -> Episode {
    let mut world = World::new(plan, traffic, seed);
    let (mut run, _) = Run::start(plan, None, "simulation", Time(0));
    let mut episode = Episode {
        ending: Ending::Undecided,
        elapsed: Duration::ZERO,
        step: 1,
        candidate_requests: 0,
        failed_requests: 0,
        errors: 0,
        requests: 0,
    };
    let mut entered = Duration::ZERO;
    while world.elapsed() < limit {
        let position = run.position();
        let left = left(plan, position, world.elapsed() - entered);
        let tick = world.tick(run.setting(), left.min(limit - world.elapsed()));
        episode.count(&tick, plan, position);
        let now = Time(0).after(world.elapsed());
        let (next, decisions) = step(&run, &tick, Freedom::Free, now);
        run = next;
        if let Some(ending) = decisions.iter().find_map(ending) {
            episode.ending = ending;
            break;
        }
        if run.state() == State::Waiting
            && let Ok((next, decision)) = run.act(Verb::Promote, "person", Freedom::Free, now)
        {
            run = next;
            if let Some(ending) = ending(&decision) {
                episode.ending = ending;
                break;
            }
        }
        if run.position() != position {
            entered = world.elapsed();
        }
    }
    episode.elapsed = world.elapsed();
    episode.step = run.position() + 1;
    episode
}

/// How long a rollout of `plan` takes if nothing goes wrong.
pub fn usual_time(plan: &Plan, rate: f64) -> Duration {
    let of = |step: &tidegate_judge::Step| match step.until {
        Until::Promoted => Duration::ZERO,
        Until::Held { hold, min_requests } => {
            let weight = if step.is_dark() {
                step.mirror.map_or(1.0, |mirror| mirror.fraction())
            } else {
                step.weight.fraction()
            };
            let seconds = min_requests as f64 / (rate * weight).max(1e-6);
            hold.max(Duration::from_secs_f64(seconds.min(1e9)))
        }
    };
    plan.steps.iter().map(of).sum()
}

/// How long until the step may be over: a tick that went on beyond it would hold it for longer than
/// a gateway does.
fn left(plan: &Plan, position: usize, since: Duration) -> Duration {
    let hold = plan.steps.get(position).and_then(|step| match step.until {
        Until::Held { hold, .. } => hold.checked_sub(since),
        Until::Promoted => None,
    });
    hold.filter(|left| !left.is_zero()).unwrap_or(Duration::MAX)
}

fn ending(decision: &Decision) -> Option<Ending> {
    match decision.action {
        Action::Promoted => Some(Ending::Promoted),
        Action::RolledBack | Action::Paused => {
            let bad = decision.gates.iter().find(|gate| gate.verdict == "bad");
            let gate = bad.map_or("budget", |gate| gate.name.as_str());
            Some(Ending::RolledBack { gate: gate.to_owned() })
        }
        _ => None,
    }
}

impl Episode {
    fn count(&mut self, tick: &Tick, plan: &Plan, position: usize) {
        let users = &tick.users;
        self.candidate_requests += users.candidate.requests;
        self.failed_requests += users.candidate.failed;
        let dark = plan.steps.get(position).is_some_and(tidegate_judge::Step::is_dark);
        let judged = if dark { &tick.dark } else { users };
        self.errors += judged.baseline.failures + judged.candidate.failures;
        self.requests += judged.baseline.requests + judged.candidate.requests;
    }

    /// The gate that was bad, if one was.
    pub fn rolled_back_by(&self) -> Option<&str> {
        match &self.ending {
            Ending::RolledBack { gate } => Some(gate),
            _ => None,
        }
    }
}

//! Where numbers come from that are not counted in the path of requests.

use std::time::Duration;
use tidegate_judge::{Measure, Reading};

/// What a gate asks another system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The rollout.
    pub rollout: String,
    /// Its gate.
    pub gate: String,
    /// The system's base URL.
    pub url: String,
    /// What is asked.
    pub query: String,
    /// How often.
    pub every: Duration,
}

/// An answer, and the rollout that it is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The rollout.
    pub rollout: String,
    /// The answer.
    pub reading: Reading,
}

/// Asks questions on their own schedules. Neither method may wait for an answer.
pub trait Source: Send {
    /// These are the questions from now on. Those that are not new keep their schedule.
    fn ask(&mut self, questions: Vec<Question>);

    /// What came in since the last call.
    fn answers(&mut self) -> Vec<Answered>;
}

/// What the gates of `plan` ask.
pub(crate) fn questions(plan: &tidegate_judge::Plan) -> impl Iterator<Item = Question> {
    plan.gates.iter().filter_map(|gate| match &gate.measure {
        Measure::Query { url, query, every, .. } => Some(Question {
            rollout: plan.name.clone(),
            gate: gate.name.clone(),
            url: url.clone(),
            query: query.clone(),
            every: *every,
        }),
        _ => None,
    })
}

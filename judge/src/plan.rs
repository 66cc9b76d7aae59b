//! What a rollout is: the plan that a person wrote, with everything resolved.

use crate::units::{Margin, Risk, Share};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A plan that moves weight from the baseline to the candidate, step by step, behind gates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its unique name.
    pub name: String,
    /// The route that it owns two variants of.
    pub route: String,
    /// The version that serves everybody before, and again after a rollback.
    pub baseline: String,
    /// The new version.
    pub candidate: String,
    /// The mirror that mirror steps turn up: one that copies to the candidate's upstream.
    pub mirror: Option<String>,
    /// What is rolled out, as in `2.3.1`. A new value starts a new run.
    pub revision: String,
    /// The way up; at least one step.
    pub steps: Vec<Step>,
    /// What the candidate has to pass at every moment.
    pub gates: Vec<Gate>,
    /// The chance that a candidate which meets every line is rolled back, over the whole run and
    /// all gates together.
    pub alpha: Risk,
    /// The chance that a step certifies a candidate that is worse than its lines allow.
    pub beta: Risk,
    /// What a step waits for besides its time.
    pub advance_when: AdvanceWhen,
    /// Failed requests of the candidate that a run may cost; `None`: any number.
    pub failed_requests: Option<u64>,
    /// What happens when a gate is bad.
    pub on_breach: OnBreach,
}

/// One step: what is set, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The candidate's share of the requests that go to the two variants.
    pub weight: Share,
    /// The share of requests that the mirror copies; `None`: as the mirror itself says.
    pub mirror: Option<Share>,
    /// When it is over.
    pub until: Until,
}

/// When a step is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Until {
    /// When a person says so.
    Promoted,
    /// When it was held this long, with data, and the candidate had this many requests in it.
    Held {
        /// Time with data.
        hold: Duration,
        /// Requests (or copies, in the dark) that the candidate was judged by.
        min_requests: u64,
    },
}

/// What the candidate has to pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Unique in its rollout.
    pub name: String,
    /// What is measured, and the lines that it must not cross.
    pub measure: Measure,
    /// What happens while its source is broken.
    pub on_source_broken: OnSourceBroken,
}

/// What a gate measures, and its lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Measure {
    /// The share of requests that failed.
    Errors(Lines),
    /// The share of requests that took longer.
    Latency {
        /// Than this.
        over: Duration,
        /// The lines of that share.
        lines: Lines,
    },
    /// The share of compared copies whose answers differ by more than noise.
    Mismatches {
        /// Not more than this.
        max: Share,
    },
    /// A number from a Prometheus server.
    Query {
        /// The server's base URL.
        url: String,
        /// PromQL with one number as its result.
        query: String,
        /// What is right.
        bound: Bound,
        /// How often it is asked.
        every: Duration,
        /// Answers in a row that have to be out of bounds; 1 or more.
        failures: u32,
    },
}

/// One line or two for a share of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lines {
    /// Not more than this.
    Max(Share),
    /// Not more than the baseline's, by more than a part of it.
    WorseThanBaseline(Margin),
    /// Neither.
    Both(Share, Margin),
}

/// What a number from elsewhere has to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Bound {
    /// At most this.
    Max(f64),
    /// At least this.
    Min(f64),
    /// At least the first and at most the second.
    Between(f64, f64),
}

// Configuration has no NaN: `.nan` is refused there.
impl Eq for Bound {}

/// What a step waits for besides its time and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdvanceWhen {
    /// Nothing: no gate is bad.
    Held,
    /// Every gate that compares or has a ceiling has shown the candidate to be good, at beta.
    Certified,
}

/// What happens when a gate is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnBreach {
    /// The candidate is taken away.
    Rollback,
    /// The step stays as it is until a person decides.
    Pause,
}

/// What happens while a gate's source is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnSourceBroken {
    /// The step does not advance.
    Hold,
    /// The step stays as it is until a person decides.
    Pause,
    /// The candidate is taken away.
    Rollback,
}

impl Lines {
    /// The ceiling, if there is one.
    pub fn max(self) -> Option<Share> {
        match self {
            Lines::Max(max) | Lines::Both(max, _) => Some(max),
            Lines::WorseThanBaseline(_) => None,
        }
    }

    /// The margin over the baseline, if there is one.
    pub fn margin(self) -> Option<Margin> {
        match self {
            Lines::WorseThanBaseline(margin) | Lines::Both(_, margin) => Some(margin),
            Lines::Max(_) => None,
        }
    }
}

impl Bound {
    /// Whether `value` is right.
    pub fn admits(self, value: f64) -> bool {
        match self {
            Bound::Max(max) => value <= max,
            Bound::Min(min) => value >= min,
            Bound::Between(min, max) => (min..=max).contains(&value),
        }
    }
}

impl Plan {
    /// The latencies that gates ask about, ascending, each once.
    pub fn latencies(&self) -> Vec<Duration> {
        let mut all: Vec<Duration> = self
            .gates
            .iter()
            .filter_map(|gate| match gate.measure {
                Measure::Latency { over, .. } => Some(over),
                _ => None,
            })
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl Step {
    /// Whether no user gets the candidate.
    pub fn is_dark(&self) -> bool {
        self.weight == Share::NONE
    }
}

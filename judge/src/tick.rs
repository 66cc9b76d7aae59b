//! What was counted since the last look.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Counts of a short time, under one setting of the weights.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Tick {
    /// How long it took.
    pub elapsed: Duration,
    /// The latencies that [`Arm::over`] counts by, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latencies: Vec<Duration>,
    /// Requests of users that the split gave to the two variants.
    pub users: Arms,
    /// Requests that were copied: the baseline's answers, and the dark candidate's.
    #[serde(default, skip_serializing_if = "Arms::is_empty")]
    pub dark: Arms,
    /// The baseline's requests, split in two at random: what the tests say of these is noise.
    #[serde(default, skip_serializing_if = "Arms::is_empty")]
    pub halves: Arms,
    /// The mirror to the candidate copies requests.
    #[serde(default)]
    pub mirrored: bool,
    /// Answers of the dark candidate that were compared with the baseline's.
    #[serde(default)]
    pub compared: u64,
    /// Of these, those that differed by more than noise.
    #[serde(default)]
    pub mismatched: u64,
    /// Answers of other sources that came in since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readings: Vec<Reading>,
    /// Ids of some requests that the candidate failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<String>,
}

/// The same counts of two versions over the same time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Arms {
    /// The old version.
    pub baseline: Arm,
    /// The new version.
    pub candidate: Arm,
}

/// Counts of one version.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Arm {
    /// First attempts that ended, but for those of clients that gave up and of users whose last
    /// request had just failed (their retries).
    pub requests: u64,
    /// Of these, connect failures, timeouts, resets and 5xx.
    pub failures: u64,
    /// All failures, retries included: what users saw.
    pub failed: u64,
    /// Of `requests`, those that took longer than each of [`Tick::latencies`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub over: Vec<u64>,
}

/// An answer of another source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The gate that asked.
    pub gate: String,
    /// What it was told.
    pub answer: Answer,
}

/// What another source said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A number.
    Value(f64),
    /// There is nothing to tell yet.
    NoData,
    /// It cannot be asked, or talks nonsense; why.
    Broken(String),
}

impl Answer {
    /// What a source said with `value`. Prometheus says NaN where there is nothing to divide by;
    /// JSON, which runs are kept in, has no infinity.
    pub fn number(value: f64) -> Self {
        if value.is_nan() {
            return Answer::NoData;
        }
        Answer::Value(value.clamp(f64::MIN, f64::MAX))
    }
}

impl Tick {
    /// Adds what `later` counted; `false`, and nothing changes, if it counted by other latencies.
    pub fn merge(&mut self, later: &Tick) -> bool {
        if self.latencies != later.latencies {
            return false;
        }
        self.elapsed = self.elapsed.saturating_add(later.elapsed);
        for (sum, more) in [
            (&mut self.users, &later.users),
            (&mut self.dark, &later.dark),
            (&mut self.halves, &later.halves),
        ] {
            sum.baseline.add(&more.baseline);
            sum.candidate.add(&more.candidate);
        }
        self.mirrored |= later.mirrored;
        self.compared = self.compared.saturating_add(later.compared);
        self.mismatched = self.mismatched.saturating_add(later.mismatched);
        self.readings.extend_from_slice(&later.readings);
        self.samples.extend_from_slice(&later.samples);
        true
    }

    /// Nothing was counted, asked or told.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
            && self.dark.is_empty()
            && self.halves.is_empty()
            && self.compared == 0
            && self.readings.is_empty()
    }
}

impl Arms {
    /// Nothing was counted.
    pub fn is_empty(&self) -> bool {
        *self == Arms::default() || self.baseline.is_empty() && self.candidate.is_empty()
    }
}

impl Arm {
    fn is_empty(&self) -> bool {
        self.requests == 0 && self.failed == 0
    }

    /// Adds what `other` counted, by the same latencies.
    pub fn add(&mut self, other: &Arm) {
        self.requests = self.requests.saturating_add(other.requests);
        self.failures = self.failures.saturating_add(other.failures);
        self.failed = self.failed.saturating_add(other.failed);
        if self.over.len() < other.over.len() {
            self.over.resize(other.over.len(), 0);
        }
        for (sum, more) in self.over.iter_mut().zip(&other.over) {
            *sum = sum.saturating_add(*more);
        }
    }
}

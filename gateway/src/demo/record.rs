//! What the users saw.

use super::stats::thousands;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How long single requests are remembered; longer than any chapter of the story looks back.
const KEEP: Duration = Duration::from_secs(30);

/// One request as its user saw it.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// Counts all requests; the user sent it along.
    pub(super) number: u64,
    pub(super) sent: Instant,
    pub(super) took: Duration,
    /// The user's number; `None`: sent without a key.
    pub(super) user: Option<u16>,
    /// Who answered, also if it is a failure; `None`: no variant.
    pub(super) by: Option<Answered>,
    /// Why it is a failure, if it is one.
    pub(super) failure: Option<String>,
}

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answered {
    /// As the service itself says.
    pub(super) version: String,
    /// As the gateway says; empty if it does not.
    pub(super) variant: String,
}

/// Counts since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) requests: u64,
    pub(super) failed: u64,
    /// How many failed for which reason.
    pub(super) reasons: BTreeMap<String, u64>,
}

/// The requests of the last seconds, and counts of all.
#[derive(Debug, Default)]
pub(super) struct Record {
    numbers: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// In the order in which they ended.
    recent: VecDeque<Sample>,
    totals: Totals,
}

impl Record {
    /// For the next request.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn add(&self, sample: Sample) {
        let mut inner = self.lock();
        inner.totals.requests += 1;
        if let Some(why) = &sample.failure {
            inner.totals.failed += 1;
            *inner.totals.reasons.entry(why.clone()).or_default() += 1;
        }
        let ended = sample.ended();
        inner.recent.push_back(sample);
        while inner.recent.front().is_some_and(|first| first.sent + KEEP < ended) {
            inner.recent.pop_front();
        }
    }

    /// Requests that were sent at `start` or later, in the order in which they ended.
    pub(super) fn since(&self, start: Instant) -> Vec<Sample> {
        self.lock().recent.iter().filter(|sample| sample.sent >= start).cloned().collect()
    }

    pub(super) fn totals(&self) -> Totals {
        self.lock().totals.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The `x-request-id` of the request with this number.
pub(super) fn request_id(number: u64) -> String {
    format!("demo-{number}")
}

impl Sample {
    /// When its answer was there.
    pub(super) fn ended(&self) -> Instant {
        self.sent + self.took
    }

    pub(super) fn version(&self) -> Option<&str> {
        self.by.as_ref().map(|by| by.version.as_str())
    }

    /// `None` too where the configuration does not expose it.
    pub(super) fn variant(&self) -> Option<&str> {
        self.by.as_ref().map(|by| by.variant.as_str()).filter(|name| !name.is_empty())
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests, {} failed", thousands(self.requests), thousands(self.failed))?;
        if self.reasons.is_empty() {
            return Ok(());
        }
        let reasons = self.reasons.iter().map(|(why, count)| format!("{why}: {count}"));
        write!(f, " ({})", reasons.collect::<Vec<_>>().join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(sent: Instant, failed: bool) -> Sample {
        let failure = failed.then(|| "HTTP 500 from v2".to_owned());
        Sample { number: 0, sent, took: Duration::from_millis(5), user: None, by: None, failure }
    }

    #[test]
    fn totals_outlive_the_samples() {
        let (record, start) = (Record::default(), Instant::now());
        record.add(sample(start, true));
        record.add(sample(start + KEEP / 2, false));
        record.add(sample(start + KEEP, false));
        assert_eq!(record.since(start).len(), 2);
        assert_eq!(record.since(start + KEEP).len(), 1);
        let shown = record.totals().to_string();
        assert_eq!(shown, "3 requests, 1 failed (HTTP 500 from v2: 1)");
    }
}

//! The unattended story. Every claim is checked from outside: by clients, on the admin API.

mod dark;
mod faults;
mod rollouts;
mod split;

use super::{
    admin::{Admin, Status},
    load,
    record::{Record, Sample},
    report::Report,
    stage::Stage,
    stats::{short, thousands},
};
use std::{
    collections::BTreeSet,
    io,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// Until connections are made and the first requests answered.
const WARM_UP: Duration = Duration::from_millis(500);

/// For a share and for the users' loyalty: about 1,600 unkeyed requests, and four of each user.
const LONG_LOOK: Duration = Duration::from_secs(4);

/// For everything else.
const LOOK: Duration = Duration::from_secs(2);

/// An edit has to be in force within this, and so has a rollback.
const IN_FORCE: Duration = Duration::from_secs(1);

/// The longest wait for something that should happen.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between looks at something that should happen soon.
const POLL: Duration = Duration::from_millis(5);

/// Requests with a pin.
const PINNED: usize = 20;

/// Plays the story and reports every claim.
///
/// # Errors
/// When the report or the configuration cannot be written, or the admin API fails.
pub(super) async fn tell(stage: &Stage, report: &mut Report) -> io::Result<()> {
    let mut story = Story { stage, record: stage.load().record(), admin: stage.admin(), report };
    sleep(WARM_UP).await;
    story.begins_at_ten_percent().await?;
    story.dark_launch().await?;
    story.pins().await?;
    let text = story.edit_to_half().await?;
    story.broken_edit(&text).await?;
    story.canary_dies().await?;
    story.good_rollout().await?;
    let failed = story.bad_rollout().await?;
    story.stays_away().await?;
    story.a_person_decides().await?;
    story.nothing_else_failed(failed)
}

struct Story<'a> {
    stage: &'a Stage,
    record: &'a Record,
    admin: Admin,
    report: &'a mut Report,
}

impl Story<'_> {
    /// `failed` are the requests of users that the bad version failed.
    fn nothing_else_failed(&mut self, failed: usize) -> io::Result<()> {
        let totals = self.record.totals();
        let ok = totals.failed == failed as u64 && totals.requests > 1000;
        let observed = format!("{totals}; {failed} of them by the bad version");
        let claim = "no other request failed in the whole story";
        self.report.claim(claim, ok, observed)
    }

    /// How many requests with a pin reach the canary, and why one did not.
    async fn pinned(&self) -> (usize, String) {
        let (mut reached, mut why) = (0, String::new());
        for _ in 0..PINNED {
            let headers = [("x-canary", "always")];
            let answer = self.stage.client().get(self.stage.web(), "/", &headers).await;
            match answer.map(|answer| load::answered(&answer)) {
                Ok((Some(by), None)) if by.version == "v2" => reached += 1,
                Ok((Some(by), None)) => why = format!("; one went to {}", by.version),
                Ok((_, failure)) => why = format!("; {}", failure.unwrap_or_default()),
                Err(error) => why = format!("; {error}"),
            }
        }
        (reached, why)
    }

    /// How long it takes until `holds`.
    async fn wait(&self, holds: impl Fn(&Status) -> bool) -> Option<Duration> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.admin.status().await.is_ok_and(|status| holds(&status)) {
                return Some(start.elapsed());
            }
            sleep(POLL).await;
        }
        None
    }

    /// How long after `start` the first of `users` had an answer from v2.
    async fn first_moved(&self, start: Instant, users: &BTreeSet<u16>) -> Option<Duration> {
        while start.elapsed() < PATIENCE {
            let samples = self.record.since(start);
            let moved = samples.iter().filter(|sample| {
                sample.version() == Some("v2")
                    && sample.user.is_some_and(|user| users.contains(&user))
            });
            let ended = moved.map(|sample| (sample.sent + sample.took).duration_since(start));
            if let Some(first) = ended.min() {
                return Some(first);
            }
            sleep(POLL).await;
        }
        None
    }

    async fn generation(&self) -> u64 {
        self.admin.status().await.map_or(0, |status| status.config.generation)
    }

    async fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.admin.metrics().await.map_or(0.0, |metrics| metrics.sum(name, labels))
    }
}

/// How many failed, and why the last of them did.
fn failures(samples: &[Sample]) -> (usize, String) {
    let failures: Vec<_> = samples.iter().filter_map(|sample| sample.failure.as_ref()).collect();
    (failures.len(), failures.last().map(|why| (*why).clone()).unwrap_or_default())
}

fn answered(samples: &[Sample], failed: usize, why: &str) -> String {
    let all = thousands(samples.len() as u64);
    match failed {
        0 => format!("{all} requests, 0 failed"),
        _ => format!("{all} requests, {failed} failed ({why})"),
    }
}

fn after(time: Option<Duration>) -> String {
    let never = || format!("never (within {} s)", PATIENCE.as_secs());
    time.map_or_else(never, |time| format!("after {}", short(time)))
}

/// What the admin API did not do.
fn broken(why: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("the admin API failed: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::record::Answered;

    /// Requests without a key that the versions answered.
    pub(super) fn samples(v1: usize, v2: usize) -> Vec<Sample> {
        let sample = |version: &str| Sample {
            number: 0,
            sent: Instant::now(),
            took: Duration::ZERO,
            user: None,
            by: Some(Answered { version: version.into(), variant: String::new() }),
            failure: None,
        };
        let v1 = std::iter::repeat_with(|| sample("v1")).take(v1);
        v1.chain(std::iter::repeat_with(|| sample("v2")).take(v2)).collect()
    }

    #[test]
    fn failures_are_counted_whoever_answered() {
        let mut samples = samples(2, 1);
        samples[2].failure = Some("HTTP 500 from v2".into());
        let (failed, why) = failures(&samples);
        assert_eq!(answered(&samples, failed, &why), "3 requests, 1 failed (HTTP 500 from v2)");
    }
}

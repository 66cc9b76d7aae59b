//! The unattended story. Every claim is checked from outside: by clients, on the admin API.

use super::{
    admin::{Admin, Status},
    config::{self, START, Weights},
    load::{self, USERS},
    record::{Record, Sample},
    report::Report,
    service::{DARK, TOTAL, WRONG_TOTAL},
    stage::Stage,
    stats::{percent, share, short, thousands, tolerance},
    users::Users,
};
use std::{
    collections::BTreeSet,
    io,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// Until connections are made and the first requests answered.
const WARM_UP: Duration = Duration::from_millis(500);

/// For a share and for the users' loyalty: about 1,500 unkeyed requests, and four of each user.
const LONG_LOOK: Duration = Duration::from_secs(6);

/// For everything else.
const LOOK: Duration = Duration::from_secs(2);

/// An edit has to be in force within this.
const IN_FORCE: Duration = Duration::from_secs(1);

/// The longest wait for something that should happen.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between looks at something that should happen soon.
const POLL: Duration = Duration::from_millis(5);

/// The chance that a right split is called wrong is less than one in a million.
const SIGMAS: f64 = 5.0;

/// Requests with a pin.
const PINNED: usize = 20;

const HALF: Weights = Weights { stable: 50, canary: 50 };
const NONE: Weights = Weights { stable: 50, canary: 0 };

/// Plays the story and reports every claim.
///
/// # Errors
/// When the report or the configuration cannot be written.
pub(super) async fn tell(stage: &Stage, report: &mut Report) -> io::Result<()> {
    let mut story = Story { stage, record: stage.load().record(), admin: stage.admin(), report };
    sleep(WARM_UP).await;
    story.begins_at_ten_percent().await?;
    story.dark_launch().await?;
    story.pins().await?;
    let text = story.edit_to_half().await?;
    story.broken_edit(&text).await?;
    story.canary_dies().await?;
    story.no_weight().await?;
    story.nothing_failed()
}

struct Story<'a> {
    stage: &'a Stage,
    record: &'a Record,
    admin: Admin,
    report: &'a mut Report,
}

impl Story<'_> {
    async fn begins_at_ten_percent(&mut self) -> io::Result<()> {
        let start = Instant::now();
        sleep(LONG_LOOK).await;
        let samples = self.record.since(start);
        let (ok, observed) = split(&samples, 0.1);
        let Weights { stable, canary } = START;
        let claim = format!("weights {stable} and {canary} give v2 10 % of the unkeyed requests");
        self.report.claim(&claim, ok, observed)?;

        let users = Users::versions(&samples);
        let (torn, fewest) = (users.torn(), users.fewest());
        let ok = torn == 0 && fewest >= 2 && users.len() == usize::from(USERS);
        let observed = format!(
            "{} users, {} of them on v2; each asked at least {fewest} times; {torn} got both",
            users.len(),
            users.on("v2").len(),
        );
        self.report.claim("a user with a key always gets the same version", ok, observed)
    }

    async fn dark_launch(&mut self) -> io::Result<()> {
        let answered = self.copies("2xx").await;
        let skipped = self.copies("not_sampled").await;
        let samples = self.record.since(Instant::now() - LONG_LOOK);
        let seen = samples.iter().filter(|sample| sample.version() == Some(DARK)).count();
        let observed = format!(
            "{} copies were answered, {} requests were not sampled, {seen} users saw an answer",
            thousands(answered as u64),
            thousands(skipped as u64)
        );
        let ok = answered > 100.0 && skipped > answered && seen == 0;
        self.report.claim(
            "a quarter of the requests is copied to v3, and no user sees its answers",
            ok,
            observed,
        )?;

        let diffs = self.admin.diffs().await.ok();
        let different: Vec<_> = diffs.iter().flat_map(|diffs| diffs.of("different")).collect();
        let example = different.first().and_then(|field| field.examples.first());
        let right = [TOTAL.to_string(), WRONG_TOTAL.to_string()];
        let ok = different.len() == 1
            && different[0].field == "$.basket.total"
            && example.is_some_and(|e| [&e.expected, &e.actual] == [&right[0], &right[1]]);
        let observed = match (different.first(), &diffs) {
            (Some(field), Some(diffs)) => format!(
                "{} differs in {} of {} answers, with an evidence of 10^{:.0}",
                field.field,
                thousands(diffs.mismatch),
                thousands(diffs.compared),
                field.log10_evidence.unwrap_or_default()
            ),
            _ => "nothing was found".to_owned(),
        };
        self.report.claim("its one wrong field is found by comparing answers", ok, observed)?;

        let noise = diffs.iter().flat_map(|diffs| diffs.of("noise"));
        let mut noise: Vec<_> = noise.map(|field| field.field.as_str()).collect();
        noise.sort_unstable();
        let ok = noise == ["$.served_at", "$.trace"];
        let observed = format!("noise: {}", noise.join(", "));
        let claim = "timestamps, ids and the order of keys are not mistaken for it";
        self.report.claim(claim, ok, observed)
    }

    async fn pins(&mut self) -> io::Result<()> {
        let (reached, why) = self.pinned().await;
        let observed = format!("{reached} of {PINNED} requests{why}");
        let claim = "a request with the header `x-canary: always` goes to v2";
        self.report.claim(claim, reached == PINNED, observed)
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

    /// Returns the text that is now in force.
    async fn edit_to_half(&mut self) -> io::Result<String> {
        let before = Users::versions(&self.record.since(Instant::now() - LONG_LOOK));
        let (stable, canary) = (before.on("v1"), before.on("v2"));
        let (old, saved) = (self.generation().await, Instant::now());
        let text = self.stage.save_weights(HALF)?;
        let generation = self.wait(|status| status.config.generation > old).await;
        let moved = self.first_moved(saved, &stable).await;
        let ok = [generation, moved].iter().all(|time| time.is_some_and(|time| time <= IN_FORCE));
        let observed = format!(
            "the generation grew {}; the first user moved {}",
            after(generation),
            after(moved)
        );
        self.report.claim("an edit to 50/50 is in force within 1 s", ok, observed)?;

        let start = Instant::now();
        sleep(LOOK).await;
        let samples = self.record.since(start);
        let (ok, observed) = split(&samples, 0.5);
        self.report.claim("after the edit v2 gets 50 % of the unkeyed requests", ok, observed)?;

        let now = Users::versions(&samples);
        let left = now.on("v1").intersection(&canary).count();
        let won = now.on("v2").intersection(&stable).count();
        let everybody = now.len() == usize::from(USERS);
        let ok = left == 0 && now.torn() == 0 && won > 0 && everybody && !canary.is_empty();
        let observed =
            format!("{} users were on v2: {left} left it, {won} others came", canary.len());
        self.report.claim("growing the canary takes no user out of it", ok, observed)?;
        Ok(text)
    }

    async fn broken_edit(&mut self, good: &str) -> io::Result<()> {
        const WRONG: &str = "v22";
        let broken = good.replace("upstream: v2,", &format!("upstream: {WRONG},"));
        let place = config::position(&broken, WRONG);
        let (generation, errors) = (self.generation().await, self.reload_errors().await);
        let start = Instant::now();
        config::save(self.stage.file(), &broken)?;
        let told = self.wait(|status| status.config.last_error.is_some()).await;
        let status = self.admin.status().await.ok();
        let rejected = status.and_then(|status| status.config.last_error);
        let error = rejected.as_ref().and_then(|rejected| rejected.errors().next());
        let placed = error.is_some_and(|error| place == Some((error.line, error.column)));
        let counted = self.reload_errors().await - errors;
        let stays = self.generation().await == generation;
        let shown = error.map_or("no error".to_owned(), |error| error.to_string());
        let observed = format!("{} it said: {shown}", after(told));
        let claim = "a broken edit is refused, and the error says where and what would be right";
        let ok = placed && stays && counted == 1.0 && told.is_some_and(|told| told <= IN_FORCE);
        self.report.claim(claim, ok, observed)?;

        sleep(LOOK / 2).await;
        let samples = self.record.since(start);
        let (failed, why) = failures(&samples);
        let (ok, observed) = (failed == 0 && samples.len() > 100, answered(&samples, failed, &why));
        self.report.claim("traffic goes on while the file is broken", ok, observed)?;
        config::save(self.stage.file(), good)?;
        let healed = self.wait(|status| status.config.last_error.is_none()).await;
        let observed = format!("{} the error was gone", after(healed));
        self.report.claim("the repaired file is accepted", healed.is_some(), observed)
    }

    async fn canary_dies(&mut self) -> io::Result<()> {
        let before = self.saved().await;
        let users = Users::versions(&self.record.since(Instant::now() - LOOK)).on("v2");
        let start = Instant::now();
        self.stage.v2().set_up(false);
        sleep(LOOK).await;
        let samples = self.record.since(start);
        let saved = (self.saved().await - before) as u64;
        let (failed, why) = failures(&samples);
        let here = Users::versions(&samples).on("v1").intersection(&users).count();
        let ok = failed == 0 && saved > 0 && here == users.len() && here > 0;
        let observed = format!(
            "v1 answered {} requests of v2's, all {here} of its users among them; {}",
            thousands(saved),
            answered(&samples, failed, &why)
        );
        let claim = "v2 is gone: its fallback answers, it is counted, and nobody sees an error";
        self.report.claim(claim, ok, observed)?;

        let start = Instant::now();
        self.stage.v2().set_up(true);
        let back = self.first_moved(start, &users).await;
        let observed = format!("{} the first of its users was with it again", after(back));
        self.report.claim("v2 is back: so are its users", back.is_some(), observed)
    }

    async fn no_weight(&mut self) -> io::Result<()> {
        let old = self.generation().await;
        self.stage.save_weights(NONE)?;
        let in_force = self.wait(|status| status.config.generation > old).await;
        let start = Instant::now();
        sleep(LOOK).await;
        let samples = self.record.since(start);
        let reached = samples.iter().filter(|sample| sample.version() != Some("v1")).count();
        let observed = format!(
            "in force {}; then {reached} of {} requests went there",
            after(in_force),
            thousands(samples.len() as u64)
        );
        let ok = in_force.is_some_and(|time| time <= IN_FORCE) && reached == 0;
        let ok = ok && samples.len() > 100;
        self.report.claim("with weight 0 no user reaches v2", ok, observed)?;
        let (reached, why) = self.pinned().await;
        let observed = format!("{reached} of {PINNED} requests{why}");
        self.report.claim("a pin still does", reached == PINNED, observed)
    }

    fn nothing_failed(&mut self) -> io::Result<()> {
        let totals = self.record.totals();
        let ok = totals.failed == 0 && totals.requests > 1000;
        self.report.claim("no request failed in the whole story", ok, totals.to_string())
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

    async fn copies(&self, outcome: &str) -> f64 {
        let labels = [("mirror", "dark"), ("outcome", outcome)];
        self.sum("tidegate_mirror_requests_total", &labels).await
    }

    async fn reload_errors(&self) -> f64 {
        self.sum("tidegate_config_reloads_total", &[("result", "error")]).await
    }

    async fn saved(&self) -> f64 {
        self.sum("tidegate_fallbacks_total", &[("variant", "canary")]).await
    }

    async fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.admin.metrics().await.map_or(0.0, |metrics| metrics.sum(name, labels))
    }
}

/// Whether v2's share of the unkeyed requests is `expected`.
fn split(samples: &[Sample], expected: f64) -> (bool, String) {
    let unkeyed = samples.iter().filter(|sample| sample.user.is_none());
    let versions: Vec<_> = unkeyed.filter_map(Sample::version).collect();
    let (all, v2) = (versions.len(), versions.iter().filter(|version| **version == "v2").count());
    let tolerance = tolerance(expected, all, SIGMAS);
    let realised = share(v2, all).unwrap_or_default();
    let ok = all >= 200 && (realised - expected).abs() <= tolerance;
    let observed = format!(
        "{} of {} ({SIGMAS} sigma are {})",
        percent(realised),
        thousands(all as u64),
        percent(tolerance)
    );
    (ok, observed)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::record::Answered;

    fn samples(v1: usize, v2: usize) -> Vec<Sample> {
        let sample = |version: &str| Sample {
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
    fn a_wrong_split_is_called_wrong() {
        for (v1, v2, expected) in [(900, 100, 0.1), (870, 130, 0.1), (260, 240, 0.5)] {
            assert!(split(&samples(v1, v2), expected).0, "{v1} {v2}");
        }
        for (v1, v2, expected) in [(500, 500, 0.1), (1000, 0, 0.1), (900, 100, 0.5), (9, 1, 0.1)] {
            assert!(!split(&samples(v1, v2), expected).0, "{v1} {v2}");
        }
    }

    #[test]
    fn the_split_looks_only_at_requests_without_a_key() {
        let mut samples = samples(900, 100);
        samples.iter_mut().for_each(|sample| sample.user = Some(1));
        assert!(!split(&samples, 0.1).0);
    }

    #[test]
    fn failures_are_counted_whoever_answered() {
        let mut samples = samples(2, 1);
        samples[2].failure = Some("HTTP 500 from v2".into());
        let (failed, why) = failures(&samples);
        assert_eq!(answered(&samples, failed, &why), "3 requests, 1 failed (HTTP 500 from v2)");
    }
}

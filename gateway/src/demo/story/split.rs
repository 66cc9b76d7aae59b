//! Who gets which version while a person sets the weights.

use super::{IN_FORCE, LONG_LOOK, LOOK, PINNED, Story, after};
use crate::demo::{
    config::{Plan, START, Weights},
    load::USERS,
    record::Sample,
    stats::{percent, share, thousands, tolerance},
    users::Users,
};
use std::{io, time::Instant};
use tokio::time::sleep;

/// The chance that a right split is called wrong is less than one in a million.
const SIGMAS: f64 = 5.0;

const HALF: Weights = Weights { stable: 50, canary: 50 };

impl Story<'_> {
    pub(super) async fn begins_at_ten_percent(&mut self) -> io::Result<()> {
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

    pub(super) async fn pins(&mut self) -> io::Result<()> {
        let (reached, why) = self.pinned().await;
        let observed = format!("{reached} of {PINNED} requests{why}");
        let claim = "a request with the header `x-canary: always` goes to v2";
        self.report.claim(claim, reached == PINNED, observed)
    }

    /// Returns the text that is now in force.
    pub(super) async fn edit_to_half(&mut self) -> io::Result<String> {
        let before = Users::versions(&self.record.since(Instant::now() - LONG_LOOK));
        let (stable, canary) = (before.on("v1"), before.on("v2"));
        let (old, saved) = (self.generation().await, Instant::now());
        let text = self.stage.save(Plan::Fixed(HALF))?;
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
        let ok = left == 0 && now.torn() == 0 && won > 0 && !canary.is_empty();
        let observed =
            format!("{} users were on v2: {left} left it, {won} others came", canary.len());
        self.report.claim("growing the canary takes no user out of it", ok, observed)?;
        Ok(text)
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

#[cfg(test)]
mod tests {
    use super::{super::tests::samples, *};

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
}

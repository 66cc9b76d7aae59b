//! What happens by itself while people watch: a good version comes, a bad one comes and goes.

use super::{
    admin::Rollout,
    config::{self, BAD, BAD_FROM, FAILS, GOOD},
    stage::Stage,
};
use std::{
    fs, io,
    time::{Duration, Instant},
};

/// For people to see how a rollout ended.
const REST: Duration = Duration::from_secs(5);

/// Lets things happen.
#[derive(Debug)]
pub(super) struct Director {
    act: Act,
    since: Instant,
}

/// Where the play is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// The good version is rolled out.
    Good,
    /// Its rollout is over.
    Rest,
    /// The bad version begins, and does well.
    Bad,
    /// It fails.
    Fails,
    /// It was taken away.
    Gone,
    /// Whatever happens now, a person wants.
    Over,
}

impl Director {
    pub(super) fn new() -> Self {
        Self { act: Act::Good, since: Instant::now() }
    }

    /// Goes on, if it is time to.
    pub(super) async fn direct(&mut self, stage: &Stage, rollout: Option<&Rollout>) {
        let next = self.act.next(rollout, self.since.elapsed());
        if next == self.act {
            return;
        }
        // Where a person has stopped v2, it cannot be told anything: then they play already.
        let done = match next {
            Act::Bad => release(stage),
            Act::Fails => stage.v2_fails(FAILS).await,
            Act::Over => stage.v2_fails(0).await,
            Act::Good | Act::Rest | Act::Gone => Ok(()),
        };
        self.act = if done.is_ok() { next } else { Act::Over };
        self.since = Instant::now();
    }

    /// What is to be seen; `None` when it is the viewer's turn.
    pub(super) fn caption(&self) -> Option<String> {
        let (good, bad) = (GOOD.revision, BAD.revision);
        match self.act {
            Act::Good => Some(format!(
                "v2 has a new revision, {good}, and it is good: it climbs, and is promoted."
            )),
            Act::Rest => Some(format!("All users have {good}. {bad} follows in a moment.")),
            Act::Bad => Some(format!(
                "The next revision, {bad}, begins as the last one did. It will not stay as good."
            )),
            Act::Fails => Some(format!("Now {bad} fails {FAILS} % of its requests.")),
            Act::Gone => Some(format!("{bad} was taken away, and stays away. It is your turn:")),
            Act::Over => None,
        }
    }
}

impl Act {
    fn next(self, rollout: Option<&Rollout>, since: Duration) -> Self {
        // Somebody took it out of the file.
        let Some(rollout) = rollout else { return Act::Over };
        let is_bad = rollout.revision == BAD.revision;
        match self {
            Act::Good if rollout.is_over() => Act::Rest,
            Act::Rest if since >= REST => Act::Bad,
            Act::Bad | Act::Fails if is_bad && rollout.is_over() => Act::Gone,
            Act::Bad if is_bad && rollout.weight.fraction() >= BAD_FROM => Act::Fails,
            Act::Gone if since >= REST => Act::Over,
            same => same,
        }
    }
}

/// Puts the bad version into the file, as a person would: whatever else was edited stays.
fn release(stage: &Stage) -> io::Result<()> {
    let quoted = |revision| format!("revision: \"{revision}\"");
    let (good, bad) = (quoted(GOOD.revision), quoted(BAD.revision));
    let text = fs::read_to_string(stage.file())?;
    if !text.contains(&good) {
        return Err(io::Error::other("somebody rolls out something else"));
    }
    config::save(stage.file(), &text.replace(&good, &bad))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_thing_follows_from_the_other() {
        let rollout = |revision: &str, state: &str, weight: u32| -> Rollout {
            serde_json::from_value(json!({
                "revision": revision, "run": 1, "state": state, "step": 1, "steps": 5,
                "weight": weight, "realised_share": null, "waits_for": [], "gates": [],
                "failed_requests": 0,
            }))
            .expect("a rollout")
        };
        let mut act = Act::Good;
        for (shown, seconds, then) in [
            (rollout("2.0", "progressing", 500_000), 9, Act::Good),
            (rollout("2.0", "promoted", 1_000_000), 0, Act::Rest),
            (rollout("2.0", "promoted", 1_000_000), 1, Act::Rest),
            (rollout("2.0", "promoted", 1_000_000), 5, Act::Bad),
            (rollout("2.0", "promoted", 1_000_000), 0, Act::Bad),
            (rollout("2.1", "progressing", 10_000), 1, Act::Bad),
            (rollout("2.1", "progressing", 100_000), 2, Act::Fails),
            (rollout("2.1", "rolled_back", 0), 1, Act::Gone),
            (rollout("2.1", "rolled_back", 0), 5, Act::Over),
            (rollout("2.1", "progressing", 0), 9, Act::Over),
        ] {
            act = act.next(Some(&shown), Duration::from_secs(seconds));
            assert_eq!(act, then, "{shown:?}");
        }
        assert_eq!(Act::Bad.next(None, Duration::ZERO), Act::Over);
    }
}

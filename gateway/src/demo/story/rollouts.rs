//! Rollouts: a good version comes by itself, a bad one goes by itself, and a person decides.

use super::{IN_FORCE, LOOK, PINNED, Story, broken};
use crate::demo::{
    admin::Rollout,
    config::{BAD, BAD_FROM, FAILS, GOOD, Plan, Release},
    record::{Sample, request_id},
    stats::{short, thousands},
};
use std::{
    collections::BTreeSet,
    io,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tidegate_judge::{Action, Decision, GateReport, Share, State, Time};
use tokio::time::sleep;

/// What a person decides about.
const LAST: Release = Release { revision: "2.2", hold: 1 };

/// The longest wait for a rollout.
const PATIENCE: Duration = Duration::from_secs(25);

/// Between looks at a rollout.
const POLL: Duration = Duration::from_millis(20);

/// More decisions than a run of the story makes.
const DECISIONS: usize = 50;

impl Story<'_> {
    pub(super) async fn good_rollout(&mut self) -> io::Result<()> {
        let (start, before) = (Instant::now(), self.record.totals());
        self.stage.save(Plan::Rollout(GOOD))?;
        let rollout = self.until(GOOD, Rollout::is_over).await?;
        let took = short(start.elapsed());
        let decisions = self.decisions(GOOD).await?;
        let way: Vec<String> = decisions.iter().map(|d| d.weight.to_string()).collect();
        let alone = decisions.iter().all(|d| ["configuration", "controller"].contains(&&*d.actor));
        let ok = rollout.state == State::Promoted
            && way == ["0%", "1%", "10%", "50%", "100%", "100%"]
            && alone;
        let state = in_words(rollout.state);
        let observed = format!("{state} after {took}; its weight was {}", way.join(", "));
        let claim =
            "2.0 is good: it climbs by itself, from a dark step to all users, and is promoted";
        self.report.claim(claim, ok, observed)?;

        let gates = decisions.last().map(|decision| &decision.gates[..]).unwrap_or_default();
        let saw = |gate: &GateReport| gate.run.requests[1] > 0 && gate.verdict != "bad";
        let ok = !gates.is_empty() && gates.iter().all(saw);
        let words: Vec<_> =
            gates.iter().map(|gate| format!("{}: {}", gate.name, gate.words())).collect();
        let claim = "each of its gates looked, and none found enough against it";
        self.report.claim(claim, ok, words.join("; "))?;

        let start = Instant::now();
        sleep(LOOK).await;
        let samples = self.record.since(start);
        let (here, now) = (on_v2(&samples).count(), self.record.totals());
        let failed = now.failed - before.failed;
        let observed = format!(
            "v2 answered {} of {} requests; of {} since the edit {failed} failed",
            thousands(here as u64),
            thousands(samples.len() as u64),
            thousands(now.requests - before.requests)
        );
        let ok = here == samples.len() && here > 100 && failed == 0;
        self.report.claim("then all users have it, and none saw a failure", ok, observed)
    }

    /// Returns how many requests failed.
    pub(super) async fn bad_rollout(&mut self) -> io::Result<usize> {
        self.stage.save(Plan::Rollout(BAD))?;
        self.until(BAD, |rollout| rollout.weight.fraction() >= BAD_FROM || rollout.is_over())
            .await?;
        let turned = Instant::now();
        self.stage.v2_fails(FAILS).await?;
        let rollout = self.until(BAD, Rollout::is_over).await?;
        let took = short(turned.elapsed());
        // For what was still under way, and for whatever goes there against the decision.
        sleep(LOOK).await;
        let mut samples = self.record.since(turned - LOOK);
        samples.sort_by_key(Sample::ended);
        let failed: Vec<&Sample> = samples.iter().filter(|s| s.failure.is_some()).collect();
        let decisions = self.decisions(BAD).await?;
        let decision = decisions.iter().find(|decision| decision.action == Action::RolledBack);
        let why = decision.map_or("it goes on", |decision| &decision.why);
        let observed = format!("{} after {took}: {why}", in_words(rollout.state));
        let bad = |gate: &GateReport| {
            gate.verdict == "bad" && gate.tests.iter().any(|test| test.evidence >= test.bad_at)
        };
        let ok = rollout.state == State::RolledBack
            && decision.is_some_and(|decision| decision.gates.iter().any(bad));
        let claim =
            "2.1 begins to fail when 10 % have it: it is rolled back by itself, and says why";
        self.report.claim(claim, ok, observed)?;

        let (ok, observed) = match decision {
            Some(decision) => in_force(&samples, &failed, decision),
            None => (false, why.to_owned()),
        };
        self.report.claim("within 1 s of the evidence no user has it", ok, observed)?;

        let ids: BTreeSet<_> = failed.iter().map(|sample| request_id(sample.number)).collect();
        let named = decision.map(|decision| &decision.samples[..]).unwrap_or_default();
        let counted = decision.map_or(0, |decision| decision.failed_requests) as usize;
        let known = named.iter().filter(|id| ids.contains(*id)).count();
        let observed = format!(
            "the decision counts {counted} failures, and users saw {} in all; of {} ids such as \
             `{}` they know {known}",
            failed.len(),
            named.len(),
            named.last().map_or("-", String::as_str),
        );
        let ok = known > 0 && known == named.len() && (1..=failed.len()).contains(&counted);
        let claim =
            "what it cost is counted, and the ids are those of requests that users saw fail";
        self.report.claim(claim, ok, observed)?;
        Ok(failed.len())
    }

    pub(super) async fn stays_away(&mut self) -> io::Result<()> {
        self.stage.v2_fails(0).await?;
        let old = self.generation().await;
        self.stage.save(Plan::Rollout(Release { hold: BAD.hold + 1, ..BAD }))?;
        self.wait(|status| status.config.generation > old).await;
        self.admin.reload().await.map_err(broken)?;
        let start = Instant::now();
        sleep(LOOK).await;
        let samples = self.record.since(start);
        let (reached, all) = (on_v2(&samples).count(), samples.len());
        let rollout = self.admin.rollout().await.map_err(broken)?;
        let (state, weight) = (in_words(rollout.state), rollout.weight);
        let observed = format!(
            "{reached} of {} requests reached it; {state}, weight {weight}",
            thousands(all as u64)
        );
        let ok = reached == 0 && all > 100 && rollout.state == State::RolledBack;
        let claim = "v2 is well again, its plan edited, the file reloaded: 2.1 stays away";
        self.report.claim(claim, ok && weight == Share::NONE, observed)?;
        let (reached, why) = self.pinned().await;
        let observed = format!("{reached} of {PINNED} requests{why}");
        self.report.claim("a pin still reaches it at weight 0", reached == PINNED, observed)
    }

    pub(super) async fn a_person_decides(&mut self) -> io::Result<()> {
        self.stage.save(Plan::Rollout(LAST))?;
        self.until(LAST, |_| true).await?;
        self.admin.act("pause").await.map_err(broken)?;
        let paused = self.admin.rollout().await.map_err(broken)?;
        let pause = Duration::from_secs(LAST.hold.into()) * 2;
        sleep(pause).await;
        let stayed = self.admin.rollout().await.map_err(broken)?;
        let observed = format!(
            "step {} of {} for {}, and its hold is {} s; {}",
            stayed.step,
            stayed.steps,
            short(pause),
            LAST.hold,
            stayed.waits_for.join(", ")
        );
        let ok = stayed.state == State::Paused && stayed.step == paused.step;
        self.report.claim("2.2 is paused by a person, and stays in its step", ok, observed)?;

        let resumed = Instant::now();
        self.admin.act("resume").await.map_err(broken)?;
        let goes_on = |rollout: &Rollout| {
            rollout.step > stayed.step && rollout.weight > Share::NONE || rollout.is_over()
        };
        let rollout = self.until(LAST, goes_on).await?;
        let (went_on, step) = (short(resumed.elapsed()), rollout.step);
        self.admin.act("abort").await.map_err(broken)?;
        let aborted = Instant::now();
        sleep(IN_FORCE).await;
        let last = on_v2(&self.record.since(resumed)).map(Sample::ended).max();
        let late = last.map_or(Duration::ZERO, |last| last.saturating_duration_since(aborted));
        let observed = format!(
            "step {step} came after {went_on}; v2's last answer to a user {} after the abort",
            short(late)
        );
        let ok = step > stayed.step && late < IN_FORCE / 2;
        self.report.claim("resumed it goes on; aborted, nobody has it", ok, observed)?;

        let decisions = self.decisions(LAST).await?;
        let who: Vec<_> =
            decisions.iter().map(|d| format!("{} by {}", d.action.name(), d.actor)).collect();
        let person = |action| decisions.iter().any(|d| d.action == action && d.actor == "local");
        let ok = [Action::Paused, Action::Resumed, Action::Aborted].into_iter().all(person);
        self.report.claim("every decision says whose it was", ok, who.join(", "))
    }

    /// The rollout of `release` once it is as wanted, or as it is when patience ends.
    async fn until(
        &self,
        release: Release,
        wanted: impl Fn(&Rollout) -> bool,
    ) -> io::Result<Rollout> {
        let start = Instant::now();
        loop {
            let rollout = self.admin.rollout().await;
            let late = start.elapsed() > PATIENCE;
            match rollout {
                Ok(rollout) if late => return Ok(rollout),
                Ok(rollout) if rollout.revision == release.revision && wanted(&rollout) => {
                    return Ok(rollout);
                }
                Err(why) if late => return Err(broken(why)),
                _ => sleep(POLL).await,
            }
        }
    }

    /// The decisions about `release`, the oldest first.
    async fn decisions(&self, release: Release) -> io::Result<Vec<Decision>> {
        let mut decisions = self.admin.decisions(DECISIONS).await.map_err(broken)?;
        decisions.retain(|decision| decision.revision == release.revision);
        decisions.reverse();
        Ok(decisions)
    }
}

/// Whether users were rid of v2 in time. Seen from outside, the evidence is complete with the last
/// of the failures that the decision counts, and the version is gone with its last answer. `samples`
/// and `failed` are in the order of their ends.
fn in_force(samples: &[Sample], failed: &[&Sample], decision: &Decision) -> (bool, String) {
    let counted = (decision.failed_requests as usize).checked_sub(1);
    let evidence = counted.and_then(|last| failed.get(last)).map(|sample| sample.ended());
    let (Some(evidence), Some(last)) = (evidence, on_v2(samples).map(Sample::ended).max()) else {
        return (false, "users saw fewer failures than the decision counts".to_owned());
    };
    let decided = instant_of(decision.time);
    let after = |time: Instant| time.saturating_duration_since(evidence);
    let later = samples.iter().filter(|sample| sample.sent > last).count();
    let observed = format!(
        "after the last failure that counted: the decision {}, v2's last answer to a user {}; the {} \
         requests after that went to v1",
        short(after(decided)),
        short(after(last)),
        thousands(later as u64)
    );
    (after(last) <= IN_FORCE && later > 100, observed)
}

fn on_v2(samples: &[Sample]) -> impl Iterator<Item = &Sample> {
    samples.iter().filter(|sample| sample.version() == Some("v2"))
}

fn in_words(state: State) -> String {
    state.name().replace('_', " ")
}

/// The moment that the wall clock called `time`.
fn instant_of(time: Time) -> Instant {
    let (now, clock) = (Instant::now(), SystemTime::now());
    let since = clock.duration_since(UNIX_EPOCH).unwrap_or_default();
    now - since.saturating_sub(Duration::from_millis(time.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::story::tests::samples;

    #[test]
    fn the_wall_clock_and_the_other_one_agree() {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
        let ago = Duration::from_millis(300);
        let then = instant_of(Time((since - ago).as_millis() as u64)).elapsed();
        assert!(then >= ago && then < ago + Duration::from_secs(5), "{then:?}");
    }

    #[test]
    fn an_answer_counts_for_v2_whatever_it_says() {
        let mut samples = samples(3, 2);
        samples[4].failure = Some("HTTP 500 from v2".into());
        assert_eq!(on_v2(&samples).count(), 2);
    }
}

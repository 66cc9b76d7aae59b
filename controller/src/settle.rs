//! From a decision to what is in force: durable, set, told.
//!
//! What gives the candidate more users is durable before it is in force, and is not done while it
//! cannot be. What takes it away is in force within moments whatever the disk does: if it cannot be
//! made durable it is in force all the same, tried again until it is, and announced only then. So
//! no decision is announced and then forgotten, and a full disk protects nobody's bad version.

use crate::{
    board::Announced,
    command::{Asker, Refusal, Reply},
    controller::{Controller, PATIENCE, Tracked, now},
    edge::Edge,
    keeper::{Commit, Unkept},
};
use std::time::{Duration, Instant};
use tidegate_judge::{Action, Decision, Run, State};

/// Decisions in force that may wait to be durable. Those that take a candidate away may always: of
/// these there is one for each run.
const MAX_PENDING: usize = 256;

/// Decisions that are in force, and the record of them that is not written yet.
pub(crate) struct Pending {
    commit: Commit,
    decisions: Vec<Decision>,
}

/// A decision that gives the candidate more users, on its way to a disk that hangs. It may be
/// written at any time, so it stands once it is, unless something else happened meanwhile.
pub(crate) struct Late {
    pending: Pending,
    before: (u32, usize, State),
    next: Run,
    /// Who asked for it, and when.
    asker: Option<(Asker, Instant)>,
}

impl Late {
    /// Has `asker` wait for what becomes of it.
    pub(crate) fn tell(&mut self, asker: Asker) {
        self.asker = Some((asker, Instant::now()));
    }

    fn answer(&mut self, reply: Reply) {
        if let Some((asker, _)) = self.asker.take() {
            asker(reply);
        }
    }
}

/// How long a person waits for a disk that hangs.
const ANSWER: Duration = Duration::from_secs(5);

impl<E: Edge> Controller<E> {
    /// Makes `next` the state of the rollout: durable, in force, announced. `Ok(false)` when it is
    /// in force and not durable yet.
    ///
    /// # Errors
    /// When it was not made durable and may not be in force without; nothing has changed.
    pub(crate) fn settle(
        &mut self,
        name: &str,
        next: Run,
        mut decisions: Vec<Decision>,
    ) -> Result<bool, Unkept> {
        let generation = self.edge.generation();
        for decision in &mut decisions {
            decision.generation = Some(generation);
        }
        let before = self.runs.get(name).map(|tracked| tracked.run.setting());
        // What waits to be saved is older than what is committed now, and must not come after it.
        self.keeper.checkpoint();
        let raises = before.map_or(next.setting().weight, |before| before.weight)
            < next.setting().weight
            || next.number() != self.runs.get(name).map_or(0, |tracked| tracked.run.number());
        let commit = Commit::new(&next, &decisions, self.webhooks(name), self.freeze.as_ref());
        let in_order = self.pending.is_empty() && !(raises && self.late.is_some());
        let kept = match in_order {
            true => self.keeper.commit(&commit, PATIENCE),
            false => Err(Unkept::behind()),
        };
        let lowers = before.is_some_and(|before| next.setting().weight < before.weight);
        let must_be_kept = raises || !lowers && self.pending.len() >= MAX_PENDING;
        if let (Err(error), true) = (&kept, must_be_kept) {
            self.refuse(name, error);
            if error.is_slow() {
                let before = self.runs.get(name).map(|tracked| stage(&tracked.run));
                let pending = Pending { commit, decisions };
                self.late =
                    Some(Late { pending, before: before.unwrap_or(NO_STAGE), next, asker: None });
            }
            return Err(error.clone());
        }
        self.adopt(name, next);
        self.put_in_force();
        for decision in &decisions {
            tell(decision);
        }
        match kept {
            Ok(ids) => {
                self.refused = None;
                self.tell_all(&ids, decisions);
                Ok(true)
            }
            Err(error) => {
                tracing::error!(rollout = name, %error, "in force, but not durable yet");
                self.pending.push_back(Pending { commit, decisions });
                Ok(false)
            }
        }
    }

    pub(crate) fn adopt(&mut self, name: &str, run: Run) {
        let Some(tracked) = self.runs.get_mut(name) else {
            let tracked = Tracked { changed: true, ..Tracked::new(run) };
            self.runs.insert(name.to_owned(), tracked);
            return;
        };
        if stage(&tracked.run) != stage(&run) {
            // What was counted belongs to the step that it was counted in.
            self.keeper.record(&tracked.run, &std::mem::take(&mut tracked.recorded), now());
            tracked.since = Instant::now();
        }
        tracked.run = run;
        tracked.changed = true;
    }

    /// What follows from the runs is what requests meet.
    pub(crate) fn put_in_force(&mut self) {
        let settings = self.wanted.iter().filter_map(|wanted| {
            let name = wanted.plan.name.as_str();
            let Some(Tracked { run, .. }) = self.runs.get(name) else {
                return self.keeper.unjudged(&wanted.plan).map(|setting| (name, setting));
            };
            let (plan, known) = (&wanted.plan, run.plan());
            let same = plan.route == known.route
                && plan.baseline == known.baseline
                && plan.candidate == known.candidate;
            // A run of other variants says nothing about these.
            let setting = run.setting();
            Some((name, if same { setting } else { tidegate_judge::Setting::NOTHING }))
        });
        let settings: Vec<_> = settings.collect();
        self.edge.set(&settings);
    }

    /// Writes what is in force and not durable yet.
    pub(crate) fn flush(&mut self) {
        while let Some(pending) = self.pending.front() {
            let Ok(ids) = self.keeper.commit(&pending.commit, PATIENCE) else { return };
            let Some(pending) = self.pending.pop_front() else { return };
            tracing::info!(rollout = pending.commit.rollout(), "durable now");
            self.tell_all(&ids, pending.decisions);
        }
    }

    /// Says that a decision was not made, once for each reason.
    pub(crate) fn refuse(&mut self, name: &str, error: &Unkept) {
        let why = error.to_string();
        if self.refused.as_ref().is_none_or(|(_, last)| *last != why) {
            tracing::error!(
                rollout = name,
                "a decision could not be kept, so it was not made: {why}"
            );
        }
        self.refused = Some((Instant::now(), why));
    }

    /// Follows a decision that the disk has taken after all.
    pub(crate) fn catch_up(&mut self) {
        let Some(mut late) = self.late.take() else { return };
        let name = late.next.plan().name.clone();
        match self.keeper.commit(&late.pending.commit, PATIENCE) {
            Err(error) if error.is_slow() => {
                if late.asker.as_ref().is_some_and(|(_, since)| since.elapsed() >= ANSWER) {
                    let why = format!("{error}; it will be done once the disk has taken it");
                    late.answer(Err(Refusal::Unkept(why)));
                }
                self.late = Some(late);
            }
            Err(error) => late.answer(Err(Refusal::Unkept(error.to_string()))),
            Ok(ids) => {
                let now = self.runs.get(&name).map_or(NO_STAGE, |tracked| stage(&tracked.run));
                if now == late.before {
                    let asker = late.asker.take();
                    self.adopt(&name, late.next);
                    self.put_in_force();
                    late.pending.decisions.iter().for_each(tell);
                    self.tell_all(&ids, late.pending.decisions);
                    self.show();
                    if let Some((asker, _)) = asker {
                        asker(Ok(()));
                    }
                } else if let Some(tracked) = self.runs.get_mut(&name) {
                    late.answer(Err(Refusal::Unkept("something else happened first".to_owned())));
                    // What came after it is what stands, on the disk too.
                    tracked.changed = true;
                }
            }
        }
    }

    pub(crate) fn tell_all(&self, ids: &[i64], decisions: Vec<Decision>) {
        for (id, decision) in ids.iter().zip(decisions) {
            (self.announce)(&Announced { id: *id, decision });
        }
    }

    pub(crate) fn webhooks(&self, name: &str) -> Vec<crate::edge::Webhook> {
        let wanted = self.wanted.iter().find(|wanted| wanted.plan.name == name);
        wanted.map(|wanted| wanted.webhooks.clone()).unwrap_or_default()
    }
}

/// Where a run is.
fn stage(run: &Run) -> (u32, usize, State) {
    (run.number(), run.position(), run.state())
}

/// There is no run.
const NO_STAGE: (u32, usize, State) = (0, 0, State::Aborted);

/// One line in the log for each decision.
fn tell(decision: &Decision) {
    let Decision { rollout, revision, actor, action, why, step, steps, weight, .. } = decision;
    let (action, step) = (action.name(), format!("{step} of {steps}"));
    let weight = weight.to_string();
    match decision.action {
        Action::RolledBack | Action::FalseAlarm => {
            tracing::warn!(rollout, revision, actor, action, step, weight, "{why}");
        }
        _ => tracing::info!(rollout, revision, actor, action, step, weight, "{why}"),
    }
}

//! The loop: count, judge, make durable, put in force, tell.
//!
//! ```text
//! Edge::take ─> judge::step ─> journal ─> Edge::set ─> announce
//! ```
//!
//! What gives the candidate more users is durable before it is in force, and is not done while it
//! cannot be. What takes it away is in force within moments whatever the disk does: if it cannot be
//! made durable it is in force all the same, tried again until it is, and announced only then. So
//! no decision is announced and then forgotten, and a full disk protects nobody's bad version.

use crate::{
    board::{Announced, Board, Current, Freeze, Shown},
    command::{Command, Refusal, Reply},
    edge::{Edge, Wanted},
    keeper::{Commit, Keeper, Unkept},
    source::{Answered, Source, questions},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tidegate_judge::{Action, Decision, Freedom, Reading, Run, Tick, Time, Verb, step};

/// How often is looked. Evidence waits for at most this, and the rest of a second is for the disk.
const TICK: Duration = Duration::from_millis(200);

/// How long taking a candidate away waits for the disk.
const PATIENCE: Duration = Duration::from_millis(300);

/// How long everything else does.
const LONG_PATIENCE: Duration = Duration::from_secs(2);

/// How often evidence is saved between decisions.
const CHECKPOINT: Duration = Duration::from_secs(1);

/// A machine that slept did not watch: no tick counts for longer.
const LONGEST_TICK: Duration = Duration::from_secs(2);

/// How long the disk has when the gateway ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Decisions in force that may wait to be durable.
const MAX_PENDING: usize = 256;

/// Who hears of decisions once they are durable.
pub type Announce = Box<dyn Fn(&Announced) + Send>;

/// The controller of all rollouts.
pub(crate) struct Controller<E> {
    pub(crate) edge: E,
    pub(crate) keeper: Keeper,
    pub(crate) announce: Announce,
    pub(crate) current: Current,
    pub(crate) source: Box<dyn Source>,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) runs: BTreeMap<String, Tracked>,
    pub(crate) freeze: Option<Freeze>,
    /// In force, and not durable yet.
    pub(crate) pending: VecDeque<Pending>,
    /// Asked for, and neither kept nor refused by a disk that hangs.
    pub(crate) late: Option<Late>,
    /// A change of the configuration could not be followed yet.
    pub(crate) unsettled: bool,
    pub(crate) checkpointed: Instant,
    pub(crate) looked: Instant,
}

/// A rollout that is known.
pub(crate) struct Tracked {
    pub(crate) run: Run,
    /// What was counted since the last checkpoint.
    pub(crate) recorded: Tick,
    pub(crate) changed: bool,
}

/// Decisions that are in force, and the record of them that is not written yet.
pub(crate) struct Pending {
    commit: Commit,
    decisions: Vec<Decision>,
}

/// A decision that gives the candidate more users, on its way to a disk that hangs. It may be
/// written at any time, so it stands once it is, unless something else happened meanwhile.
pub(crate) struct Late {
    pending: Pending,
    before: (u32, usize, tidegate_judge::State),
    next: Run,
}

impl<E: Edge> Controller<E> {
    /// Works until nobody can send commands any more.
    pub(crate) fn work(mut self, commands: &Receiver<Command>) {
        let mut next = Instant::now();
        loop {
            self.look();
            next = (next + TICK).max(Instant::now());
            loop {
                let left = next.saturating_duration_since(Instant::now());
                match commands.recv_timeout(left) {
                    Ok(Command::Stop(done)) => {
                        self.checkpoint();
                        self.keeper.close(LAST_WORDS);
                        let _ = done.send(());
                        return;
                    }
                    Ok(command) => self.obey(command),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => {
                        self.checkpoint();
                        return self.keeper.close(LAST_WORDS);
                    }
                }
            }
        }
    }

    /// One tick.
    fn look(&mut self) {
        let configured = self.edge.changed();
        let mut changed = configured.is_some();
        if let Some(configured) = configured {
            self.keeper.set_path(configured.state);
            self.wanted = configured.rollouts;
            let asked = self.wanted.iter().flat_map(|wanted| questions(&wanted.plan));
            self.source.ask(asked.collect());
        }
        if let Some(saved) = self.keeper.open() {
            self.restore(saved);
            changed = true;
        }
        if changed {
            self.reconcile();
        }
        if self.keeper.is_moved() {
            self.runs.values_mut().for_each(|tracked| tracked.changed = true);
        }
        self.flush();
        self.catch_up();
        if self.unsettled && self.keeper.is_open() && self.pending.is_empty() {
            self.reconcile();
        }
        let elapsed = self.looked.elapsed().min(LONGEST_TICK);
        self.looked = Instant::now();
        let mut answers = self.source.answers();
        let names: Vec<String> =
            self.wanted.iter().map(|wanted| wanted.plan.name.clone()).collect();
        for name in names {
            let Some(mut tick) = self.edge.take(&name) else { continue };
            tick.elapsed = elapsed;
            tick.readings = take_readings(&mut answers, &name);
            self.judge(&name, &tick);
        }
        if self.checkpointed.elapsed() >= CHECKPOINT {
            self.checkpoint();
        }
        self.show();
    }

    fn judge(&mut self, name: &str, tick: &Tick) {
        let freedom = self.freedom();
        let Some(tracked) = self.runs.get_mut(name) else { return };
        if !tracked.recorded.merge(tick) {
            let earlier = std::mem::replace(&mut tracked.recorded, tick.clone());
            self.keeper.record(&tracked.run, &earlier, now());
        }
        let (next, decisions) = step(&tracked.run, tick, freedom, now());
        tracked.changed |= !tick.is_empty() || !decisions.is_empty();
        if decisions.is_empty() {
            tracked.run = next;
            return;
        }
        if self.settle(name, next, decisions).is_err()
            && let Some(tracked) = self.runs.get_mut(name)
        {
            // The counts are real, whatever the disk does.
            tracked.run = step(&tracked.run, tick, Freedom::Frozen, now()).0;
        }
    }

    /// Nothing advances while somebody forbids it, or while it could not be kept.
    pub(crate) fn freedom(&self) -> Freedom {
        let free = self.freeze.is_none()
            && self.pending.is_empty()
            && self.late.is_none()
            && self.keeper.is_open();
        if free { Freedom::Free } else { Freedom::Frozen }
    }

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
        let commit = Commit::new(
            &next,
            &decisions,
            self.webhooks(name),
            self.freeze.as_ref(),
            self.edge.keep(),
        );
        let patience = if raises { LONG_PATIENCE } else { PATIENCE };
        let in_order = self.pending.is_empty() && !(raises && self.late.is_some());
        let kept = match in_order {
            true => self.keeper.commit(&commit, patience),
            false => Err(Unkept::behind()),
        };
        if let (Err(error), true) = (&kept, raises || self.pending.len() >= MAX_PENDING) {
            tracing::error!(rollout = name, %error, "a decision could not be kept, so it was not made");
            if error.is_slow() {
                let before = self.runs.get(name).map(|tracked| stage(&tracked.run));
                let pending = Pending { commit, decisions };
                self.late = Some(Late { pending, before: before.unwrap_or(NO_STAGE), next });
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

    fn adopt(&mut self, name: &str, run: Run) {
        let Some(tracked) = self.runs.get_mut(name) else {
            let tracked = Tracked { run, recorded: Tick::default(), changed: true };
            self.runs.insert(name.to_owned(), tracked);
            return;
        };
        if stage(&tracked.run) != stage(&run) {
            // What was counted belongs to the step that it was counted in.
            self.keeper.record(&tracked.run, &std::mem::take(&mut tracked.recorded), now());
        }
        tracked.run = run;
        tracked.changed = true;
    }

    /// What follows from the runs is what requests meet.
    pub(crate) fn put_in_force(&mut self) {
        let settings = self.wanted.iter().filter_map(|wanted| {
            let name = wanted.plan.name.as_str();
            let run = &self.runs.get(name)?.run;
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
    fn flush(&mut self) {
        while let Some(pending) = self.pending.front() {
            let Ok(ids) = self.keeper.commit(&pending.commit, PATIENCE) else { return };
            let Some(pending) = self.pending.pop_front() else { return };
            tracing::info!(rollout = pending.commit.rollout(), "durable now");
            self.tell_all(&ids, pending.decisions);
        }
    }

    /// Follows a decision that the disk has taken after all.
    fn catch_up(&mut self) {
        let Some(late) = self.late.take() else { return };
        let name = late.next.plan().name.clone();
        match self.keeper.commit(&late.pending.commit, PATIENCE) {
            Err(error) if error.is_slow() => self.late = Some(late),
            Err(_) => {}
            Ok(ids) => {
                let now = self.runs.get(&name).map_or(NO_STAGE, |tracked| stage(&tracked.run));
                if now == late.before {
                    self.adopt(&name, late.next);
                    self.put_in_force();
                    late.pending.decisions.iter().for_each(tell);
                    self.tell_all(&ids, late.pending.decisions);
                } else if let Some(tracked) = self.runs.get_mut(&name) {
                    // What came after it is what stands, on the disk too.
                    tracked.changed = true;
                }
            }
        }
    }

    fn tell_all(&self, ids: &[i64], decisions: Vec<Decision>) {
        for (id, decision) in ids.iter().zip(decisions) {
            (self.announce)(&Announced { id: *id, decision });
        }
    }

    /// Saves the evidence.
    fn checkpoint(&mut self) {
        self.checkpointed = Instant::now();
        let changed = self.runs.iter_mut().filter(|(_, tracked)| tracked.changed);
        for (_, tracked) in changed {
            tracked.changed = false;
            let tick = std::mem::take(&mut tracked.recorded);
            self.keeper.save(&tracked.run, &tick, now());
        }
        self.keeper.checkpoint();
    }

    fn webhooks(&self, name: &str) -> Vec<crate::edge::Webhook> {
        let wanted = self.wanted.iter().find(|wanted| wanted.plan.name == name);
        wanted.map(|wanted| wanted.webhooks.clone()).unwrap_or_default()
    }

    pub(crate) fn obey(&mut self, command: Command) {
        match command {
            Command::Act { rollout, verb, actor, reply } => {
                let answer = self.act(&rollout, verb, &actor);
                self.show();
                reply(answer);
            }
            Command::Freeze { freeze, actor, reply } => {
                let answer = self.set_freeze(freeze, &actor);
                self.show();
                reply(answer);
            }
            Command::Stop(_) => {}
        }
    }

    fn act(&mut self, name: &str, verb: Verb, actor: &str) -> Reply {
        let is_wanted = self.wanted.iter().any(|wanted| wanted.plan.name == name);
        let Some(tracked) = self.runs.get(name).filter(|_| is_wanted) else {
            let names = self.wanted.iter().map(|wanted| wanted.plan.name.clone()).collect();
            return Err(match (is_wanted, &self.keeper.error(), &self.freeze) {
                (false, ..) => Refusal::Unknown { rollout: name.to_owned(), known: names },
                (true, Some(error), _) => Refusal::Unkept(error.clone()),
                (true, None, _) => Refusal::NotStarted(name.to_owned()),
            });
        };
        let frozen = self.freeze.is_some();
        let freedom = if frozen { Freedom::Frozen } else { Freedom::Free };
        let (next, decision) = tracked.run.act(verb, actor, freedom, now())?;
        match self.settle(name, next, vec![decision]) {
            Ok(_) => Ok(()),
            Err(error) => Err(Refusal::Unkept(error.to_string())),
        }
    }

    fn set_freeze(&mut self, freeze: bool, actor: &str) -> Reply {
        if freeze == self.freeze.is_some() {
            return Err(Refusal::Freeze { frozen: freeze });
        }
        let next = freeze.then(|| Freeze { by: actor.to_owned(), at: now() });
        self.keeper
            .set_freeze(next.as_ref(), LONG_PATIENCE)
            .map_err(|e| Refusal::Unkept(e.to_string()))?;
        self.freeze = next;
        let (action, what) = match freeze {
            true => (Action::Frozen, "stopped all rollouts from advancing"),
            false => (Action::Thawed, "let all rollouts go on"),
        };
        tracing::info!(actor, "{actor} {what}");
        let why = format!("{actor} {what}");
        for wanted in self.wanted.clone() {
            let name = wanted.plan.name.as_str();
            let Some(tracked) = self.runs.get(name) else { continue };
            let (run, decision) =
                (tracked.run.clone(), tracked.run.note(action, actor, why.clone(), now()));
            let _ = self.settle(name, run, vec![decision]);
        }
        if !freeze {
            // What came meanwhile may begin.
            self.reconcile();
        }
        Ok(())
    }

    fn show(&self) {
        let freedom = match self.freeze {
            Some(_) => Freedom::Frozen,
            None => Freedom::Free,
        };
        let shown = self.runs.iter().map(|(name, tracked)| Shown {
            report: tracked.run.report(freedom),
            removed: !self.wanted.iter().any(|wanted| wanted.plan.name == *name),
        });
        self.current.store(Board {
            rollouts: shown.collect(),
            freeze: self.freeze.clone(),
            store_error: self.keeper.error(),
            undurable: self.pending.len(),
            webhooks: self.keeper.webhooks(),
        });
    }
}

/// Where a run is.
fn stage(run: &Run) -> (u32, usize, tidegate_judge::State) {
    (run.number(), run.position(), run.state())
}

/// There is no run.
const NO_STAGE: (u32, usize, tidegate_judge::State) = (0, 0, tidegate_judge::State::Aborted);

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

fn take_readings(answers: &mut Vec<Answered>, rollout: &str) -> Vec<Reading> {
    let (mine, others): (Vec<_>, _) =
        std::mem::take(answers).into_iter().partition(|answered| answered.rollout == rollout);
    *answers = others;
    mine.into_iter().map(|answered| answered.reading).collect()
}

/// By the wall clock.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

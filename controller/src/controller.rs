//! The loop: count, judge, make durable, put in force, tell.
//!
//! ```text
//! Edge::take ─> judge::step ─> journal ─> Edge::set ─> announce
//! ```

use crate::{
    board::{Announced, Board, Current, Freeze, Shown},
    command::Command,
    edge::{Edge, Wanted},
    keeper::Keeper,
    release::Hold,
    settle::{Late, Pending},
    source::{Answered, Source, questions},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tidegate_judge::{Freedom, Reading, Run, Tick, Time, step};

/// How often is looked. Evidence waits for at most this, and the rest of a second is for the disk.
const TICK: Duration = Duration::from_millis(200);

/// How long a decision waits for the disk. Whatever takes longer is followed up later.
pub(crate) const PATIENCE: Duration = Duration::from_millis(300);

/// How long nothing advances after something could not be kept.
const PAUSE: Duration = Duration::from_secs(1);

/// How often evidence is saved between decisions.
const CHECKPOINT: Duration = Duration::from_secs(1);

/// A machine that slept did not watch: no tick counts for longer.
const LONGEST_TICK: Duration = Duration::from_secs(2);

/// How long the disk has when the gateway ends.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(2);

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
    /// Rollouts whose saved run cannot be read.
    pub(crate) unreadable: Vec<String>,
    pub(crate) freeze: Option<Freeze>,
    /// Whether everything is frozen is not kept yet.
    pub(crate) refreeze: bool,
    /// In force, and not durable yet.
    pub(crate) pending: VecDeque<Pending>,
    /// Asked for, and neither kept nor refused by a disk that hangs.
    pub(crate) late: Option<Late>,
    /// When something could not be kept last, and why.
    pub(crate) refused: Option<(Instant, String)>,
    /// A change of the configuration could not be followed yet.
    pub(crate) unsettled: bool,
    /// Whose the journal is.
    pub(crate) hold: Hold,
    pub(crate) checkpointed: Instant,
    pub(crate) looked: Instant,
}

/// A rollout that is known.
pub(crate) struct Tracked {
    pub(crate) run: Run,
    /// What was counted since the last checkpoint.
    pub(crate) recorded: Tick,
    pub(crate) changed: bool,
    /// Since when it is where it is, in this process.
    pub(crate) since: Instant,
}

impl Tracked {
    pub(crate) fn new(run: Run) -> Self {
        Self { run, recorded: Tick::default(), changed: false, since: Instant::now() }
    }
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
                        // What was counted since the last one is evidence, too.
                        self.look();
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
    pub(crate) fn look(&mut self) {
        let returned = self.hold == Hold::Wanted && self.take_back();
        if self.hold != Hold::Mine {
            return self.follow();
        }
        let mut changed = self.hear() || returned;
        if let Some(saved) = self.keeper.open() {
            self.restore(saved);
            changed = true;
        }
        if changed {
            self.reconcile();
        }
        if !self.keeper.is_open() {
            // Whoever has the journal may have decided something.
            self.put_in_force();
        }
        if self.keeper.was_moved() {
            self.runs.values_mut().for_each(|tracked| tracked.changed = true);
        }
        if self.refreeze {
            self.refreeze = self.keeper.set_freeze(self.freeze.as_ref(), PATIENCE).is_err();
        }
        self.flush();
        self.catch_up();
        if self.unsettled && self.freedom() == Freedom::Free {
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
            self.judge(&name, tick);
        }
        if self.checkpointed.elapsed() >= CHECKPOINT {
            self.checkpoint();
        }
        self.show();
    }

    /// Takes note of the configuration; whether it may have changed.
    pub(crate) fn hear(&mut self) -> bool {
        let Some(configured) = self.edge.changed() else { return false };
        self.keeper.set_path(configured.state);
        self.wanted = configured.rollouts;
        let asked = self.wanted.iter().flat_map(|wanted| questions(&wanted.plan));
        self.source.ask(asked.collect());
        true
    }

    fn judge(&mut self, name: &str, mut tick: Tick) {
        let freedom = self.freedom();
        let Some(tracked) = self.runs.get_mut(name) else { return };
        // A step may have begun in the middle of the tick.
        tick.elapsed = tick.elapsed.min(tracked.since.elapsed());
        let tick = &tick;
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
            && self.refused.as_ref().is_none_or(|(at, _)| at.elapsed() >= PAUSE)
            && self.keeper.is_open();
        if free { Freedom::Free } else { Freedom::Frozen }
    }

    /// Saves the evidence.
    pub(crate) fn checkpoint(&mut self) {
        self.checkpointed = Instant::now();
        let changed = self.runs.iter_mut().filter(|(_, tracked)| tracked.changed);
        for (_, tracked) in changed {
            tracked.changed = false;
            let tick = std::mem::take(&mut tracked.recorded);
            self.keeper.save(&tracked.run, &tick, now());
        }
        self.keeper.look();
        self.keeper.checkpoint();
        self.keeper.keep(self.edge.keep(), PATIENCE);
    }

    pub(crate) fn show(&self) {
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

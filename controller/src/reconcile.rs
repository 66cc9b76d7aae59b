//! The configuration changed, or the journal was opened: which runs there are now.

use crate::{
    controller::{Controller, Tracked, now},
    edge::Edge,
    keeper::Saved,
};
use tidegate_judge::{Freedom, Run};

/// Why a run ends whose rollout is gone.
const REMOVED: &str = "the configuration does not have it any more";

impl<E: Edge> Controller<E> {
    /// Goes on with what was saved.
    pub(crate) fn restore(&mut self, saved: Saved) {
        self.freeze = saved.freeze;
        self.unreadable = saved.unreadable;
        for run in saved.runs {
            let name = run.plan().name.clone();
            tracing::info!(
                rollout = name,
                revision = run.plan().revision,
                state = run.state().name(),
                step = run.position() + 1,
                "resumed"
            );
            // What was decided while nothing could be kept is newer than what was kept.
            self.runs.entry(name).or_insert(Tracked::new(run));
        }
    }

    /// Starts what is new, follows plans that changed, ends what is gone.
    pub(crate) fn reconcile(&mut self) {
        if !self.keeper.is_open() {
            // Nobody knows what was: a revision that was rolled back must not begin again.
            self.unsettled = true;
            return self.put_in_force();
        }
        self.unsettled = false;
        for wanted in self.wanted.clone() {
            let plan = &wanted.plan;
            let freedom = self.freedom();
            let (next, decisions) = match self.runs.get(&plan.name) {
                Some(tracked) => tracked.run.replan(plan, freedom, now()),
                None if freedom == Freedom::Frozen => {
                    self.unsettled = true;
                    continue;
                }
                // It may be one that was rolled back.
                None if self.unreadable.contains(&plan.name) => {
                    let why = "its saved state cannot be read: `retry` to begin".to_owned();
                    let (run, decision) = Run::refused(plan, None, why, "controller", now());
                    (run, vec![decision])
                }
                None => {
                    let (run, decision) = Run::start(plan, None, "configuration", now());
                    (run, vec![decision])
                }
            };
            if decisions.is_empty() {
                if let Some(tracked) = self.runs.get_mut(&plan.name) {
                    tracked.changed |= tracked.run != next;
                    tracked.run = next;
                }
            } else if self.settle(&plan.name, next, decisions).is_err() {
                // Asked again when the journal is well.
                self.unsettled = true;
            }
            tracing::info!(
                rollout = plan.name,
                "owns the weights of `{}` and `{}` on `{}`: the file's are not used",
                plan.baseline,
                plan.candidate,
                plan.route
            );
        }
        let gone: Vec<String> = self
            .runs
            .keys()
            .filter(|name| !self.wanted.iter().any(|wanted| wanted.plan.name == **name))
            .cloned()
            .collect();
        for name in gone {
            let Some(tracked) = self.runs.get(&name) else { continue };
            let (next, decision) = tracked.run.remove(REMOVED, now());
            if let Some(decision) = decision {
                let _ = self.settle(&name, next, vec![decision]);
            }
        }
        self.put_in_force();
    }
}

//! What is durable, and what follows from it after a crash.

use crate::ledger::Ledger;
use std::collections::HashSet;
use tidegate_judge::{Action, Decision, Run, Share};

/// States and decisions that a crash does not lose. Each commit is atomic.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    saved: Option<(String, Ledger)>,
    /// Of the announced decisions: the last, and the weight that it says is in force.
    last: Option<Decision>,
    weight: Share,
    /// Announced decisions.
    pub(crate) count: u64,
    /// States that the run was in since the last commit, as JSON.
    visited: HashSet<String>,
    /// Revisions that were taken away, and not asked for again.
    dead: HashSet<String>,
}

impl Journal {
    /// The run goes through a state that is not durable (yet).
    pub(crate) fn visit(&mut self, run: &Run) {
        self.visited.insert(json(run));
    }

    /// Makes a state and the decisions that led to it durable, and announces them.
    pub(crate) fn commit(&mut self, run: &Run, ledger: &Ledger, decisions: &[Decision]) {
        let text = json(run);
        self.visited.clear();
        self.visited.insert(text.clone());
        self.saved = Some((text, ledger.clone()));
        for decision in decisions {
            self.announce(decision);
        }
        assert_eq!(self.weight, run.setting().weight, "S7: in force and not decided");
    }

    fn announce(&mut self, decision: &Decision) {
        self.count += 1;
        assert_eq!(decision.weight_before, self.weight, "S7: a change without a record");
        if decision.weight != decision.weight_before {
            let moves = [
                Action::Started,
                Action::Advanced,
                Action::Promoted,
                Action::RolledBack,
                Action::Aborted,
            ];
            assert!(moves.contains(&decision.action), "S7: {:?} moves weight", decision.action);
        }
        let revision = decision.revision.clone();
        match decision.action {
            Action::RolledBack | Action::Aborted => {
                self.dead.insert(revision);
            }
            Action::Started => {
                let other = self.last.as_ref().is_none_or(|last| last.revision != revision);
                let asked = decision.actor != "controller" && decision.actor != "configuration";
                assert!(
                    other || asked || !self.dead.contains(&revision),
                    "S3: {revision} restarted by itself"
                );
                self.dead.remove(&revision);
            }
            _ => {}
        }
        self.weight = decision.weight;
        self.last = Some(decision.clone());
    }

    /// What a restart finds.
    pub(crate) fn restore(&self) -> Option<(Run, Ledger)> {
        let (text, ledger) = self.saved.as_ref()?;
        let run: Run = serde_json::from_str(text).expect("S5: a run that was saved is read back");
        assert_eq!(json(&run), *text, "S5: not the state that was saved");
        assert!(self.visited.contains(text), "S5: a state that the run was never in");
        let last = self.last.as_ref().expect("S4: a run without a decision that it began");
        assert_eq!(run.number(), last.run, "S4: {last:?}");
        assert_eq!(run.position() + 1, last.step, "S4: {last:?}");
        assert_eq!(run.setting().weight, last.weight, "S4: {last:?}");
        let ended = match last.action {
            Action::Promoted => Some("promoted"),
            Action::RolledBack => Some("rolled_back"),
            Action::Aborted => Some("aborted"),
            // These change nothing about it.
            Action::FalseAlarm | Action::Frozen | Action::Thawed => {
                return Some((run, ledger.clone()));
            }
            _ => None,
        };
        assert_eq!(run.outcome().map(|_| run.state().name()), ended, "S4: {last:?}");
        Some((run, ledger.clone()))
    }

    pub(crate) fn is_dead(&self, revision: &str) -> bool {
        self.dead.contains(revision)
    }

    /// What the last decision says is in force.
    pub(crate) fn weight(&self) -> Share {
        self.weight
    }
}

fn json(run: &Run) -> String {
    serde_json::to_string(run).expect("a run has a JSON")
}

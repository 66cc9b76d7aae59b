//! What people ask for.

use crate::{
    board::Freeze,
    command::{Command, Refusal, Reply},
    controller::{Controller, PATIENCE, now},
    edge::Edge,
    release::Hold,
};
use tidegate_judge::{Action, Freedom, Verb};

impl<E: Edge> Controller<E> {
    pub(crate) fn obey(&mut self, command: Command) {
        match command {
            // What was done here now, the other process would never know.
            Command::Act { reply, .. } | Command::Freeze { reply, .. }
                if self.hold != Hold::Mine =>
            {
                reply(Err(Refusal::HandedOver));
            }
            Command::Act { rollout, verb, actor, reply } => {
                let answer = self.act(&rollout, verb, &actor);
                self.show();
                match (answer, &mut self.late) {
                    (None, Some(late)) => late.tell(reply),
                    (None, None) => reply(Err(Refusal::Busy)),
                    (Some(answer), _) => reply(answer),
                }
            }
            Command::Freeze { freeze, actor, reply } => {
                let answer = self.set_freeze(freeze, &actor);
                self.show();
                reply(answer);
            }
            Command::Release(done) => {
                let _ = done.send(self.release());
            }
            Command::Resume => self.resume(),
            Command::Stop(_) => {}
        }
    }

    /// What came of it; `None` when the disk takes its time.
    fn act(&mut self, name: &str, verb: Verb, actor: &str) -> Option<Reply> {
        let is_wanted = self.wanted.iter().any(|wanted| wanted.plan.name == name);
        let Some(tracked) = self.runs.get(name).filter(|_| is_wanted) else {
            let names = self.wanted.iter().map(|wanted| wanted.plan.name.clone()).collect();
            return Some(Err(match (is_wanted, &self.keeper.error(), &self.freeze) {
                (false, ..) => Refusal::Unknown { rollout: name.to_owned(), known: names },
                (true, Some(error), _) => Refusal::Unkept(error.clone()),
                (true, None, _) => Refusal::NotStarted(name.to_owned()),
            }));
        };
        let frozen = self.freeze.is_some();
        let freedom = if frozen { Freedom::Frozen } else { Freedom::Free };
        let (next, decision) = match tracked.run.act(verb, actor, freedom, now()) {
            Ok(acted) => acted,
            Err(illegal) => return Some(Err(illegal.into())),
        };
        match self.settle(name, next, vec![decision]) {
            Ok(_) => Some(Ok(())),
            Err(error) if error.is_slow() => None,
            Err(error) => Some(Err(Refusal::Unkept(error.to_string()))),
        }
    }

    fn set_freeze(&mut self, freeze: bool, actor: &str) -> Reply {
        if freeze == self.freeze.is_some() {
            return Err(Refusal::Freeze { frozen: freeze });
        }
        let next = freeze.then(|| Freeze { by: actor.to_owned(), at: now() });
        let kept = self.keeper.set_freeze(next.as_ref(), PATIENCE);
        // To stop is safe in any case.
        if freeze || kept.is_ok() {
            self.freeze = next;
        }
        // Whatever the disk makes of it, what holds here is what it is to have.
        self.refreeze = kept.is_err();
        kept.map_err(|error| Refusal::Unkept(error.to_string()))?;
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
}

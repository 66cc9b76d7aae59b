//! The journal changes hands: another process takes the rollouts over, and may give them back by
//! dying.
//!
//! In between nobody judges, and both processes serve with the weights in force. Whoever let go
//! follows whoever has the journal now, as it may still serve requests for a while. What is in
//! force and not durable cannot be handed over: the other process would not know of it, and a
//! candidate that was taken away would have users again.

use crate::{
    controller::{Controller, LAST_WORDS, Tracked},
    edge::Edge,
    keeper::Saved,
};

/// Whose the journal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// This process's, as far as it can be had.
    Mine,
    /// Another process's, or nobody's until that has opened it.
    Theirs,
    /// The same, and this process wants it back.
    Wanted,
}

impl<E: Edge> Controller<E> {
    /// Writes all that is known and lets go of the journal.
    ///
    /// # Errors
    /// Why not; then everything is as before.
    pub(crate) fn release(&mut self) -> Result<(), String> {
        match self.hold {
            Hold::Mine => {}
            Hold::Theirs => return Ok(()),
            Hold::Wanted => return Err("this process waits for them itself".to_owned()),
        }
        // What was counted since the last look is evidence, too.
        self.look();
        if !self.pending.is_empty() || self.late.is_some() || self.refreeze {
            let error = self.keeper.error().unwrap_or_else(|| "its disk is slow".to_owned());
            return Err(format!(
                "something was decided about a rollout that is not on the disk yet ({error})"
            ));
        }
        self.checkpoint();
        let was_open = self.keeper.is_open();
        if let Err(error) = self.keeper.release(LAST_WORDS) {
            // What was to be written is known here still.
            self.runs.values_mut().for_each(|tracked| tracked.changed = true);
            self.keeper.hurry();
            return Err(format!("the state of the rollouts could not be written: {error}"));
        }
        self.hold = Hold::Theirs;
        if was_open {
            tracing::info!("another process may have the state of the rollouts");
        }
        Ok(())
    }

    /// Takes the journal up again as soon as it can be had.
    pub(crate) fn resume(&mut self) {
        if self.hold == Hold::Theirs {
            tracing::info!("takes the state of the rollouts up again");
            self.hold = Hold::Wanted;
            self.keeper.hurry();
            self.look();
        }
    }

    /// Opens the journal again and goes on with what is in it, which is as new as what is known
    /// here, or newer; whether this process judges again.
    pub(crate) fn take_back(&mut self) -> bool {
        match self.keeper.open() {
            Some(saved) => {
                self.runs.clear();
                self.restore(saved);
            }
            None if self.keeper.is_held() => return false,
            // Nobody can have it: what is known here is all there is.
            None => {}
        }
        self.hold = Hold::Mine;
        true
    }

    /// One tick while another process has the journal: what it decided is in force here as well.
    pub(crate) fn follow(&mut self) {
        // Whatever changed is seen to by whoever judges, here once that is this process again.
        self.unsettled |= self.hear();
        drop(self.source.answers());
        if let Some(Saved { runs, freeze, .. }) = self.keeper.follow() {
            for run in runs {
                self.runs.insert(run.plan().name.clone(), Tracked::new(run));
            }
            self.freeze = freeze;
        }
        self.put_in_force();
        self.show();
    }
}

//! A controller, its journal and the traffic, with everything that can go wrong.

use crate::{
    check,
    journal::Journal,
    ledger::Ledger,
    plans,
    traffic::{self, Truth, pick},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::time::Duration;
use tidegate_judge::{Action, Decision, Freedom, Plan, Run, Share, State, Tick, Time, Verb, step};

/// How often things go wrong; drawn anew for each seed, so that some seeds are all about one fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    crash: f64,
    lost: f64,
    late: f64,
    doubled: f64,
    verb: f64,
    reload: f64,
    freeze: f64,
    weather: f64,
    /// Ticks between two states that are saved without a decision.
    save_every: u32,
}

impl Options {
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        let mut chance = |of: &[f64]| pick(rng, of);
        Self {
            crash: chance(&[0.0, 0.02, 0.1]),
            lost: chance(&[0.0, 0.02, 0.1]),
            late: chance(&[0.0, 0.02, 0.1]),
            doubled: chance(&[0.0, 0.01]),
            verb: chance(&[0.0, 0.01, 0.05]),
            reload: chance(&[0.0, 0.005, 0.05]),
            freeze: chance(&[0.0, 0.01]),
            weather: chance(&[0.002, 0.01, 0.05]),
            save_every: chance(&[1.0, 5.0, 30.0]) as u32,
        }
    }
}

pub(crate) struct World {
    pub(crate) rng: StdRng,
    options: Options,
    pub(crate) now: Time,
    pub(crate) freedom: Freedom,
    pub(crate) truth: Truth,
    /// The rollout of the configuration in force.
    wanted: Option<Plan>,
    revision: u32,
    /// All plans that there ever were.
    plans: Vec<Plan>,
    memory: Option<(Run, Ledger)>,
    pub(crate) journal: Journal,
    /// The candidate's weight at the gateways.
    in_force: Share,
    unsaved: u32,
    pub(crate) seen: Seen,
}

/// What happened: a simulation in which nothing happens finds nothing.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) advanced: u64,
    pub(crate) promoted: u64,
    pub(crate) rolled_back: u64,
    pub(crate) rolled_back_frozen: u64,
    pub(crate) paused: u64,
    pub(crate) aborted: u64,
    pub(crate) replanned: u64,
    pub(crate) crashes: u64,
    pub(crate) crashes_that_lost: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let options = Options::draw(&mut rng);
        Self {
            options,
            now: Time(1_800_000_000_000),
            freedom: Freedom::Free,
            truth: Truth::HEALTHY,
            wanted: None,
            revision: 0,
            plans: Vec::new(),
            memory: None,
            journal: Journal::default(),
            in_force: Share::NONE,
            unsaved: 0,
            seen: Seen::default(),
            rng,
        }
    }

    /// One last crash, and nothing goes wrong any more.
    pub(crate) fn calm(&mut self) {
        self.options.crash = 0.0;
        self.truth = Truth::HEALTHY;
        self.freedom = Freedom::Free;
        self.crash();
    }

    pub(crate) fn options(&self) -> Options {
        self.options
    }

    pub(crate) fn run(&self) -> Option<&Run> {
        self.memory.as_ref().map(|(run, _)| run)
    }

    /// One thing happens.
    pub(crate) fn event(&mut self) {
        let o = self.options;
        let draw: f64 = self.rng.random();
        let faults = [o.crash, o.lost, o.late, o.doubled, o.verb, o.reload, o.freeze, o.weather];
        let mut sum = 0.0;
        let fault = faults.iter().position(|chance| {
            sum += chance;
            draw < sum
        });
        let usual = Duration::from_millis(self.rng.random_range(500..5000));
        match fault {
            Some(0) => self.crash(),
            Some(1) => drop(self.count(usual)),
            Some(2) => self.tick(usual * 60, 1),
            Some(3) => self.tick(usual, 2),
            Some(4) => {
                let verb = pick(&mut self.rng, &Verb::ALL);
                self.ask(verb);
            }
            Some(5) => self.edit(),
            Some(6) => self.set_freedom(match self.freedom {
                Freedom::Free => Freedom::Frozen,
                Freedom::Frozen => Freedom::Free,
            }),
            Some(_) => self.truth = Truth::draw(&mut self.rng),
            None => self.tick(usual, 1),
        }
        self.check();
    }

    /// A tick of the controller, delivered `times`.
    pub(crate) fn tick(&mut self, elapsed: Duration, times: u32) {
        let Some(tick) = self.count(elapsed) else { return };
        for _ in 0..times {
            self.judge(&tick);
        }
    }

    /// What is counted; lost if nobody takes it.
    fn count(&mut self, elapsed: Duration) -> Option<Tick> {
        self.now = self.now.after(elapsed);
        let (Some((run, _)), Some(wanted)) = (&self.memory, &self.wanted) else { return None };
        let at = (run.setting(), wanted);
        Some(traffic::tick(&mut self.rng, &self.truth, elapsed, at, &run.plan().gates))
    }

    fn judge(&mut self, tick: &Tick) {
        let Some((run, mut ledger)) = self.memory.take() else { return };
        if self.rng.random_bool(0.02) {
            check::resumes(&run, tick, self.now);
        }
        let (next, decisions) = step(&run, tick, self.freedom, self.now);
        if run.outcome().is_none() {
            ledger.tick(tick, &decisions);
        }
        for decision in &decisions {
            check::earned(decision, &ledger, self.freedom);
        }
        check::reacted(&next, &ledger, &decisions);
        self.carry_out(next, ledger, &decisions);
    }

    /// Keeps what was decided, then puts it in force; a crash may come at any moment.
    fn carry_out(&mut self, run: Run, mut ledger: Ledger, decisions: &[Decision]) {
        for decision in decisions {
            ledger.decided(decision, run.plan());
        }
        self.unsaved += 1;
        if decisions.is_empty() && self.unsaved < self.options.save_every {
            self.journal.visit(&run);
            self.memory = Some((run, ledger));
            return;
        }
        let fatal = !decisions.is_empty() && self.rng.random_bool(self.options.crash);
        let in_time = self.rng.random_bool(0.5);
        if !fatal || in_time {
            self.journal.commit(&run, &ledger, decisions);
            decisions.iter().for_each(|decision| self.note(decision));
            self.unsaved = 0;
        }
        if fatal {
            return self.crash();
        }
        self.in_force = run.setting().weight;
        self.memory = Some((run, ledger));
    }

    fn note(&mut self, decision: &Decision) {
        let seen = &mut self.seen;
        let frozen = u64::from(self.freedom == Freedom::Frozen);
        match decision.action {
            Action::Advanced => seen.advanced += 1,
            Action::Promoted => seen.promoted += 1,
            Action::RolledBack => {
                seen.rolled_back += 1;
                seen.rolled_back_frozen += frozen;
            }
            Action::Paused => seen.paused += 1,
            Action::Aborted => seen.aborted += 1,
            Action::Replanned => seen.replanned += 1,
            _ => {}
        }
    }

    /// The process dies, and starts again with what is durable and the configuration of now.
    fn crash(&mut self) {
        self.seen.crashes += 1;
        self.seen.crashes_that_lost += u64::from(self.unsaved > 0);
        self.unsaved = 0;
        self.memory = self.journal.restore();
        if let Some((run, _)) = &self.memory {
            self.in_force = run.setting().weight;
        }
        self.reconcile();
    }

    pub(crate) fn ask(&mut self, verb: Verb) -> bool {
        if self.wanted.is_none() {
            return false;
        }
        let Some((run, ledger)) = &self.memory else { return false };
        let Ok((next, decision)) = run.act(verb, "ann", self.freedom, self.now) else {
            return false;
        };
        let ledger = ledger.clone();
        self.carry_out(next, ledger, &[decision]);
        true
    }

    fn set_freedom(&mut self, freedom: Freedom) {
        self.freedom = freedom;
        // What had to wait.
        self.reconcile();
    }

    /// A person edits the configuration.
    fn edit(&mut self) {
        let old = self.wanted.clone();
        let next = match (self.rng.random_range(0..8), old) {
            (0, _) => None,
            (1..=3, _) | (_, None) => {
                let known = self.rng.random_range(0..=self.revision);
                let back = self.rng.random_bool(0.2) && known > 0;
                self.revision += u32::from(!back);
                let revision = if back { known } else { self.revision };
                Some(plans::draw(&mut self.rng, revision))
            }
            (4, Some(old)) => Some(Plan { candidate: format!("{}x", old.candidate), ..old }),
            (5, Some(old)) => Some(old),
            (6, Some(_)) => self.run().map(|run| run.plan().clone()),
            (_, Some(old)) => Some(plans::change(&mut self.rng, &old)),
        };
        self.configure(next);
    }

    fn configure(&mut self, wanted: Option<Plan>) {
        self.plans.extend(wanted.clone());
        self.wanted = wanted;
        self.reconcile();
    }

    /// A plan of a new revision, wanted from now on.
    pub(crate) fn release(&mut self, edit: impl FnOnce(&mut Plan)) {
        self.revision += 1;
        let mut plan = plans::draw(&mut self.rng, self.revision);
        edit(&mut plan);
        self.configure(Some(plan));
    }

    /// Makes the run one of the rollout that is wanted.
    fn reconcile(&mut self) {
        let (next, decisions, ledger) = match (&self.wanted, &self.memory) {
            (None, None) => return,
            (None, Some((run, ledger))) => {
                let (next, decision) = run.remove("it is not in the configuration", self.now);
                (next, Vec::from_iter(decision), ledger.clone())
            }
            (Some(_), None) if self.freedom == Freedom::Frozen => return,
            (Some(plan), None) => {
                let (run, decision) = Run::start(plan, None, "configuration", self.now);
                (run, vec![decision], Ledger::start(plan))
            }
            (Some(plan), Some((run, ledger))) => {
                let (next, decisions) = run.replan(plan, self.freedom, self.now);
                let started = decisions.iter().any(|made| made.action == Action::Started);
                assert!(!started || self.freedom == Freedom::Free, "S6: started while frozen");
                (next, decisions, ledger.clone())
            }
        };
        let changed = self.run() != Some(&next);
        assert!(changed || decisions.is_empty(), "S7: a decision about nothing");
        if changed {
            self.carry_out(next, ledger, &decisions);
        }
    }

    fn check(&mut self) {
        let run = self.memory.as_ref().map(|(run, _)| run);
        check::written(self.in_force, run, &self.plans);
        let Some(run) = run else { return };
        assert_eq!(self.in_force, run.setting().weight, "S7: not what the run says");
        assert_eq!(self.in_force, self.journal.weight(), "S7: not what was decided");
        if self.journal.is_dead(&run.plan().revision) {
            assert_eq!(self.in_force, Share::NONE, "S3: users have what was taken away");
        }
        if self.rng.random_bool(0.05) {
            check::verbs(run, self.freedom, self.now);
            let report = run.report(self.freedom);
            let bad = report.gates.iter().any(|gate| gate.verdict == "bad");
            let moving = [State::Progressing, State::Waiting].contains(&report.state);
            // After a promotion by a person it takes one tick.
            assert!(!bad || !moving || report.held_seconds == 0.0, "S6: {report:?}");
            serde_json::to_string(&report).expect("a report has a JSON");
        }
    }
}

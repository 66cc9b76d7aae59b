//! A run, and all that is decided about it as lines of text.

use std::time::Duration;
use tidegate_judge::{Decision, Freedom, Illegal, Plan, Run, Tick, Time, Verb, step};

pub(crate) struct Story {
    pub(crate) run: Run,
    pub(crate) freedom: Freedom,
    elapsed: Duration,
    told: Vec<String>,
}

impl Story {
    pub(crate) fn begin(plan: &Plan) -> Self {
        let (run, decision) = Run::start(plan, None, "configuration", Time(0));
        let elapsed = Duration::ZERO;
        let mut story = Self { run, freedom: Freedom::Free, elapsed, told: Vec::new() };
        story.tell(&decision);
        story
    }

    /// The same tick, again and again.
    pub(crate) fn ticks(&mut self, times: u32, tick: &Tick) {
        for _ in 0..times {
            self.elapsed += tick.elapsed;
            let (run, decisions) = step(&self.run, tick, self.freedom, self.now());
            self.run = run;
            decisions.iter().for_each(|decision| self.tell(decision));
        }
    }

    pub(crate) fn ask(&mut self, verb: Verb) -> Result<(), Illegal> {
        let (run, decision) = self.run.act(verb, "ann", self.freedom, self.now())?;
        self.run = run;
        self.tell(&decision);
        Ok(())
    }

    pub(crate) fn replan(&mut self, plan: &Plan) {
        let (run, decisions) = self.run.replan(plan, self.freedom, self.now());
        self.run = run;
        decisions.iter().for_each(|decision| self.tell(decision));
    }

    pub(crate) fn remove(&mut self) {
        let (run, decision) = self.run.remove("the configuration has it no more", self.now());
        self.run = run;
        decision.iter().for_each(|decision| self.tell(decision));
    }

    /// What the step still waits for.
    pub(crate) fn waits(&mut self) {
        let mut waits = self.run.report(self.freedom).waits_for;
        if waits.is_empty() {
            waits.push("nothing".to_owned());
        }
        self.told.push(format!("{}s waits for: {}", self.elapsed.as_secs(), waits.join("; ")));
    }

    fn now(&self) -> Time {
        Time(0).after(self.elapsed)
    }

    fn tell(&mut self, decision: &Decision) {
        let Decision { actor, step, steps, weight_before, weight, why, .. } = decision;
        assert_eq!(decision.time, self.now());
        assert_eq!(*weight, self.run_weight(decision));
        let action = decision.action.name();
        let seconds = self.elapsed.as_secs();
        self.told.push(format!(
            "{seconds}s {actor} {action} {step}/{steps} {weight_before} -> {weight}: {why}"
        ));
    }

    /// Of two decisions at once the last is the run's.
    fn run_weight(&self, decision: &Decision) -> tidegate_judge::Share {
        let same = decision.run == self.run.number();
        if same { self.run.setting().weight } else { decision.weight }
    }

    /// The timeline is `golden`, line by line.
    pub(crate) fn is(&self, golden: &str) {
        let golden: Vec<&str> = golden.trim().lines().map(str::trim).collect();
        assert_eq!(self.told, golden, "\n{}", self.told.join("\n"));
    }
}

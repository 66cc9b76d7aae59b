//! One gate of a run: its evidence so far, and its verdict.

use crate::{
    evidence::{BETTER, Evidence, WORSE},
    null::{CERTAIN, IMPOSSIBLE, Null, Trials},
    plan::{Bound, Gate, Lines, Measure, Plan, Step},
    tick::{Answer, Arms, Tick},
    units::Share,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a gate says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every line is met, for certain.
    Good,
    /// A line is crossed, for certain.
    Bad,
    /// The evidence does not suffice for either.
    Undecided,
    /// Nothing was measured for this long, or since the step began.
    NoData(Duration),
    /// Its source cannot be asked; why.
    SourceBroken(String),
}

/// A gate at work. Made for one [`Gate`] of a plan, and kept for as long as that does not change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct GateState {
    pub(crate) gate: Gate,
    pub(crate) tests: Vec<Test>,
    /// What the number of another source was.
    pub(crate) query: Option<QueryState>,
    /// Over the run: requests of both arms and what counts against them.
    pub(crate) run: Trials,
    /// In this step.
    pub(crate) step: Trials,
    /// Time since something was measured, in this step.
    quiet: Duration,
    /// The step feeds it: its mirror copies, users have the candidate.
    pub(crate) fed: bool,
}

/// A line and the evidence on both sides of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Test {
    pub(crate) line: Line,
    /// That the candidate has crossed it.
    pub(crate) worse: Evidence,
    /// That it has not, from this step alone: a load that was never tried proves nothing.
    pub(crate) better: Evidence,
}

/// A line of one share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// Not more than this.
    Max(Share),
    /// Not more than the baseline's by more than a part of it.
    WorseThanBaseline(crate::units::Margin),
}

/// What another source said lately.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct QueryState {
    pub(crate) last: Option<Answer>,
    /// Answers in a row that were out of bounds.
    pub(crate) out: u32,
    /// Times in a row that it could not be asked.
    #[serde(default)]
    pub(crate) broken: u32,
}

/// Times in a row that a source has to be broken until more is done than to hold: one lost answer is
/// no reason to take a version away.
pub(crate) const BROKEN_FOR_LONG: u32 = 3;

/// Silence for longer is no data. A canary that gets a request every ten seconds is not silent.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);

impl Line {
    pub(crate) fn null(self) -> Null {
        match self {
            Line::Max(max) => Null::Level(max.fraction().clamp(IMPOSSIBLE, CERTAIN)),
            Line::WorseThanBaseline(margin) => Null::Ratio(margin.ratio()),
        }
    }
}

/// The lines of a gate that statistics decide.
pub(crate) fn lines(measure: &Measure) -> Vec<Line> {
    let of = |lines: Lines| {
        let max = lines.max().map(Line::Max);
        max.into_iter().chain(lines.margin().map(Line::WorseThanBaseline)).collect()
    };
    match measure {
        Measure::Errors(lines) | Measure::Latency { lines, .. } => of(*lines),
        Measure::Mismatches { max } => vec![Line::Max(*max)],
        Measure::Query { .. } => Vec::new(),
    }
}

/// The evidence at which a line is crossed: alpha is shared by all lines of the plan, so that all
/// of them together cry wolf with a chance of at most alpha (Bonferroni's inequality).
pub(crate) fn bad_at(plan: &Plan) -> f64 {
    let lines: usize = plan.gates.iter().map(|gate| lines(&gate.measure).len()).sum();
    lines.max(1) as f64 / plan.alpha.probability()
}

/// The evidence at which a line is met. Nothing is shared: a candidate that is worse than one of
/// its lines has to fool the test of that line.
pub(crate) fn good_at(plan: &Plan) -> f64 {
    1.0 / plan.beta.probability()
}

impl GateState {
    pub(crate) fn new(gate: &Gate) -> Self {
        let tests = lines(&gate.measure).into_iter().map(Test::new).collect();
        let query = matches!(gate.measure, Measure::Query { .. }).then(QueryState::default);
        Self {
            gate: gate.clone(),
            tests,
            query,
            run: Trials::default(),
            step: Trials::default(),
            quiet: Duration::ZERO,
            fed: true,
        }
    }

    /// A step begins: what certifies it, and what it was fed, is counted from here.
    pub(crate) fn enter_step(&mut self) {
        self.step = Trials::default();
        self.quiet = Duration::ZERO;
        for test in &mut self.tests {
            test.worse.drop_waiting();
            test.better = Evidence::new(&BETTER);
        }
        if let Some(query) = &mut self.query {
            query.last = None;
        }
    }

    /// What was read back is what this gate writes.
    pub(crate) fn is_whole(&self) -> bool {
        let kinds: Vec<Line> = self.tests.iter().map(|test| test.line).collect();
        let query = matches!(self.gate.measure, Measure::Query { .. });
        kinds == lines(&self.gate.measure)
            && self.query.is_some() == query
            && self.tests.iter().all(|t| t.worse.is_whole(&WORSE) && t.better.is_whole(&BETTER))
    }

    /// A person saw what it says and goes on: it starts afresh.
    pub(crate) fn forgive(&mut self) {
        *self = Self::new(&self.gate);
    }

    /// Takes in what was counted in one tick of `step`.
    pub(crate) fn add(&mut self, tick: &Tick, step: &Step) {
        self.quiet = self.quiet.saturating_add(tick.elapsed);
        if self.query.is_some() {
            return self.listen(tick);
        }
        self.fed = match self.gate.measure {
            // Only the baseline's answers are compared with.
            Measure::Mismatches { .. } => tick.mirrored && step.weight < Share::ALL,
            // Copies yield to all other work, so their times say little.
            Measure::Latency { .. } => !step.is_dark(),
            _ => !step.is_dark() || tick.mirrored,
        };
        let Some(trials) = self.trials(tick, step).filter(|_| self.fed) else { return };
        if trials.requests[1] > 0 {
            self.quiet = Duration::ZERO;
        }
        self.run.add(&trials);
        self.step.add(&trials);
        for test in &mut self.tests {
            let null = test.line.null();
            test.worse.add(&WORSE, null, &trials);
            test.better.add(&BETTER, null, &trials);
        }
    }

    fn trials(&self, tick: &Tick, step: &Step) -> Option<Trials> {
        let arms = if step.is_dark() { &tick.dark } else { &tick.users };
        match &self.gate.measure {
            Measure::Errors(_) => Some(Trials {
                requests: [arms.baseline.requests, arms.candidate.requests],
                failures: [arms.baseline.failures, arms.candidate.failures],
            }),
            Measure::Latency { over, .. } => latency(tick, arms, *over),
            Measure::Mismatches { .. } => Some(Trials {
                requests: [0, tick.compared],
                failures: [0, tick.mismatched.min(tick.compared)],
            }),
            Measure::Query { .. } => None,
        }
    }

    fn listen(&mut self, tick: &Tick) {
        let (Some(query), Some(bound)) = (&mut self.query, bound(&self.gate.measure)) else {
            return;
        };
        for reading in tick.readings.iter().filter(|reading| reading.gate == self.gate.name) {
            let answer = match &reading.answer {
                Answer::Value(value) => Answer::number(*value),
                other => other.clone(),
            };
            if let Answer::Value(value) = answer {
                self.quiet = Duration::ZERO;
                query.out = if bound.admits(value) { 0 } else { query.out.saturating_add(1) };
            }
            query.broken = match answer {
                Answer::Broken(_) => query.broken.saturating_add(1),
                Answer::Value(_) | Answer::NoData => 0,
            };
            // No data and a broken source take nothing back of what was said before.
            query.last = Some(answer);
        }
    }

    /// What it says, if a line is crossed at `bad_at` and met at `good_at`.
    pub(crate) fn verdict(&self, step: &Step, bad_at: f64, good_at: f64) -> Verdict {
        if let Some(query) = &self.query {
            return self.query_verdict(query);
        }
        if self.tests.iter().any(|test| test.worse.value() >= bad_at) {
            return Verdict::Bad;
        }
        if !self.applies(step) {
            return Verdict::Undecided;
        }
        if self.is_silent(step) {
            return Verdict::NoData(self.quiet);
        }
        let mut tests = self.tests.iter().filter(|test| test.applies(step));
        if tests.all(|test| test.better.value() >= good_at) {
            Verdict::Good
        } else {
            Verdict::Undecided
        }
    }

    fn query_verdict(&self, query: &QueryState) -> Verdict {
        let Measure::Query { every, failures, bound, .. } = &self.gate.measure else {
            return Verdict::Undecided;
        };
        if query.out >= *failures {
            return Verdict::Bad;
        }
        match &query.last {
            Some(Answer::Broken(why)) => Verdict::SourceBroken(why.clone()),
            None | Some(Answer::NoData) => Verdict::NoData(self.quiet),
            Some(Answer::Value(_)) if self.quiet > every.saturating_mul(3).max(SILENCE) => {
                Verdict::NoData(self.quiet)
            }
            Some(Answer::Value(value)) if bound.admits(*value) => Verdict::Good,
            Some(Answer::Value(_)) => Verdict::Undecided,
        }
    }

    /// Whether this step can decide it at all.
    pub(crate) fn applies(&self, step: &Step) -> bool {
        self.query.is_some() || self.fed && self.tests.iter().any(|test| test.applies(step))
    }

    /// Its source is broken, and not just for a moment.
    pub(crate) fn is_broken_for_long(&self) -> bool {
        self.query.as_ref().is_some_and(|query| query.broken >= BROKEN_FOR_LONG)
    }

    fn is_silent(&self, step: &Step) -> bool {
        let relative = |test: &Test| matches!(test.line, Line::WorseThanBaseline(_));
        let alone = self.tests.iter().any(|test| test.applies(step) && !relative(test));
        let started = self.step.requests[1] > 0 && (alone || self.step.requests[0] > 0);
        !started || self.quiet > SILENCE
    }
}

/// At a weight of 100 % there is no baseline to compare with.
impl Test {
    fn new(line: Line) -> Self {
        Self { line, worse: Evidence::new(&WORSE), better: Evidence::new(&BETTER) }
    }

    pub(crate) fn applies(&self, step: &Step) -> bool {
        matches!(self.line, Line::Max(_)) || step.weight < Share::ALL
    }
}

fn bound(measure: &Measure) -> Option<Bound> {
    match measure {
        Measure::Query { bound, .. } => Some(*bound),
        _ => None,
    }
}

/// The requests that took longer than `over`; `None` while these are not counted (the plan is newer
/// than the counters).
fn latency(tick: &Tick, arms: &Arms, over: Duration) -> Option<Trials> {
    let position = tick.latencies.iter().position(|latency| *latency == over)?;
    let slow = |arm: &crate::tick::Arm| arm.over.get(position).copied().unwrap_or(0);
    Some(Trials {
        requests: [arms.baseline.requests, arms.candidate.requests],
        failures: [slow(&arms.baseline), slow(&arms.candidate)],
    })
}

//! What a run shows to people and programs.

use crate::{
    act::Verb,
    evidence::WORSE,
    forecast::{Forecast, forecasts},
    gate::{GateState, Line, SILENCE, Test, Verdict, bad_at, good_at},
    halves::LaneReport,
    null::Trials,
    plan::{AdvanceWhen, Measure, Until},
    run::{Outcome, Pause, Run, Status},
    step::Freedom,
    tick::Answer,
    units::{Share, Time},
    words::{asks, words},
};
use serde::{Deserialize, Serialize};
use std::{fmt::Write as _, time::Duration};

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A step is held until it is over.
    Progressing,
    /// A step waits for a person's `promote`.
    Waiting,
    /// A person, a breach or a broken source stopped it.
    Paused,
    /// Everybody has the candidate.
    Promoted,
    /// The candidate was taken away.
    RolledBack,
    /// A person or a change of the configuration ended it.
    Aborted,
}

impl State {
    /// All of them.
    pub const ALL: [State; 6] = [
        State::Progressing,
        State::Waiting,
        State::Paused,
        State::Promoted,
        State::RolledBack,
        State::Aborted,
    ];

    /// As in JSON and metrics.
    pub fn name(self) -> &'static str {
        match self {
            State::Progressing => "progressing",
            State::Waiting => "waiting",
            State::Paused => "paused",
            State::Promoted => "promoted",
            State::RolledBack => "rolled_back",
            State::Aborted => "aborted",
        }
    }
}

/// A run, to be shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The rollout.
    pub rollout: String,
    /// Its route.
    pub route: String,
    /// The old version's variant.
    pub baseline: String,
    /// The new version's variant.
    pub candidate: String,
    /// What is rolled out.
    pub revision: String,
    /// Counts the rollout's runs, from 1.
    pub run: u32,
    /// When the run began.
    pub started: Time,
    /// In one word.
    pub state: State,
    /// Why it stays as it is, if it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Why it ended, and when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndReport>,
    /// The step it is in, or ended in, from 1.
    pub step: usize,
    /// How many steps there are.
    pub steps: usize,
    /// What the steps set.
    pub plan: Vec<StepReport>,
    /// The candidate's share that is set.
    pub weight: Share,
    /// The share that the mirror copies, where the step sets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Share>,
    /// When the step began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_since: Option<Time>,
    /// Time with data in the step, in seconds.
    pub held_seconds: f64,
    /// Requests (or copies) that the candidate was judged by in the step.
    pub requests: u64,
    /// What the step still waits for, in words.
    pub waits_for: Vec<String>,
    /// What a person may do.
    pub possible: Vec<Verb>,
    /// The gates.
    pub gates: Vec<GateReport>,
    /// Requests of users that the candidate failed in this run.
    pub failed_requests: u64,
    /// How many it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<u64>,
    /// Ids of some of them.
    pub samples: Vec<String>,
    /// The tests on the baseline against itself.
    pub halves: HalvesReport,
    /// The plan changes with the next step.
    pub plan_changes: bool,
}

/// What a step sets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepReport {
    /// The candidate's share.
    pub weight: Share,
    /// The share that the mirror copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Share>,
    /// How long it is held; absent: until somebody promotes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_seconds: Option<f64>,
    /// Requests that it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_requests: Option<u64>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EndReport {
    /// How.
    pub outcome: Outcome,
    /// When.
    pub at: Time,
    /// Why.
    pub why: String,
}

/// A gate, to be shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateReport {
    /// Its name.
    pub name: String,
    /// What it asks, in words.
    pub asks: String,
    /// `good`, `bad`, `undecided`, `no_data` or `source_broken`.
    pub verdict: String,
    /// Why, in words.
    pub why: String,
    /// This step can decide it.
    pub applies: bool,
    /// Its lines and the evidence.
    pub tests: Vec<TestReport>,
    /// Over the run.
    pub run: Counts,
    /// In this step.
    pub step: Counts,
    /// The last number of another source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

/// A line and the evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestReport {
    /// The line.
    pub line: Line,
    /// Evidence that it is crossed: 1 says nothing.
    pub evidence: f64,
    /// Where the gate is bad.
    pub bad_at: f64,
    /// Evidence, from this step, that it is met.
    pub certainty: f64,
    /// Where it is certified.
    pub good_at: f64,
    /// When regressions of some sizes would be found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forecast: Vec<Forecast>,
}

/// Requests and what counts against them: `[baseline, candidate]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests, copies or comparisons.
    pub requests: [u64; 2],
    /// Failures, slow ones or mismatches.
    pub against: [u64; 2],
}

/// The tests on the baseline against itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HalvesReport {
    /// Trials that ended.
    pub trials: u64,
    /// False alarms among them.
    pub alarms: u64,
    /// The trial under way.
    pub lanes: Vec<LaneReport>,
}

impl From<Trials> for Counts {
    fn from(trials: Trials) -> Self {
        Self { requests: trials.requests, against: trials.failures }
    }
}

impl Verdict {
    /// As in JSON and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::Bad => "bad",
            Verdict::Undecided => "undecided",
            Verdict::NoData(_) => "no_data",
            Verdict::SourceBroken(_) => "source_broken",
        }
    }
}

impl Run {
    /// In one word.
    pub fn state(&self) -> State {
        match &self.status {
            Status::Ended(ended) => match ended.outcome {
                Outcome::Promoted => State::Promoted,
                Outcome::RolledBack => State::RolledBack,
                Outcome::Aborted => State::Aborted,
            },
            Status::Active(active) if active.pause.is_some() => State::Paused,
            Status::Active(active) => match self.step_at(active.step).until {
                Until::Promoted => State::Waiting,
                Until::Held { .. } => State::Progressing,
            },
        }
    }

    /// All that there is to see.
    pub fn report(&self, freedom: Freedom) -> Report {
        let setting = self.setting();
        let (active, ended) = match &self.status {
            Status::Active(active) => (Some(active), None),
            Status::Ended(ended) => (None, Some(ended)),
        };
        let plan = &self.plan;
        Report {
            rollout: plan.name.clone(),
            route: plan.route.clone(),
            baseline: plan.baseline.clone(),
            candidate: plan.candidate.clone(),
            revision: plan.revision.clone(),
            run: self.number,
            started: self.started,
            state: self.state(),
            pause: active.and_then(|active| active.pause.clone()),
            ended: ended.map(|ended| EndReport {
                outcome: ended.outcome,
                at: ended.at,
                why: ended.why.clone(),
            }),
            step: self.position() + 1,
            steps: plan.steps.len(),
            plan: plan.steps.iter().map(StepReport::from).collect(),
            weight: setting.weight,
            mirror: setting.mirror,
            step_since: active.map(|active| active.since),
            held_seconds: active.map_or(0.0, |active| active.held.as_secs_f64()),
            requests: active.map_or(0, |active| active.requests),
            waits_for: self.waits_for(freedom),
            possible: self.possible(freedom),
            gates: self.gate_reports(),
            failed_requests: self.failed,
            budget: plan.failed_requests,
            samples: self.samples.iter().cloned().collect(),
            halves: HalvesReport {
                trials: self.halves.trials,
                alarms: self.halves.alarms,
                lanes: self.halves.lanes(),
            },
            plan_changes: active.is_some() && self.next_plan.is_some(),
        }
    }

    pub(crate) fn gate_reports(&self) -> Vec<GateReport> {
        self.gates.iter().map(|gate| self.gate_report(gate)).collect()
    }

    pub(crate) fn gate_report(&self, gate: &GateState) -> GateReport {
        let step = self.step_at(self.position());
        let verdict = self.verdict(gate);
        let value = gate.query.as_ref().and_then(|query| match query.last {
            Some(Answer::Value(value)) => Some(value),
            _ => None,
        });
        let applies = gate.applies(&step);
        let mut report = GateReport {
            name: gate.gate.name.clone(),
            asks: asks(&gate.gate),
            verdict: verdict.name().to_owned(),
            why: String::new(),
            applies,
            tests: gate.tests.iter().map(|test| self.test_report(gate, test)).collect(),
            run: gate.run.into(),
            step: gate.step.into(),
            value,
        };
        report.why = match verdict {
            Verdict::NoData(quiet) if quiet < Duration::from_secs(1) => {
                "nothing measured yet".to_owned()
            }
            Verdict::NoData(quiet) => format!("nothing measured for {}", words(quiet)),
            Verdict::SourceBroken(why) => why,
            _ if !applies => "not measured in this step".to_owned(),
            _ => report.words(),
        };
        report
    }

    fn test_report(&self, gate: &GateState, test: &Test) -> TestReport {
        let (bad_at, good_at) = (bad_at(&self.plan), good_at(&self.plan));
        let pace = match &self.status {
            Status::Active(active) => active.pace.per_second,
            Status::Ended(_) => [0.0; 2],
        };
        let step = self.step_at(self.position());
        let forecast = if test.applies(&step)
            && gate.fed
            && !matches!(gate.gate.measure, Measure::Mismatches { .. })
        {
            forecasts(test.line.null(), &gate.run, pace, bad_at, &WORSE)
        } else {
            Vec::new()
        };
        TestReport {
            line: test.line,
            evidence: test.worse.value(),
            bad_at,
            certainty: test.better.value(),
            good_at,
            forecast,
        }
    }

    /// What keeps the step from being over.
    fn waits_for(&self, freedom: Freedom) -> Vec<String> {
        let Status::Active(active) = &self.status else { return Vec::new() };
        let mut waits = Vec::new();
        if freedom == Freedom::Frozen {
            waits.push("all rollouts are frozen".to_owned());
        }
        match &active.pause {
            Some(Pause::Person) => waits.push("paused by a person".to_owned()),
            Some(Pause::Breach { gate }) => waits.push(format!("paused: `{gate}` is bad")),
            Some(Pause::Source { gate }) => {
                waits.push(format!("paused: the source of `{gate}` is broken"));
            }
            None => {}
        }
        match self.step_at(active.step).until {
            Until::Promoted => waits.push("somebody to `promote`".to_owned()),
            Until::Held { hold, min_requests } => {
                if active.held < hold {
                    waits.push(format!("{} more", words(hold.saturating_sub(active.held))));
                }
                if active.requests == 0 || active.quiet > SILENCE {
                    waits.push(format!("no requests for {}", words(active.quiet)));
                }
                if active.requests < min_requests {
                    waits.push(format!("{} more requests", min_requests - active.requests));
                }
            }
        }
        let certified = self.plan.advance_when == AdvanceWhen::Certified;
        let asks = matches!(self.step_at(active.step).until, Until::Held { .. });
        for gate in self.gates.iter().filter(|gate| asks && !self.passes(gate, certified)) {
            let verdict = self.verdict(gate);
            let verdict = match verdict {
                Verdict::Undecided if self.suspects(gate) => "looks bad".to_owned(),
                verdict => verdict.name().replace('_', " "),
            };
            waits.push(format!("`{}`: {verdict}", gate.gate.name));
        }
        waits
    }
}

impl From<&crate::plan::Step> for StepReport {
    fn from(step: &crate::plan::Step) -> Self {
        let (hold, min_requests) = match step.until {
            Until::Promoted => (None, None),
            Until::Held { hold, min_requests } => (Some(hold.as_secs_f64()), Some(min_requests)),
        };
        Self {
            weight: step.weight,
            mirror: step.mirror,
            hold_seconds: hold,
            min_requests: min_requests.filter(|requests| *requests > 0),
        }
    }
}

impl GateReport {
    /// The counts and the evidence in a sentence.
    pub fn words(&self) -> String {
        let mut text = String::new();
        if let Some(value) = self.value {
            // In full, the largest number has 309 digits.
            let _ = match value.abs() {
                ..1e9 => write!(text, "{value}"),
                _ => write!(text, "{value:.1e}"),
            };
            return text;
        }
        // Another source's number was out of bounds, and now there is none.
        if self.tests.is_empty() {
            return "no number, after some that were out of bounds".to_owned();
        }
        let rate = |arm: usize| {
            let (against, requests) = (self.run.against[arm], self.run.requests[arm]);
            let percent =
                if requests == 0 { 0.0 } else { 100.0 * against as f64 / requests as f64 };
            format!("{against} of {requests} ({})", percent_text(percent))
        };
        text.push_str(&rate(1));
        if self.run.requests[0] > 0 {
            let _ = write!(text, ", baseline {}", rate(0));
        }
        let strongest = self.tests.iter().max_by(|a, b| a.evidence.total_cmp(&b.evidence));
        if let Some(test) = strongest {
            let _ = write!(text, ", evidence {} of {:.0}", number(test.evidence), test.bad_at);
        }
        text
    }
}

fn percent_text(percent: f64) -> String {
    if percent == 0.0 || percent >= 1.0 {
        format!("{percent:.1}%")
    } else {
        format!("{percent:.2}%")
    }
}

fn number(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{value:.1e}"),
        value if value >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.2}"),
    }
}

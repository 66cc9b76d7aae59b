//! The lane that measures the tests themselves: the baseline against the baseline.
//!
//! The baseline's requests are split in two at random, and the halves are judged as if one were a
//! candidate, by the same lines. Whatever is found is a false alarm, so their number beside the
//! number of trials is the measured rate of what alpha promises. It costs no user anything.

use crate::{
    evidence::{Evidence, WORSE},
    gate::{Line, lines},
    null::Trials,
    plan::{Measure, Plan},
    tick::Tick,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The trials of one rollout, over all its runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Halves {
    /// Trials that ended: with an alarm, or after [`Halves::TRIAL`].
    pub trials: u64,
    /// Those that ended with an alarm. Of the trials, a share of at most alpha is expected to.
    pub alarms: u64,
    lasted: Duration,
    lanes: Vec<Lane>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Lane {
    gate: String,
    measure: Measure,
    line: Line,
    evidence: Evidence,
}

/// What a lane shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LaneReport {
    /// The gate whose line it is.
    pub gate: String,
    /// The evidence against one half.
    pub evidence: f64,
}

impl Halves {
    /// With data, which is about as long as a rollout.
    pub const TRIAL: Duration = Duration::from_secs(3600);

    /// What was read back is evidence of these lines.
    pub(crate) fn is_whole(&self) -> bool {
        self.lanes.iter().all(|lane| lane.evidence.is_whole(&WORSE))
    }

    /// The lanes so far.
    pub fn lanes(&self) -> Vec<LaneReport> {
        let report =
            |lane: &Lane| LaneReport { gate: lane.gate.clone(), evidence: lane.evidence.value() };
        self.lanes.iter().map(report).collect()
    }

    /// Judges one tick of the halves by the lines of `plan`, each at `bad_at`; says which gate cried
    /// wolf.
    pub(crate) fn add(&mut self, plan: &Plan, tick: &Tick, bad_at: f64) -> Option<String> {
        if tick.halves.candidate.requests == 0 {
            return None;
        }
        self.follow(plan);
        self.lasted = self.lasted.saturating_add(tick.elapsed);
        for lane in &mut self.lanes {
            let Some(trials) = trials(&lane.measure, tick) else { continue };
            lane.evidence.add(&WORSE, lane.line.null(), &trials);
        }
        let alarm = self.lanes.iter().find(|lane| lane.evidence.value() >= bad_at);
        let alarm = alarm.map(|lane| lane.gate.clone());
        if alarm.is_some() || self.lasted >= Self::TRIAL && !self.lanes.is_empty() {
            self.trials = self.trials.saturating_add(1);
            self.alarms = self.alarms.saturating_add(u64::from(alarm.is_some()));
            self.lasted = Duration::ZERO;
            self.lanes.clear();
        }
        alarm
    }

    /// Keeps the lanes those of the plan: a changed gate starts afresh.
    fn follow(&mut self, plan: &Plan) {
        let wanted = plan.gates.iter().flat_map(|gate| {
            let relative = |line: &Line| matches!(line, Line::WorseThanBaseline(_));
            lines(&gate.measure).into_iter().filter(relative).map(move |line| (gate, line))
        });
        let wanted: Vec<_> = wanted.collect();
        let same = self.lanes.len() == wanted.len()
            && self.lanes.iter().zip(&wanted).all(|(lane, (gate, line))| {
                lane.gate == gate.name && lane.line == *line && lane.measure == gate.measure
            });
        if !same {
            let new = |(gate, line): (&crate::plan::Gate, Line)| Lane {
                gate: gate.name.clone(),
                measure: gate.measure.clone(),
                line,
                evidence: Evidence::new(&WORSE),
            };
            self.lanes = wanted.into_iter().map(new).collect();
        }
    }
}

fn trials(measure: &Measure, tick: &Tick) -> Option<Trials> {
    let arms = [&tick.halves.baseline, &tick.halves.candidate];
    let requests = arms.map(|arm| arm.requests);
    match measure {
        Measure::Errors(_) => Some(Trials { requests, failures: arms.map(|arm| arm.failures) }),
        Measure::Latency { over, .. } => {
            let position = tick.latencies.iter().position(|latency| latency == over)?;
            let slow = arms.map(|arm| arm.over.get(position).copied().unwrap_or(0));
            Some(Trials { requests, failures: slow })
        }
        Measure::Mismatches { .. } | Measure::Query { .. } => None,
    }
}

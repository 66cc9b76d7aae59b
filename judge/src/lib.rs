//! Judges a new version while users have it, and decides what becomes of it.
//!
//! ```text
//! Tick ──> Evidence (is a line crossed? met?) ──> Verdict of each gate ──> step(run, tick) ──> Run, Decisions
//! what was counted                                                         act(run, verb)  ──>
//!                                                                          replan(run, plan) ─>
//! ```
//!
//! What is to be in force follows from a [`Run`] alone ([`Run::setting`]). Nothing here reads a
//! clock, a file or a socket: so a run can be simulated ten thousand times (`tidegate simulate`),
//! replayed on the ticks of another, and killed and resumed at any point.
#![forbid(unsafe_code)]

mod act;
mod decision;
mod evidence;
mod forecast;
mod gate;
mod halves;
mod null;
mod plan;
mod report;
mod run;
mod step;
mod tick;
mod units;
mod words;

pub use act::{Illegal, Verb};
pub use decision::{Action, Decision};
pub use forecast::Forecast;
pub use gate::{Line, Verdict};
pub use halves::{Halves, LaneReport};
pub use plan::{
    AdvanceWhen, Bound, Gate, Lines, Measure, OnBreach, OnSourceBroken, Plan, Step, Until,
};
pub use report::{
    Counts, EndReport, GateReport, HalvesReport, Report, State, StepReport, TestReport,
};
pub use run::{Outcome, Pause, Run, Setting};
pub use step::{Freedom, step};
pub use tick::{Answer, Arm, Arms, Reading, Tick};
pub use units::{Margin, Risk, Share, Time};

//! Metrics of rollouts: what the board shows at the moment of the scrape, so that no series
//! outlives its rollout.

use prometheus::{
    GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector,
    proto::MetricFamily,
};
use tidegate_controller::{Board, Shown};
use tidegate_judge::{Report, State};

type Result<T> = std::result::Result<T, prometheus::Error>;

/// What a gate may say.
const VERDICTS: [&str; 5] = ["good", "bad", "undecided", "no_data", "source_broken"];

/// The metrics of one scrape.
struct Series {
    step: IntGaugeVec,
    state: IntGaugeVec,
    failed: IntGaugeVec,
    evidence: GaugeVec,
    verdict: IntGaugeVec,
    trials: IntCounterVec,
    alarms: IntCounterVec,
}

/// The metrics of what `board` shows; `kept`: there is a journal.
pub(super) fn families(board: &Board, kept: bool) -> Result<Vec<MetricFamily>> {
    let registry = Registry::new();
    let series = Series::new(&registry)?;
    for Shown { report, .. } in board.rollouts.iter().filter(|shown| !shown.removed) {
        series.show(report);
    }
    if kept {
        show_journal(&registry, board)?;
    }
    Ok(registry.gather())
}

/// What is kept, and whom it is told.
fn show_journal(registry: &Registry, board: &Board) -> Result<()> {
    let gauge = |name: &str, help: &str| add(registry, IntGauge::new(name, help)?);
    let counter = |name: &str, help: &str| add(registry, IntCounter::new(name, help)?);
    gauge("tidegate_rollout_store_up", "Whether the state of rollouts can be kept.")?
        .set(i64::from(board.store_error.is_none()));
    let webhooks = &board.webhooks;
    let deliveries = Opts::new(
        "tidegate_webhook_deliveries_total",
        "Decisions that webhooks were to be told of, by what became of that.",
    );
    let deliveries = add(registry, IntCounterVec::new(deliveries, &["result"])?)?;
    for (result, count) in [
        ("delivered", webhooks.delivered),
        ("given_up", webhooks.given_up),
        ("dropped", webhooks.dropped),
    ] {
        deliveries.with_label_values(&[result]).inc_by(count);
    }
    counter(
        "tidegate_webhook_failed_attempts_total",
        "Calls of webhooks that failed; most are tried again.",
    )?
    .inc_by(webhooks.failed_attempts);
    let waiting = i64::try_from(webhooks.waiting).unwrap_or(i64::MAX);
    gauge("tidegate_webhook_waiting", "Decisions that webhooks are still to be told of.")?
        .set(waiting);
    Ok(())
}

impl Series {
    fn new(registry: &Registry) -> Result<Self> {
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            add(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        let counter = |name: &str, help: &str| {
            add(registry, IntCounterVec::new(Opts::new(name, help), &["rollout"])?)
        };
        let evidence = Opts::new(
            "tidegate_gate_evidence",
            "The strongest evidence that the candidate crossed a line of the gate; 1 says nothing.",
        );
        Ok(Self {
            step: gauge(
                "tidegate_rollout_step",
                "The step that the rollout is in, or ended in, from 1.",
                &["rollout"],
            )?,
            state: gauge(
                "tidegate_rollout_state",
                "1 for the state that the rollout is in, 0 for the others.",
                &["rollout", "state"],
            )?,
            failed: gauge(
                "tidegate_rollout_failed_requests",
                "Requests of users that the candidate failed in this run.",
                &["rollout"],
            )?,
            evidence: add(registry, GaugeVec::new(evidence, &["rollout", "gate"])?)?,
            verdict: gauge(
                "tidegate_gate_verdict",
                "1 for what the gate says, 0 for everything else.",
                &["rollout", "gate", "verdict"],
            )?,
            trials: counter(
                "tidegate_baseline_trials_total",
                "Trials of the gates on the baseline against itself.",
            )?,
            alarms: counter(
                "tidegate_baseline_false_alarms_total",
                "Trials in which the baseline was taken for worse than itself.",
            )?,
        })
    }

    fn show(&self, report: &Report) {
        let rollout = report.rollout.as_str();
        let step = i64::try_from(report.step).unwrap_or(i64::MAX);
        self.step.with_label_values(&[rollout]).set(step);
        let failed = i64::try_from(report.failed_requests).unwrap_or(i64::MAX);
        self.failed.with_label_values(&[rollout]).set(failed);
        for state in State::ALL {
            let is = i64::from(report.state == state);
            self.state.with_label_values(&[rollout, state.name()]).set(is);
        }
        for gate in &report.gates {
            let by = [rollout, gate.name.as_str()];
            let strongest = gate.tests.iter().map(|test| test.evidence).max_by(f64::total_cmp);
            if let Some(evidence) = strongest {
                self.evidence.with_label_values(&by).set(evidence);
            }
            for verdict in VERDICTS {
                let is = i64::from(gate.verdict == verdict);
                self.verdict.with_label_values(&[by[0], by[1], verdict]).set(is);
            }
        }
        self.trials.with_label_values(&[rollout]).inc_by(report.halves.trials);
        self.alarms.with_label_values(&[rollout]).inc_by(report.halves.alarms);
    }
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::testing::rollout;
    use prometheus::TextEncoder;
    use tidegate_judge::{Freedom, Run, Time};

    fn text(board: &Board) -> String {
        let families = families(board, true).expect("families");
        TextEncoder::new().encode_to_string(&families).expect("text")
    }

    #[test]
    fn a_rollout_has_its_series_as_long_as_it_is_configured() {
        let plan = rollout("checkout", "shop", "canary", &[300]);
        let (run, _) = Run::start(&plan, None, "configuration", Time(0));
        let report = run.report(Freedom::Free);
        let mut board = Board::default();
        board.webhooks.delivered = 7;
        board.rollouts.push(Shown { report, removed: false });
        let shown = text(&board);
        for line in [
            r#"tidegate_rollout_step{rollout="checkout"} 1"#,
            r#"tidegate_rollout_state{rollout="checkout",state="waiting"} 1"#,
            r#"tidegate_rollout_state{rollout="checkout",state="rolled_back"} 0"#,
            r#"tidegate_gate_evidence{gate="over-300",rollout="checkout"} 1"#,
            r#"tidegate_gate_verdict{gate="over-300",rollout="checkout",verdict="bad"} 0"#,
            r#"tidegate_baseline_trials_total{rollout="checkout"} 0"#,
            "tidegate_rollout_store_up 1",
            r#"tidegate_webhook_deliveries_total{result="delivered"} 7"#,
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line} in {shown}");
        }
        board.rollouts[0].removed = true;
        board.store_error = Some("disk full".to_owned());
        let shown = text(&board);
        assert!(!shown.contains("checkout") && shown.contains("store_up 0"), "{shown}");
    }
}

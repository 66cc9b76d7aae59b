//! `state` and `rollouts`.

use crate::{
    choice::{Advance, Breach, MetricName, SourceBroken},
    decode::{Invalid, List, Scalar, schema},
    line::{Excess, Line},
    problem::Spanned,
    text::{Name, Text},
    url::HttpUrl,
    value::{Count, Period, Share, StepShare, Timeout, Times},
};
use serde_json::{Value, json};
use std::num::NonZeroU64;

schema! {
    /// Where the state of rollouts is kept.
    struct State {
        /// The file, relative to this file. Made when it is not there.
        path: Text = "tidegate.db",
    }

    /// A plan that moves weight from the baseline to the candidate, step by step, behind gates.
    struct Rollout {
        /// Its unique name.
        name: Spanned<Name>,
        /// The route; it has at most one rollout, which owns the weights of its two variants.
        route: Spanned<Text>,
        /// The old version: the first variant of the route.
        baseline: Spanned<Text>,
        /// The new version: another variant of the route.
        candidate: Spanned<Text>,
        /// The mirror that mirror steps turn up and that mismatches are counted of. Absent: the
        /// route's first mirror to the candidate's upstream.
        mirror: Option<Spanned<Text>>,
        /// What is rolled out, as in `2.3.1`. A new value starts a new run; one that was rolled
        /// back never restarts by itself.
        revision: Revision,
        /// The way up; at least one step.
        steps: Spanned<List<Spanned<Step>>>,
        /// What the candidate has to pass at every moment.
        gates: Spanned<List<Spanned<Gate>>> = [],
        /// The chance that a candidate which meets every line is rolled back, over the whole run
        /// and all gates together.
        alpha: Spanned<Share> = "1%",
        /// The chance that a step certifies a candidate that is worse than a line allows.
        beta: Spanned<Share> = "5%",
        /// What a step waits for besides its time and requests: `held`, no gate is bad;
        /// `certified`, every metric's gate has shown the candidate to be good.
        advance_when: Spanned<Advance> = "held",
        /// What a run may cost.
        budget: Budget = {},
        /// What happens when a gate is bad: the candidate is taken away, or the step stays as it
        /// is until a person decides.
        on_breach: Breach = "rollback",
        /// What becomes of live streams on the candidate after a rollback. Absent: they end by
        /// themselves.
        on_streams: Option<OnStreams>,
        /// Who is told of decisions.
        notify: List<Webhook> = [],
    }

    /// What is set, and how long. It has at least one of `weight`, `mirror` and `pause`.
    struct Step [whole] {
        /// The candidate's share of the traffic of the two variants: `1%`, or a whole number of
        /// percent. Absent: as in the step before, 0% at first.
        weight: Option<Spanned<StepShare>>,
        /// The share of users that the mirror copies, likewise. Absent: the mirror's own `percent`.
        mirror: Option<Spanned<StepShare>>,
        /// How long, counting only time with data. Absent: no time.
        hold: Option<Spanned<Period>>,
        /// Requests (copies, while no user has the candidate) that it has to be judged by. Absent: 0.
        min_requests: Option<Spanned<Count>>,
        /// `true`: until a person promotes it. With nothing else, all stays as it is.
        pause: Option<Spanned<bool>>,
    }

    /// What the candidate has to pass: one of `metric` and `prometheus`.
    struct Gate [whole] {
        /// Its name, unique in the rollout.
        name: Spanned<Name>,
        /// What is measured in the gateway itself: `error_rate`, `latency` (with `over`), or
        /// `mismatch_rate`.
        metric: Option<Spanned<MetricName>>,
        /// Another source of a number.
        prometheus: Option<Spanned<Prometheus>>,
        /// At most this: a share below 100% of a metric, a number of Prometheus.
        max: Option<Spanned<Line>>,
        /// At least this; of Prometheus alone.
        min: Option<Spanned<Line>>,
        /// At most so much more than the baseline's share, as a percentage of it: 10% lets 1.1%
        /// pass where the baseline has 1%.
        worse_than_baseline: Option<Spanned<Excess>>,
        /// Of `latency`: requests that take longer count.
        over: Option<Spanned<Timeout>>,
        /// How often Prometheus is asked. Absent: 15s.
        every: Option<Spanned<Period>>,
        /// Answers of Prometheus in a row that have to be out of bounds. Absent: 1.
        failures: Option<Spanned<Times>>,
        /// While its source is broken: the step does not advance, waits for a person, or the
        /// candidate is taken away.
        on_source_broken: SourceBroken = "hold",
    }

    /// A query to a Prometheus server.
    struct Prometheus [whole] {
        /// The server's base URL, `http` or `https`.
        url: Spanned<HttpUrl>,
        /// PromQL with one number as its result.
        query: Text,
    }

    /// What becomes of live streams (WebSocket, gRPC) on a candidate that was taken away.
    struct OnStreams [whole] {
        /// How long they may go on; then they are closed.
        drain: Period,
    }

    /// What a run may cost.
    struct Budget {
        /// Requests of users that the candidate may fail; the next one is a breach. Absent: any
        /// number.
        failed_requests: Option<NonZeroU64>,
    }

    /// Who is told of decisions.
    struct Webhook [whole] {
        /// A URL, `http` or `https`, that each decision is posted to as JSON.
        webhook: HttpUrl,
        /// A file with the secret that bodies are signed with, relative to the main file.
        secret_file: Option<Text>,
    }
}

/// What is rolled out. Text, however much it looks like a number.
#[derive(Debug, Clone)]
pub(crate) struct Revision(pub(crate) String);

/// It is stored, and shown on one line.
const MAX_REVISION: usize = 128;

impl Scalar for Revision {
    const EXPECTED: &'static str = "a revision such as `2.3.1`";

    fn parse(text: &str) -> Result<Self, Invalid> {
        if let Some(wrong) = text.chars().find(|c| c.is_control()) {
            return Err(Invalid::new(format!(
                "a revision cannot contain `{}`",
                wrong.escape_debug()
            )));
        }
        if text.is_empty() || text.chars().count() > MAX_REVISION {
            return Err(Invalid::new(format!("a revision has 1 to {MAX_REVISION} characters")));
        }
        Ok(Self(text.to_owned()))
    }

    fn schema() -> Value {
        // A list of types, so that a revision is shown as written: `2.10` is not 2.1.
        json!({ "type": ["string", "number"], "minLength": 1, "maxLength": MAX_REVISION })
    }
}

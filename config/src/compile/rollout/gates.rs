//! The gates of a rollout.

use super::Dark;
use crate::{
    choice::Metric,
    compile::{Names, matching::not_one},
    line::Line,
    problem::{Problems, Span, Spanned},
    schema::{Gate, Prometheus, Rollout},
    value::WHOLE,
};
use std::time::Duration;
use tidegate_judge as judge;
use tidegate_judge::{AdvanceWhen, Bound, Lines, Margin, Measure, Share};

/// Each is a label in the metrics.
const MAX_GATES: usize = 32;

/// How often Prometheus is asked, if nothing is said.
const EVERY: Duration = Duration::from_secs(15);

/// How often it may be asked.
const MOST_OFTEN: Duration = Duration::from_secs(1);

pub(super) fn compile(
    rollout: &Rollout,
    dark: Dark<'_>,
    problems: &mut Problems,
) -> Vec<judge::Gate> {
    let gates = &rollout.gates;
    if gates.len() > MAX_GATES {
        problems.error(gates.span, format!("a rollout has at most {MAX_GATES} gates"));
    }
    if rollout.advance_when.value.0 == AdvanceWhen::Certified {
        certifiable(rollout, problems);
    }
    let mut names = Names::new("gate");
    let mut compiled = Vec::with_capacity(gates.len().min(MAX_GATES));
    for (position, gate) in gates.iter().take(MAX_GATES).enumerate() {
        names.add(&gate.name, position, problems);
        compiled.extend(measure(gate, dark, problems).map(|measure| judge::Gate {
            name: gate.name.value.0.clone(),
            measure,
            on_source_broken: gate.on_source_broken.0,
        }));
    }
    compiled
}

/// Some lines can be held and never be shown to be.
fn certifiable(rollout: &Rollout, problems: &mut Problems) {
    let gates = &rollout.gates;
    if gates.complete && !gates.iter().any(|gate| gate.metric.is_some()) {
        problems
            .error(rollout.advance_when.span, "there is no gate that can certify the candidate")
            .help("add a gate with a `metric`, or use `advance_when: held`".to_owned());
    }
    for gate in gates.iter().filter(|gate| gate.metric.is_some()) {
        if let Some(margin) = gate.worse_than_baseline.filter(|excess| excess.value.0 == 0) {
            problems.error(margin.span, "a margin of 0% can never be certified").help(
                "allow a margin above 0%, such as `10%`, or use `advance_when: held`".to_owned(),
            );
        }
        if let Some(max) = gate.max.filter(|max| max.value == Line::Percent(0)) {
            problems.error(max.span, "a ceiling of 0% can never be certified").help(
                "allow a share above 0%, such as `0.1%`, or use `advance_when: held`".to_owned(),
            );
        }
    }
}

fn measure(gate: &Spanned<Gate>, dark: Dark<'_>, problems: &mut Problems) -> Option<Measure> {
    match (&gate.metric, &gate.prometheus) {
        (Some(metric), None) => of_metric(gate, metric.value.0, dark, problems),
        (None, Some(prometheus)) => of_prometheus(gate, prometheus, problems),
        (metric, prometheus) => {
            let flags = [("metric", metric.is_some()), ("prometheus", prometheus.is_some())];
            not_one(gate.span, "`metric` or `prometheus`", &flags, problems);
            None
        }
    }
}

fn of_metric(
    gate: &Gate,
    metric: Metric,
    dark: Dark<'_>,
    problems: &mut Problems,
) -> Option<Measure> {
    let foreign = [
        ("min", span(&gate.min)),
        ("every", span(&gate.every)),
        ("failures", span(&gate.failures)),
    ];
    refuse(&foreign, "belongs to a gate with `prometheus`", problems);
    if metric != Metric::Latency {
        refuse(&[("over", span(&gate.over))], "belongs to `metric: latency`", problems);
    }
    match metric {
        Metric::ErrorRate => lines(gate, problems).map(Measure::Errors),
        Metric::Latency => {
            let lines = lines(gate, problems);
            let Some(over) = gate.over else {
                problems
                    .error(
                        gate.name.span,
                        format!("the gate `{}` has no `over`", gate.name.value.0),
                    )
                    .help("say which requests are slow, as in `over: 300ms`".to_owned());
                return None;
            };
            lines.map(|lines| Measure::Latency { over: over.value.0, lines })
        }
        Metric::MismatchRate => mismatches(gate, dark, problems),
    }
}

fn mismatches(gate: &Gate, dark: Dark<'_>, problems: &mut Problems) -> Option<Measure> {
    if let Some(margin) = &gate.worse_than_baseline {
        problems.error(margin.span, "a mismatch rate has no baseline to be compared with").help(
            "use `max`: the baseline's answers are what the copies' are compared with".to_owned(),
        );
    }
    let name = &gate.name;
    match dark {
        Dark::Absent { route, upstream } => {
            problems
                .error(name.span, format!("the route `{route}` has no mirror to `{upstream}`"))
                .help(format!(
                    "mismatches are counted of a mirror with `upstream: {upstream}` and `compare`"
                ));
        }
        Dark::Mirror(mirror) if mirror.compare.is_none() => {
            let text = format!("the mirror `{}` compares nothing", mirror.name.value.0);
            problems
                .error(name.span, text)
                .help("add `compare: {}` to it".to_owned())
                .note(mirror.name.span, "the mirror is here");
        }
        Dark::Mirror(_) | Dark::Unknown => {}
    }
    let Some(max) = gate.max else {
        problems
            .error(name.span, format!("the gate `{}` has no `max`", name.value.0))
            .help("say how many answers may differ, as in `max: 0.1%`".to_owned());
        return None;
    };
    ceiling(max, problems).map(|max| Measure::Mismatches { max })
}

/// What a share must not cross.
fn lines(gate: &Gate, problems: &mut Problems) -> Option<Lines> {
    let margin = gate.worse_than_baseline.map(|excess| Margin(excess.value.0));
    match (gate.max, margin) {
        (None, None) => {
            problems
                .error(gate.name.span, format!("the gate `{}` has no line", gate.name.value.0))
                .help("add `max`, `worse_than_baseline` or both".to_owned());
            None
        }
        (None, Some(margin)) => Some(Lines::WorseThanBaseline(margin)),
        (Some(max), None) => ceiling(max, problems).map(Lines::Max),
        (Some(max), Some(margin)) => ceiling(max, problems).map(|max| Lines::Both(max, margin)),
    }
}

/// A share that can be exceeded.
fn ceiling(max: Spanned<Line>, problems: &mut Problems) -> Option<Share> {
    match max.value {
        Line::Percent(parts) if parts < WHOLE => Share::from_millionths(parts),
        Line::Percent(_) => {
            problems
                .error(max.span, format!("a share is never above {}", max.value))
                .help("write 0% or more and less than 100%".to_owned());
            None
        }
        Line::Number(number) => {
            let help = match number {
                0.0..1.0 => format!("did you mean `{}%` or `{number}%`?", round(number * 100.0)),
                1.0..100.0 => format!("did you mean `{number}%`?"),
                _ => "write a share such as `1%`".to_owned(),
            };
            problems.error(max.span, format!("the share `{number}` has no unit")).help(help);
            None
        }
    }
}

/// To the four decimals that a share has.
fn round(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

fn of_prometheus(gate: &Gate, source: &Prometheus, problems: &mut Problems) -> Option<Measure> {
    let foreign =
        [("worse_than_baseline", span(&gate.worse_than_baseline)), ("over", span(&gate.over))];
    refuse(&foreign, "belongs to a gate with `metric`", problems);
    if source.url.value.0.contains('?') {
        problems
            .error(source.url.span, "the base URL of a Prometheus server has no query")
            .help("write the PromQL in `query`".to_owned());
    }
    if let Some(every) = gate.every.filter(|every| every.value.0 < MOST_OFTEN) {
        problems
            .error(every.span, "Prometheus is asked at most once a second")
            .help("write `1s` or more".to_owned());
    }
    let number = |line: Spanned<Line>| line.value.number();
    let bound = match (gate.min, gate.max) {
        (None, None) => {
            problems
                .error(gate.name.span, format!("the gate `{}` has no line", gate.name.value.0))
                .help("add `max`, `min` or both".to_owned());
            return None;
        }
        (Some(min), None) => Bound::Min(number(min)),
        (None, Some(max)) => Bound::Max(number(max)),
        (Some(min), Some(max)) => {
            if number(max) < number(min) {
                let text = format!("`max` ({}) is below `min` ({})", max.value, min.value);
                problems.error(max.span, text).note(min.span, "`min` is here");
            }
            Bound::Between(number(min), number(max))
        }
    };
    Some(Measure::Query {
        url: source.url.value.0.clone(),
        query: source.query.0.clone(),
        bound,
        every: gate.every.map_or(EVERY, |every| every.value.0),
        failures: gate.failures.map_or(1, |failures| failures.value.0),
    })
}

/// Keys that would be believed in and mean nothing.
fn refuse(keys: &[(&str, Option<Span>)], why: &str, problems: &mut Problems) {
    for (key, span) in keys {
        if let Some(span) = *span {
            problems.error(span, format!("`{key}` {why}")).help(format!("remove `{key}`"));
        }
    }
}

fn span<T>(value: &Option<Spanned<T>>) -> Option<Span> {
    value.as_ref().map(|value| value.span)
}

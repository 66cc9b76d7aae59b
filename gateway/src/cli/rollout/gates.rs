//! Gates: what they say, on what evidence, and what they would find.

use super::text::{about, evidence, percent};
use crate::screen::Paint;
use tidegate_judge::{GateReport, Line, TestReport};

/// Cells of the bar between no evidence and a line crossed.
const BAR: usize = 10;

/// A gate in a few lines; `active`: its run goes on.
pub(super) fn render(gate: &GateReport, active: bool, paint: Paint) -> Vec<String> {
    let head = format!("{} {}  {}", mark(gate), gate.name, verdict(gate));
    let head = match gate.verdict.as_str() {
        "good" => paint.green(&head),
        "bad" => paint.red(&head),
        "source_broken" | "no_data" => paint.yellow(&head),
        _ => head,
    };
    let mut lines = vec![format!("  {head}: {}", gate.asks)];
    let mut detail = |text: String| lines.push(format!("      {text}"));
    if matches!(gate.verdict.as_str(), "no_data" | "source_broken") {
        detail(gate.why.clone());
    }
    if let Some(value) = gate.value {
        detail(format!("the last answer was {value}"));
    }
    if !gate.tests.is_empty() && gate.run.requests[1] > 0 {
        detail(counts(gate));
    }
    let width = gate.tests.iter().map(|test| line(test.line).chars().count()).max();
    for test in &gate.tests {
        detail(against_the_line(test, width.unwrap_or_default(), paint));
    }
    let forecast = gate.tests.iter().find_map(|test| forecast(gate, test));
    if let Some(forecast) = forecast.filter(|_| active) {
        detail(paint.dim(&forecast));
    }
    lines
}

/// All gates in a few words, the worst first: `1 ✖ errors, 3 ✔`.
pub(super) fn tally(gates: &[GateReport], paint: Paint) -> String {
    let of = |verdict: &str| {
        let gates: Vec<&GateReport> = gates.iter().filter(|gate| gate.verdict == verdict).collect();
        (!gates.is_empty()).then_some((gates.len(), gates))
    };
    let named = |verdict: &str| {
        let (count, gates) = of(verdict)?;
        let names: Vec<&str> = gates.iter().map(|gate| gate.name.as_str()).collect();
        Some(format!("{count} {} {}", mark(gates[0]), names.join(" ")))
    };
    let counted = |verdict: &str| {
        let (count, _) = of(verdict)?;
        Some(format!("{count} {}", glyph(verdict)))
    };
    let parts = [
        named("bad").map(|text| paint.red(&text)),
        named("source_broken").map(|text| paint.yellow(&text)),
        counted("no_data").map(|text| paint.yellow(&text)),
        counted("undecided"),
        counted("good").map(|text| paint.green(&text)),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

/// Every gate by name, for logs: `errors undecided, slow good`.
pub(super) fn in_words(gates: &[GateReport]) -> String {
    let words = gates.iter().map(|gate| format!("{} {}", gate.name, word(&gate.verdict)));
    words.collect::<Vec<_>>().join(", ")
}

fn mark(gate: &GateReport) -> char {
    if is_idle(gate) { '·' } else { glyph(&gate.verdict) }
}

fn glyph(verdict: &str) -> char {
    match verdict {
        "good" => '✔',
        "bad" => '✖',
        "no_data" => '–',
        "source_broken" => '!',
        _ => '?',
    }
}

/// The step cannot decide it.
fn is_idle(gate: &GateReport) -> bool {
    gate.verdict == "undecided" && !gate.applies
}

fn verdict(gate: &GateReport) -> String {
    if is_idle(gate) { "not measured in this step".to_owned() } else { word(&gate.verdict) }
}

fn word(verdict: &str) -> String {
    verdict.replace('_', " ")
}

/// Over the run.
fn counts(gate: &GateReport) -> String {
    let rate = |arm: usize| {
        let (against, requests) = (gate.run.against[arm], gate.run.requests[arm]);
        let share = against as f64 / requests.max(1) as f64;
        format!("{against} of {requests} ({})", percent(share))
    };
    if gate.run.requests[0] == 0 {
        return format!("candidate {}", rate(1));
    }
    format!("candidate {}, baseline {}", rate(1), rate(0))
}

fn line(line: Line) -> String {
    match line {
        Line::Max(max) => format!("at most {max}"),
        Line::WorseThanBaseline(margin) if margin.0 == 0 => "the baseline's".to_owned(),
        Line::WorseThanBaseline(margin) => format!("the baseline's + {margin}"),
    }
}

/// How near the evidence is to both ends: the candidate is bad, the candidate is good.
fn against_the_line(test: &TestReport, width: usize, paint: Paint) -> String {
    let filled = filled(test.evidence, test.bad_at);
    let bar = "█".repeat(filled) + &"░".repeat(BAR - filled);
    let bar = if filled == BAR { paint.red(&bar) } else { bar };
    format!(
        "{:<width$}  bad {bar} {} of {}, good {} of {}",
        line(test.line),
        evidence(test.evidence),
        evidence(test.bad_at),
        evidence(test.certainty),
        evidence(test.good_at),
    )
}

/// Cells of the bar: evidence grows by factors, so the scale is logarithmic, from 1.
fn filled(evidence: f64, bad_at: f64) -> usize {
    if evidence >= bad_at {
        return BAR;
    }
    let part = evidence.max(1.0).ln() / bad_at.max(1.0).ln();
    // Full is for what is bad.
    ((part * BAR as f64) as usize).min(BAR - 1)
}

/// When a candidate that is worse than the baseline would be found; the least that can be said.
fn forecast(gate: &GateReport, test: &TestReport) -> Option<String> {
    let Line::WorseThanBaseline(margin) = test.line else { return None };
    if gate.verdict == "bad" || !gate.applies {
        return None;
    }
    if gate.run.requests[0] == 0 {
        return Some("no forecast yet: the baseline had no requests".to_owned());
    }
    if gate.run.against[0] == 0 {
        return Some("no forecast yet: the baseline's own rate is 0 so far".to_owned());
    }
    let told = test.forecast.iter().find_map(|forecast| Some((forecast.times, forecast.seconds?)));
    if let Some((times, seconds)) = told {
        let time = about(seconds);
        return Some(format!(
            "{times}× the baseline's rate would be found in about {time} at this weight"
        ));
    }
    // A line beyond all that is told has no forecast, and neither has one without a baseline.
    let largest = test.forecast.iter().map(|forecast| forecast.times).next_back()?;
    (margin.ratio() < largest).then(|| "no forecast: there is no traffic now".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{super::testing::rollout, *};

    fn text(gate: &GateReport) -> String {
        render(gate, true, Paint::plain()).join("\n")
    }

    #[test]
    fn a_gate_with_two_lines() {
        assert_eq!(
            text(&rollout().gates[0]),
            "  \
  ? errors  undecided: failures: at most 1% and no more than 10% worse than the baseline
      candidate 3 of 1200 (0.25%), baseline 31 of 22800 (0.14%)
      at most 1%            bad ░░░░░░░░░░ 0.2 of 400, good 12 of 20
      the baseline's + 10%  bad ███░░░░░░░ 8.1 of 400, good 0.4 of 20
      2× the baseline's rate would be found in about 6 min at this weight"
        );
    }

    #[test]
    fn a_number_from_elsewhere() {
        let mut gate = rollout().gates[1].clone();
        assert_eq!(
            text(&gate),
            "  ✔ saturation  good: max(cpu): at most 0.8\n      the last answer was 0.42"
        );
        (gate.verdict, gate.value) = ("source_broken".to_owned(), None);
        gate.why = "connection refused".to_owned();
        assert_eq!(
            text(&gate),
            "  ! saturation  source broken: max(cpu): at most 0.8\n      connection refused"
        );
    }

    #[test]
    fn a_forecast_needs_a_rate_and_traffic() {
        let gate = rollout().gates[0].clone();
        let said = |change: fn(&mut GateReport)| {
            let mut gate = gate.clone();
            change(&mut gate);
            render(&gate, true, Paint::plain()).pop().expect("a line").trim_start().to_owned()
        };
        assert_eq!(
            said(|gate| gate.run.against[0] = 0),
            "no forecast yet: the baseline's own rate is 0 so far"
        );
        assert_eq!(
            said(|gate| gate.run.requests[0] = 0),
            "no forecast yet: the baseline had no requests"
        );
        assert_eq!(
            said(|gate| gate.tests[1].forecast.iter_mut().for_each(|f| f.seconds = None)),
            "no forecast: there is no traffic now"
        );
        assert_eq!(
            said(|gate| gate.tests[1].forecast[0].seconds = None),
            "3× the baseline's rate would be found in about 2 min at this weight"
        );
        assert!(said(|gate| gate.applies = false).starts_with("the baseline's + 10%  bad"));
        assert!(render(&gate, false, Paint::plain()).pop().expect("a line").contains("bad ███"));
    }

    #[test]
    fn the_bar_is_full_only_when_the_gate_is_bad() {
        let cells = [0.0, 1.0, 20.0, 399.9, 400.0, 1e200].map(|evidence| filled(evidence, 400.0));
        assert_eq!(cells, [0, 0, 5, 9, 10, 10]);
    }

    #[test]
    fn the_worst_comes_first() {
        let mut gates = rollout().gates;
        assert_eq!(tally(&gates, Paint::plain()), "1 ?, 1 ✔");
        assert_eq!(in_words(&gates), "errors undecided, saturation good");
        gates[0].verdict = "bad".to_owned();
        assert_eq!(tally(&gates, Paint::plain()), "1 ✖ errors, 1 ✔");
        assert_eq!(tally(&[], Paint::plain()), "-");
    }
}

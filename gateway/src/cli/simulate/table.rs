//! A row for each size of a regression.

use super::Row;
use std::fmt::Write;
use tidegate_controller::simulate::{Rate, Spread, Summary};

const HEADS: [&str; 9] = [
    "worse",
    "rolled back",
    "promoted",
    "undecided",
    "median",
    "95 %",
    "in step",
    "candidate requests",
    "failed",
];

pub(super) fn table(rows: &[Row]) -> String {
    let mut cells: Vec<Vec<String>> = vec![HEADS.map(str::to_owned).into()];
    cells.extend(rows.iter().map(|row| line(row.times, &row.summary)));
    let widths: Vec<usize> = (0..HEADS.len())
        .map(|column| {
            cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        })
        .map(Option::unwrap_or_default)
        .collect();
    let mut text = String::new();
    for row in &cells {
        let line: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", line.join("  ").trim_end());
    }
    text.push('\n');
    for row in rows {
        if let Some(by) = by_gate(&row.summary) {
            let _ = writeln!(text, "{}: {by}", times(row.times));
        }
    }
    text.push_str(
        "\nmedian and 95 %: time until the rollback; requests and failed: of users, medians, until \
         the rollback\n",
    );
    text
}

fn line(worse: f64, summary: &Summary) -> Vec<String> {
    let median = |spread: &Option<Spread>| {
        spread.map_or_else(|| "–".to_owned(), |spread| format!("{:.0}", spread.median))
    };
    let seconds = |of: fn(Spread) -> f64| {
        summary.seconds.map_or_else(|| "–".to_owned(), |spread| time(of(spread)))
    };
    vec![
        times(worse),
        interval(&summary.rolled_back),
        share(summary.promoted.share),
        share(summary.undecided.share),
        seconds(|spread| spread.median),
        seconds(|spread| spread.p95),
        steps(summary),
        median(&summary.candidate_requests),
        median(&summary.failed_requests),
    ]
}

pub(super) fn times(worse: f64) -> String {
    if worse == 1.0 { "healthy".to_owned() } else { format!("{worse}×") }
}

/// The steps in which it was found, the most frequent first.
fn steps(summary: &Summary) -> String {
    let mut steps: Vec<_> = summary.by_step.iter().collect();
    steps.sort_by_key(|(step, count)| (std::cmp::Reverse(**count), **step));
    match steps.as_slice() {
        [] => "–".to_owned(),
        [(step, _)] => step.to_string(),
        [(step, count), ..] => {
            let part = **count as f64 / summary.rolled_back.count.max(1) as f64;
            format!("{step} ({:.0} %)", part * 100.0)
        }
    }
}

fn by_gate(summary: &Summary) -> Option<String> {
    let mut gates: Vec<_> = summary.by_gate.iter().collect();
    gates.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
    let words = gates.iter().map(|(name, count)| {
        format!("`{name}` {}", share(**count as f64 / summary.runs.max(1) as f64))
    });
    Some(words.collect::<Vec<_>>().join(", ")).filter(|words| !words.is_empty())
}

fn interval(rate: &Rate) -> String {
    let [low, high] = [rate.low, rate.high].map(|share| share * 100.0);
    format!("{} ({low:.1} to {high:.1})", share(rate.share))
}

pub(super) fn share(share: f64) -> String {
    let percent = share * 100.0;
    let digits = usize::from(percent > 0.0 && percent < 100.0 && !(10.0..=90.0).contains(&percent));
    format!("{percent:.digits$} %")
}

/// As people say it.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Few digits, whatever the size.
pub(super) fn number(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{v:.1e}"),
        v if v >= 100.0 => format!("{v:.0}"),
        v => format!("{v:.1}"),
    }
}

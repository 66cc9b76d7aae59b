//! Gates and durations as people say them.

use crate::plan::{Bound, Gate, Lines, Measure};
use std::time::Duration;

/// What a gate asks, as a sentence.
pub(crate) fn asks(gate: &Gate) -> String {
    let lines = |what: &str, lines: Lines| {
        let max = lines.max().map(|max| format!("at most {max}"));
        let margin = lines.margin().map(|margin| match margin.0 {
            0 => "no worse than the baseline".to_owned(),
            _ => format!("no more than {margin} worse than the baseline"),
        });
        let both: Vec<String> = max.into_iter().chain(margin).collect();
        format!("{what} {}", both.join(" and "))
    };
    match &gate.measure {
        Measure::Errors(of) => lines("failures:", *of),
        Measure::Latency { over, lines: of } => {
            lines(&format!("slower than {}:", words(*over)), *of)
        }
        Measure::Mismatches { max } => format!("mismatches: at most {max}"),
        Measure::Query { query, bound, .. } => {
            let bound = match bound {
                Bound::Max(max) => format!("at most {max}"),
                Bound::Min(min) => format!("at least {min}"),
                Bound::Between(min, max) => format!("between {min} and {max}"),
            };
            format!("{query}: {bound}")
        }
    }
}

/// A duration as people say it.
pub(crate) fn words(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    if milliseconds < 1000 {
        return format!("{milliseconds} ms");
    }
    let seconds = (duration.as_secs_f64()).round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, 0) => format!("{m} min"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, 0, _) => format!("{h} h"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

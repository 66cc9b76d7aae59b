//! What was measured, as a table or JSON.

use std::fmt;

use serde_json::{Value, json};
use tidegate_benches::spread::Spread;

/// One proxy's turn under load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// CPU time a request, in microseconds.
    pub(crate) cpu_micros: f64,
    /// Requests a second.
    pub(crate) per_second: f64,
}

/// A turn of each, right after one another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) bare: Turn,
    pub(crate) other: Turn,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.other.cpu_micros / self.bare.cpu_micros
    }
}

/// All rounds; at least one.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) other: &'static str,
    pub(crate) limit: f64,
    pub(crate) rounds: Vec<Round>,
}

impl Report {
    pub(crate) fn json(&self) -> Value {
        let subject = |name: &str, turn: fn(&Round) -> Turn| {
            let cpu = self.spread(|round| turn(round).cpu_micros);
            let rate = self.spread(|round| turn(round).per_second);
            json!({
                "name": name,
                "cpu_micros_per_request": cpu.json(),
                "requests_per_second": rate.json(),
            })
        };
        json!({
            "rounds": self.rounds.len(),
            "subjects": [
                subject("bare pingora", |round| round.bare),
                subject(self.other, |round| round.other),
            ],
            "cpu_ratio": self.spread(Round::ratio).json(),
            "limit": self.limit,
        })
    }

    fn spread(&self, value: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(value).collect())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<14}{:>32}{:>14}", "", "CPU time a request, µs", "requests/s")?;
        writeln!(f, "{:<14}{:>12}{:>10}{:>10}{:>14}", "", "median", "min", "max", "median")?;
        let mut row = |name: &str, turn: fn(&Round) -> Turn| {
            let cpu = self.spread(|round| turn(round).cpu_micros);
            let rate = self.spread(|round| turn(round).per_second).median;
            writeln!(
                f,
                "{name:<14}{:>12.2}{:>10.2}{:>10.2}{rate:>14.0}",
                cpu.median, cpu.min, cpu.max
            )
        };
        row("bare pingora", |round| round.bare)?;
        row(self.other, |round| round.other)?;
        let Spread { median, min, max } = self.spread(Round::ratio);
        writeln!(
            f,
            "ratio of CPU time: {median:.3} (median of {} rounds, {min:.3} to {max:.3}); limit {}",
            self.rounds.len(),
            self.limit
        )
    }
}

//! What was measured, as a table or JSON.

use std::fmt;

use serde_json::{Value, json};
use tidegate_benches::spread::Spread;

use crate::configuration::{Case, Proxy};

/// One subject's turn under load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// CPU time a request, in microseconds.
    pub(crate) cpu_micros: f64,
    /// Answers a second.
    pub(crate) per_second: f64,
    /// The share of requests that were answered, all with 200.
    pub(crate) answered: f64,
    /// Latencies; infinite where too few requests were answered.
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    /// The share of requests of which the dark upstream got a copy.
    pub(crate) delivered: Option<f64>,
    /// The share of requests whose two answers were compared, and found equal.
    pub(crate) compared: Option<f64>,
}

/// A subject's turns, one a round.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) proxy: Proxy,
    pub(crate) case: Case,
    pub(crate) turns: Vec<Turn>,
}

impl Row {
    /// Why the CPU time says nothing, if so. With a hung dark upstream anything may happen, and is
    /// what is measured.
    fn invalid(&self, rate: u32) -> Option<String> {
        if self.case == Case::Hung {
            return None;
        }
        let median = |value: fn(&Turn) -> f64| self.spread(value).median;
        let in_time = median(|turn| turn.per_second) / f64::from(rate);
        let shares = [
            (median(|turn| turn.answered), ENOUGH, "of requests were answered"),
            (in_time, IN_TIME, "of the rate of requests is that of answers"),
            (median(|turn| turn.delivered.unwrap_or(1.0)), ENOUGH, "of copies arrived"),
            (median(|turn| turn.compared.unwrap_or(1.0)), ENOUGH, "of answers were found equal"),
        ];
        let (share, _, what) = shares.into_iter().find(|(share, enough, _)| share < enough)?;
        Some(format!("only {} {what}", percent(share)))
    }

    fn spread(&self, value: impl Fn(&Turn) -> f64) -> Spread {
        Spread::of(self.turns.iter().map(value).collect())
    }

    fn share(&self, value: impl Fn(&Turn) -> Option<f64>) -> Option<f64> {
        let shares = self.turns.iter().map(value).collect::<Option<Vec<_>>>()?;
        Some(Spread::of(shares).median)
    }

    fn json(&self, rate: u32) -> Value {
        let invalid = self.invalid(rate);
        json!({
            "proxy": self.proxy.name(),
            "case": self.case.name(),
            "valid": invalid.is_none(),
            "invalid_because": invalid,
            "cpu_micros_per_request": self.spread(|turn| turn.cpu_micros).json(),
            "answers_per_second": self.spread(|turn| turn.per_second).json(),
            "answered": self.share(|turn| Some(turn.answered)),
            "copies_delivered": self.share(|turn| turn.delivered),
            "answers_compared": self.share(|turn| turn.compared),
            "p50_micros": self.spread(|turn| turn.p50_micros).json(),
            "p99_micros": self.spread(|turn| turn.p99_micros).json(),
        })
    }
}

/// Two rows whose ratio is of interest, and how much of it the project allows itself.
struct Comparison {
    what: String,
    value: fn(&Turn) -> f64,
    of: (Proxy, Case),
    to: (Proxy, Case),
    limit: Option<f64>,
}

/// All rows, in the order of proxies and cases.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) rate: u32,
    pub(crate) versions: Vec<(Proxy, String)>,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    pub(crate) fn is_valid(&self) -> bool {
        self.rows.iter().all(|row| row.invalid(self.rate).is_none())
    }

    pub(crate) fn json(&self) -> Value {
        let ratios = self.comparisons().map(|comparison| {
            json!({
                "what": comparison.what,
                "ratio": self.ratio(&comparison).map(|ratio| ratio.json()),
                "limit": comparison.limit,
            })
        });
        json!({
            "rounds": self.rounds(),
            "requests_per_second": self.rate,
            "versions": self
                .versions
                .iter()
                .map(|(proxy, version)| (proxy.name().to_owned(), Value::from(version.as_str())))
                .collect::<serde_json::Map<_, _>>(),
            "subjects": self.rows.iter().map(|row| row.json(self.rate)).collect::<Vec<_>>(),
            "ratios": ratios.collect::<Vec<_>>(),
        })
    }

    fn rounds(&self) -> usize {
        self.rows.first().map_or(0, |row| row.turns.len())
    }

    /// Those of which both sides were measured.
    fn comparisons(&self) -> impl Iterator<Item = Comparison> {
        use Case::{Compared, Document, Hung, Mirror, Plain};
        use Proxy::{Envoy, Nginx, Tidegate};
        let cpu_to = |other: Proxy| Comparison {
            what: format!("CPU time with a mirror, Tidegate to {}", other.name()),
            value: |turn| turn.cpu_micros,
            of: (Tidegate, Mirror),
            to: (other, Mirror),
            limit: Some(CPU_LIMIT),
        };
        let p99_of = |proxy: Proxy| Comparison {
            what: format!("p99 when the mirror hangs to none, {}", proxy.name()),
            value: |turn| turn.p99_micros,
            of: (proxy, Hung),
            to: (proxy, Plain),
            limit: (proxy == Tidegate).then_some(P99_LIMIT),
        };
        let compare = Comparison {
            what: "CPU time with compare to without, Tidegate".to_owned(),
            value: |turn| turn.cpu_micros,
            of: (Tidegate, Compared),
            to: (Tidegate, Document),
            limit: None,
        };
        [cpu_to(Envoy), cpu_to(Nginx), p99_of(Tidegate), p99_of(Envoy), p99_of(Nginx), compare]
            .into_iter()
            .filter(|Comparison { of, to, .. }| self.row(*of).is_some() && self.row(*to).is_some())
    }

    /// Of the two turns of each round; nothing where one of the rows is invalid.
    fn ratio(&self, comparison: &Comparison) -> Option<Spread> {
        let valid = |key| self.row(key).filter(|row| row.invalid(self.rate).is_none());
        let turns = valid(comparison.of)?.turns.iter().zip(&valid(comparison.to)?.turns);
        let ratio = |(of, to)| (comparison.value)(of) / (comparison.value)(to);
        Some(Spread::of(turns.map(ratio).collect()))
    }

    fn row(&self, key: (Proxy, Case)) -> Option<&Row> {
        self.rows.iter().find(|row| (row.proxy, row.case) == key)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10}{:<16}{:>30}{:>10}{:>10}{:>20}",
            "", "", "CPU time a request, µs", "copies", "", "latency, µs"
        )?;
        writeln!(
            f,
            "{:<10}{:<16}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "", "", "median", "min", "max", "arrived", "answered", "p50", "p99"
        )?;
        for row in &self.rows {
            self.write_row(f, row)?;
        }
        for comparison in self.comparisons() {
            self.write_ratio(f, &comparison)?;
        }
        let versions =
            self.versions.iter().map(|(proxy, text)| format!("{} {text}, ", proxy.name()));
        writeln!(
            f,
            "{}{} requests/s, medians of {} rounds",
            versions.collect::<String>(),
            self.rate,
            self.rounds()
        )
    }
}

impl Report {
    fn write_row(&self, f: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
        write!(f, "{:<10}{:<16}", row.proxy.name(), row.case.name())?;
        let invalid = row.invalid(self.rate);
        if invalid.is_some() {
            write!(f, "{:>10}{:>10}{:>10}", "invalid", "", "")?;
        } else {
            let Spread { median, min, max } = row.spread(|turn| turn.cpu_micros);
            write!(f, "{median:>10.1}{min:>10.1}{max:>10.1}")?;
        }
        let copies = row.share(|turn| turn.delivered).map_or("-".to_owned(), percent);
        let answered = percent(row.spread(|turn| turn.answered).median);
        let p50 = micros(row.spread(|turn| turn.p50_micros).median);
        let p99 = micros(row.spread(|turn| turn.p99_micros).median);
        write!(f, "{copies:>10}{answered:>10}{p50:>10}{p99:>10}")?;
        writeln!(f, "{}", invalid.map_or(String::new(), |reason| format!("  {reason}")))
    }

    fn write_ratio(&self, f: &mut fmt::Formatter<'_>, comparison: &Comparison) -> fmt::Result {
        write!(f, "{:<46}", comparison.what)?;
        match self.ratio(comparison) {
            None => write!(f, "invalid")?,
            Some(Spread { median, .. }) if median.is_infinite() => write!(f, "never answered")?,
            Some(Spread { median, min, max }) => write!(f, "{median:.2} ({min:.2} to {max:.2})")?,
        }
        writeln!(
            f,
            "{}",
            comparison.limit.map_or(String::new(), |limit| format!("; limit {limit}"))
        )
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn micros(value: f64) -> String {
    if value.is_infinite() { "never".to_owned() } else { format!("{value:.0}") }
}

/// The share of requests and copies that make a row valid. A proxy that drops some may look cheap.
const ENOUGH: f64 = 0.99;

/// The share of the rate of requests at which answers must come. Less than `ENOUGH`, as one slow
/// answer at the end of a turn counts as a pause of all.
const IN_TIME: f64 = 0.97;

/// What the project allows itself: less CPU time with a mirror than either of the others.
const CPU_LIMIT: f64 = 1.00;

/// What the project allows a hung dark upstream to do to the 99th percentile of the primary.
const P99_LIMIT: f64 = 1.20;

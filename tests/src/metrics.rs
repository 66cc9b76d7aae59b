//! The text format of Prometheus, read back.

use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// One line of the exposition.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The metric's name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// A scrape.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The text as it was served.
    pub text: String,
    /// Its lines that are no comments.
    pub series: Vec<Series>,
}

impl Metrics {
    /// Reads the text format.
    ///
    /// # Errors
    /// When a line is none.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let series = lines
            .map(|line| parse_line(line).with_context(|| format!("no series: {line:?}")))
            .collect::<Result<_>>()?;
        Ok(Self { text: text.to_owned(), series })
    }

    /// The sum over the series of this name that have all these labels; 0 when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |series: &&Series| {
            series.name == name
                && labels
                    .iter()
                    .all(|(key, value)| series.labels.get(*key).is_some_and(|found| found == value))
        };
        self.series.iter().filter(has).map(|series| series.value).sum()
    }

    /// Whether there is a series of this name.
    pub fn has(&self, name: &str) -> bool {
        self.series.iter().any(|series| series.name == name)
    }
}

fn parse_line(line: &str) -> Option<Series> {
    let (head, value) = line.rsplit_once(' ')?;
    let (name, labels) = match head.split_once('{') {
        None => (head, BTreeMap::new()),
        Some((name, rest)) => (name, parse_labels(rest.strip_suffix('}')?)?),
    };
    Some(Series { name: name.to_owned(), labels, value: value.parse().ok()? })
}

fn parse_labels(text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(key.to_owned(), value);
        rest = after[end + 1..].trim_start_matches(',');
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_labels_and_values() -> Result<()> {
        let text = "# HELP a b\na 1\na{x=\"1,\\\"}\",y=\"\"} 2.5\nb{le=\"+Inf\"} 3\n";
        let metrics = Metrics::parse(text)?;
        assert_eq!(metrics.series.len(), 3);
        assert_eq!(metrics.series[1].labels["x"], "1,\"}");
        assert_eq!(metrics.sum("a", &[]), 3.5);
        assert_eq!(metrics.sum("a", &[("y", "")]), 2.5);
        assert_eq!(metrics.sum("b", &[("le", "+Inf")]), 3.0);
        assert_eq!(metrics.sum("c", &[]), 0.0);
        assert!(metrics.has("b") && !metrics.has("c"));
        Ok(())
    }

    #[test]
    fn refuses_what_is_no_exposition() {
        for text in ["a", "a{x=1} 2", "a{x=\"1} 2", "a b"] {
            assert!(Metrics::parse(text).is_err(), "{text}");
        }
    }
}

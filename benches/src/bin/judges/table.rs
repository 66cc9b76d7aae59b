//! Tables in markdown.

use std::fmt;
use tidegate_controller::simulate::Rate;

/// A heading, and rows of cells.
pub(crate) struct Table {
    caption: String,
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Without rows yet.
    pub(crate) fn new(caption: impl Into<String>, heads: &[&str]) -> Self {
        let heads = heads.iter().map(|head| (*head).to_owned()).collect();
        Self { caption: caption.into(), heads, rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.caption)?;
        let line =
            |f: &mut fmt::Formatter<'_>, cells: &[String]| writeln!(f, "| {} |", cells.join(" | "));
        line(f, &self.heads)?;
        writeln!(f, "|{}", "---|".repeat(self.heads.len()))?;
        self.rows.iter().try_for_each(|row| line(f, row))
    }
}

/// A share as people write it: at most two decimals.
pub(crate) fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A share and its interval, and a mark where even the interval is above `most`.
pub(crate) fn rate(rate: &Rate, most: f64) -> String {
    let mark = if rate.low > most { " **above**" } else { "" };
    let [share, low, high] = [rate.share, rate.low, rate.high].map(|share| share * 100.0);
    format!("{share:.2} ({low:.2} to {high:.2}){mark}")
}

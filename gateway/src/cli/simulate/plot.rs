//! The share of rollouts that were rolled back, over time, as bars of text.

use super::{Row, table};
use std::{fmt::Write, time::Duration};
use tidegate_judge::{Plan, Until};

/// Columns of the plot.
const WIDTH: usize = 60;
/// Columns for what a line is.
const MARGIN: usize = 9;
/// Eighths of a character's height.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

pub(super) fn plot(plan: &Plan, rows: &[Row], usual: Duration) -> String {
    let span = usual.as_secs_f64();
    if span <= 0.0 || rows.iter().all(|row| row.summary.rolled_back.count == 0) {
        return String::new();
    }
    let mut text = "\nrolled back by then\n".to_owned();
    for row in rows {
        let share = |column: usize| {
            let by = span * (column + 1) as f64 / WIDTH as f64;
            let found = row.episodes.iter().filter(|episode| {
                episode.rolled_back_by().is_some() && episode.elapsed.as_secs_f64() <= by
            });
            found.count() as f64 / row.episodes.len().max(1) as f64
        };
        let bars: String = (0..WIDTH).map(|column| bar(share(column))).collect();
        let line = format!("{:>MARGIN$} {bars}", table::times(row.times));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let _ = writeln!(text, "{:>MARGIN$} {}", "weight", weights(plan, span).trim_end());
    let end = table::time(span);
    let _ = writeln!(text, "{:>MARGIN$} 0{end:>width$}", "", width = WIDTH - 1);
    text
}

/// Anything above nothing is seen.
fn bar(share: f64) -> char {
    let eighths = (share * 8.0).round() as usize;
    let eighths = if share > 0.0 { eighths.clamp(1, 8) } else { 0 };
    BARS[eighths]
}

/// The steps' weights, each where it begins.
fn weights(plan: &Plan, span: f64) -> String {
    let mut line = String::new();
    let mut from = 0.0;
    for step in &plan.steps {
        let Until::Held { hold, .. } = step.until else { continue };
        let column = (from / span * WIDTH as f64) as usize;
        let label = format!(
            "│{}",
            if step.is_dark() { "dark".to_owned() } else { step.weight.to_string() }
        );
        let used = line.chars().count();
        if column >= used && column + label.chars().count() <= WIDTH {
            line.extend(std::iter::repeat_n(' ', column - used));
            line.push_str(&label);
        }
        from += hold.as_secs_f64();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_grow_with_the_share() {
        assert_eq!([0.0, 0.001, 0.5, 0.99, 1.0].map(bar), [' ', '▁', '▄', '█', '█']);
    }
}

//! All rollouts, one a line.

use super::{
    gates,
    seen::{Rollout, Rollouts},
    text::{moment, percent, span, state},
};
use crate::screen::{Paint, visible_width};

const HEADINGS: [&str; 9] =
    ["NAME", "ROUTE", "REVISION", "STATE", "STEP", "WEIGHT", "ACTUAL", "HELD", "GATES"];

/// The table, and what holds all of it up.
pub(super) fn render(list: &Rollouts, paint: Paint) -> String {
    let mut text = String::new();
    if list.rollouts.is_empty() && list.not_started.is_empty() {
        text.push_str("no rollouts\n");
    }
    if !list.rollouts.is_empty() {
        let rows = list.rollouts.iter().map(|rollout| cells(rollout, paint));
        let rows: Vec<_> =
            [HEADINGS.map(|text| paint.bold(text))].into_iter().chain(rows).collect();
        text.push_str(&table(&rows));
    }
    for name in &list.not_started {
        text.push_str(&format!("{name} has not begun yet\n"));
    }
    if let Some(freeze) = &list.freeze {
        let since = moment(freeze.at);
        let line = format!("all rollouts are frozen since {since} by {}", freeze.by);
        text.push_str(&format!("{}\n", paint.yellow(&line)));
    }
    if let Some(error) = &list.store_error {
        let line = format!("nothing advances, as state cannot be kept: {error}");
        text.push_str(&format!("{}\n", paint.red(&line)));
    }
    text
}

fn cells(rollout: &Rollout, paint: Paint) -> [String; 9] {
    let mut shown = state(rollout.state, paint);
    if rollout.removed {
        shown.push_str(", removed");
    }
    let none = || "-".to_owned();
    [
        rollout.name.clone(),
        rollout.route.clone(),
        rollout.revision.clone(),
        shown,
        format!("{}/{}", rollout.step, rollout.steps),
        rollout.weight.to_string(),
        rollout.realised_share.map_or_else(none, percent),
        if rollout.ended.is_some() { none() } else { span(rollout.held_seconds) },
        gates::tally(&rollout.gates, paint),
    ]
}

/// Columns as wide as what is in them.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| visible_width(&row[column])).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let padding = width - visible_width(cell) + 2;
            line.push_str(cell);
            line.push_str(&" ".repeat(padding));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            seen::Freeze,
            testing::{ended, rollout},
        },
        *,
    };
    use tidegate_judge::Time;

    #[test]
    fn one_a_line() {
        let mut other = ended();
        other.name = "search".to_owned();
        let freeze = Some(Freeze { by: "anna".to_owned(), at: Time(1_772_366_645_000) });
        let list = Rollouts {
            rollouts: vec![rollout(), other],
            not_started: vec!["later".to_owned()],
            freeze,
            store_error: None,
        };
        assert_eq!(
            render(&list, Paint::plain()),
            "\
NAME      ROUTE  REVISION  STATE          STEP  WEIGHT  ACTUAL  HELD        GATES
checkout  shop   2.3.1     ▶ progressing  2/4   5%      4.93%   3 min 20 s  1 ?, 1 ✔
search    shop   2.3.1     ✖ rolled back  2/4   0%      -       -           1 ✖ errors, 1 ✔
later has not begun yet
all rollouts are frozen since 2026-03-01 12:04:05Z by anna
"
        );
    }

    #[test]
    fn none() {
        let list = Rollouts {
            rollouts: Vec::new(),
            not_started: Vec::new(),
            freeze: None,
            store_error: Some("disk full".to_owned()),
        };
        assert_eq!(
            render(&list, Paint::plain()),
            "no rollouts\nnothing advances, as state cannot be kept: disk full\n"
        );
    }
}

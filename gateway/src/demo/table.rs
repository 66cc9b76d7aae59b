//! What the demo shows, as text. Nothing here looks at a clock or a terminal.

use super::{
    admin::{Diffs, Field, Rollout},
    panel,
    record::Totals,
    stats::{age, percent, short, thousands},
};
use crate::screen::Paint;
use std::time::Duration;
use tidegate_judge::Decision;

/// How many errors of a refused edit are shown.
const ERRORS_SHOWN: usize = 2;

/// How many fields of the dark version are shown.
const DIFFERENT_SHOWN: usize = 3;

/// Everything that changes from one picture to the next.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) rows: Vec<Row>,
    /// Users with a key that were seen.
    pub(super) users: usize,
    pub(super) totals: Totals,
    pub(super) generation: u64,
    /// How long this generation has been in force.
    pub(super) in_force: Duration,
    /// What comparing the dark version found, if there is one.
    pub(super) dark: Option<Diffs>,
    /// The rollout, if the file has one, and the last decision about it.
    pub(super) rollout: Option<Rollout>,
    pub(super) decision: Option<Decision>,
    /// `(from, to, users)` since then.
    pub(super) moves: Vec<(String, String, usize)>,
    /// Why the last edit was refused; empty if it was not.
    pub(super) rejected: Vec<String>,
    /// What of the file takes effect only after a restart.
    pub(super) restart_needed: Vec<String>,
}

/// A variant over the last seconds.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) variant: String,
    /// The share that the weights give it.
    pub(super) share: f64,
    /// The share of the answers that it gave.
    pub(super) realised: Option<f64>,
    /// Users with a key that are with it.
    pub(super) users: usize,
    /// Answers a second.
    pub(super) rate: f64,
    /// Attempts at it that failed.
    pub(super) errors: u64,
    /// Of these, requests that the fallback answered.
    pub(super) saved: u64,
    pub(super) p50: Option<Duration>,
    pub(super) p99: Option<Duration>,
}

const HEADINGS: [&str; 9] =
    ["variant", "share", "realised", "users", "req/s", "errors", "saved", "p50", "p99"];

/// The table and what happened last, as lines.
pub(super) fn render(view: &View, paint: Paint) -> Vec<String> {
    let cells = view.rows.iter().map(|row| cells(row, view.users));
    let cells: Vec<_> = [HEADINGS.map(str::to_owned)].into_iter().chain(cells).collect();
    let width = |column: usize| {
        cells.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..HEADINGS.len()).map(width).collect();
    let mut lines = Vec::new();
    for (number, row) in cells.iter().enumerate() {
        let padded = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let text = match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            };
            match HEADINGS[column] {
                _ if number == 0 => paint.bold(&text),
                "errors" if cell != "0" => paint.red(&text),
                "saved" if cell != "0" => paint.yellow(&text),
                _ => text,
            }
        });
        lines.push(padded.collect::<Vec<_>>().join("  "));
    }
    lines.push(String::new());
    lines.extend(view.dark.iter().flat_map(|dark| found(dark, paint)));
    lines.push(state(view, paint));
    lines.extend(complaints(view, paint));
    if let Some(rollout) = &view.rollout {
        lines.push(String::new());
        lines.extend(panel::render(rollout, view.decision.as_ref(), paint));
    }
    lines
}

fn cells(row: &Row, users: usize) -> [String; 9] {
    let time = |time: Option<Duration>| time.map_or("-".to_owned(), short);
    [
        row.variant.clone(),
        percent(row.share),
        row.realised.map_or("-".to_owned(), percent),
        format!("{}/{users}", row.users),
        format!("{:.0}", row.rate),
        row.errors.to_string(),
        row.saved.to_string(),
        time(row.p50),
        time(row.p99),
    ]
}

/// What the dark version answers differently, the most certain first.
fn found(dark: &Diffs, paint: Paint) -> Vec<String> {
    let compared = thousands(dark.compared);
    let mut lines = vec![format!("{} {compared} answers of v3 compared", paint.bold("dark"))];
    for field in dark.of("different").take(DIFFERENT_SHOWN) {
        lines.push(format!("     {} {}", paint.red("different"), difference(field)));
    }
    let noise: Vec<_> = dark.of("noise").map(|field| field.field.as_str()).collect();
    if !noise.is_empty() {
        let noise = format!("     noise     {}", noise.join(", "));
        lines.push(paint.dim(&noise));
    }
    lines.push(String::new());
    lines
}

fn difference(field: &Field) -> String {
    let example = field.examples.first();
    let example = example.map(|e| format!(": expected {}, got {},", e.expected, e.actual));
    let example = example.unwrap_or_default();
    let evidence = field.log10_evidence.unwrap_or_default();
    format!("{}{example} in {}; evidence 10^{evidence:.0}", field.field, percent(field.rate))
}

/// Totals, generation, and who moved.
fn state(view: &View, paint: Paint) -> String {
    let View { totals, generation, in_force, .. } = view;
    let totals = match totals.failed {
        0 => paint.green(&totals.to_string()),
        _ => paint.red(&totals.to_string()),
    };
    let moves = match &view.moves[..] {
        [] => "no user moved".to_owned(),
        moves => {
            let one = |(from, to, users): &(String, String, usize)| {
                let plural = if *users == 1 { "" } else { "s" };
                format!("{users} user{plural} moved from {from} to {to}")
            };
            moves.iter().map(one).collect::<Vec<_>>().join(", ")
        }
    };
    format!("{totals}; generation {generation} for {}: {moves}", age(*in_force))
}

/// What is wrong with the file.
pub(super) fn complaints(view: &View, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(more) = view.rejected.len().checked_sub(1) {
        let goes_on = format!("generation {} goes on", view.generation);
        lines.push(paint.red(&format!("The last edit was refused, {goes_on}:")));
        lines.extend(view.rejected.iter().take(ERRORS_SHOWN).map(|error| paint.bold(error)));
        if more >= ERRORS_SHOWN {
            lines.push(format!("and {} more", more + 1 - ERRORS_SHOWN));
        }
    }
    lines.extend(view.restart_needed.iter().map(|change| paint.yellow(change)));
    lines
}

/// The same on one line, for what is no terminal.
pub(super) fn line(view: &View, since_start: Duration) -> String {
    let rows = view.rows.iter().map(|row| {
        let [variant, share, realised, users, rate, errors, saved, p50, p99] =
            cells(row, view.users);
        format!(
            "{variant} share {share} realised {realised} users {users} req/s {rate} \
             errors {errors} saved {saved} p50 {p50} p99 {p99}"
        )
    });
    let rows = rows.collect::<Vec<_>>().join(" | ");
    let View { generation, totals, .. } = view;
    let rollout = view.rollout.as_ref().map(|rollout| format!(" | {}", panel::headline(rollout)));
    let (rollout, seconds) = (rollout.unwrap_or_default(), since_start.as_secs_f64());
    format!("{seconds:>5.1} s  generation {generation}{rollout} | {rows} | {totals}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::admin::Example;

    fn view() -> View {
        let ms = |tenths: u64| Some(Duration::from_micros(tenths * 100));
        let row = |variant: &str, share, realised, users, rate| Row {
            variant: variant.into(),
            share,
            realised: Some(realised),
            users,
            rate,
            errors: 0,
            saved: 0,
            p50: ms(41),
            p99: ms(79),
        };
        View {
            rows: vec![row("stable", 0.9, 0.897, 178, 359.1), row("canary", 0.1, 0.103, 22, 40.9)],
            users: 200,
            totals: Totals { requests: 12_345, ..Totals::default() },
            generation: 1,
            in_force: Duration::from_secs(31),
            dark: None,
            rollout: None,
            decision: None,
            moves: Vec::new(),
            rejected: Vec::new(),
            restart_needed: Vec::new(),
        }
    }

    #[test]
    fn the_table_is_aligned() {
        assert_eq!(
            render(&view(), Paint::plain()).join("\n"),
            "\
variant   share  realised    users  req/s  errors  saved     p50     p99
stable   90.0 %    89.7 %  178/200    359       0      0  4.1 ms  7.9 ms
canary   10.0 %    10.3 %   22/200     41       0      0  4.1 ms  7.9 ms

12,345 requests, 0 failed; generation 1 for 31 s: no user moved"
        );
    }

    #[test]
    fn a_variant_without_traffic_has_no_latency() {
        let mut view = view();
        view.rows.truncate(1);
        (view.rows[0].realised, view.rows[0].p50, view.rows[0].p99) = (None, None, None);
        let lines = render(&view, Paint::plain());
        assert!(lines[1].ends_with("0      0    -    -"), "{}", lines[1]);
    }

    #[test]
    fn a_refused_edit_says_what_and_what_goes_on() {
        let mut view = view();
        view.rejected = ["a:1:2: one", "a:2:2: two", "a:3:2: three"].map(str::to_owned).to_vec();
        view.moves = vec![("stable".into(), "canary".into(), 1)];
        let lines = render(&view, Paint::plain());
        assert!(lines[4].ends_with("1 user moved from stable to canary"));
        assert_eq!(
            lines[5..],
            [
                "The last edit was refused, generation 1 goes on:",
                "a:1:2: one",
                "a:2:2: two",
                "and 1 more"
            ]
        );
    }

    #[test]
    fn a_dark_version_shows_what_is_wrong_before_the_noise() {
        let field = |field: &str, verdict: &str| Field {
            field: field.into(),
            verdict: verdict.into(),
            rate: 1.0,
            log10_evidence: Some(41.7),
            examples: vec![Example { expected: "1".into(), actual: "2".into() }],
        };
        let fields =
            vec![field("$.total", "different"), field("$.at", "noise"), field("$.id", "noise")];
        let mut view = view();
        view.dark = Some(Diffs { compared: 1_234, mismatch: 1_234, fields });
        assert_eq!(
            render(&view, Paint::plain())[4..7],
            [
                "dark 1,234 answers of v3 compared",
                "     different $.total: expected 1, got 2, in 100.0 %; evidence 10^42",
                "     noise     $.at, $.id",
            ]
        );
    }

    #[test]
    fn without_a_terminal_it_is_one_line() {
        let mut view = view();
        view.rows.truncate(1);
        assert_eq!(
            line(&view, Duration::from_millis(2040)),
            "  2.0 s  generation 1 | stable share 90.0 % realised 89.7 % users 178/200 \
             req/s 359 errors 0 saved 0 p50 4.1 ms p99 7.9 ms | 12,345 requests, 0 failed"
        );
    }
}

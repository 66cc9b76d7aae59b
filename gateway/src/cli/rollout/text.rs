//! Numbers, times and glyphs as people read them.

use crate::screen::Paint;
use std::time::Duration;
use tidegate_judge::{State, Time, Verb};

/// A state with its glyph.
pub(super) fn state(state: State, paint: Paint) -> String {
    let text = format!("{} {}", glyph(state), state.name().replace('_', " "));
    match state {
        State::Promoted => paint.green(&text),
        State::RolledBack => paint.red(&text),
        State::Waiting | State::Paused | State::Aborted => paint.yellow(&text),
        State::Progressing => text,
    }
}

fn glyph(state: State) -> char {
    match state {
        State::Progressing => '▶',
        State::Waiting => '◇',
        State::Paused => '‖',
        State::Promoted => '✔',
        State::RolledBack => '✖',
        State::Aborted => '■',
    }
}

/// What a person may do, as on the command line.
pub(super) fn verbs(verbs: &[Verb]) -> String {
    if verbs.is_empty() {
        return "nothing".to_owned();
    }
    verbs.iter().map(|verb| verb.name()).collect::<Vec<_>>().join(", ")
}

/// A share in `[0, 1]`, as in `4.93%`.
pub(super) fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Evidence: it grows by powers.
pub(super) fn evidence(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{value:.0e}"),
        value if value >= 10.0 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    }
}

/// How long, as people say it: `6 min 40 s`.
pub(super) fn span(seconds: f64) -> String {
    if seconds > 0.0 && seconds < 1.0 {
        return format!("{:.0} ms", seconds * 1e3);
    }
    let seconds = seconds.round() as u64;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, 0) => format!("{m} min"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, 0, _) => format!("{h} h"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (1, 0, ..) => "1 day".to_owned(),
        (d, 0, ..) => format!("{d} days"),
        (d, h, ..) => format!("{d} d {h} h"),
    }
}

/// How long, of something that is not known better: `6 min`, not `6 min 3 s`.
pub(super) fn about(seconds: f64) -> String {
    let unit = match seconds {
        s if s < 60.0 => 1.0,
        s if s < 3600.0 => 60.0,
        s if s < 86_400.0 => 600.0,
        _ => 3600.0,
    };
    span((seconds / unit).round().max(1.0) * unit)
}

/// `2026-03-01 12:04:05Z`
pub(super) fn moment(time: Time) -> String {
    let seconds = time.0 / 1000;
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// The date so many days after the first of 1970. Years are counted from March, so that a leap day
/// is the last of its year (Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

/// `90s`, `10m`, `2h`: as in the configuration.
pub(super) fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: write it as `90s`, `10m` or `2h`");
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "ms" => return Ok(Duration::from_millis(number.into())),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs(u64::from(number) * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (seconds, text) in [
            (0.0, "0 s"),
            (0.25, "250 ms"),
            (40.4, "40 s"),
            (60.0, "1 min"),
            (400.0, "6 min 40 s"),
            (7200.0, "2 h"),
            (7500.0, "2 h 5 min"),
            (86_400.0, "1 day"),
            (183_600.0, "2 d 3 h"),
        ] {
            assert_eq!(span(seconds), text);
        }
        assert_eq!((about(0.2), about(363.0)), ("1 s".to_owned(), "6 min".to_owned()));
        assert_eq!((about(7300.0), about(59.7)), ("2 h".to_owned(), "1 min".to_owned()));
    }

    #[test]
    fn moments() {
        for (milliseconds, text) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (1_709_251_199_999, "2024-02-29 23:59:59Z"),
            (1_772_366_645_000, "2026-03-01 12:04:05Z"),
            (4_107_542_400_000, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(moment(Time(milliseconds)), text);
        }
    }

    #[test]
    fn times_are_written_as_in_the_configuration() {
        assert_eq!(parse_span("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse_span("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "10", "m", "-1s", "1.5h", "10 m", "99999999999s", "1d"] {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!([percent(0.05), percent(0.04932), percent(1.0)], ["5%", "4.93%", "100%"]);
        assert_eq!([evidence(1.0), evidence(17.4), evidence(4.2e17)], ["1.0", "17", "4e17"]);
    }
}

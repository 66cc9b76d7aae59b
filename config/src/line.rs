//! The lines that a gate draws, as they are written.

use crate::{
    decode::{Invalid, Scalar},
    value::{PERCENT_PATTERN, parse_percent, percent, share},
};
use serde_json::{Value, json};

/// The largest percentage: a hundred times as much.
const MAX_PERCENT: u32 = 10_000;

/// `max` or `min` of a gate. Which of the two it may be depends on what the gate measures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Line {
    /// A percentage, in parts per million.
    Percent(u32),
    /// A finite number.
    Number(f64),
}

/// How much more than something else, in parts per million of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Excess(pub(crate) u32);

impl Line {
    /// As a number: `1%` is 0.01.
    pub(crate) fn number(self) -> f64 {
        match self {
            Line::Percent(parts) => f64::from(parts) / 1e6,
            Line::Number(number) => number,
        }
    }
}

/// As it would be written.
impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Line::Percent(parts) => f.write_str(&percent(u64::from(*parts))),
            Line::Number(number) => write!(f, "{number}"),
        }
    }
}

impl Scalar for Line {
    const EXPECTED: &'static str = "a share such as `1%` or a number";

    fn parse(text: &str) -> Result<Self, Invalid> {
        if let Some(parts) = parse_percent(text, MAX_PERCENT) {
            return Ok(Self::Percent(parts));
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Self::Number(number)),
            _ => Err(Invalid::new(format!("`{text}` is not a share or a number"))
                .help("write a share such as `1%`, or a number such as `0.8`")),
        }
    }

    fn schema() -> Value {
        json!({ "anyOf": [
            { "type": "number" },
            { "type": "string", "pattern": PERCENT_PATTERN },
        ] })
    }
}

impl Scalar for Excess {
    const EXPECTED: &'static str = "a percentage such as `10%`";

    fn parse(text: &str) -> Result<Self, Invalid> {
        share(text, MAX_PERCENT).map(Self)
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": PERCENT_PATTERN })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(Line::parse("0.1%"), Ok(Line::Percent(1_000)));
        assert_eq!(Line::parse("150%").map(Line::number), Ok(1.5));
        assert_eq!(Line::parse("-0.5"), Ok(Line::Number(-0.5)));
        assert_eq!(Line::parse("1e3").map(|line| line.to_string()), Ok("1000".to_owned()));
        for wrong in ["", "%", ".nan", "nan", "inf", "-.inf", "1e999", "1 %", "-1%", "one"] {
            assert!(Line::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Excess::parse("10000%"), Ok(Excess(100_000_000)));
        for wrong in ["10", "10000.1%", "-1%", "x"] {
            assert!(Excess::parse(wrong).is_err(), "{wrong}");
        }
    }
}

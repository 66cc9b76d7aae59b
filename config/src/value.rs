//! Values with a unit: durations, sizes, shares, weights. Exact integers, no floating point.

use crate::{
    decode::{Decode, Invalid, Scalar, wrong_type},
    problem::Problems,
    yaml::{Kind, Node},
};
use serde_json::{Value, json};
use std::time::Duration;
use tidegate_policies::MAX_WEIGHT;

/// The longest duration: 3,650 days. Far from where adding it to the present time overflows.
const MAX_MILLISECONDS: u64 = 3_650 * 86_400_000;

/// The whole, in parts per million.
pub(crate) const WHOLE: u32 = 1_000_000;

/// A time span, perhaps zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period(pub(crate) Duration);

/// A time span that is more than zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeout(pub(crate) Duration);

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// A share of a whole, in parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share(pub(crate) u32);

/// A share of a whole as a number of hundredths, in parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Percent(pub(crate) u32);

/// The share that a step sets, in parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StepShare(pub(crate) u32);

/// A number of things, perhaps none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u64);

/// How many times in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times(pub(crate) u32);

/// The weight of a variant as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// A number of any scale.
    Integer(u32),
    /// A share of the route, in parts per million.
    Percent(u32),
    /// Wrong, and reported: what depends on it cannot be said.
    Wrong,
}

impl Scalar for Period {
    const EXPECTED: &'static str = "a duration such as `30s`";

    fn parse(text: &str) -> Result<Self, Invalid> {
        let (digits, unit) = split_unit(text);
        let scale: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" if !digits.is_empty() => {
                return Err(Invalid::new(format!("the duration `{text}` has no unit"))
                    .help(format!("write `{text}s` for seconds; units are ms, s, m, h and d")));
            }
            _ => return Err(not_a(text, "duration", "write a whole number and ms, s, m, h or d")),
        };
        let count = digits
            .parse::<u64>()
            .map_err(|_| not_a(text, "duration", "write a whole number and ms, s, m, h or d"))?;
        match count.checked_mul(scale) {
            Some(ms) if ms <= MAX_MILLISECONDS => Ok(Self(Duration::from_millis(ms))),
            _ => Err(Invalid::new(format!("the duration `{text}` is more than 3650d"))),
        }
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" })
    }
}

impl Scalar for Timeout {
    const EXPECTED: &'static str = Period::EXPECTED;

    fn parse(text: &str) -> Result<Self, Invalid> {
        match Period::parse(text)?.0 {
            Duration::ZERO => Err(Invalid::new(format!("`{text}` has to be more than zero"))),
            duration => Ok(Self(duration)),
        }
    }

    fn schema() -> Value {
        <Period as Scalar>::schema()
    }
}

impl Scalar for Size {
    const EXPECTED: &'static str = "a size such as `64KiB`";

    fn parse(text: &str) -> Result<Self, Invalid> {
        const HELP: &str = "write a whole number and B, KiB, MiB or GiB";
        let (digits, unit) = split_unit(text);
        let scale: u64 = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "K" | "k" | "KB" | "kB" | "kb" | "kib" | "Ki" => {
                return Err(not_a(text, "size", &format!("did you mean `{digits}KiB`?")));
            }
            "M" | "m" | "MB" | "mb" | "mib" | "Mi" => {
                return Err(not_a(text, "size", &format!("did you mean `{digits}MiB`?")));
            }
            _ => return Err(not_a(text, "size", HELP)),
        };
        digits
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(scale))
            .map(Self)
            .ok_or_else(|| not_a(text, "size", HELP))
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$" })
    }
}

impl Scalar for Share {
    const EXPECTED: &'static str = "a share such as `10%`";

    fn parse(text: &str) -> Result<Self, Invalid> {
        share(text, 100).map(Self)
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": PERCENT_PATTERN })
    }
}

impl Scalar for StepShare {
    const EXPECTED: &'static str = "a share such as `10%`";

    fn parse(text: &str) -> Result<Self, Invalid> {
        let whole = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !whole {
            return share(text, 100).map(Self);
        }
        let parts = parse_percent(&format!("{text}%"), 100);
        parts.map(Self).ok_or_else(|| not_a(text, "share", "write 0 to 100, or 0% to 100%"))
    }

    fn schema() -> Value {
        json!({ "anyOf": [
            { "type": "integer", "minimum": 0, "maximum": 100 },
            { "type": "string", "pattern": PERCENT_PATTERN },
        ] })
    }
}

impl Scalar for Count {
    const EXPECTED: &'static str = "a whole number";
    const PLAIN: bool = true;

    fn parse(text: &str) -> Result<Self, Invalid> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| digits).map(Self).ok_or_else(|| {
            Invalid::new(format!("expected a whole number from 0 to {}, found `{text}`", u64::MAX))
        })
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX })
    }
}

impl Scalar for Times {
    const EXPECTED: &'static str = "a number from 1 to 100";
    const PLAIN: bool = true;

    fn parse(text: &str) -> Result<Self, Invalid> {
        match text.parse() {
            Ok(times @ 1..=100) => Ok(Self(times)),
            _ => Err(Invalid::new(format!("expected a number from 1 to 100, found `{text}`"))),
        }
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 1, "maximum": 100 })
    }
}

impl Scalar for Percent {
    const EXPECTED: &'static str = "a number of percent such as `10`";

    fn parse(text: &str) -> Result<Self, Invalid> {
        const HELP: &str = "write 0 to 100, with up to four decimals";
        let number = text.strip_suffix('%').unwrap_or(text);
        parse_percent(&format!("{number}%"), 100)
            .map(Self)
            .ok_or_else(|| not_a(text, "percentage", HELP))
    }

    fn schema() -> Value {
        json!({ "anyOf": [
            { "type": "number", "minimum": 0, "maximum": 100 },
            { "type": "string", "pattern": PERCENT_PATTERN },
        ] })
    }
}

/// What a percentage looks like.
pub(crate) const PERCENT_PATTERN: &str = "^[0-9]+(\\.[0-9]{1,4})?%$";

/// Parts per million of a percentage up to `max`.
pub(crate) fn share(text: &str, max: u32) -> Result<u32, Invalid> {
    if !text.ends_with('%') && text.parse::<f64>().is_ok_and(f64::is_finite) {
        return Err(Invalid::new(format!("the share `{text}` has no unit"))
            .help(format!("did you mean `{text}%`?")));
    }
    let help = || format!("write 0% to {max}%, with up to four decimals");
    parse_percent(text, max).ok_or_else(|| not_a(text, "share", &help()))
}

/// Parts per million of `12.5%`; `None` if it is none, above `max` or finer than that.
pub(crate) fn parse_percent(text: &str, max: u32) -> Option<u32> {
    let number = text.strip_suffix('%')?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(decimals) || decimals.len() > 4 {
        return None;
    }
    let whole: u32 = whole.parse().ok().filter(|whole| *whole <= max)?;
    let parts: u32 = format!("{decimals:0<4}").parse().ok()?;
    Some(whole * 10_000 + parts).filter(|parts| *parts <= max * 10_000)
}

/// Parts per million as a percentage, without trailing zeros.
pub(crate) fn percent(parts: u64) -> String {
    let decimals = format!("{:04}", parts % 10_000);
    let decimals = decimals.trim_end_matches('0');
    let dot = if decimals.is_empty() { "" } else { "." };
    format!("{}{dot}{decimals}%", parts / 10_000)
}

impl Decode for Weight {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        const EXPECTED: &str = "a weight such as `90` or `10%`";
        let Kind::Scalar { text, plain } = &node.kind else {
            return wrong_type(node, EXPECTED, problems).or(Some(Self::Wrong));
        };
        if let Some(parts) = parse_percent(text, 100) {
            return Some(Self::Percent(parts));
        }
        if node.is_null() || !plain {
            return wrong_type(node, EXPECTED, problems).or(Some(Self::Wrong));
        }
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<u32>() {
            Ok(weight) if digits && weight <= MAX_WEIGHT => return Some(Self::Integer(weight)),
            _ if digits => {
                problems.error(node.span, format!("the weight {text} is more than 1,000,000"));
            }
            _ => {
                problems
                    .error(node.span, format!("`{text}` is not a weight"))
                    .help("write a whole number from 0 to 1000000, or 0% to 100%".to_owned());
            }
        }
        Some(Self::Wrong)
    }

    fn schema() -> Value {
        json!({ "anyOf": [
            { "type": "integer", "minimum": 0, "maximum": MAX_WEIGHT },
            { "type": "string", "pattern": PERCENT_PATTERN },
        ] })
    }
}

/// Leading digits, and what follows.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn not_a(text: &str, what: &str, help: &str) -> Invalid {
    Invalid::new(format!("`{text}` is not a {what}")).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ms = |text| Period::parse(text).map(|period| period.0.as_millis());
        assert_eq!(ms("250ms"), Ok(250));
        assert_eq!(ms("0s"), Ok(0));
        assert_eq!(ms("2h"), Ok(7_200_000));
        assert_eq!(ms("30d"), Ok(2_592_000_000));
        for wrong in ["", "s", "1.5s", "15", "-1s", "1 s", "9999999999999999999s", "3651d", "1S"] {
            assert!(Period::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Timeout::parse("0ms").is_err());
        let help = Period::parse("15").err().and_then(|invalid| invalid.help);
        assert!(help.is_some_and(|help| help.contains("`15s`")));
    }

    #[test]
    fn sizes() {
        assert_eq!(Size::parse("512B"), Ok(Size(512)));
        assert_eq!(Size::parse("100MiB"), Ok(Size(104_857_600)));
        assert!(Size::parse("99999999999GiB").is_err());
        let help = Size::parse("64KB").err().and_then(|invalid| invalid.help);
        assert_eq!(help.as_deref(), Some("did you mean `64KiB`?"));
    }

    #[test]
    fn percentages_are_exact() {
        for (text, parts) in [("0%", 0), ("0.1%", 1_000), ("0.0001%", 1), ("12.5%", 125_000)] {
            assert_eq!(parse_percent(text, 100), Some(parts));
            assert_eq!(percent(u64::from(parts)), text);
        }
        assert_eq!(parse_percent("100%", 100), Some(WHOLE));
        assert_eq!(StepShare::parse("10"), StepShare::parse("10%"));
        for wrong in ["101", "0.5", "-1", "", "nan", "10 %"] {
            assert!(StepShare::parse(wrong).is_err(), "{wrong}");
        }
        for wrong in ["100.0001%", "101%", "1.00001%", "%", ".5%", "5.%", "-1%", "+1%", "1e1%"] {
            assert_eq!(parse_percent(wrong, 100), None, "{wrong}");
        }
    }
}

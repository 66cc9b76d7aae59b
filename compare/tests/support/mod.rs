//! Answers and comparisons in one line.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use tidegate_compare::*;

/// Enough for anything that is compared here.
pub(crate) const PLENTY: usize = 1 << 28;

pub(crate) fn rules() -> Rules {
    Rules { max_body: 1 << 20, ..Rules::default() }
}

pub(crate) fn pattern(text: &str) -> Pattern {
    text.parse().expect(text)
}

/// An answer of type JSON with this body.
pub(crate) fn json(body: &str) -> Answer {
    let mut answer = bytes(body);
    answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// An answer of no type with this body.
pub(crate) fn bytes(body: impl AsRef<[u8]>) -> Answer {
    let body = Bytes::copy_from_slice(body.as_ref());
    Answer { status: 200, headers: HeaderMap::new(), body }
}

/// Compares with plenty of memory, all of which has to be given back.
pub(crate) fn differences(rules: &Rules, primary: &Answer, candidate: &Answer) -> Vec<Difference> {
    let budget = Budget::new(PLENTY);
    let mut charge = Charge::new(&budget);
    let compared = compare(rules, primary, candidate, None, &mut charge);
    assert_eq!((charge.bytes(), budget.used()), (0, 0));
    compared.expect("it can be compared").candidate
}

/// The differences of two JSON bodies as lines: `kind field at expected actual`.
pub(crate) fn lines(rules: &Rules, primary: &str, candidate: &str) -> Vec<String> {
    shown(&differences(rules, &json(primary), &json(candidate)))
}

/// Differences as lines; the place only where it is not the field.
pub(crate) fn shown(differences: &[Difference]) -> Vec<String> {
    let line = |d: &Difference| {
        let field = d.field.to_string();
        let at = if d.at == field { String::new() } else { format!(" at {}", d.at) };
        format!("{} {field}{at}: {} -> {}", d.kind.label(), d.expected, d.actual)
    };
    differences.iter().map(line).collect()
}

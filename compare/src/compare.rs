//! Comparing whole answers: status, header fields, body.
//!
//! The status goes first: answers of different classes (a page and an error page) have nothing in
//! common that a comparison of bodies could add to. A body is compared by its structure if it is
//! JSON, and otherwise by its bytes, of which nothing is ever shown.

use crate::decode::same_encoding;
use crate::diff::{Difference, Field, Found, Kind};
use crate::json::Document;
use crate::walk::Walk;
use crate::{Answer, Charge, Comparison, NotCompared, Rules, decode, render};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName};
use std::borrow::Cow;

/// Compares `primary` with `candidate` and, where there is one, with `noise`, a second copy of the
/// old version.
///
/// All or nothing: a pair of which one side cannot be compared would bias what is learned about
/// noise. What memory that takes is charged to `charge` and given back at the end, but for the
/// differences themselves: 100 of at most 2 KiB for each answer.
pub fn compare(
    rules: &Rules,
    primary: &Answer,
    candidate: &Answer,
    noise: Option<&Answer>,
    charge: &mut Charge,
) -> Result<Comparison, NotCompared> {
    let before = charge.bytes();
    let comparison = compare_all(rules, primary, candidate, noise, charge);
    charge.back_to(before);
    comparison
}

fn compare_all(
    rules: &Rules,
    primary: &Answer,
    candidate: &Answer,
    noise: Option<&Answer>,
    charge: &mut Charge,
) -> Result<Comparison, NotCompared> {
    let mut others = [Some(candidate), noise].into_iter().flatten();
    // Decoded and parsed once for both, if at all.
    let decoded = match others.any(|other| needs_bodies(primary, other)) {
        true => decode(primary, rules.max_body, charge)?,
        false => Cow::default(),
    };
    let mut body = Body { answer: primary, text: &decoded, document: None };
    let mut differences = |other: &Answer| {
        let mut found = Found::default();
        compare_heads(rules, primary, other, &mut found);
        if needs_bodies(primary, other) {
            compare_bodies(rules, &mut body, other, charge, &mut found)?;
        }
        Ok(found.into_vec())
    };
    let candidate = differences(candidate)?;
    let noise = noise.map(differences).transpose()?;
    Ok(Comparison { candidate, noise })
}

/// Whether it takes the bodies to know that they are equal, and whether they are compared at all.
fn needs_bodies(primary: &Answer, other: &Answer) -> bool {
    let class = |answer: &Answer| answer.status / 100;
    let identical = primary.body == other.body && same_encoding(&primary.headers, &other.headers);
    class(primary) == class(other) && !identical
}

fn compare_heads(rules: &Rules, primary: &Answer, other: &Answer, found: &mut Found) {
    if primary.status != other.status {
        let shown = |answer: &Answer| Some(answer.status.to_string());
        found.add_values(Field::Status, shown(primary), shown(other));
    }
    for name in &rules.headers {
        let (expected, actual) = (values(&primary.headers, name), values(&other.headers, name));
        if expected != actual {
            let shown = |values: Option<Vec<u8>>| values.map(|v| render::header(name, &v));
            found.add_values(Field::Header(name.clone()), shown(expected), shown(actual));
        }
    }
}

/// All values of the field `name` as one, as RFC 9110 §5.3 has it.
fn values(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let values: Vec<&[u8]> = headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
    (!values.is_empty()).then(|| values.join(&b", "[..]))
}

/// The primary's body.
struct Body<'a> {
    answer: &'a Answer,
    /// Decoded.
    text: &'a [u8],
    /// Parsed, once it was needed; `None` in it: it is no JSON.
    document: Option<Option<Document<'a>>>,
}

impl<'a> Body<'a> {
    fn document(&mut self, charge: &mut Charge) -> Result<Option<&Document<'a>>, NotCompared> {
        if self.document.is_none() {
            self.document = Some(Document::parse(self.text, charge)?);
        }
        Ok(self.document.as_ref().and_then(Option::as_ref))
    }
}

fn compare_bodies(
    rules: &Rules,
    primary: &mut Body<'_>,
    other: &Answer,
    charge: &mut Charge,
    found: &mut Found,
) -> Result<(), NotCompared> {
    // Dropped with what it stands for, while the primary's stays.
    let mut own = charge.another();
    let (expected, actual) = (primary.text, &*decode(other, rules.max_body, &mut own)?);
    if expected == actual {
        return Ok(());
    }
    let declared = is_json(&primary.answer.headers) || is_json(&other.headers);
    let may_be_json = declared || (looks_like_json(expected) && looks_like_json(actual));
    if !may_be_json {
        found.add(of_bytes(expected, actual));
        return Ok(());
    }
    let document = Document::parse(actual, &mut own)?;
    match (primary.document(charge)?, &document) {
        (Some(expected), Some(actual)) => Walk::new(rules, expected, actual, found).run(),
        (None, None) => found.add(of_bytes(expected, actual)),
        (parsed, _) => found.add(Difference {
            field: Field::Body,
            kind: Kind::TypeChanged,
            at: Field::Body.to_string(),
            expected: bytes_of(expected, parsed.is_some()),
            actual: bytes_of(actual, parsed.is_none()),
        }),
    }
    Ok(())
}

/// The difference of two bodies that are no JSON.
fn of_bytes(expected: &[u8], actual: &[u8]) -> Difference {
    let pairs = expected.iter().zip(actual);
    let same = pairs.take_while(|(expected, actual)| expected == actual).count();
    Difference {
        field: Field::Body,
        kind: Kind::Changed,
        at: format!("body, from byte {same}"),
        expected: format!("{} bytes", expected.len()),
        actual: format!("{} bytes", actual.len()),
    }
}

fn bytes_of(body: &[u8], is_json: bool) -> String {
    format!("{} bytes {}", body.len(), if is_json { "of JSON" } else { "that are no JSON" })
}

/// Whether the `content-type` says JSON: `application/json`, or a type that ends in `+json`
/// (RFC 6839), whatever its parameters.
fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes();
        let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
        let essence = value[..end].trim_ascii().to_ascii_lowercase();
        essence == b"application/json" || essence.ends_with(b"+json")
    })
}

/// Whether a body starts as a JSON object or array does, for servers that name no type.
fn looks_like_json(body: &[u8]) -> bool {
    matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
}

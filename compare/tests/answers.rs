//! Whole answers: status, header fields, what counts as JSON, encodings, memory.

#![allow(clippy::expect_used, missing_docs)]

mod support;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, SET_COOKIE, VARY};
use http::{HeaderName, HeaderValue};
use std::io::Read;
use support::{PLENTY, bytes, differences, json, rules, shown};
use tidegate_compare::*;

fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers.append(name, HeaderValue::from_static(value));
    answer
}

fn compared(primary: &Answer, candidate: &Answer) -> Vec<String> {
    shown(&differences(&rules(), primary, candidate))
}

#[test]
fn bodies_are_compared_only_within_a_class_of_status() {
    let failed = Answer { status: 500, ..json(r#"{"error": 1}"#) };
    let created = Answer { status: 201, ..json(r#"{"a": 2}"#) };
    let ok = json(r#"{"a": 1}"#);
    assert_eq!(compared(&ok, &failed), ["changed status: 200 -> 500"]);
    assert_eq!(compared(&ok, &created), ["changed status: 200 -> 201", "changed $.a: 1 -> 2"]);
    // Then it does not matter either that a body could not be decoded.
    let broken = with(failed, CONTENT_ENCODING, "gzip");
    assert_eq!(compared(&ok, &broken), ["changed status: 200 -> 500"]);
}

#[test]
fn header_fields_are_compared_by_all_their_values() {
    let rules = Rules { headers: vec![VARY, ETAG, CACHE_CONTROL, SET_COOKIE], ..rules() };
    let one = with(with(with(bytes(""), VARY, "a"), VARY, "b"), ETAG, "\"1\"");
    let one = with(with(one, SET_COOKIE, "id=hidden"), CONTENT_TYPE, "text/html");
    let other = with(with(bytes(""), VARY, "a, b"), CACHE_CONTROL, "no-store");
    let other = with(other, SET_COOKIE, "id=hidden-2");
    assert_eq!(
        shown(&differences(&rules, &one, &other)),
        [
            "removed header etag: \\\"1\\\" -> absent",
            "added header cache-control: absent -> no-store",
            "changed header set-cookie: [redacted] -> [redacted]",
        ]
    );
}

#[test]
fn json_is_what_says_so_or_looks_like_it() {
    let (one, other) = (r#" {"a": 1}"#, "\n{\"a\":\t1.0}");
    assert!(compared(&json(one), &json(other)).is_empty());
    assert!(compared(&bytes(one), &bytes(other)).is_empty());
    let problem =
        |body| with(bytes(body), CONTENT_TYPE, "Application/Problem+JSON ; charset=utf-8");
    assert!(compared(&problem("1"), &bytes("1.0")).is_empty());
    // A number alone does not look like it.
    assert_eq!(
        compared(&bytes("1"), &bytes("1.0")),
        ["changed body at body, from byte 1: 1 bytes -> 3 bytes"]
    );
}

#[test]
fn bodies_that_are_no_json_are_compared_by_bytes_and_never_shown() {
    let text = |body| with(bytes(body), CONTENT_TYPE, "text/plain");
    assert!(compared(&text("same"), &bytes("same")).is_empty());
    assert_eq!(
        compared(&text("hidden-1"), &text("hidden-2 ")),
        ["changed body at body, from byte 7: 8 bytes -> 9 bytes"]
    );
    assert_eq!(
        compared(&json("{broken"), &json("{broken too")),
        ["changed body at body, from byte 7: 7 bytes -> 11 bytes"]
    );
    assert_eq!(
        compared(&json(r#"{"a": 1}"#), &json("<html>")),
        ["type_changed body: 8 bytes of JSON -> 6 bytes that are no JSON"]
    );
    assert_eq!(
        compared(&bytes("{oops}"), &bytes("{}")),
        ["type_changed body: 6 bytes that are no JSON -> 2 bytes of JSON"]
    );
}

fn brotli(body: &str) -> Bytes {
    let mut bytes = Vec::new();
    let mut reader = brotli::CompressorReader::new(body.as_bytes(), 4096, 5, 18);
    reader.read_to_end(&mut bytes).expect("compresses memory");
    Bytes::from(bytes)
}

#[test]
fn encodings_make_no_difference() {
    let plain = json(r#"{"a": 1}"#);
    let encoded = Answer { body: brotli(r#"{"a": 2}"#), ..json("") };
    let encoded = with(encoded, CONTENT_ENCODING, "br");
    assert_eq!(compared(&plain, &encoded), ["changed $.a: 1 -> 2"]);
    assert_eq!(compared(&encoded, &plain), ["changed $.a: 2 -> 1"]);
}

#[test]
fn identical_bodies_are_not_even_decoded() {
    let odd = with(bytes("no gzip"), CONTENT_ENCODING, "gzip");
    let mut charge = Charge::new(&Budget::new(0));
    let small = Rules { max_body: 3, ..rules() };
    let same = compare(&small, &odd, &odd.clone(), Some(&odd), &mut charge);
    assert_eq!(same, Ok(Comparison { candidate: vec![], noise: Some(vec![]) }));
    let plain = bytes("no gzip");
    let mut charge = Charge::new(&Budget::new(PLENTY));
    let other = compare(&rules(), &odd, &plain, None, &mut charge);
    assert_eq!(other, Err(NotCompared::Undecodable));
}

#[test]
fn the_noise_copy_is_compared_with_the_primary_as_well() {
    let mut charge = Charge::new(&Budget::new(PLENTY));
    assert!(charge.grow(7));
    let primary = json(r#"{"a": 1, "b": 1}"#);
    let (candidate, noise) = (json(r#"{"a": 2, "b": 1}"#), json(r#"{"a": 1, "b": 3}"#));
    let found = compare(&rules(), &primary, &candidate, Some(&noise), &mut charge);
    let found = found.expect("both can be compared");
    assert_eq!(shown(&found.candidate), ["changed $.a: 1 -> 2"]);
    assert_eq!(shown(&found.noise.expect("there was one")), ["changed $.b: 1 -> 3"]);
    assert_eq!(charge.bytes(), 7);
    // All or nothing.
    let broken = with(noise, CONTENT_ENCODING, "br");
    let found = compare(&rules(), &primary, &primary.clone(), Some(&broken), &mut charge);
    assert_eq!(found, Err(NotCompared::Undecodable));
    assert_eq!(charge.bytes(), 7);
}

#[test]
fn what_is_too_large_is_not_compared() {
    let (one, other) = (json(r#"{"a": 1}"#), json(r#"{"a": 10}"#));
    let mut charge = Charge::new(&Budget::new(PLENTY));
    let mut with_max = |max_body| {
        compare(&Rules { max_body, ..rules() }, &one, &other, None, &mut charge)
            .map(|found| found.candidate.len())
    };
    assert_eq!(with_max(9), Ok(1));
    assert_eq!(with_max(8), Err(NotCompared::TooLarge));
}

#[test]
fn memory_is_asked_for_and_given_back() {
    let list = |last: u32| json(&format!("[{}{last}]", "1,".repeat(1_000)));
    let (one, other) = (list(1), list(2));
    let outcome = |limit| {
        let budget = Budget::new(limit);
        let mut charge = Charge::new(&budget);
        let found = compare(&rules(), &one, &other, Some(&other), &mut charge);
        assert_eq!(budget.used(), 0);
        found.map(|found| found.candidate.len())
    };
    // Of both documents 1,001 values at less than 200 bytes.
    assert_eq!(outcome(400_000), Ok(1));
    for limit in [0, 100_000, 200_000] {
        assert_eq!(outcome(limit), Err(NotCompared::MemoryBudget), "{limit}");
    }
}

#[test]
fn labels_are_those_of_metrics_and_reports() {
    let reasons = [NotCompared::TooLarge, NotCompared::Undecodable, NotCompared::MemoryBudget];
    assert_eq!(reasons.map(NotCompared::label), ["too_large", "undecodable", "memory_budget"]);
    let kinds = [Kind::Added, Kind::Removed, Kind::Changed, Kind::TypeChanged];
    assert_eq!(kinds.map(Kind::label), ["added", "removed", "changed", "type_changed"]);
    let verdicts = [Verdict::Match, Verdict::Noise, Verdict::Mismatch];
    assert_eq!(verdicts.map(Verdict::label), ["match", "noise", "mismatch"]);
}

//! Nothing secret is in a report, wherever it was in the answers.

#![allow(clippy::expect_used, missing_docs)]

mod support;

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue};
use support::{PLENTY, bytes, json, pattern, rules};
use tidegate_compare::*;

/// Each occurrence of it in what is compared must be gone in what is said.
const SECRET: &str = "hunter2";

fn recorded(rules: &Rules, primary: &Answer, candidate: &Answer) -> String {
    let mut charge = Charge::new(&Budget::new(PLENTY));
    let mut ledger = Ledger::new();
    for (one, other) in [(primary, candidate), (candidate, primary)] {
        let comparison = compare(rules, one, other, Some(one), &mut charge).expect("comparable");
        assert!(!comparison.candidate.is_empty());
        assert!(!format!("{comparison:?}").contains(SECRET), "{comparison:?}");
        let exchange = Exchange { time: 1.0, request_id: "r", method: "GET", path: "/" };
        ledger.record(&comparison, &exchange);
    }
    let report = ledger.report(rules);
    assert!(!report.fields.is_empty());
    serde_json::to_string(&report).expect("a report is JSON")
}

fn assert_hidden(rules: &Rules, primary: &Answer, candidate: &Answer) {
    let report = recorded(rules, primary, candidate);
    assert!(!report.contains(SECRET), "{report}");
    assert!(!format!("{report:?}").contains(SECRET));
}

#[test]
fn members_that_are_named_like_secrets() {
    for name in ["password", "Access-Token", "client_secret", "sessions", "apiKey", "cookie"] {
        let body =
            |value: &str| json(&format!(r#"{{"a": [{{"{name}": {value}}}], "b": {value}}}"#));
        let rules = Rules { redact: vec![pattern("$.b")], ..rules() };
        for (one, other) in [
            (r#""hunter2""#, r#""hunter2-2""#),
            (r#""hunter2""#, "null"),
            (r#"{"deep": ["hunter2", {"x": "hunter2"}]}"#, r#"{"deep": ["", {"x": 3}]}"#),
            (r#"["hunter2"]"#, "[]"),
        ] {
            assert_hidden(&rules, &body(one), &body(other));
        }
    }
}

#[test]
fn names_beneath_a_secret_and_queries_of_locations() {
    let rules = Rules {
        redact: vec![pattern("$.users")],
        headers: vec![http::header::LOCATION],
        ..rules()
    };
    let (one, other) = (r#"{"hunter2": {"a": 1}}"#, r#"{"hunter2": {"a": 2}, "x": 1}"#);
    for name in ["users", "sessions"] {
        let body = |value: &str| json(&format!(r#"{{"{name}": {value}}}"#));
        assert_hidden(&rules, &body(one), &body(other));
        let report = recorded(&rules, &body(one), &body(other));
        assert!(report.contains(&format!("$.{name}[*]")), "{report}");
    }
    let redirect = |code: &str| {
        let mut answer = json("{}");
        let value = HeaderValue::from_str(&format!("/back?code={code}")).expect("a value");
        answer.headers.insert(http::header::LOCATION, value);
        answer
    };
    assert_hidden(&rules, &redirect("hunter2"), &redirect("hunter2-2"));
}

#[test]
fn what_rules_name() {
    let rules = Rules {
        redact: vec![pattern("$.user"), pattern("$..pin"), pattern("$.list[*]")],
        ..rules()
    };
    let one = json(
        r#"{"user": {"a": {"b": "hunter2"}}, "x": [{"pin": "hunter2"}], "list": ["hunter2"]}"#,
    );
    let other = json(r#"{"user": {"a": {"b": 1}}, "x": [{"pin": 2}], "list": ["x"]}"#);
    assert_hidden(&rules, &one, &other);
}

#[test]
fn whole_subtrees_are_only_counted() {
    let one = json(r#"{"a": {"password": "hunter2", "note": "hunter2"}, "b": ["hunter2"]}"#);
    assert_hidden(&rules(), &one, &json("{}"));
    assert_hidden(&rules(), &one, &json(r#"{"a": 1, "b": "x"}"#));
    assert_hidden(&rules(), &one, &json(r#"[]"#));
}

#[test]
fn bodies_that_are_no_json() {
    assert_hidden(&rules(), &bytes("my password is hunter2"), &bytes("my password is gone"));
    assert_hidden(&rules(), &json(r#"{"note": "hunter2", "x": }"#), &json(r#"{"note": 1}"#));
}

#[test]
fn header_fields() {
    let custom = ["x-api-key", "x-auth-token", "x-session"].map(HeaderName::from_static);
    let known = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE, WWW_AUTHENTICATE];
    for name in known.into_iter().chain(custom) {
        let rules = Rules { headers: vec![name.clone()], ..rules() };
        let mut one = bytes("");
        one.headers.append(&name, HeaderValue::from_static("hunter2"));
        let mut other = one.clone();
        other.headers.append(&name, HeaderValue::from_static("hunter2; more"));
        assert_hidden(&rules, &one, &other);
        assert_hidden(&rules, &one, &bytes(""));
    }
}

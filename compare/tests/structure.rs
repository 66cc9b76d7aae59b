//! JSON bodies by their structure: what is a difference, where it is, and what is none.

#![allow(clippy::expect_used, missing_docs)]

mod support;

use support::{lines, pattern, rules};
use tidegate_compare::Rules;

#[test]
fn what_is_the_same_json_has_no_differences() {
    for (one, other) in [
        (r#"{"a": 1, "b": [true, null]}"#, r#"{"b":[true,null],"a":1.0}"#),
        (r#"{"a": "\u00e9\n"}"#, "{\"a\": \"é\\n\"}"),
        (r#"{"a": 1, "a": 2}"#, r#"{"a": 2}"#),
        ("18446744073709551615", " 18446744073709551615 "),
        ("[1e2, -0]", "[100, 0.0]"),
    ] {
        assert!(lines(&rules(), one, other).is_empty(), "{one} {other}");
    }
}

#[test]
fn values_differ_by_kind() {
    let one = r#"{"gone": {"x": 1}, "n": 1, "t": "1", "u": {"v": null}, "list": [1]}"#;
    let other = r#"{"new": [1, 2], "n": 2, "t": 1, "u": {"v": {}}, "list": {}}"#;
    assert_eq!(
        lines(&rules(), one, other),
        [
            "removed $.gone: {1 member} -> absent",
            "type_changed $.list: [1 element] -> {0 members}",
            "changed $.n: 1 -> 2",
            "added $.new: absent -> [2 elements]",
            "type_changed $.t: \"1\" -> 1",
            "type_changed $.u.v: null -> {0 members}",
        ]
    );
    assert_eq!(lines(&rules(), "[]", "{}"), ["type_changed $: [0 elements] -> {0 members}"]);
    assert_eq!(lines(&rules(), "true", "false"), ["changed $: true -> false"]);
}

#[test]
fn integers_are_compared_exactly() {
    assert_eq!(
        lines(&rules(), "[9007199254740993]", "[9007199254740992]"),
        ["changed $[*] at $[0]: 9007199254740993 -> 9007199254740992"]
    );
    assert_eq!(
        lines(&rules(), "[-9223372036854775808, 0.1]", "[-9223372036854775807, 0.2]"),
        [
            "changed $[*] at $[0]: -9223372036854775808 -> -9223372036854775807",
            "changed $[*] at $[1]: 0.1 -> 0.2"
        ]
    );
}

#[test]
fn elements_of_an_array_are_one_field() {
    let one = r#"{"items": [{"price": 1}, {"price": 2}, {"price": 3}, {"price": 4}]}"#;
    let other = r#"{"items": [{"price": 1}, {"price": 3}, {"price": 4}]}"#;
    assert_eq!(
        lines(&rules(), one, other),
        [
            "changed $.items[*].price at $.items[1].price: 2 -> 3",
            "changed $.items[*].price at $.items[2].price: 3 -> 4",
            "removed $.items[*] at $.items[3]: {1 member} -> absent",
        ]
    );
    assert_eq!(lines(&rules(), "[]", r#"["a"]"#), ["added $[*] at $[0]: absent -> \"a\""]);
}

/// Rules that match the elements of `pattern` by their member `key`.
fn keyed(array: &str, key: &str) -> Rules {
    Rules { array_keys: vec![(pattern(array), key.to_owned())], ..rules() }
}

#[test]
fn elements_are_matched_by_their_key() {
    let one = r#"{"items": [{"id": 1, "n": "a"}, {"id": 2, "n": "b"}, {"id": "1", "n": "c"}]}"#;
    let other = r#"{"items": [{"id": "1", "n": "c"}, {"id": 1.0, "n": "x"}, {"id": 3}]}"#;
    assert_eq!(
        lines(&keyed("$.items", "id"), one, other),
        [
            "changed $.items[*].n at $.items[0].n: \"a\" -> \"x\"",
            "removed $.items[*] at $.items[1]: {2 members} -> absent",
            "added $.items[*] at $.items[2]: absent -> {1 member}",
        ]
    );
    // The pattern means that array, and no other at or beneath it.
    let nested =
        (r#"{"items": {"x": [{"id": 1}, {"id": 2}]}}"#, r#"{"items": {"x": [{"id": 2}]}}"#);
    assert_eq!(lines(&keyed("$.items", "id"), nested.0, nested.1).len(), 2);
    assert_eq!(lines(&keyed("$.items.x", "id"), nested.0, nested.1).len(), 1);
    assert_eq!(lines(&keyed("$..x", "id"), nested.0, nested.1).len(), 1);
    assert!(
        lines(&keyed("$", "id"), r#"[{"id":1},{"id":2}]"#, r#"[{"id":2},{"id":1}]"#).is_empty()
    );
}

#[test]
fn elements_without_a_key_of_their_own_are_matched_in_order() {
    // Two of key 1, one without any, one that is no object, one whose key is no scalar.
    let one = r#"[{"id": 1, "n": 1}, {"n": 2}, {"id": 1, "n": 3}, 4, {"id": 5}, {"id": []}]"#;
    let same = r#"[{"id": 5}, {"id": 1, "n": 1}, {"n": 2}, {"id": 1, "n": 3}, 4, {"id": []}]"#;
    assert!(lines(&keyed("$", "id"), one, same).is_empty());
    // Of two alike only one is left: both sides go by order then.
    let less = r#"[{"n": 2}, {"id": 1, "n": 3}, 4, {"id": 5}, {"id": []}]"#;
    assert_eq!(
        lines(&keyed("$", "id"), one, less),
        [
            "removed $[*].id at $[0].id: 1 -> absent",
            "changed $[*].n at $[0].n: 1 -> 2",
            "added $[*].id at $[1].id: absent -> 1",
            "changed $[*].n at $[1].n: 2 -> 3",
            "type_changed $[*] at $[2]: {2 members} -> 4",
            "type_changed $[*] at $[3]: 4 -> {1 member}",
            "removed $[*] at $[5]: {1 member} -> absent",
        ]
    );
}

#[test]
fn ignored_places_are_skipped_with_all_beneath() {
    let rules = Rules {
        ignore: vec![pattern("$.trace.*"), pattern("$..etag"), pattern("$.list[*].at")],
        ..rules()
    };
    let one = r#"{"trace": {"id": 1}, "etag": "a", "list": [{"at": 1, "v": 1}], "x": {"etag": {"y": 1}}}"#;
    let other =
        r#"{"trace": {"id": 2, "new": 0}, "list": [{"at": 2, "v": 2}], "x": {"etag": {"y": 2}}}"#;
    assert_eq!(lines(&rules, one, other), ["changed $.list[*].v at $.list[0].v: 1 -> 2"]);
    // What an ignored field is in is another matter.
    assert_eq!(
        lines(&rules, r#"{"list": []}"#, r#"{"list": [{"at": 1}], "trace": {"id": 1}}"#),
        [
            "added $.list[*] at $.list[0]: absent -> {1 member}",
            "added $.trace: absent -> {1 member}",
        ]
    );
    let all = Rules { ignore: vec![pattern("$")], ..support::rules() };
    assert!(lines(&all, "[1]", "{}").is_empty());
}

#[test]
fn ignored_places_do_not_use_up_the_number_of_differences() {
    let list = |value: u32| {
        let elements: Vec<String> =
            (0..500).map(|i| format!(r#"{{"at":{},"v":{value}}}"#, i + value)).collect();
        format!("[{}]", elements.join(","))
    };
    let rules = Rules { ignore: vec![pattern("$[*].at")], ..rules() };
    let found = lines(&rules, &list(1), &list(2));
    assert_eq!(found.len(), 100);
    assert!(found.iter().all(|line| line.starts_with("changed $[*].v")));
}

#[test]
fn redacted_values_differ_without_being_shown() {
    let rules = Rules { redact: vec![pattern("$.user")], ..rules() };
    let one = r#"{"user": {"name": "Ann", "tags": [1]}, "card": {"api-Key": "k1"}, "n": 1,
        "refreshToken": {"deep": ["t1"]}, "passwords": "p"}"#;
    let other = r#"{"user": {"name": "Bob", "tags": []}, "card": {"api-Key": "k2"}, "n": 2,
        "refreshToken": {"deep": ["t2"]}}"#;
    assert_eq!(
        lines(&rules, one, other),
        [
            "changed $.card['api-Key']: [redacted] -> [redacted]",
            "changed $.n: 1 -> 2",
            "removed $.passwords: [redacted] -> absent",
            "changed $.refreshToken[*][*]: [redacted] -> [redacted]",
            "changed $.user[*]: [redacted] -> [redacted]",
            "removed $.user[*][*]: [redacted] -> absent",
        ]
    );
    let all = Rules { redact: vec![pattern("$")], ..support::rules() };
    assert_eq!(lines(&all, "[1]", "[2]"), ["changed $[*]: [redacted] -> [redacted]"]);
}

#[test]
fn deep_and_long_documents_stay_in_bounds() {
    let nested = |depth: usize, leaf: &str| {
        format!("{}{leaf}{}", r#"{"name":"#.repeat(depth), "}".repeat(depth))
    };
    let found = support::differences(
        &rules(),
        &support::json(&nested(64, "1")),
        &support::json(&nested(64, "2")),
    );
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].field.to_string(), format!("${}", ".name".repeat(64)));
    assert_eq!(found[0].at.chars().count(), 120);
    assert_eq!(
        lines(&rules(), &nested(65, "1"), &nested(65, "2")),
        ["changed body at body, from byte 520: 586 bytes -> 586 bytes"]
    );
    let name = "n".repeat(300);
    let long = |leaf: u32| format!(r#"{{"{name}": {{"{name}": {leaf}}}}}"#);
    let found = lines(&rules(), &long(1), &long(2));
    assert!(found[0].starts_with(&format!("changed $.{name}… at $.nnn")), "{found:?}");
}

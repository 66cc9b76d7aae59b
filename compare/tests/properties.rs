//! What holds for any JSON.

#![allow(clippy::expect_used, missing_docs)]

mod support;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use support::{differences, json as answer, pattern, rules};
use tidegate_compare::{Difference, Kind, Rules};

/// Any JSON value, with few names and values so that two often have some in common.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2_i64..3).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        "[ab\"\\\\\u{1}é…]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(vec!["a", "b", "id", "token", "x-y"]).prop_map(str::to_owned),
        1 => "\\PC{0,3}",
        1 => "[a'\"\\\\.*\u{1}\n…\\[\\]$]{0,4}",
    ]
}

/// The text of `value` with the members of every object in another order.
fn shuffled(value: &Value, order: u64) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{} : {}", json!(name), shuffled(value, order)))
                .collect();
            let by = order as usize % members.len().max(1);
            members.rotate_left(by);
            if order & 1 == 1 {
                members.reverse();
            }
            format!("{{{}\n}}", members.join(" ,"))
        }
        Value::Array(elements) => {
            let elements: Vec<String> = elements.iter().map(|e| shuffled(e, order / 2)).collect();
            format!("[ {}]", elements.join(",\t"))
        }
        scalar => scalar.to_string(),
    }
}

fn between(rules: &Rules, one: &Value, other: &Value) -> Vec<Difference> {
    differences(rules, &answer(&one.to_string()), &answer(&other.to_string()))
}

fn keyed() -> Rules {
    let array_keys = vec![(pattern("$"), "id".to_owned()), (pattern("$..a"), "id".to_owned())];
    Rules { array_keys, ..rules() }
}

/// What differs, seen from the other side.
fn mirrored(difference: Difference) -> (String, &'static str, String, String) {
    let kind = match difference.kind {
        Kind::Added => Kind::Removed,
        Kind::Removed => Kind::Added,
        same => same,
    };
    (difference.field.to_string(), kind.label(), difference.actual, difference.expected)
}

fn plain(difference: Difference) -> (String, &'static str, String, String) {
    let field = difference.field.to_string();
    (field, difference.kind.label(), difference.expected, difference.actual)
}

proptest! {
    #[test]
    fn a_value_does_not_differ_from_itself(value in value(), order: u64) {
        let text = shuffled(&value, order);
        let (one, other) = (answer(&value.to_string()), answer(&text));
        for rules in [rules(), keyed()] {
            prop_assert_eq!(differences(&rules, &one, &other), vec![]);
        }
    }

    #[test]
    fn values_that_are_not_equal_differ(one in value(), other in value()) {
        let found = between(&rules(), &one, &other);
        // 1 and 1.0 are not the same to serde_json.
        prop_assert!(found.is_empty() || one != other);
        prop_assert!(!found.is_empty() || one == other || numbers_only(&one, &other));
        prop_assert!(found.len() <= 100);
        for difference in found {
            prop_assert!(difference.at.chars().count() <= 120);
            prop_assert!(difference.expected.chars().count() <= 120);
            prop_assert!(difference.actual.chars().count() <= 120);
        }
    }

    #[test]
    fn both_directions_find_the_same(one in value(), other in value()) {
        let there = between(&rules(), &one, &other).into_iter().map(plain);
        let back = between(&rules(), &other, &one).into_iter().map(mirrored);
        prop_assert_eq!(there.collect::<HashSet<_>>(), back.collect::<HashSet<_>>());
        let there = between(&keyed(), &one, &other).len();
        prop_assert_eq!(there, between(&keyed(), &other, &one).len());
    }

    /// A path of a report can be copied into the configuration.
    #[test]
    fn the_path_of_a_field_is_a_pattern_that_ignores_it(one in value(), other in value()) {
        for difference in between(&rules(), &one, &other) {
            let path = difference.field.to_string();
            let ignore = vec![path.parse().map_err(|error| {
                TestCaseError::fail(format!("{path}: {error}"))
            })?];
            let left = between(&Rules { ignore, ..rules() }, &one, &other);
            prop_assert!(left.iter().all(|other| other.field != difference.field), "{}", path);
        }
    }

    #[test]
    fn the_order_of_keyed_elements_makes_no_difference(ids in prop::collection::hash_set(0..50, 0..12), by: usize) {
        let elements: Vec<Value> = ids.iter().map(|id| json!({"id": id, "v": [id]})).collect();
        let mut other = elements.clone();
        other.rotate_left(by % elements.len().max(1));
        other.reverse();
        prop_assert_eq!(between(&keyed(), &elements.into(), &other.into()), vec![]);
    }

    #[test]
    fn patterns_are_read_as_they_are_shown(text in "\\$(\\.[a-c]|\\[\\*\\]|\\.\\.[a-c]|\\['[^'\\\\]{0,3}'\\]){0,5}") {
        let pattern = pattern(&text);
        prop_assert_eq!(self::pattern(&pattern.to_string()), pattern);
    }

    #[test]
    fn no_text_makes_reading_a_pattern_panic(text in "\\$?[a\\[\\]'\"*.\\\\u0é-]{0,12}") {
        if let Err(error) = text.parse::<tidegate_compare::Pattern>() {
            prop_assert!(error.column() <= text.chars().count() + 1);
        }
    }
}

/// Whether two values are the same but for the type of numbers that are equal.
fn numbers_only(one: &Value, other: &Value) -> bool {
    let members = |one: &Map<String, Value>, other: &Map<String, Value>| {
        one.len() == other.len()
            && one.iter().all(|(name, value)| {
                other.get(name).is_some_and(|other| numbers_only(value, other))
            })
    };
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| numbers_only(a, b))
        }
        (Value::Object(a), Value::Object(b)) => members(a, b),
        _ => one == other,
    }
}

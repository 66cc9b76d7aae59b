//! What is parsed, what is not, and that the memory was counted right.

use super::*;
use crate::Budget;

const PLENTY: usize = 1 << 30;

fn parse(text: &str) -> Option<Document<'_>> {
    let mut charge = Charge::new(&Budget::new(PLENTY));
    Document::parse(text.as_bytes(), &mut charge).expect("there is plenty of memory")
}

fn number(text: &str) -> Value<'_> {
    parse(text).expect("a number").nodes.remove(0).value
}

#[test]
fn numbers_are_equal_as_numbers() {
    for (a, b) in [("1", "1.0"), ("0", "-0.0"), ("-3", "-3.0"), ("100", "1e2"), ("0.5", "5e-1")] {
        assert_eq!(number(a), number(b), "{a} {b}");
    }
    assert_eq!(number("10000000000000000000"), number("1e19"));
    for (a, b) in [
        ("9007199254740993", "9007199254740992"),
        ("18446744073709551615", "18446744073709551614"),
        ("-9223372036854775808", "-9223372036854775807"),
        // An integer of 64 bits against a float that rounds to it.
        ("9007199254740993", "9007199254740992.0"),
        ("1", "1.0000001"),
        ("1", "-1"),
    ] {
        assert_ne!(number(a), number(b), "{a} {b}");
    }
}

#[test]
fn members_are_ordered_and_the_last_of_a_name_wins() {
    let document = parse(r#"{"b": [1, {"x": 2}], "a": 3, "b": 4, "c\u0064": null}"#).expect("JSON");
    let members = document.members(Document::ROOT);
    let shown: Vec<_> =
        members.iter().map(|i| (document.name(*i), document.node(*i).value.clone())).collect();
    let four = Value::Number(Number::Natural(4));
    let three = Value::Number(Number::Natural(3));
    assert_eq!(shown, [("a", three), ("b", four.clone()), ("cd", Value::Null)]);
    let b = document.member(Document::ROOT, "b").expect("a member");
    assert_eq!(document.node(b).value, four);
    assert_eq!(document.member(b, "b"), None);
    assert_eq!(document.node(Document::ROOT).value, Value::Object(4));
}

#[test]
fn depth_is_bounded() {
    let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
    assert!(parse(&nested(DEPTH_MAX)).is_some());
    assert!(parse(&nested(DEPTH_MAX + 1)).is_none());
    assert!(parse(&nested(100_000)).is_none());
}

#[test]
fn what_is_no_json_gives_its_memory_back() {
    let budget = Budget::new(PLENTY);
    let mut charge = Charge::new(&budget);
    for text in ["", "{", "[1,]", "{} {}", "nul", "1e999", r#""\ud800""#, "{1: 2}", "\u{feff}{}"] {
        let parsed = Document::parse(text.as_bytes(), &mut charge).expect("plenty of memory");
        assert!(parsed.is_none(), "{text}");
        assert_eq!(charge.bytes(), 0);
    }
    assert!(Document::parse(b"\"\xff\"", &mut charge).expect("plenty of memory").is_none());
}

#[test]
fn memory_is_charged_before_it_is_taken() {
    let text = format!("[{}0]", "0,".repeat(10_000));
    let budget = Budget::new(100_000);
    let mut charge = Charge::new(&budget);
    let refused = Document::parse(text.as_bytes(), &mut charge);
    assert_eq!(refused.map(|_| ()), Err(NotCompared::MemoryBudget));
    assert_eq!(charge.bytes(), 0);
    budget.set_limit(PLENTY);
    let document = Document::parse(text.as_bytes(), &mut charge).expect("enough").expect("JSON");
    assert!(charge.bytes() >= document.nodes.len() * size_of::<Node<'_>>());
    assert_eq!(document.children(Document::ROOT).count(), 10_001);
}

#[test]
fn the_count_of_values_is_never_too_low() {
    for text in ["1", "[]", "{}", "[[[]]]", "[1,2,3]", r#"{"a":{"b":[{},[],""]},"c":1}"#] {
        let document = parse(text).expect(text);
        assert!(Need::of(text.as_bytes()).nodes >= document.nodes.len(), "{text}");
    }
}

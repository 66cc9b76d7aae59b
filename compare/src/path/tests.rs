//! What patterns mean, and what is wrong with what is none.

use super::*;

fn pattern(text: &str) -> Pattern {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn patterns_are_shown_in_one_form() {
    for (text, shown) in [
        ("$", "$"),
        ("$.items[*].price", "$.items[*].price"),
        ("$.items.*", "$.items[*]"),
        ("$['items'][\"x-y z\"]", "$.items['x-y z']"),
        ("$..etag", "$..etag"),
        ("$..['e tag'].x", "$..['e tag'].x"),
        (r"$['it\'s']['\\']['\u0007\n']", r"$['it\'s']['\\']['\u0007\n']"),
        ("$.größe._1", "$.größe._1"),
        ("$['1']['']", "$['1']['']"),
        ("$['…']", "$['…']"),
    ] {
        assert_eq!(pattern(text).to_string(), shown);
        assert_eq!(pattern(shown), pattern(text));
    }
}

#[test]
fn a_pattern_means_a_field_and_what_is_beneath() {
    let covers = |text: &str, path: &str| pattern(text).covers(path);
    assert!(covers("$", "$") && covers("$", "$.a.b"));
    assert!(covers("$.a", "$.a") && covers("$.a", "$.a.b[*]"));
    assert!(!covers("$.a", "$") && !covers("$.a", "$.ab") && !covers("$.a", "$.b.a"));
    assert!(covers("$.a[*]", "$.a[*]") && covers("$.a[*]", "$.a.b") && !covers("$.a[*]", "$.a"));
    assert!(!covers("$.a.price", "$.a[*].price"));
    for path in ["$.a", "$.b.a", "$[*].a.c", "$.a.a"] {
        assert!(covers("$..a", path), "{path}");
    }
    assert!(!covers("$..a", "$.b") && !covers("$..a", "$['a.a']"));
    assert!(covers("$..a[*].b", "$.a.a.x.b") && covers("$..a..b.c", "$.a.b.b.c"));
    assert!(!covers("$..a[*].b", "$.a.x.y.b"));
    assert!(covers("$['*']", "$['*']") && !covers("$['*']", "$[*]"));
}

#[test]
fn a_path_that_was_cut_is_covered_by_what_is_left_of_it() {
    assert!(pattern("$.a").covers("$.a.b…") && pattern("$.a.b").covers("$.a.b…"));
    assert!(!pattern("$.a.b.c").covers("$.a.b…"));
    assert!(pattern("$").covers("$…"));
}

#[test]
fn what_is_no_pattern_says_where_and_what_instead() {
    for (text, column, help) in [
        ("", 1, "starts with `$`"),
        ("items", 1, "starts with `$`"),
        ("$items", 2, "`i` cannot stand here"),
        ("$.", 3, "a name is missing"),
        ("$.a.[*]", 5, "a name is missing"),
        ("$.größe[3]", 9, "use [*]"),
        ("$[1:2]", 3, "use [*]"),
        ("$[-1]", 3, "use [*]"),
        ("$[?@.a]", 3, "write `['any name']` or `[*]`"),
        ("$[a]", 3, "write `['any name']` or `[*]`"),
        ("$[", 3, "write `['any name']` or `[*]`"),
        ("$['a", 4, "not closed"),
        ("$['a'", 6, "`]` is missing"),
        ("$['a\\x']", 5, "no escape"),
        ("$['\\ud800']", 4, "no escape"),
        ("$['\\u+123']", 4, "no escape"),
        ("$.x-y", 4, "`-` cannot stand here; write a name that contains it as `['any name']`"),
        ("$.1", 3, "`1` cannot stand here"),
        ("$..", 4, "`..` needs a name"),
        ("$..*", 4, "`..` needs a name"),
        ("$.a b", 4, "` ` cannot stand here"),
    ] {
        let error = text.parse::<Pattern>().expect_err(text);
        assert_eq!(error.column(), column, "{text}: {error}");
        assert!(error.to_string().contains(help), "{text}: {error}");
    }
    let long = format!("${}", ".a".repeat(STEPS_MAX));
    assert_eq!(pattern(&long).to_string(), long);
    let error = format!("{long}.a").parse::<Pattern>().expect_err("a step too many");
    assert_eq!(error.column(), long.len() + 1);
}

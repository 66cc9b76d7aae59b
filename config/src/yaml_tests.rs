//! Places, bounds and refusals of the YAML reader.

use crate::{
    problem::Problems,
    yaml::{Kind, Node, parse},
};

fn place(node: &Node) -> (u32, u32, u32) {
    (node.span.line, node.span.column, node.span.length)
}

fn read(text: &str) -> (Option<Node>, Vec<String>) {
    let mut problems = Problems::default();
    let node = parse(0, text, &mut problems);
    let list =
        problems.list.iter().map(|p| format!("{}:{} {}", p.span.line, p.span.column, p.message));
    (node, list.collect())
}

fn at<'a>(node: &'a Node, keys: &[&str]) -> Option<&'a Node> {
    keys.iter().try_fold(node, |node, key| match &node.kind {
        Kind::Seq(items) => items.get(key.parse::<usize>().ok()?),
        _ => node.get(key),
    })
}

#[test]
fn knows_the_place_of_everything() {
    let (node, problems) =
        read("a: {b: \"é\", c: [x, 'y z']}\nd:\n  - e: f\n    g: |\n      h\nempty:\n");
    assert!(problems.is_empty(), "{problems:?}");
    let node = node.expect("valid");
    let check = |keys: &[&str], expected| {
        assert_eq!(at(&node, keys).map(place), Some(expected), "{keys:?}");
    };
    check(&["a"], (1, 4, 23));
    check(&["a", "b"], (1, 8, 3));
    check(&["a", "c"], (1, 16, 10));
    check(&["a", "c", "1"], (1, 20, 5));
    check(&["d", "0"], (3, 5, 1));
    check(&["d", "0", "e"], (3, 8, 1));
    check(&["empty"], (6, 1, 5));
}

#[test]
fn refuses_what_a_configuration_does_not_need() {
    let refused = [
        ("a: 1\na: 2\n", "2:1 `a` is here twice"),
        ("a: 1\n---\nb: 2\n", "2:1 a second document begins here"),
        ("a: !secret x\n", "1:4 YAML tags (`!…`) have no meaning here"),
        ("[a]: b\n", "1:1 a key has to be plain text"),
        ("a: &x [*x]\n", "1:8 an alias inside of what it stands for"),
        ("", "1:1 the file is empty"),
        ("# only a comment\n", "1:1 the file is empty"),
    ];
    for (text, expected) in refused {
        assert_eq!(read(text).1.first().map(String::as_str), Some(expected), "{text:?}");
    }
    let syntax = read("a: [1, 2\nb: 3\n").1;
    assert!(syntax[0].contains("not valid YAML"), "{syntax:?}");
}

#[test]
fn copies_aliases_within_bounds() {
    let (node, problems) = read("a: &t {x: 1s}\nb: *t\n");
    assert!(problems.is_empty(), "{problems:?}");
    assert!(node.is_some_and(|node| at(&node, &["b", "x"]).is_some()));

    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for n in 1..9 {
        let previous = format!("*a{}", n - 1);
        laughs += &format!("a{n}: &a{n} [{}]\n", vec![previous; 9].join(", "));
    }
    assert!(read(&laughs).1[0].contains("too"), "{:?}", read(&laughs).1);
}

#[test]
fn bounds_the_depth() {
    let deep = "[".repeat(100) + &"]".repeat(100);
    assert!(read(&deep).1[0].contains("levels deep"), "{:?}", read(&deep).1);
    let mut tower = String::from("a0: &a0 [x]\n");
    for n in 1..200 {
        tower += &format!("a{n}: &a{n} [*a{}]\n", n - 1);
    }
    assert!(read(&tower).1[0].contains("too deep"), "{:?}", read(&tower).1);
}

#[test]
fn finds_duplicates_among_many_keys() {
    let mut text: String = (0..40).map(|n| format!("k{n}: v\n")).collect();
    text += "k3: again\nk39: again\n";
    assert_eq!(read(&text).1, ["41:1 `k3` is here twice", "42:1 `k39` is here twice"]);
}

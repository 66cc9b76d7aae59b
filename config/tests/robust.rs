//! Whatever is in a file, loading ends soon and with an answer.

use proptest::prelude::*;
use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};
use tidegate_config::{compile_text, render};

const FULL: [&str; 3] = [
    include_str!("data/full.yaml"),
    include_str!("data/rollouts.yaml"),
    include_str!("data/edge.yaml"),
];

/// Pieces that mean something to YAML or to the schema.
const PIECES: [&str; 36] = [
    "{",
    "}",
    "[",
    "]",
    ": ",
    "- ",
    "\n",
    "\"",
    "'",
    "&a ",
    "*a",
    "!x ",
    "---\n",
    "...\n",
    "|\n",
    ">-\n",
    "# ",
    "? ",
    "<<: ",
    "~",
    "\t",
    "  ",
    "\u{feff}",
    "\u{0}",
    "é",
    "%",
    "99999999999999999999",
    "-1",
    "0%",
    "100%",
    "name: x",
    "weight: 0",
    "regex: '('",
    "routes: []",
    "include: x",
    "rollouts: []",
];

#[derive(Debug, Clone)]
enum Edit {
    Cut(usize, usize),
    Insert(usize, usize),
    Copy(usize, usize, usize),
    Flip(usize, char),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<usize>(), 1..40_usize).prop_map(|(at, length)| Edit::Cut(at, length)),
        (any::<usize>(), 0..PIECES.len()).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        (any::<usize>(), any::<usize>(), 1..200_usize).prop_map(|(a, b, n)| Edit::Copy(a, b, n)),
        (any::<usize>(), any::<char>()).prop_map(|(at, to)| Edit::Flip(at, to)),
    ]
}

fn apply(text: &mut Vec<char>, edit: &Edit) {
    let length = text.len();
    let place = |at: usize| at % (length + 1);
    let upto = |start: usize, count: usize| (start + count).min(length);
    match *edit {
        Edit::Cut(at, count) => drop(text.drain(place(at)..upto(place(at), count))),
        Edit::Insert(at, piece) => {
            text.splice(place(at)..place(at), PIECES[piece].chars());
        }
        Edit::Copy(from, to, count) => {
            let copied: Vec<char> = text[place(from)..upto(place(from), count)].to_vec();
            text.splice(place(to)..place(to), copied);
        }
        Edit::Flip(at, to) => {
            if let Some(character) = text.get_mut(place(at)) {
                *character = to;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_are_answered(
        which in 0..FULL.len(),
        edits in prop::collection::vec(edit(), 1..8),
    ) {
        let mut text: Vec<char> = FULL[which].chars().collect();
        edits.iter().for_each(|edit| apply(&mut text, edit));
        let text: String = text.into_iter().collect();
        match compile_text("t.yaml", &text) {
            Ok(plan) => prop_assert!(!plan.routes.is_empty() && !plan.listeners.is_empty()),
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                for error in &errors {
                    prop_assert!(error.place.line >= 1 && error.place.column >= 1);
                }
                let shown = render(&errors, true);
                prop_assert!(shown.contains("error"));
            }
        }
    }

    #[test]
    fn arbitrary_text_is_answered(text in "(?s).{0,200}") {
        prop_assert!(compile_text("t.yaml", &text).is_err());
    }
}

fn many(routes: usize) -> String {
    let mut text = String::from("listeners: [{ name: web, address: 127.0.0.1:0 }]\nupstreams:\n");
    for n in 0..routes / 10 {
        let _ =
            writeln!(text, "  - {{ name: up-{n}, endpoints: [127.0.0.1:9001, 127.0.0.1:9002] }}");
    }
    text += "routes:\n";
    for n in 0..routes {
        let _ = write!(
            text,
            "  - name: route-{n}
    match: {{ hosts: [h{n}.example.com], path: {{ prefix: /shop }} }}
    bucket_by: [{{ header: x-user-id }}, client_ip]
    variants:
      - {{ name: stable, upstream: up-{}, weight: 90 }}
      - {{ name: canary, upstream: up-{}, weight: 10, fallback: stable }}
",
            n / 10,
            (n / 10 + 1) % (routes / 10),
        );
    }
    text
}

/// The bound is ten times what an optimised build needs; it catches quadratic work, not slowness.
#[test]
fn ten_thousand_routes_load_soon() {
    let text = many(10_000);
    let start = Instant::now();
    let plan = compile_text("t.yaml", &text).expect("a plan");
    let took = start.elapsed();
    assert_eq!(plan.routes.len(), 10_000);
    assert!(took < Duration::from_millis(2_500), "{took:?}");
}

#[test]
fn ten_thousand_mistakes_are_told_soon() {
    let text = many(10_000).replace("upstream: up-", "upstream: upp-");
    let start = Instant::now();
    let errors = compile_text("t.yaml", &text).expect_err("mistakes");
    assert_eq!(errors.len(), 20_000);
    assert!(
        errors[19_999].path == "routes[9999].variants[1].upstream",
        "{:?}",
        errors[19_999].path
    );
    assert!(render(&errors, false).ends_with("and 19900 more\n"));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// Large files that mean nothing, in the ways that make parsers slow.
#[test]
fn hostile_files_are_refused_soon() {
    let size = 1 << 20;
    let repeated = |piece: &str| piece.repeat(size / piece.len());
    let anchors: String = (0..20_000).map(|n| format!("- &a{n} [x, x, x]\n")).collect();
    let keys: String = (0..100_000).map(|n| format!("k{n}: 1\n")).collect();
    let nested: String = (0..500).map(|n| " ".repeat(n) + "a:\n").collect();
    let files = [
        ("brackets", repeated("[")),
        ("braces", repeated("{a: ")),
        ("dashes", repeated("- ")),
        ("questions", repeated("? ")),
        ("one long line", repeated("a, ")),
        ("open quote", format!("a: \"{}", repeated("x\\n "))),
        ("pairs", format!("[{}]", repeated("a: b, "))),
        ("colons", repeated("a:")),
        ("lines", repeated("a\n")),
        ("same key", repeated("a: 1\n")),
        ("block text", format!("a: |\n{}", repeated("  x\n"))),
        ("comments", repeated("# x\n")),
        ("documents", repeated("---\n")),
        ("blank lines", repeated("\n")),
        ("spaces", repeated(" ")),
        ("anchors", anchors),
        ("keys", keys),
        ("nested", nested),
    ];
    for (name, text) in files {
        let start = Instant::now();
        assert!(compile_text("t.yaml", &text).is_err(), "{name}");
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "{name}: {took:?}");
    }
}

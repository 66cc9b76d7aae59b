//! What users are told about mistakes in their rollouts, and where.

mod gates;
mod steps;

use std::fmt::Write as _;
use tidegate_config::{Diagnostic, compile_text};

const ALL: &str = include_str!("../data/rollouts.yaml");

fn errors(text: &str) -> Vec<Diagnostic> {
    compile_text("t.yaml", text).expect_err("mistakes")
}

/// The text that a diagnostic points at.
fn pointed(diagnostic: &Diagnostic) -> String {
    let place = &diagnostic.place;
    let start = place.excerpt_column as usize - 1;
    place.excerpt.chars().skip(start).take(place.length as usize).collect()
}

/// What to replace in the example, by what; where the only error then points, what it says, and
/// how its help begins.
type Mistake<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

fn check(mistakes: &[Mistake<'_>]) {
    let mut wrong = String::new();
    for (from, to, at, message, help) in mistakes {
        assert!(ALL.contains(from), "{from}");
        let found = errors(&ALL.replacen(from, to, 1));
        let brief: Vec<_> = found
            .iter()
            .map(|d| (pointed(d), d.message.clone(), d.help.clone().unwrap_or_default()))
            .collect();
        let right = matches!(&brief[..], [(place, said, helped)]
            if place == at && said == message && helped.starts_with(help) && helped.is_empty() == help.is_empty());
        if !right {
            let _ = writeln!(wrong, "{from} -> {to}:\n  {brief:?}\n  {at:?} {message:?} {help:?}");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn of_the_rollout() {
    check(&[
        (
            "on_streams: { drain: 30s }",
            "on_streams: { drain: 30 }",
            "30",
            "the duration `30` has no unit",
            "write `30s` for seconds",
        ),
        (
            "name: cart-2.4",
            "name: shop-v2",
            "shop-v2",
            "there are two rollouts called `shop-v2`",
            "",
        ),
        (
            "    route: shop\n",
            "    route: shp\n",
            "shp",
            "unknown route `shp`",
            "did you mean `shop`?",
        ),
        (
            "baseline: stable",
            "baseline: stabel",
            "stabel",
            "unknown variant `stabel`",
            "did you mean `stable`?",
        ),
        ("candidate: canary", "candidate: v9", "v9", "unknown variant `v9`", ""),
        (
            "candidate: canary",
            "candidate: stable",
            "stable",
            "the candidate is the baseline",
            "name another variant of the route `shop`",
        ),
        (
            "baseline: old\n    candidate: new",
            "baseline: new\n    candidate: old",
            "new",
            "`new` is not the first variant of the route `cart`",
            "make it the first, or make `old` the baseline: only while share moves from and to the \
             first variant does growing another take no user out of it",
        ),
        ("mirror: dark", "mirror: drak", "drak", "unknown mirror `drak`", "did you mean `dark`?"),
        (
            "weight: 80% }\n      - { name: new, upstream: shop-v2, weight: 0% }\n      - { name: \
             other, upstream: shop-v1, weight: 20% }",
            "weight: 0 }\n      - { name: new, upstream: shop-v2, weight: 0 }\n      - { name: \
             other, upstream: shop-v1, weight: 20 }",
            "new",
            "the weights of `old` and `new` add up to 0",
            "give `old` a weight above 0",
        ),
        (
            "    route: cart\n    baseline: old\n    candidate: new",
            "    route: shop\n    baseline: stable\n    candidate: canary",
            "shop",
            "the route `shop` has another rollout",
            "a route has one rollout at a time",
        ),
        ("revision: 2.40", "revision: ''", "''", "a revision has 1 to 128 characters", ""),
        (
            "revision: 2.40",
            "revision: \"a\\tb\"",
            "\"a\\tb\"",
            "a revision cannot contain `\\t`",
            "",
        ),
        (
            "alpha: 2%",
            "alpha: 0%",
            "0%",
            "`alpha` has to be above 0% and below 50%",
            "it is the chance",
        ),
        (
            "beta: 10%",
            "beta: 50%",
            "50%",
            "`beta` has to be above 0% and below 50%",
            "it is the chance",
        ),
        ("beta: 10%", "beta: 0.1", "0.1", "the share `0.1` has no unit", "did you mean `0.1%`?"),
        ("when: held", "when: hold", "hold", "unknown condition `hold`", "did you mean `held`?"),
        (
            "on_breach: pause",
            "on_breach: stop",
            "stop",
            "unknown reaction `stop`",
            "choose `rollback` or `pause`",
        ),
        (
            "failed_requests: 500",
            "failed_requests: 0",
            "0",
            "expected a whole number from 1 to 18446744073709551615, found `0`",
            "",
        ),
        (
            "\"http://127.0.0.1:9999/hook\"",
            "127.0.0.1:9999/hook",
            "127.0.0.1:9999/hook",
            "the URL `127.0.0.1:9999/hook` has no scheme",
            "did you mean `http://127.0.0.1:9999/hook`?",
        ),
        (
            "state: { path: var/tidegate.db }",
            "state: tidegate.db",
            "tidegate.db",
            "expected a map with the keys `path`, found `tidegate.db`",
            "",
        ),
    ]);
}

#[test]
fn second_places_are_pointed_at() {
    let note = |from: &str, to: &str| {
        let errors = errors(&ALL.replacen(from, to, 1));
        let (place, why) = errors[0].note.clone().expect("a note");
        (place.excerpt.trim().to_owned(), why)
    };
    assert_eq!(
        note(
            "    route: cart\n    baseline: old\n    candidate: new",
            "    route: shop\n    baseline: stable\n    candidate: canary"
        ),
        ("route: shop".to_owned(), "the other one is here".to_owned())
    );
    assert_eq!(
        note("weight: 50%, hold", "weight: 5%, hold"),
        (
            "- { weight: 10%, hold: 10m, min_requests: 1000 }".to_owned(),
            "it was set here".to_owned()
        )
    );
    assert_eq!(
        note("mirror: dark", "mirror: copies").0,
        "- { name: copies, upstream: shop-v2, percent: 0 }"
    );
}

#[test]
fn there_are_bounds() {
    let gates: String = (0..33)
        .map(|n| format!("      - {{ name: g{n}, metric: error_rate, max: 1% }}\n"))
        .collect();
    let text = ALL.replacen("      - name: pool", &format!("{gates}      - name: pool"), 1);
    assert_eq!(errors(&text)[0].message, "a rollout has at most 32 gates");

    let mut text = String::from(
        "listeners: [{ name: web, address: 127.0.0.1:0 }]\nupstreams: [{ name: u, endpoints: [a:1] }]\nroutes:\n",
    );
    let mut rollouts = String::from("rollouts:\n");
    for n in 0..70 {
        let _ = writeln!(
            text,
            "  - {{ name: r{n}, match: {{ path: {{ prefix: /{n} }} }}, variants: [{{ name: a, \
             upstream: u, weight: 1 }}, {{ name: b, upstream: u, weight: 0 }}] }}"
        );
        let _ = writeln!(
            rollouts,
            "  - {{ name: r{n}, route: r{n}, baseline: a, candidate: b, revision: 1, steps: [{{ \
             weight: 1, hold: 1m }}] }}"
        );
    }
    let found = errors(&format!("{text}{rollouts}"));
    let [error] = &found.iter().filter(|d| d.severity.as_str() == "error").collect::<Vec<_>>()[..]
    else {
        panic!("{found:?}");
    };
    assert_eq!(error.message, "there are more than 64 rollouts");
    assert_eq!(error.path, "rollouts[64].name");
}

#[test]
fn an_error_does_not_breed_others() {
    let only = |from: &str, to: &str, expected: &str| {
        assert!(ALL.contains(from), "{from}");
        let found = errors(&ALL.replacen(from, to, 1));
        let said: Vec<_> = found.iter().map(|d| d.message.as_str()).collect();
        assert_eq!(said, [expected], "{to}");
    };
    // What is left out because of an error of its own is not missing.
    only("  - name: cart\n    match", "  - name: cart\n    matsch", "unknown key `matsch`");
    only(
        "upstream: shop-v1, weight: 80%",
        "upstream: [], weight: 80%",
        "expected text, found a list",
    );
    only(
        "        percent: 10\n",
        "        percent: 10\n        max_body: 1\n",
        "`1` is not a size",
    );
    only(
        "name: copies, upstream: shop-v2",
        "name: copies, upstrem: shop-v2",
        "unknown key `upstrem`",
    );
    only(
        "steps:\n      - { weight: 5, pause",
        "steps:\n      - { weight: x, pause",
        "`x` is not a share",
    );
    only(
        "- { mirror: 100%, hold: 10m }",
        "- { mirror: 100%, hold: 10 }",
        "the duration `10` has no unit",
    );
}

//! What users are told about their mistakes, and where.

use std::path::{Path, PathBuf};
use tidegate_config::{Diagnostic, compile_text, load};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const FULL: &str = include_str!("data/full.yaml");

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn errors(text: &str) -> Vec<Diagnostic> {
    compile_text("t.yaml", text).expect_err("mistakes")
}

/// The text that a diagnostic points at.
fn pointed(diagnostic: &Diagnostic) -> String {
    let place = &diagnostic.place;
    let start = place.excerpt_column as usize - 1;
    place.excerpt.chars().skip(start).take(place.length as usize).collect()
}

/// `line:column message` of each.
fn brief(text: &str) -> Vec<String> {
    let line = |d: &Diagnostic| format!("{}:{} {}", d.place.line, d.place.column, d.message);
    errors(text).iter().map(line).collect()
}

#[test]
fn five_mistakes_are_five_errors() {
    let failure = load(&data("mistakes.yaml"), None).expect_err("mistakes");
    let directory = format!("{}/", data("").display());
    let shown = failure.render(false).replace(&directory.replace("//", "/"), "");
    let golden = include_str!("data/mistakes.txt");
    assert_eq!(shown, golden, "\n{shown}");
    assert!(failure.render(true).contains("\x1b["));
    let json = failure.diagnostics[4].json();
    assert_eq!(json["path"], "routes[0].variants[1].fallback");
    assert_eq!((&json["line"], &json["column"]), (&13.into(), &66.into()));
    assert_eq!(json["help"], "did you mean `stable`?");
    assert_eq!(json["severity"], "error");
}

#[test]
fn each_mistake_has_its_message() {
    // What to replace in the full example, by what; where the only error then points, what it says.
    let edits = [
        ("name: other", "name: web", "web", "there are two listeners called `web`"),
        ("\"[::1]:0\"", "127.0.0.1:8080", "127.0.0.1:8080", "the address 127.0.0.1:8080 is taken"),
        (
            "{ address: 127.0.0.1:9901, token_file: admin.token }",
            "{ address: 0.0.0.0:9901 }",
            "0.0.0.0:9901",
            "an admin address beyond loopback needs a `token_file`",
        ),
        ("format: json", "format: text", "text", "unknown format `text`"),
        ("protocol: h2c", "protocol: http2", "http2", "unknown protocol `http2`"),
        (
            "protocol: h2c",
            "protocol: h2",
            "h2",
            "`protocol: h2` is HTTP/2 over TLS, and this upstream has no `tls`",
        ),
        (
            "upstream: shop-dark\n",
            "upstream: shop-drak\n",
            "shop-drak",
            "unknown upstream `shop-drak`",
        ),
        ("percent: 12.5", "percent: 101", "101", "`101` is not a percentage"),
        (
            "methods: [GET, HEAD, POST]",
            "methods: []",
            "[]",
            "a mirror without methods copies nothing",
        ),
        (
            "max_body: 128KiB",
            "max_body: 1GiB",
            "1GiB",
            "`runtime.mirror_memory` can never hold this",
        ),
        (
            "max_body: 512KiB",
            "max_body: 11MiB",
            "11MiB",
            "`runtime.mirror_memory` can never hold this",
        ),
        (
            "noise_upstream: shop-v1",
            "noise_upstream: shop-dark",
            "shop-dark",
            "the noise upstream is the mirror's own",
        ),
        ("name: second", "name: dark", "dark", "there are two mirrors called `dark`"),
        (
            "x-env: shadow",
            "x-tidegate-x: y",
            "x-tidegate-x",
            "`x-tidegate-*` fields are the gateway's own",
        ),
        ("127.0.0.1/32", "127.0.0.1/33", "127.0.0.1/33", "`127.0.0.1/33` is not a network"),
        ("[127.0.0.1:9003]", "[]", "[]", "the upstream `shop-v2` has no endpoints"),
        ("[127.0.0.1:9003]", "[127.0.0.1]", "127.0.0.1", "the endpoint `127.0.0.1` has no port"),
        (
            "  - { name: shop-v2",
            "  - { name: shop-v1, endpoints: [a:1] }\n  - { name: shop-v2",
            "shop-v1",
            "there are two upstreams called `shop-v1`",
        ),
        (
            "\"*.shop",
            "\"a.*.shop",
            "\"a.*.shop.example.com\"",
            "`*` may only stand for the whole first label, as in `*.example.com`",
        ),
        (
            "path: { prefix: /shop/ }",
            "path: { prefix: /shop, exact: /x }",
            "{ prefix: /shop, exact: /x }",
            "expected one of `exact`, `prefix` or `regex`, found `exact` and `prefix`",
        ),
        ("prefix: /shop/", "exact: /shop", "/", "there is no path prefix to rewrite"),
        ("POST, GET", "POST, get", "get", "`get` is not a method"),
        ("weight: 90", "weight: 90%", "10", "whole numbers and percentages are mixed in one route"),
        ("weight: 90", "weight: -1", "-1", "`-1` is not a weight"),
        (
            "weight: 90 }",
            "weight: 1000001 }",
            "1000001",
            "the weight 1000001 is more than 1,000,000",
        ),
        (
            "weight: 0.1%",
            "weight: 0.2%",
            "0.2%",
            "the weights of this route add up to 100.1%, not 100%",
        ),
        (", weight: 0.1%", "", "b", "the variant `b` has no `weight`"),
        ("fallback: stable", "fallback: canary", "canary", "a variant cannot be its own fallback"),
        ("fallback: stable", "fallback: x", "x", "unknown variant `x`"),
        ("cookie: uid,", "cookie: u=id,", "u=id", "`u=id` is not a cookie name"),
        (
            "{ header: x-user-id }",
            "{ header: x-user-id, issue: { max_age: 1d } }",
            "{ max_age: 1d }",
            "only a cookie can be issued",
        ),
        (
            "{ header: x-user-id }",
            "user_ip",
            "user_ip",
            "expected `client_ip`, `{ header: … }` or `{ cookie: … }`, found `user_ip`",
        ),
        (
            "header: { name: x-canary, exact: always }, from: [127.0.0.0/8]",
            "from: []",
            "[]",
            "`from` names no network",
        ),
        (", cookie: { name: opt_out, present: true }", "", "stable", "this pin has no condition"),
        ("present: true", "present: false", "false", "`present` can only be `true`"),
        ("regex: \"1\\\\..*\"", "regex: \"(\"", "\"(\"", "bad regular expression: unclosed group"),
        ("max_body: 1MiB", "max_body: 1MB", "1MB", "`1MB` is not a size"),
        ("remove: [x-debug]", "remove: [host]", "host", "the gateway sets `host` itself"),
        (
            "add: { x-env: edge }",
            "add: { x-tidegate-env: edge }",
            "x-tidegate-env",
            "`x-tidegate-*` fields are the gateway's own",
        ),
        (
            "x-env: edge",
            "x-env: \"a\\nb\"",
            "\"a\\nb\"",
            "a header value cannot contain line breaks or control characters",
        ),
        ("name: rest", "name: shop", "shop", "there are two routes called `shop`"),
        ("name: rest", "name: a b", "a b", "a name cannot contain ` `"),
        (
            "expose_variant: true",
            "expose_variant: yes",
            "yes",
            "expected `true` or `false`, found `yes`",
        ),
        (
            "threads: 2",
            "threads: \"2\"",
            "\"2\"",
            "expected a number of threads, found text in quotes",
        ),
        ("timeout: 15s", "timeout:", "timeout", "expected a duration such as `30s`, found nothing"),
    ];
    let mut wrong = Vec::new();
    for (from, to, at, message) in edits {
        assert!(FULL.contains(from), "{from}");
        let text = FULL.replacen(from, to, 1);
        let found: Vec<_> = errors(&text).iter().map(|d| (pointed(d), d.message.clone())).collect();
        if found != [(at.to_owned(), message.to_owned())] {
            wrong.push(format!("{from} -> {to}:\n  {found:?}\n  {at:?} {message:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_error_does_not_breed_others() {
    // The upstream has an error of its own; the route that names it has none.
    let text = FULL.replacen("[127.0.0.1:9003]", "127.0.0.1:9003", 1);
    assert_eq!(brief(&text), ["17:33 expected a list, found `127.0.0.1:9003`"]);
    // A key that was probably meant is not missing.
    let text = FULL.replacen("upstream: shop-v2, weight: 10", "upstrem: shop-v2, weight: 10", 1);
    assert_eq!(brief(&text), ["30:25 unknown key `upstrem`"]);
    // A variant that cannot be read has a weight that is not known.
    let text = FULL.replacen("upstream: shop-v2, weight: 0.1%", "upstream: [], weight: 0.1%", 1);
    assert_eq!(brief(&text), ["68:30 expected text, found a list"]);
}

#[test]
fn sums_of_zero_and_nothing_at_all() {
    let start = "listeners: [{ name: web, address: 127.0.0.1:0 }]\n";
    let upstream = "upstreams: [{ name: u, endpoints: [a:1] }]\n";
    let route = "routes: [{ name: r, variants: [{ name: v, upstream: u, weight: 0 }] }]\n";
    let text = format!("{start}{upstream}{route}");
    assert_eq!(brief(&text), ["3:64 the weights of this route add up to 0"]);
    assert_eq!(brief(start), ["1:12 there are no routes"]);
    assert_eq!(
        brief(&format!("{start}routes: [{{ name: r, variants: [] }}]\n")),
        ["2:31 the route `r` has no variants"]
    );
    assert_eq!(brief("routes: []\n"), ["1:1 missing key `listeners`"]);
    assert_eq!(
        brief("listeners: []\nroutes: []\n"),
        ["1:12 there are no listeners", "1:12 there are no routes"]
    );
    let text =
        format!("{start}include: routes.d/*.yaml\n{upstream}{}", route.replace(": 0", ": 1"));
    assert_eq!(brief(&text), ["2:10 `include` needs a file to start from"]);
}

#[test]
fn duplicates_point_at_the_first() -> Outcome {
    let text = FULL.replacen("name: shop-v2, end", "name: shop-v1, end", 1);
    let errors = errors(&text);
    let (place, why) = errors[0].note.as_ref().ok_or("a note")?;
    assert_eq!((place.line, place.column, why.as_str()), (12, 11, "the first is here"));
    assert_eq!(errors[0].path, "upstreams[1].name");
    Ok(())
}

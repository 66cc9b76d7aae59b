//! What users are told about mistakes in what an edge has besides routes, and where.

use tidegate_config::{Diagnostic, load};

/// Where `certs/` of the example is.
const CERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/certs/");

const EDGE: &str = include_str!("data/edge.yaml");

/// The problems of a text that stands beside the certificates of the tests.
fn told(text: &str) -> Vec<Diagnostic> {
    let directory = tempfile::tempdir().expect("a directory");
    let text = text.replace("certs/", CERTS);
    let path = directory.path().join("t.yaml");
    std::fs::write(&path, text).expect("a file");
    match load(&path, None) {
        Ok(loaded) => loaded.warnings,
        Err(failure) => failure.diagnostics,
    }
}

/// The text that a diagnostic points at.
fn pointed(diagnostic: &Diagnostic) -> String {
    let place = &diagnostic.place;
    let start = place.excerpt_column as usize - 1;
    let text: String = place.excerpt.chars().skip(start).take(place.length as usize).collect();
    text.replace(CERTS, "certs/")
}

/// What to replace in the example, by what; where the only error or warning then points, what it
/// says, and how its help begins.
type Mistake<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

fn check(mistakes: &[Mistake<'_>]) {
    let mut wrong = String::new();
    for (from, to, at, message, help) in mistakes {
        assert!(EDGE.contains(from), "{from}");
        let brief: Vec<_> = told(&EDGE.replacen(from, to, 1))
            .iter()
            .map(|d| (pointed(d), d.message.clone(), d.help.clone().unwrap_or_default()))
            .collect();
        let right = matches!(&brief[..], [(place, said, helped)]
            if place == at && said == message && helped.starts_with(help)
                && helped.is_empty() == help.is_empty());
        if !right {
            wrong += &format!("{from} -> {to}:\n  {brief:?}\n  {at:?} {message:?} {help:?}\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn of_listeners_and_the_process() {
    let certificates = "certificates:
        - { cert: certs/local.pem, key: certs/local.key }
        - { cert: certs/edge.pem, key: certs/edge.key }";
    check(&[
        (
            "address: 127.0.0.1:8443",
            "address: 127.0.0.1:8443\n    protocol: h2c",
            "h2c",
            "a listener with `tls` has no `protocol`",
            "leave it out: the client chooses HTTP/2 or HTTP/1.1 (ALPN)",
        ),
        ("protocol: h2c }", "protocol: h2 }", "h2", "unknown protocol `h2`", "did you mean `h2c`?"),
        (
            "address: 127.0.0.1:8081",
            "address: 127.0.0.1:8080",
            "127.0.0.1:8080",
            "the address 127.0.0.1:8080 is taken",
            "",
        ),
        (
            certificates,
            "certificates: []",
            "[]",
            "a listener with `tls` needs a certificate",
            "add one, such as `{ cert: edge.pem, key: edge.key }`",
        ),
        (
            "cert: certs/local.pem, key: certs/local.key",
            "cert: certs/local.pem",
            "{ cert: certs/local.pem }",
            "missing key `key`",
            "",
        ),
        (
            "      client_ca: certs/ca.pem\n",
            "",
            "optional",
            "`client_auth` needs `client_ca`",
            "name the file",
        ),
        (
            "client_auth: optional",
            "client_auth: optionl",
            "optionl",
            "unknown kind of client authentication `optionl`",
            "did you mean `optional`?",
        ),
        (
            "min_version: 1.3",
            "min_version: 1.1",
            "1.1",
            "unknown TLS version `1.1`",
            "choose `1.2` or `1.3`",
        ),
        (
            "connections: 10000,",
            "connections: 0,",
            "0",
            "expected a whole number from 1 to 4294967295, found `0`",
            "",
        ),
        (
            "connections_per_client: 100 ",
            "connections_per_client: 10001 ",
            "10001",
            "no client gets this far: all together have 10000 connections",
            "",
        ),
        ("head: 5s", "head: 0s", "0s", "`0s` has to be more than zero", ""),
        (
            "min_body_rate: 1KiB",
            "min_body_rate: 1K",
            "1K",
            "`1K` is not a size",
            "did you mean `1KiB`?",
        ),
        (
            "127.0.0.1:5353",
            "127.0.0.1",
            "127.0.0.1",
            "`127.0.0.1` is not an IP address and port",
            "did you mean `127.0.0.1:53`?",
        ),
        ("\"[::1]:53\"", "127.0.0.1:5353", "127.0.0.1:5353", "this DNS server is here twice", ""),
        (
            "max_requests: 5000",
            "max_requests: 0",
            "0",
            "expected a whole number from 1 to 4294967295, found `0`",
            "",
        ),
    ]);
}

#[test]
fn of_upstreams() {
    let same = "[Shop.internal:9001, shop.internal:9002]";
    let needs = "TLS needs the name of the server: the endpoints do not have one and the same";
    let add = "add `sni`, such as `sni: shop.internal`";
    check(&[
        (same, "[shop.internal:9001, cart.internal:9002]", "{}", needs, add),
        (same, "[shop.internal:9001, 127.0.0.1:9002]", "{}", needs, add),
        (same, "[127.0.0.1:9001, 127.0.0.1:9002]", "{}", needs, add),
        (
            "tls: {}",
            "tls: { sni: \"\" }",
            "\"\"",
            "a server name may not be empty",
            "without a name",
        ),
        (
            "tls: {}",
            "tls: { sni: \"shop.internal:9001\" }",
            "\"shop.internal:9001\"",
            "`shop.internal:9001` is not a server name",
            "write a host name such as `shop.internal`",
        ),
        (
            "    tls: {}\n",
            "",
            "h2",
            "`protocol: h2` is HTTP/2 over TLS, and this upstream has no `tls`",
            "add `tls`, or use `protocol: h2c`",
        ),
        // One that is wrong is not absent.
        (
            "tls: {}",
            "tls: []",
            "[]",
            "expected a map with the keys `sni`, `ca`, `cert` and `key`, found a list",
            "",
        ),
        (", key: certs/client.key", "", "certs/client.pem", "`cert` needs `key`", "name the file"),
        ("cert: certs/client.pem, ", "", "certs/client.key", "`key` needs `cert`", "name the file"),
        (
            "protocol: h2\n",
            "protocol: http1\n",
            "\"\"",
            "a check by gRPC needs an upstream that speaks HTTP/2",
            "add `protocol: h2c`",
        ),
        (
            "protocol: h2\n",
            "protocol: http2\n",
            "http2",
            "unknown protocol `http2`",
            "did you mean `h2c`?",
        ),
        (
            "{ tcp: true }",
            "{ tcp: true, path: / }",
            "{ tcp: true, path: / }",
            "expected one of `path`, `grpc` or `tcp`, found `path` and `tcp`",
            "",
        ),
        (
            "{ tcp: true }",
            "{ interval: 1m }",
            "{ interval: 1m }",
            "expected one of `path`, `grpc` or `tcp`, found none",
            "",
        ),
        (
            "{ tcp: true }",
            "{ tcp: false }",
            "false",
            "`tcp` can only be `true`",
            "leave `health_check` out",
        ),
        (
            "{ tcp: true }",
            "{ tcp: true, host: a }",
            "a",
            "only a check of a `path` has a `host`",
            "leave",
        ),
        (
            "/healthz?deep=1",
            "healthz",
            "\"healthz\"",
            "the path `healthz` does not start with `/`",
            "did you mean `/healthz`?",
        ),
        (
            "/healthz?deep=1",
            "/healthz?a b",
            "\"/healthz?a b\"",
            "a query cannot contain ` `",
            "write it percent-encoded",
        ),
        (
            "shop.internal:80\"",
            "http://shop\"",
            "\"http://shop\"",
            "`http://shop` is not a host",
            "write it as `shop.internal`",
        ),
        (
            "{ tcp: true }",
            "{ tcp: true, intervall: 5s }",
            "intervall",
            "unknown key `intervall`",
            "did you mean `interval`?",
        ),
        (
            "timeout: 500ms",
            "timeout: 2s",
            "2s",
            "a check may take as long as the time between two checks",
            "make `timeout` less than `interval`",
        ),
        (
            "unhealthy_after: 4",
            "unhealthy_after: 0",
            "0",
            "expected a whole number from 1 to 4294967295, found `0`",
            "",
        ),
        (
            "max_ejected: 33.3%",
            "max_ejected: 33",
            "33",
            "the share `33` has no unit",
            "did you mean `33%`?",
        ),
        (
            "{ tcp: true }",
            "{ tcp: true }\n    outlier_detection: { eject_for: 1m }",
            "{ eject_for: 1m }",
            "`outlier_detection` does nothing where there is one endpoint",
            "",
        ),
        (
            "{ tcp: true }",
            "{ tcp: true }\n    slow_start: 1m",
            "1m",
            "`slow_start` does nothing where there is one endpoint",
            "",
        ),
    ]);
}

#[test]
fn of_routes() {
    check(&[
        ("attempts: 3", "attempts: 0", "0", "no attempts are no retries", "leave `retry` out"),
        ("attempts: 3", "attempts: 11", "11", "expected a number from 1 to 10, found `11`", ""),
        (
            "timeout, 599",
            "timeuot, 599",
            "timeuot",
            "unknown failure `timeuot`",
            "did you mean `timeout`?",
        ),
        (
            "timeout, 599",
            "connect-failure, 599",
            "connect-failure",
            "unknown failure `connect-failure`",
            "did you mean `connect_failure`?",
        ),
        (
            "timeout, 599",
            "gateway, 599",
            "gateway",
            "unknown failure `gateway`",
            "choose `connect_failure`",
        ),
        (
            "timeout, 599",
            "timeout, 600",
            "600",
            "the status 600 is no failure",
            "write a status from 400 to 599",
        ),
        (
            "grpc:unavailable",
            "grpc:UNAVAILABLE",
            "\"grpc:UNAVAILABLE\"",
            "unknown failure of gRPC `UNAVAILABLE`",
            "did you mean `grpc:unavailable`?",
        ),
        (
            "grpc:unavailable",
            "grpc:14",
            "\"grpc:14\"",
            "unknown failure of gRPC `14`",
            "write a status such as `grpc:unavailable`",
        ),
        (
            "[connect_failure, 404, 5xx]",
            "[]",
            "[]",
            "`on` names no failure",
            "leave it out for `[connect_failure, reset]`",
        ),
        (
            "budget: 12.5%",
            "budget: 0%",
            "0%",
            "nothing is ever retried: the budget is 0%",
            "leave `retry` out",
        ),
        (
            "per_try_timeout: 2s",
            "per_try_timeout: 15s",
            "15s",
            "one attempt may take as long as the whole request",
            "make it less than the `timeout` of the route",
        ),
        (
            "burst: 20",
            "burst: 0",
            "0",
            "expected a whole number from 1 to 4294967295, found `0`",
            "",
        ),
        (
            "{ header: X-Api-Key }",
            "client-ip",
            "client-ip",
            "expected `client_ip` or `{ header: … }`, found `client-ip`",
            "",
        ),
        ("{ requests: 5 }", "{ per: 1s }", "{ per: 1s }", "missing key `requests`", ""),
        (
            "[10.0.0.0/8, \"fd00::/8\"]",
            "[]",
            "[]",
            "`allow_from` names no network",
            "leave it out to serve everybody",
        ),
        (
            "[10.9.0.0/16]",
            "[]",
            "[]",
            "`deny_from` names no network",
            "leave it out to refuse nobody",
        ),
        (
            "[10.9.0.0/16]",
            "[10.0.0.0/7, \"::/0\"]",
            "[10.0.0.0/8, \"fd00::/8\"]",
            "nobody is served: `deny_from` has all of these networks",
            "",
        ),
    ]);
}

//! The route table: precedence case by case, and against the naive reference.

#![allow(clippy::expect_used, missing_docs)]

mod matcher;

use http::{HeaderMap, HeaderName, Method};
use matcher::{generate::Case, reference};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};
use tidegate_policies::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn finds_what_the_naive_matcher_finds(bytes in prop::collection::vec(any::<u8>(), 0..250)) {
        let case = Case::from_bytes(&bytes);
        let found = RouteTable::build(case.routes.clone()).find(&case.request());
        let expected = reference::find(&case.routes, &case.request());
        prop_assert_eq!(found.map(|route| route.0 as usize), expected, "{:?}", case);
    }
}

#[test]
fn the_generator_makes_matching_and_competing_routes() {
    // Or the property above would hold for lack of anything to find.
    let mut random = xorshift(1);
    let bytes: Vec<u8> = (0..500_000).map(|_| (random() >> 32) as u8).collect();
    let cases: Vec<Case> = bytes.chunks(250).map(Case::from_bytes).collect();
    let matches = |case: &Case| {
        let alone =
            |route: &RouteMatch| reference::find(std::slice::from_ref(route), &case.request());
        case.routes.iter().filter(|route| alone(route).is_some()).count()
    };
    let counts: Vec<usize> = cases.iter().map(matches).collect();
    assert!(counts.iter().filter(|count| **count >= 1).count() > cases.len() / 3);
    assert!(counts.iter().filter(|count| **count >= 2).count() > cases.len() / 10);
}

#[test]
fn the_seeds_of_the_fuzzer_hold() {
    let seeds =
        std::fs::read_dir("../fuzz/corpus/matcher").expect("the seeds are in the repository");
    let mut found = 0;
    for seed in seeds {
        let bytes = std::fs::read(seed.expect("a seed").path()).expect("a seed");
        let case = Case::from_bytes(&bytes);
        let route = RouteTable::build(case.routes.clone()).find(&case.request());
        assert_eq!(route.map(|r| r.0 as usize), reference::find(&case.routes, &case.request()));
        found += usize::from(route.is_some());
    }
    assert!(found >= 5, "the seeds should lead to routes, {found} do");
}

fn xorshift(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// A route by its hosts and path: `=/exact`, `~regex`, else a prefix.
fn route(hosts: &[&str], path: &str) -> RouteMatch {
    let path = match path.split_at(1) {
        ("=", exact) => PathMatch::Exact(exact.to_owned()),
        ("~", expression) => PathMatch::regex(expression).expect(expression),
        _ => PathMatch::Prefix(path.to_owned()),
    };
    let hosts = hosts.iter().map(|host| host.parse().expect("a host")).collect();
    RouteMatch { hosts, path, methods: vec![], headers: vec![], query: vec![] }
}

fn header(name: &'static str) -> HeaderMatch {
    HeaderMatch { name: HeaderName::from_static(name), value: ValueMatch::Present }
}

fn get(table: &RouteTable, host: &str, path: &str) -> Option<u32> {
    find(table, &Method::GET, host, path, None, &HeaderMap::new())
}

fn find(
    table: &RouteTable,
    method: &Method,
    host: &str,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Option<u32> {
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    table.find(&Request { method, host, path, query, headers, client }).map(|route| route.0)
}

#[test]
fn exact_hosts_come_before_the_longest_wildcard_before_none() {
    let table = RouteTable::build([
        route(&[], "/"),
        route(&["*.example.com"], "/"),
        route(&["*.shop.example.com"], "/"),
        route(&["eu.shop.example.com", "[::1]"], "/"),
    ]);
    assert_eq!(get(&table, "EU.shop.example.com:8080", "/"), Some(3));
    assert_eq!(get(&table, "[0::1]:80", "/"), Some(3));
    assert_eq!(get(&table, "a.eu.shop.example.com", "/"), Some(2));
    assert_eq!(get(&table, "shop.example.com.", "/"), Some(1));
    assert_eq!(get(&table, "example.com", "/"), Some(0));
    assert_eq!(get(&table, ".example.com", "/"), Some(0));
    assert_eq!(get(&table, "", "/"), Some(0));
    assert_eq!(get(&table, &"a.".repeat(300), "/"), Some(0));
    assert_eq!(get(&RouteTable::default(), "example.com", "/"), None);
}

#[test]
fn a_more_specific_host_that_does_not_match_hides_nothing() {
    let mut post = route(&["a.example.com"], "/");
    post.methods = vec![Method::POST];
    let table = RouteTable::build([
        route(&["a.example.com"], "/only"),
        post,
        route(&["*.example.com"], "/x"),
        route(&["*.com"], "/y"),
        route(&[], "/"),
    ]);
    assert_eq!(get(&table, "a.example.com", "/only/this"), Some(0));
    assert_eq!(get(&table, "a.example.com", "/x"), Some(2));
    assert_eq!(get(&table, "a.example.com", "/y"), Some(3));
    assert_eq!(get(&table, "a.example.com", "/z"), Some(4));
}

#[test]
fn exact_paths_come_before_expressions_before_the_longest_prefix() {
    let table = RouteTable::build([
        route(&[], "/"),
        route(&[], "/shop/"),
        route(&[], "/shop/cart"),
        route(&[], "~/shop/c.*t"),
        route(&[], "~/shop/ca.*t"),
        route(&[], "=/shop/cart"),
    ]);
    assert_eq!(get(&table, "", "/shop/cart"), Some(5));
    assert_eq!(get(&table, "", "/shop/carrot"), Some(4));
    assert_eq!(get(&table, "", "/shop/cot"), Some(3));
    assert_eq!(get(&table, "", "/shop/cart/"), Some(2));
    assert_eq!(get(&table, "", "/shop/cart/1"), Some(2));
    assert_eq!(get(&table, "", "/shop"), Some(1));
    assert_eq!(get(&table, "", "/shop/"), Some(1));
    assert_eq!(get(&table, "", "/shop//cart"), Some(1));
    assert_eq!(get(&table, "", "/shopping"), Some(0));
    assert_eq!(get(&table, "", "*"), None);
}

#[test]
fn more_conditions_come_first_and_failing_ones_fall_through() {
    let mut two_headers = route(&[], "/a");
    two_headers.headers = vec![header("x-one"), header("x-two")];
    let mut parameter = route(&[], "/a");
    parameter.query = vec![QueryMatch { name: "q".to_owned(), value: ValueMatch::Present }];
    let mut one_header = route(&[], "/a");
    one_header.headers = vec![header("x-one")];
    let mut method = route(&[], "/a");
    method.methods = vec![Method::POST, Method::PUT];
    let table = RouteTable::build([
        route(&[], "/a"),
        parameter,
        one_header,
        two_headers,
        method.clone(),
        method,
    ]);

    let none = HeaderMap::new();
    let one: HeaderMap =
        [(HeaderName::from_static("x-one"), "".parse().expect("a value"))].into_iter().collect();
    let mut two = one.clone();
    two.insert("x-two", "".parse().expect("a value"));
    let find = |method, query, headers| find(&table, method, "", "/a", query, headers);
    assert_eq!(find(&Method::PUT, Some("q"), &two), Some(4));
    assert_eq!(find(&Method::GET, Some("q"), &two), Some(3));
    assert_eq!(find(&Method::GET, Some("q"), &one), Some(2));
    assert_eq!(find(&Method::GET, Some("q"), &none), Some(1));
    assert_eq!(find(&Method::GET, None, &none), Some(0));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "measures")]
fn a_long_path_of_slashes_is_cheap() {
    let depth = 1 << 18;
    let table = RouteTable::build([route(&[], &"/".repeat(depth)), route(&[], "/")]);
    let path = "/".repeat(depth);
    let start = Instant::now();
    assert_eq!(get(&table, "", &path), Some(0));
    assert_eq!(get(&table, "", &path[..depth / 2]), Some(1));
    // Hashing every prefix would be 40 GB; one walk takes some ten milliseconds.
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

//! Any bytes, read as routes and a request: the route table finds what the naive matcher finds,
//! and nothing panics, neither on the way to the route nor in its cookies.

#![no_main]

#[path = "../../policies/tests/matcher/mod.rs"]
mod matcher;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use matcher::{generate::Case, reference};
use tidegate_policies::{RouteTable, find_cookie};

fuzz_target!(|bytes: &[u8]| {
    let case = Case::from_bytes(bytes);
    let found = RouteTable::build(case.routes.clone()).find(&case.request());
    let expected = reference::find(&case.routes, &case.request());
    assert_eq!(found.map(|route| route.0 as usize), expected, "{case:?}");

    let mut headers = HeaderMap::new();
    for field in bytes.split(|byte| *byte == b'\n') {
        if let Ok(field) = HeaderValue::from_bytes(field) {
            headers.append(COOKIE, field);
        }
    }
    if let Some(value) = find_cookie(&headers, "uid") {
        assert!(!value.contains(&b';'));
    }
});

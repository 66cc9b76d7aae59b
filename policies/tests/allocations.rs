//! A decision allocates nothing.

#![allow(clippy::expect_used, missing_docs)]

use http::header::COOKIE;
use http::{HeaderMap, HeaderName, Method};
use std::net::{IpAddr, Ipv4Addr};
use tidegate_policies::*;

#[test]
fn routing_and_deciding_allocate_nothing() {
    let exact = |value: &str| ValueMatch::Exact(value.as_bytes().to_vec());
    let query = QueryMatch { name: "beta".to_owned(), value: exact("1") };
    let tenant = HeaderName::from_static("x-tenant");
    let route = |host: &str, path| RouteMatch {
        hosts: vec![host.parse().expect("a host")],
        path,
        methods: vec![Method::GET],
        headers: vec![HeaderMatch { name: tenant.clone(), value: exact("acme") }],
        query: vec![query.clone()],
    };
    let table = RouteTable::build([
        route("shop.example.com", PathMatch::Exact("/shop".to_owned())),
        route("*.example.com", PathMatch::Prefix("/shop".to_owned())),
    ]);
    let policy = VariantPolicy {
        pins: vec![Pin {
            variant: VariantId(1),
            header: None,
            cookie: Some(("tester".to_owned(), ValueMatch::Present)),
            query: Some(query.clone()),
            from: vec!["10.0.0.0/8".parse().expect("a net")],
        }],
        bucket_by: vec![KeySource::Cookie("uid".to_owned()), KeySource::ClientIp],
        salt: Salt::new("shop", Purpose::Split),
        split: Split::new([("a", 4), ("b", 3), ("c", 2), ("d", 1)]).expect("a split"),
    };
    let mut headers = HeaderMap::new();
    headers.insert(&tenant, "acme".parse().expect("a value"));
    headers.insert(COOKIE, "a=b; tester=1; uid=alice".parse().expect("a value"));
    let request = Request {
        method: &Method::GET,
        host: "Shop.Example.com:8080",
        path: "/shop/cart/1",
        query: Some("page=2&beta=1"),
        headers: &headers,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };

    let mut outcome = None;
    let allocations = allocation_counter::measure(|| {
        outcome = table.find(&request).map(|route| (route, policy.decide(&request, 1).reason));
    });
    assert_eq!(outcome, Some((RouteId(1), Reason::Keyed(0))));
    assert_eq!(allocations.count_total, 0);
}

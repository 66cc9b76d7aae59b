//! Pins before the split, what a decision records, and how many users a change moves.

#![allow(clippy::expect_used, missing_docs)]

use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use tidegate_policies::*;

const X_CANARY: HeaderName = HeaderName::from_static("x-canary");
const X_USER: HeaderName = HeaderName::from_static("x-user");
const STABLE: VariantId = VariantId(0);
const CANARY: VariantId = VariantId(1);

/// A pin to the canary that asks for nothing.
fn pin() -> Pin {
    Pin { variant: CANARY, header: None, cookie: None, query: None, from: vec![] }
}

fn exact(value: &str) -> ValueMatch {
    ValueMatch::Exact(value.as_bytes().to_vec())
}

fn policy(canary: u32, salt: &str, pins: Vec<Pin>) -> VariantPolicy {
    VariantPolicy {
        pins,
        bucket_by: vec![KeySource::Header(X_USER), KeySource::Cookie("uid".to_owned())],
        salt: Salt::new(salt, Purpose::Split),
        split: Split::new([("stable", 100 - canary), ("canary", canary)]).expect("a split"),
    }
}

/// Calls `f` with a request of these fields and query, from `client`.
fn with_request<R>(
    fields: &[(HeaderName, &'static str)],
    query: Option<&str>,
    client: &str,
    f: impl FnOnce(&Request<'_>) -> R,
) -> R {
    let fields = fields.iter().cloned();
    let headers: HeaderMap = fields.map(|(n, v)| (n, HeaderValue::from_static(v))).collect();
    let client = client.parse().expect("an address");
    let (method, host, path) = (&Method::GET, "a.com", "/");
    f(&Request { method, host, path, query, headers: &headers, client })
}

#[test]
fn all_parts_of_a_pin_must_hold() {
    let pin = Pin {
        header: Some(HeaderMatch { name: X_CANARY, value: exact("always") }),
        cookie: Some(("tester".to_owned(), ValueMatch::Present)),
        query: Some(QueryMatch { name: "beta".to_owned(), value: exact("1") }),
        from: vec!["192.0.2.0/24".parse().expect("a net"), "::1/128".parse().expect("a net")],
        ..pin()
    };
    let fields = [(X_CANARY, "always"), (COOKIE, "tester=")];
    let applies = |fields: &[(HeaderName, &'static str)], query, client| {
        with_request(fields, query, client, |request| pin.applies(request))
    };
    assert!(applies(&fields, Some("beta=1"), "192.0.2.9"));
    assert!(applies(&fields, Some("beta=1"), "::ffff:192.0.2.9"));
    assert!(applies(&fields, Some("beta=1"), "::1"));
    assert!(!applies(&fields[1..], Some("beta=1"), "::1"));
    assert!(!applies(&fields[..1], Some("beta=1"), "::1"));
    assert!(!applies(&fields, Some("beta=2"), "::1"));
    assert!(!applies(&fields, None, "::1"));
    assert!(!applies(&fields, Some("beta=1"), "192.0.3.1"));
    let anywhere = self::pin();
    assert!(with_request(&[], None, "192.0.3.1", |request| anywhere.applies(request)));
}

#[test]
fn the_first_pin_wins_and_reaches_a_variant_of_weight_0() {
    let by_header = |value| Some(HeaderMatch { name: X_CANARY, value });
    let pins = vec![
        Pin { header: by_header(exact("always")), ..pin() },
        Pin { variant: STABLE, header: by_header(ValueMatch::Present), ..pin() },
    ];
    let policy = policy(0, "shop", pins);
    let decide = |fields: &[(HeaderName, &'static str)]| {
        with_request(fields, None, "::1", |request| policy.decide(request, 7))
    };
    let point = policy.salt.point(b"alice");
    let user = (X_USER, "alice");
    let pinned = decide(&[user.clone(), (X_CANARY, "always")]);
    assert_eq!(pinned, Decision { variant: CANARY, reason: Reason::Pin(0), point });
    let pinned = decide(&[user.clone(), (X_CANARY, "never")]);
    assert_eq!(pinned, Decision { variant: STABLE, reason: Reason::Pin(1), point });
    let split = decide(&[user]);
    assert_eq!(split, Decision { variant: STABLE, reason: Reason::Keyed(0), point });
}

#[test]
fn requests_with_a_key_ignore_the_draw_and_others_follow_it() {
    let policy = policy(50, "shop", vec![]);
    let decide = |fields: &[(HeaderName, &'static str)], draw| {
        with_request(fields, None, "::1", |request| policy.decide(request, draw))
    };
    let keyed = [(COOKIE, "uid=alice")];
    let point = policy.salt.point(b"alice");
    let expected = Decision { variant: policy.split.pick(point), reason: Reason::Keyed(1), point };
    assert!((0..100).all(|draw| decide(&keyed, draw) == expected));
    let decisions: Vec<Decision> = (0..100).map(|draw| decide(&[], draw)).collect();
    assert!(decisions.iter().all(|decision| decision.reason == Reason::Draw));
    assert!(decisions.iter().any(|decision| decision.variant == STABLE));
    assert!(decisions.iter().any(|decision| decision.variant == CANARY));
}

#[test]
fn moved_users_are_those_whose_variant_differs() {
    let moved = |old: &VariantPolicy, new: &VariantPolicy| {
        moved_users(old, new, |was, is| was == is, USERS)
    };
    let near = |share: f64, expected: f64| {
        let sigma = (expected * (1.0 - expected) / f64::from(USERS)).sqrt();
        assert!((share - expected).abs() < 5.0 * sigma, "{share} is not {expected}");
    };
    let ten = policy(10, "shop", vec![]);
    assert_eq!(moved(&ten, &ten), 0.0);
    // Intervals of one line are compared exactly; here one set is part of the other.
    let exact = moved(&ten, &policy(25, "shop", vec![]));
    assert!((exact - 0.15).abs() < 1e-12, "{exact}");
    // Another salt shuffles everybody: 10 % × 90 %, both ways.
    near(moved(&ten, &policy(10, "shop-2", vec![])), 0.18);
    // The same split of variants that are all new moves everybody.
    assert_eq!(moved_users(&ten, &ten, |_, _| false, USERS), 1.0);
    assert_eq!(moved_users(&ten, &policy(10, "shop-2", vec![]), |_, _| false, 0), 0.0);
}

const USERS: u32 = 20_000;

proptest! {
    #[test]
    fn any_cookie_field_is_read_without_a_panic(
        fields in prop::collection::vec(cookie_bytes(), 0..4),
        name in "[a-c=; \"]{0,3}",
    ) {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(COOKIE, HeaderValue::from_bytes(&field).expect("legal bytes"));
        }
        // What is found is a part of a field without the parts around it.
        if let Some(value) = find_cookie(&headers, &name) {
            prop_assert!(!value.contains(&b';'));
            let within = |field: &HeaderValue| {
                value.is_empty() || field.as_bytes().windows(value.len()).any(|w| w == value)
            };
            prop_assert!(headers.get_all(COOKIE).iter().any(within));
        }
    }

    #[test]
    fn a_cookie_is_found_among_others(
        before in prop::collection::vec("[a-z]{1,5}=[a-z\"]{0,5}", 0..5),
        value in "[!#-+\\--:<-~]{0,20}",
    ) {
        let mut pairs = before;
        pairs.push(format!("UID={value}"));
        pairs.push("UID=later".to_owned());
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, pairs.join("; ").parse().expect("a legal field"));
        prop_assert_eq!(find_cookie(&headers, "UID"), Some(value.as_bytes()));
    }
}

/// Mostly what cookies are made of, so that names are hit; else any byte a field may have.
fn cookie_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        6 => prop::sample::select(b"abc=; \"".to_vec()),
        1 => 0x80..=u8::MAX,
        1 => Just(b'\t'),
    ];
    prop::collection::vec(byte, 0..30)
}

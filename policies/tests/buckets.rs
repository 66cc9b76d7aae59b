//! Buckets: uniform, independent by purpose, and taken from the first key present.

#![allow(clippy::expect_used, missing_docs)]

use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::net::IpAddr;
use tidegate_policies::{KeySource, Point, Purpose, Request, Salt, Sample, Split, VariantId};

/// Kinds of keys that look alike: the worst a hash gets.
fn keys(kind: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..USERS).map(move |user| match kind {
        0 => format!("user-{user}").into_bytes(),
        1 => user.to_be_bytes().to_vec(),
        2 => format!("{user:08x}-0000-4000-8000-000000000000").into_bytes(),
        _ => u128::from(user).to_be_bytes().to_vec(),
    })
}

#[test]
fn points_are_uniform() {
    let salt = Salt::new("shop", Purpose::Split);
    for kind in 0..4 {
        let cells = keys(kind).map(|key| cell(salt.point(&key), 256));
        assert_chi_square(cells, 256, 255, &format!("keys of kind {kind}"));
    }
    let draws = (0..u64::from(USERS)).map(|draw| cell(salt.point_of_draw(draw), 256));
    assert_chi_square(draws, 256, 255, "draws");
}

#[test]
fn purposes_and_salts_are_independent() {
    let salts = [
        Salt::new("shop", Purpose::Split),
        Salt::new("shop", Purpose::Mirror("dark")),
        Salt::new("shop", Purpose::Mirror("darker")),
        Salt::new("shop", Purpose::AccessLog),
        Salt::new("shop", Purpose::Endpoint),
        Salt::new("shop-2", Purpose::Split),
    ];
    for kind in 0..4 {
        for (first, a) in salts.iter().enumerate() {
            for (second, b) in salts.iter().enumerate().skip(first + 1) {
                let pairs = keys(kind).map(|key| (a.point(&key), b.point(&key)));
                assert_independent(pairs, &format!("keys of kind {kind}, {first} and {second}"));
            }
        }
    }
}

#[test]
fn one_draw_serves_independent_decisions() {
    let split = Salt::new("shop", Purpose::Split);
    let mirror = Salt::new("shop", Purpose::Mirror("dark"));
    let draws = 0..u64::from(USERS);
    let pairs = draws.clone().map(|d| (split.point_of_draw(d), mirror.point_of_draw(d)));
    assert_independent(pairs, "split and mirror");
    let as_key = draws.map(|d| (split.point_of_draw(d), split.point(&d.to_le_bytes())));
    assert_independent(as_key, "a draw and the key of the same bytes");
}

#[test]
fn a_mirror_sample_sees_the_split_as_it_is() {
    let salt = Salt::new("shop", Purpose::Split);
    let mirror = Salt::new("shop", Purpose::Mirror("dark"));
    let split = Split::new([("stable", 90), ("canary", 10)]).expect("a split");
    let sample = Sample::from_millionths(100_000).expect("a share");
    let sampled: Vec<_> = keys(0).filter(|key| sample.includes(mirror.point(key))).collect();
    let in_canary = sampled.iter().filter(|key| split.pick(salt.point(key)) == VariantId(1));
    assert_count(sampled.len(), 0.1, USERS as usize);
    assert_count(in_canary.count(), 0.1, sampled.len());
}

/// Within five sigma of a binomial variable.
fn assert_count(count: usize, share: f64, of: usize) {
    let error = (count as f64 - share * of as f64).abs();
    assert!(error < 5.0 * (share * (1.0 - share) * of as f64).sqrt(), "{count} of {of}");
}

fn assert_independent(pairs: impl Iterator<Item = (Point, Point)>, what: &str) {
    let cells = pairs.map(|(a, b)| cell(a, 16) * 16 + cell(b, 16));
    assert_chi_square(cells, 256, 255, what);
}

fn cell(point: Point, cells: usize) -> usize {
    (point.as_fraction() * cells as f64) as usize
}

/// All cells are equally likely, as far as five sigma of the chi-square distribution tell.
fn assert_chi_square(found: impl Iterator<Item = usize>, cells: usize, freedom: u32, what: &str) {
    let mut counts = vec![0.0; cells];
    found.for_each(|cell| counts[cell] += 1.0);
    let expected = counts.iter().sum::<f64>() / cells as f64;
    let chi_square: f64 = counts.iter().map(|count| (count - expected).powi(2) / expected).sum();
    let freedom = f64::from(freedom);
    let limit = freedom + 5.0 * (2.0 * freedom).sqrt();
    assert!(chi_square < limit, "{what}: {chi_square} with {freedom} degrees of freedom");
}

const USERS: u32 = 50_000;

#[test]
fn the_first_source_present_gives_the_key() {
    let sources = [
        KeySource::Header(HeaderName::from_static("x-user")),
        KeySource::Cookie("uid".to_owned()),
        KeySource::ClientIp,
    ];
    let key = |fields: &[(HeaderName, &'static str)], client: &str, sources: &[KeySource]| {
        let fields = fields.iter().cloned();
        let headers: HeaderMap = fields.map(|(n, v)| (n, HeaderValue::from_static(v))).collect();
        let client: IpAddr = client.parse().expect("an address");
        let (method, host, path) = (&Method::GET, "a.com", "/");
        let request = Request { method, host, path, query: None, headers: &headers, client };
        KeySource::first(sources, &request, |position, key| (position, key.to_vec()))
    };
    let user = HeaderName::from_static("x-user");
    let both = [(user.clone(), "7"), (COOKIE, "uid=8")];
    assert_eq!(key(&both, "::1", &sources), Some((0, b"7".to_vec())));
    let empty = [(user.clone(), ""), (COOKIE, "uid=8")];
    assert_eq!(key(&empty, "::1", &sources), Some((1, b"8".to_vec())));
    let neither = [(user, ""), (COOKIE, "uid=\"\"")];
    assert_eq!(key(&neither, "192.0.2.1", &sources), Some((2, vec![192, 0, 2, 1])));
    assert_eq!(key(&neither, "::ffff:192.0.2.1", &sources), Some((2, vec![192, 0, 2, 1])));
    assert_eq!(key(&[], "::1", &sources).map(|(_, key)| key.len()), Some(16));
    assert_eq!(key(&[], "::1", &sources[..2]), None);
    assert_eq!(key(&[], "::1", &[]), None);
}

//! Any bytes as the fields that clients fill and decisions look at: cookies, `x-forwarded-for`,
//! `traceparent`. Each has to be what a plain reading finds.
//!
//! Every line is a value of each field.
#![no_main]

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tidegate_policies::{client_address, find_cookie, is_trusted, trace_id};

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Hops that are looked at.
const MAX_HOPS: usize = 32;

fuzz_target!(|bytes: &[u8]| {
    let lines = bytes.split(|byte| *byte == b'\n');
    let values: Vec<_> = lines.filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    let mut headers = HeaderMap::new();
    for value in &values {
        headers.append(COOKIE, value.clone());
        headers.append("x-forwarded-for", value.clone());
        let id = value.to_str().ok().and_then(trace_id);
        assert!(id.is_none_or(|id| id.len() == 32 && u128::from_str_radix(id, 16).is_ok()));
    }

    for name in ["a", "uid", "__Host-id"] {
        assert_eq!(find_cookie(&headers, name), cookie(&values, name), "{name}: {values:?}");
    }

    let trusted = ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    assert_eq!(client_address(STRANGER, &trusted, &headers), STRANGER);
    // From the end: each one that can be read, up to the first that is not trusted.
    let hops = values.iter().rev().flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    let mut expected = PROXY;
    for hop in hops.take(MAX_HOPS).map_while(hop) {
        expected = hop;
        if !is_trusted(hop, &trusted) {
            break;
        }
    }
    assert_eq!(client_address(PROXY, &trusted, &headers), expected, "{values:?}");
});

fn cookie<'a>(values: &'a [HeaderValue], name: &str) -> Option<&'a [u8]> {
    for value in values {
        for pair in value.as_bytes().split(|byte| *byte == b';') {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            let (Some(found), Some(value)) = (parts.next(), parts.next()) else { continue };
            if found.trim_ascii() == name.as_bytes() {
                let value = value.trim_ascii();
                let inner = value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\""));
                return Some(inner.unwrap_or(value));
            }
        }
    }
    None
}

fn hop(bytes: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(bytes).ok()?.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse::<IpAddr>().ok();
    let socket = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    Some(address.or_else(socket)?.to_canonical())
}

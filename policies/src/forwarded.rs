//! Who asks, where proxies that are trusted say whom they speak for (`x-forwarded-for`).
//!
//! Each proxy adds the address it was called from at the end. So the list is read from its end, as
//! far as those who wrote it are trusted. What cannot be read ends the reading: whatever stands
//! before it may be anybody's.

use http::HeaderMap;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Entries that are looked at: more hops than any real chain has.
const MAX_HOPS: usize = 32;

/// The client's address: the peer's, or if that is a trusted proxy, the last address in
/// `x-forwarded-for` that is not.
pub fn client_address(peer: IpAddr, trusted: &[IpNet], headers: &HeaderMap) -> IpAddr {
    let mut client = peer;
    if !is_trusted(peer, trusted) {
        return client;
    }
    let fields = headers.get_all("x-forwarded-for").iter().rev();
    let hops = fields.flat_map(|field| field.as_bytes().rsplit(|byte| *byte == b','));
    for hop in hops.take(MAX_HOPS) {
        let Some(address) = parse_hop(hop.trim_ascii()) else { break };
        client = address;
        if !is_trusted(address, trusted) {
            break;
        }
    }
    client
}

/// Whether `address` is in one of the networks.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// An address, with or without a port and brackets; one of IPv4 in IPv6 as IPv4.
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?;
    let address = text.parse::<IpAddr>().ok().or_else(|| {
        let socket = text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
        socket.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
    });
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn client(peer: [u8; 4], forwarded: &[&[u8]]) -> String {
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "::1/128"].iter().filter_map(|net| net.parse().ok()).collect();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            let value = HeaderValue::from_bytes(value).expect("a value");
            headers.append("x-forwarded-for", value);
        }
        client_address(IpAddr::from(peer), &trusted, &headers).to_string()
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_trusted() {
        assert_eq!(client([192, 0, 2, 1], &[b"198.51.100.7"]), "192.0.2.1");
        assert_eq!(client([10, 0, 0, 1], &[b"198.51.100.7"]), "198.51.100.7");
        assert_eq!(client([10, 0, 0, 1], &[b"6.6.6.6, 198.51.100.7, 10.9.9.9"]), "198.51.100.7");
        assert_eq!(client([10, 0, 0, 1], &[b"6.6.6.6", b"198.51.100.7:4711"]), "198.51.100.7");
        assert_eq!(client([10, 0, 0, 1], &[b"[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(client([10, 0, 0, 1], &[b"[2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(client([10, 0, 0, 1], &[b"::ffff:198.51.100.7"]), "198.51.100.7");
        assert_eq!(client([10, 0, 0, 1], &[]), "10.0.0.1");
    }

    #[test]
    fn nobody_is_believed_beyond_what_cannot_be_read() {
        assert_eq!(client([10, 0, 0, 1], &[b"198.51.100.7, garbage, 10.2.2.2"]), "10.2.2.2");
        assert_eq!(client([10, 0, 0, 1], &[b"6.6.6.6", b"\xff, 10.2.2.2"]), "10.2.2.2");
        assert_eq!(client([10, 0, 0, 1], &[b"6.6.6.6", b"\xff"]), "10.0.0.1");
        assert_eq!(client([10, 0, 0, 1], &[b"6.6.6.6,"]), "10.0.0.1");
    }
}

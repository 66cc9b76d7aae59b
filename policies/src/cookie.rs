//! Finding one cookie in a request (RFC 6265bis §5.6), without allocating.
//!
//! Lenient as servers have to be: several `Cookie` fields (HTTP/2 splits them), any bytes in a
//! value, missing spaces. Rejected: a cookie crate, which decodes and allocates every pair to
//! give one.

use http::HeaderMap;
use http::header::COOKIE;

/// The value of the first cookie called `name` in any `Cookie` field, as sent, without surrounding
/// whitespace or double quotes.
pub fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b';'))
        .find_map(|pair| value_if_named(pair, name.as_bytes()))
}

/// The value of `pair` if it is a cookie called `name`. Without a `=` it is a value without a name.
fn value_if_named<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let (found, value) = pair.split_at(equals);
    (found.trim_ascii() == name).then(|| unquoted(value[1..].trim_ascii()))
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn found(fields: &[&[u8]], name: &str) -> Option<Vec<u8>> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(COOKIE, HeaderValue::from_bytes(field).expect("a legal field"));
        }
        find(&headers, name).map(<[u8]>::to_vec)
    }

    #[test]
    fn the_first_of_the_name_wins_across_fields() {
        assert_eq!(found(&[b"a=1; uid=2", b"uid=3"], "uid"), Some(b"2".to_vec()));
        assert_eq!(found(&[b"a=1", b"b=2;uid=3"], "uid"), Some(b"3".to_vec()));
        assert_eq!(found(&[b"xuid=1; UID=2; uidx=3"], "uid"), None);
        assert_eq!(found(&[], "uid"), None);
    }

    #[test]
    fn odd_pairs_are_read_as_browsers_send_them() {
        assert_eq!(found(&[b" uid\t=\t\"a b\" ;"], "uid"), Some(b"a b".to_vec()));
        assert_eq!(found(&[b"uid=a=b=="], "uid"), Some(b"a=b==".to_vec()));
        assert_eq!(found(&[b"uid=\""], "uid"), Some(b"\"".to_vec()));
        assert_eq!(found(&[b"uid=\xff\xfe"], "uid"), Some(b"\xff\xfe".to_vec()));
        assert_eq!(found(&[b"uid=; uid=late"], "uid"), Some(Vec::new()));
        assert_eq!(found(&[b"uid; ;;=; uid=1"], "uid"), Some(b"1".to_vec()));
    }
}

//! W3C trace contexts.

/// The trace id of a `traceparent`: `00-<32 hex digits>-<16>-<2>`.
pub fn trace_id(traceparent: &str) -> Option<&str> {
    let id = traceparent.split('-').nth(1)?;
    let valid = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    valid.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hex() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(trace_id(&format!("00-{id}-b7ad6b7169203331-01")), Some(id));
        assert_eq!(trace_id(&format!("00-{}-b7ad6b7169203331-01", &id[1..])), None);
        assert_eq!(trace_id(&format!("00-{}g-b7ad6b7169203331-01", &id[1..])), None);
        for text in ["", "-", "00", id] {
            assert_eq!(trace_id(text), None, "{text:?}");
        }
    }
}

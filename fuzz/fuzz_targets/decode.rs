//! Any bytes of any content encoding: within the bounds, and an answer soon.
//!
//! The first line is the `content-encoding`, the rest the body.
#![no_main]

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tidegate_compare::{Answer, Budget, Charge, decode};

/// Small, so that little input passes it.
const MAX_BODY: usize = 1 << 16;

/// Too little for some windows and enough for others.
const MEMORY: usize = 8 << 20;

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (encoding, body) = input.split_at(end);
    let Ok(encoding) = HeaderValue::from_bytes(encoding) else { return };
    let headers = HeaderMap::from_iter([(CONTENT_ENCODING, encoding)]);
    let body = Bytes::copy_from_slice(body.get(1..).unwrap_or_default());
    let answer = Answer { status: 200, headers, body };

    let budget = Budget::new(MEMORY);
    let mut charge = Charge::new(&budget);
    match decode(&answer, MAX_BODY, &mut charge) {
        // Borrowed if there was nothing to undo; one byte more than may come out was asked for.
        Ok(body) => assert!(body.len() <= MAX_BODY && charge.bytes() <= MAX_BODY + 1),
        Err(_) => assert_eq!(charge.bytes(), 0),
    }
    assert!(budget.used() <= MEMORY);
    drop(charge);
    assert_eq!(budget.used(), 0);
});

//! What is charged is at least what is taken: as little memory as a comparison is content with
//! covers all that it allocates.

#![allow(clippy::expect_used, missing_docs)]

mod support;

use http::HeaderValue;
use http::header::CONTENT_ENCODING;
use std::io::Read;
use support::{PLENTY, bytes, json, pattern, rules};
use tidegate_compare::{Answer, Budget, Charge, NotCompared, Rules, compare};

/// What is not charged: the differences, and lists as long as the depth or the rules.
const UNCHARGED: usize = 100 * 2_048 + 16_384;

fn enough(rules: &Rules, primary: &Answer, candidate: &Answer, limit: usize) -> bool {
    let mut charge = Charge::new(&Budget::new(limit));
    match compare(rules, primary, candidate, Some(candidate), &mut charge) {
        Ok(_) => true,
        Err(NotCompared::MemoryBudget) => false,
        Err(other) => panic!("{other}"),
    }
}

/// The least limit that is enough, and the most bytes that were allocated at a time.
fn charged_and_taken(rules: &Rules, primary: &Answer, candidate: &Answer) -> (usize, usize) {
    let (mut too_little, mut limit) = (0, PLENTY);
    while limit - too_little > 1 {
        let middle = usize::midpoint(too_little, limit);
        match enough(rules, primary, candidate, middle) {
            true => limit = middle,
            false => too_little = middle,
        }
    }
    let taken = allocation_counter::measure(|| {
        assert!(enough(rules, primary, candidate, limit));
    });
    (limit, usize::try_from(taken.bytes_max).expect("not that much"))
}

fn assert_covered(what: &str, primary: &Answer, candidate: &Answer) {
    let array_keys = vec![(pattern("$"), "id".to_owned()), (pattern("$..list"), "id".to_owned())];
    for rules in [rules(), Rules { array_keys, ..rules() }] {
        for (one, other) in [(primary, candidate), (candidate, primary)] {
            let (charged, taken) = charged_and_taken(&rules, one, other);
            assert!(taken <= charged + UNCHARGED, "{what}: {taken} of {charged}");
        }
    }
}

/// A list of 5,000 times `element`, and then `last`.
fn list(element: &str, last: &str) -> Answer {
    json(&format!("[{}{last}]", format!("{element},").repeat(5_000)))
}

#[test]
fn json_of_any_shape() {
    for (what, element) in [
        ("numbers", "1"),
        ("texts", r#""some text""#),
        ("escapes", r#""\n""#),
        ("empty arrays", "[]"),
        ("objects", r#"{"id":1}"#),
        ("escaped names", r#"{"\n":{"\t":"\r"}}"#),
        ("nested", r#"[[{"list":[{"id":[]}]}]]"#),
    ] {
        assert_covered(what, &list(element, "1"), &list(element, r#"{"a":2}"#));
    }
    let text = |last: char| json(&format!("[\"{}{last}\"]", r"\n\u00e9".repeat(5_000)));
    assert_covered("one long text", &text('a'), &text('b'));
}

#[test]
fn elements_matched_by_key() {
    let keyed = |ids: &mut dyn Iterator<Item = u32>| {
        let elements: Vec<String> = ids.map(|id| format!(r#"{{"id":{id}}}"#)).collect();
        json(&format!("[{}]", elements.join(",")))
    };
    let ascending = keyed(&mut (0..5_000));
    assert_covered("all match", &ascending, &keyed(&mut (0..5_000).rev()));
    assert_covered("none match", &ascending, &keyed(&mut (5_000..10_000)));
    assert_covered("twins", &ascending, &keyed(&mut (0..5_000).map(|id| id / 2)));
    assert_covered("one side", &ascending, &json("[1]"));
    assert_covered("few names", &ascending, &list("0", "1"));
}

#[test]
fn what_brotli_decodes() {
    // The other decoders are not written in Rust; theirs is not seen here.
    for (size, window) in [(1_000, 22), (900_000, 16), (900_000, 24)] {
        let text: String = (0_u32..).map(|i| format!("{},", i % 997)).take(size / 5).collect();
        let mut body = Vec::new();
        brotli::CompressorReader::new(text.as_bytes(), 4096, 5, window)
            .read_to_end(&mut body)
            .expect("compresses memory");
        // No JSON, whose parsing would take more than decoding did.
        let mut encoded = bytes("");
        encoded.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("br"));
        encoded.body = body.into();
        assert_covered("brotli", &encoded, &bytes("other"));
    }
}

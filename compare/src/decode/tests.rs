//! What comes out, what is refused, and that the memory is accounted for.

use super::*;
use crate::Budget;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::HeaderValue;
use std::io::Read;

const MAX: usize = 1 << 20;
const PLENTY: usize = 1 << 28;
const ALL: [&str; 5] = ["gzip", "zlib", "deflate", "br", "zstd"];

fn all(mut reader: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).expect("reads memory");
    bytes
}

fn encoded(how: &str, text: &[u8]) -> Vec<u8> {
    match how {
        "gzip" => all(GzEncoder::new(text, Compression::default())),
        "zlib" => all(ZlibEncoder::new(text, Compression::default())),
        "deflate" => all(DeflateEncoder::new(text, Compression::default())),
        "zstd" => zstd::encode_all(text, 3).expect("compresses memory"),
        _ => all(brotli::CompressorReader::new(text, 4096, 5, 18)),
    }
}

fn answer(encodings: &[&str], body: Vec<u8>) -> Answer {
    let mut headers = HeaderMap::new();
    for encoding in encodings {
        let name = if *encoding == "zlib" { "deflate" } else { encoding };
        headers.append(CONTENT_ENCODING, HeaderValue::from_str(name).expect("a legal value"));
    }
    Answer { status: 200, headers, body: Bytes::from(body) }
}

/// Decodes with plenty of memory; nothing may be left charged beyond what came out.
fn decoded(answer: &Answer, max_body: usize) -> Result<Vec<u8>, NotCompared> {
    let mut charge = Charge::new(&Budget::new(PLENTY));
    let decoded = decode(answer, max_body, &mut charge);
    let held = match &decoded {
        Ok(Cow::Owned(bytes)) => bytes.capacity(),
        Ok(Cow::Borrowed(_)) | Err(_) => 0,
    };
    assert_eq!(charge.bytes(), held);
    decoded.map(Cow::into_owned)
}

fn text() -> Vec<u8> {
    (0..20_000_u32).flat_map(|i| format!("{{\"id\":{}}}", i % 977).into_bytes()).collect()
}

#[test]
fn every_encoding_is_undone() {
    let text = text();
    for how in ALL {
        let answer = answer(&[how], encoded(how, &text));
        assert_eq!(decoded(&answer, MAX), Ok(text.clone()), "{how}");
        assert_eq!(decoded(&answer, text.len()), Ok(text.clone()), "{how}");
        assert_eq!(decoded(&answer, text.len() - 1), Err(NotCompared::TooLarge), "{how}");
        let empty = self::answer(&[how], encoded(how, b""));
        assert_eq!(decoded(&empty, MAX), Ok(vec![]), "{how}");
    }
}

#[test]
fn encodings_are_undone_from_the_last() {
    let text = text();
    let twice = encoded("br", &encoded("gzip", &text));
    assert_eq!(decoded(&answer(&["gzip", "br"], twice.clone()), MAX), Ok(text.clone()));
    assert_eq!(decoded(&answer(&["X-GZIP ,identity,, Br"], twice.clone()), MAX), Ok(text.clone()));
    assert_eq!(decoded(&answer(&["br, gzip"], twice.clone()), MAX), Err(NotCompared::Undecodable));
    let thrice = encoded("zstd", &twice);
    assert_eq!(decoded(&answer(&["gzip, br, zstd"], thrice.clone()), MAX), Ok(text));
    let four = encoded("gzip", &thrice);
    let refused = decoded(&answer(&["gzip, br, zstd, gzip"], four), MAX);
    assert_eq!(refused, Err(NotCompared::Undecodable));
}

#[test]
fn what_is_not_encoded_is_not_copied() {
    let plain = answer(&["identity"], b"plain".to_vec());
    let mut charge = Charge::new(&Budget::new(0));
    assert!(matches!(decode(&plain, 5, &mut charge), Ok(Cow::Borrowed(b"plain"))));
    assert_eq!(decode(&plain, 4, &mut charge), Err(NotCompared::TooLarge));
    assert_eq!(decoded(&answer(&["sdch"], b"x".to_vec()), MAX), Err(NotCompared::Undecodable));
    // An answer to HEAD.
    assert_eq!(decoded(&answer(&["br"], vec![]), MAX), Ok(vec![]));
}

#[test]
fn broken_streams_are_refused() {
    let text = &text()[..3_000];
    for how in ALL {
        let whole = encoded(how, text);
        for length in 1..whole.len() {
            let cut = answer(&[how], whole[..length].to_vec());
            assert_eq!(decoded(&cut, MAX), Err(NotCompared::Undecodable), "{how}, {length}");
        }
        for garbage in [&b"\0"[..], b"garbage", &[0xff; 100]] {
            let more = answer(&[how], [&whole, garbage].concat());
            assert_eq!(decoded(&more, MAX), Err(NotCompared::Undecodable), "{how}");
        }
    }
}

#[test]
fn streams_behind_each_other_are_one_body() {
    for how in ["gzip", "zstd"] {
        let one = encoded(how, b"one");
        let two = [one.clone(), encoded(how, b"two")].concat();
        assert_eq!(decoded(&answer(&[how], two), MAX), Ok(b"onetwo".to_vec()), "{how}");
        let many = answer(&[how], one.repeat(STREAMS_MAX + 1));
        assert_eq!(decoded(&many, MAX), Err(NotCompared::Undecodable), "{how}");
        assert_eq!(decoded(&answer(&[how], one.repeat(100)), 299), Err(NotCompared::TooLarge));
    }
    for how in ["br", "zlib"] {
        let two = encoded(how, b"one").repeat(2);
        assert_eq!(decoded(&answer(&[how], two), MAX), Err(NotCompared::Undecodable), "{how}");
    }
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9][..], &encoded("zstd", b"x")];
    assert_eq!(decoded(&answer(&["zstd"], skippable.concat()), MAX), Ok(b"x".to_vec()));
}

#[test]
fn bombs_are_stopped_early() {
    let zeros = vec![0; 64 << 20];
    for how in ALL {
        let bomb = answer(&[how], encoded(how, &zeros));
        assert!(bomb.body.len() < 80_000, "{how}: {}", bomb.body.len());
        let budget = Budget::new(24 << 20);
        let mut charge = Charge::new(&budget);
        assert_eq!(decode(&bomb, MAX, &mut charge), Err(NotCompared::TooLarge), "{how}");
        // Enough for the decoder, and not for what would come out.
        let window = window::memory(codecs(&bomb.headers).expect("a codec")[0], &bomb.body);
        budget.set_limit(window.expect("a stream") + MAX);
        assert_eq!(decode(&bomb, usize::MAX, &mut charge), Err(NotCompared::MemoryBudget), "{how}");
        budget.set_limit(1_000);
        assert_eq!(decode(&bomb, MAX, &mut charge), Err(NotCompared::MemoryBudget), "{how}");
        assert_eq!(budget.used(), 0);
    }
}

//! Any bytes as what a client sends: what the scanner lets through has one reading.
//!
//! Each request that it takes for whole is that for a parser of another kind too (httparse, which is
//! pingora's, for heads and sizes of chunks; the end of the trailers as pingora looks for it), or
//! that parser refuses it. And it makes no difference in which pieces the bytes come.
//!
//! The first two bytes are the sizes of the pieces, in turn; all the rest is sent.
#![no_main]

#[allow(dead_code)]
#[path = "../../gateway/src/edge/chunks.rs"]
mod chunks;
#[allow(dead_code)]
#[path = "../../gateway/src/edge/head.rs"]
mod head;
#[allow(dead_code)]
#[path = "../../gateway/src/edge/scanner.rs"]
mod scanner;

use head::Bad;
use libfuzzer_sys::fuzz_target;
use scanner::RequestScanner;

/// As many as pingora takes.
const MAX_FIELDS: usize = 256;

fuzz_target!(|bytes: &[u8]| {
    let Some((sizes, bytes)) = bytes.split_at_checked(2) else { return };
    let (ends, bad) = one_by_one(bytes);
    let mut start = 0;
    for end in &ends {
        check(&bytes[start..*end]);
        start = *end;
    }

    let whole = in_pieces(bytes, &[bytes.len().max(1)]);
    let sizes = [usize::from(sizes[0]) + 1, usize::from(sizes[1]) + 1];
    let pieces = in_pieces(bytes, &sizes);
    assert_eq!((whole.0, whole.2), (ends.len(), bad));
    assert_eq!((pieces.0, pieces.2), (ends.len(), bad));
    // Nothing of a bad request passes that comes with it.
    match bad {
        None => assert_eq!((whole.1, pieces.1), (bytes.len(), bytes.len())),
        Some(_) => assert!(whole.1 == start && pieces.1 >= start),
    }
});

/// Where the requests end, and what is wrong with the one behind.
fn one_by_one(bytes: &[u8]) -> (Vec<usize>, Option<Bad>) {
    let (mut scanner, mut ends) = (RequestScanner::default(), Vec::new());
    for (at, byte) in bytes.iter().enumerate() {
        match scanner.feed(&[*byte]) {
            Ok(passed) => assert_eq!(passed, 1),
            Err(bad) => return (ends, Some(bad)),
        }
        if scanner.complete() {
            scanner.taken();
            assert!(scanner.idle());
            ends.push(at + 1);
        }
    }
    (ends, None)
}

/// How many requests there are, how many bytes pass, and what is wrong then.
fn in_pieces(bytes: &[u8], sizes: &[usize]) -> (usize, usize, Option<Bad>) {
    let (mut scanner, mut passed, mut rest) = (RequestScanner::default(), 0, bytes);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, more) = rest.split_at((*size).min(rest.len()));
        match scanner.feed(piece) {
            Ok(length) => passed += length,
            Err(_) => break,
        }
        rest = more;
    }
    let bad = scanner.bad();
    let mut whole = 0;
    while scanner.complete() {
        scanner.taken();
        whole += 1;
    }
    (whole, passed, bad)
}

/// Whether the other parser takes `bytes` for exactly one request, or for none.
fn check(bytes: &[u8]) {
    let shown = || bytes.escape_ascii().to_string();
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let head = match request.parse(bytes) {
        Err(_) => return,
        Ok(httparse::Status::Partial) => panic!("not whole: {}", shown()),
        Ok(httparse::Status::Complete(length)) => length,
    };
    let values = |name: &str| {
        let same = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(name);
        request.headers.iter().filter(same).map(|field| field.value).collect::<Vec<_>>()
    };
    let (codings, lengths) = (values("transfer-encoding"), values("content-length"));
    let body = match (&codings[..], &lengths[..]) {
        ([], []) => 0,
        ([], [length]) => std::str::from_utf8(length).unwrap().parse().unwrap(),
        ([coding], []) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked"), "{}", shown());
            chunked(&bytes[head..])
        }
        _ => panic!("two framings: {}", shown()),
    };
    assert_eq!(head + body, bytes.len(), "{}", shown());
}

/// The length of a chunked body, as pingora finds it.
fn chunked(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(&bytes[at..])
        else {
            panic!("no size at {at}: {}", bytes.escape_ascii());
        };
        if size == 0 {
            // The line's own end may be half of it.
            let from = at + line - 2;
            let end = bytes[from..].windows(4).position(|four| four == b"\r\n\r\n");
            return from + end.expect("an end") + 4;
        }
        at += line + usize::try_from(size).expect("no more than there is") + 2;
        assert_eq!(&bytes[at - 2..at], b"\r\n");
    }
}

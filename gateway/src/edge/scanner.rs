//! Where each request of a connection ends, told from the bytes alone.
//!
//! The scanner sees what a client sends before pingora's parser does, and refuses what two parsers
//! could read in two ways. What passes has one reading: the scanner's, pingora's and the
//! upstream's. It follows the whole stream, so that it knows of a pipelined request what it knows
//! of the first; and it keeps nothing of it and allocates nothing.
//!
//! Rejected: to let pingora say how a body is framed, once it has parsed the head. The bytes that
//! came together with the head, body or next request, have been let through by then.

use super::{
    chunks::Chunks,
    head::{Bad, Framing, Head},
};

/// Follows the requests of one connection.
#[derive(Debug, Default)]
pub(super) struct RequestScanner {
    part: Part,
    /// Requests that ended and were not taken yet.
    whole: u32,
    bad: Option<Bad>,
}

/// What of a request comes next.
#[derive(Debug)]
enum Part {
    Head(Head),
    /// This much of a body.
    Body(u64),
    Chunks(Chunks),
}

impl Default for Part {
    fn default() -> Self {
        Part::Head(Head::default())
    }
}

impl RequestScanner {
    /// Looks at the next bytes of the connection. How many of them the parser may see: all, or
    /// those up to the end of a request behind which a bad one begins.
    ///
    /// # Errors
    /// When the request that these bytes go on with is bad. From the first bad one on, nothing
    /// passes any more.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<usize, Bad> {
        if let Some(bad) = self.bad {
            return Err(bad);
        }
        let (mut at, mut good) = (0, 0);
        while at < bytes.len() {
            match self.step(&bytes[at..]) {
                Ok(Some(length)) => {
                    at += length;
                    good = at;
                    self.part = Part::default();
                    self.whole = self.whole.saturating_add(1);
                }
                Ok(None) => break,
                Err(bad) => {
                    self.bad = Some(bad);
                    return if good > 0 { Ok(good) } else { Err(bad) };
                }
            }
        }
        Ok(bytes.len())
    }

    /// Whether all bytes of the request under way have come.
    pub(super) fn complete(&self) -> bool {
        self.whole > 0
    }

    /// Whether a head has begun that is not at its end.
    pub(super) fn within_head(&self) -> bool {
        self.whole == 0 && matches!(&self.part, Part::Head(head) if head.started())
    }

    /// Nothing has come that was not taken.
    pub(super) fn idle(&self) -> bool {
        self.bad.is_none() && !self.complete() && !self.within_head()
    }

    /// What is wrong with the request behind those that passed.
    pub(super) fn bad(&self) -> Option<Bad> {
        self.bad
    }

    /// The parser has taken a request, from its first byte to its last.
    pub(super) fn taken(&mut self) {
        match self.whole.checked_sub(1) {
            Some(left) => self.whole = left,
            // The parser saw an end where there is none: the two disagree.
            None => self.bad = Some(Bad::Malformed),
        }
    }

    /// `Some`: the request ends with so many of `bytes`.
    fn step(&mut self, bytes: &[u8]) -> Result<Option<usize>, Bad> {
        let mut start = 0;
        if let Part::Head(head) = &mut self.part {
            let Some((length, framing)) = head.feed(bytes)? else { return Ok(None) };
            start = length;
            self.part = match framing {
                Framing::Length(0) => return Ok(Some(start)),
                Framing::Length(length) => Part::Body(length),
                Framing::Chunked => Part::Chunks(Chunks::default()),
            };
        }
        let bytes = &bytes[start..];
        let end = match &mut self.part {
            Part::Head(_) => None,
            Part::Body(left) => {
                let length = bytes.len() as u64;
                if length < *left {
                    *left -= length;
                    None
                } else {
                    // No more than `length`.
                    Some(*left as usize)
                }
            }
            Part::Chunks(chunks) => chunks.feed(bytes).map_err(|_| Bad::Malformed)?,
        };
        Ok(end.map(|end| start + end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nabcde";
    const CHUNKED: &str =
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    const BAD: &str = "GET /a b HTTP/1.1\r\n\r\n";

    /// Requests that ended in `bytes` given in pieces that end at `cuts`, how many bytes passed,
    /// and what is wrong then.
    fn follow(bytes: &[u8], cuts: &[usize]) -> (u32, usize, Option<Bad>) {
        let (mut scanner, mut start, mut passed) = (RequestScanner::default(), 0, 0);
        for end in cuts.iter().copied().chain([bytes.len()]) {
            let before = scanner.whole;
            match scanner.feed(&bytes[start..end]) {
                Ok(length) => passed += length,
                Err(bad) => assert!(scanner.bad == Some(bad) && scanner.whole == before),
            }
            start = end;
        }
        (scanner.whole, passed, scanner.bad)
    }

    #[test]
    fn every_request_of_a_stream_is_found() {
        let stream = [GET, POST, CHUNKED, POST, "\r\n", CHUNKED, GET].concat();
        assert_eq!(follow(stream.as_bytes(), &[]), (6, stream.len(), None));
    }

    #[test]
    fn what_is_good_passes_before_what_is_bad() {
        let mut scanner = RequestScanner::default();
        let stream = [GET, CHUNKED, BAD].concat();
        assert_eq!(scanner.feed(stream.as_bytes()), Ok(GET.len() + CHUNKED.len()));
        assert_eq!(scanner.bad(), Some(Bad::Malformed));
        assert!(scanner.complete());
        scanner.taken();
        assert!(scanner.complete());
        scanner.taken();
        assert!(!scanner.complete());
        assert_eq!(scanner.feed(GET.as_bytes()), Err(Bad::Malformed));
    }

    #[test]
    fn a_bad_body_is_bad_at_once() {
        let head = &CHUNKED[..CHUNKED.find("2\r").expect("a chunk")];
        let mut scanner = RequestScanner::default();
        assert_eq!(scanner.feed(format!("{head}2\r\nab\r\n").as_bytes()), Ok(head.len() + 7));
        assert!(!scanner.complete() && !scanner.within_head());
        assert_eq!(scanner.feed(b"0\n\n"), Err(Bad::Malformed));
    }

    #[test]
    fn a_head_that_has_begun_is_known() {
        let mut scanner = RequestScanner::default();
        assert!(!scanner.within_head());
        assert_eq!(scanner.feed(b"G"), Ok(1));
        assert!(scanner.within_head());
        assert_eq!(scanner.feed(&GET.as_bytes()[1..]), Ok(GET.len() - 1));
        assert!(!scanner.within_head() && scanner.complete());
        assert_eq!(scanner.feed(b"P"), Ok(1));
        assert!(!scanner.within_head());
        scanner.taken();
        assert!(scanner.within_head());
    }

    #[test]
    fn empty_lines_begin_nothing() {
        let mut scanner = RequestScanner::default();
        assert_eq!(scanner.feed(b"\r\n\r\n\r"), Ok(5));
        assert!(scanner.idle());
        assert_eq!(scanner.feed(b"\nG"), Ok(2));
        assert!(scanner.within_head());
    }

    #[test]
    fn an_end_that_only_the_parser_sees_is_bad() {
        let mut scanner = RequestScanner::default();
        let cut = &POST.as_bytes()[..POST.len() - 1];
        assert_eq!(scanner.feed(cut), Ok(cut.len()));
        scanner.taken();
        assert_eq!(scanner.feed(b"e"), Err(Bad::Malformed));
    }

    proptest! {
        /// Up to bytes of a bad request that passed because it was not bad yet.
        #[test]
        fn the_pieces_make_no_difference(
            requests in prop::collection::vec(
                prop::sample::select(vec![GET, POST, CHUNKED, BAD, "\r\n", "0\r\n\r\n"]), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let stream = requests.concat().into_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            let (whole, passed, bad) = follow(&stream, &[]);
            let (whole_cut, passed_cut, bad_cut) = follow(&stream, &cuts);
            prop_assert_eq!((whole, bad), (whole_cut, bad_cut));
            prop_assert!(passed <= passed_cut);
        }
    }
}

//! Limits of a request's head, counted on the wire.
//!
//! pingora parses the head and refuses what is no HTTP with 400, but its limits (1 MiB, 256 fields)
//! answer 400 too. This counter sees the bytes first and knows what was too large.

/// The largest head, request line included.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

/// The most header fields.
pub(crate) const MAX_FIELDS: usize = 100;

/// The longest request target.
pub(crate) const MAX_TARGET: usize = 16 * 1024;

/// What is wrong with a head that is still arriving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadHead {
    /// The request line is too long: 414.
    LongTarget,
    /// The header fields are too large or too many: 431.
    LargeFields,
    /// The request line has a control character or not just two spaces: 400. pingora would
    /// percent-encode these and go on with another target than the client sent.
    RequestLine,
}

/// Counts one head.
#[derive(Debug, Default)]
pub(crate) struct HeadCounter {
    bytes: usize,
    lines: usize,
    /// Spaces in the request line.
    spaces: usize,
    /// Bytes of the current line, without the CR before its LF.
    line: usize,
    done: bool,
    /// Lines that may be no fields: the rest of a request line.
    slack: usize,
}

impl HeadCounter {
    /// For a head of which some bytes may have come together with the request before it: what is
    /// seen of it need not begin with the request line.
    pub(crate) fn midway() -> Self {
        Self { lines: 1, slack: 1, ..Self::default() }
    }

    /// Whether anything has arrived.
    pub(crate) fn started(&self) -> bool {
        self.bytes > 0
    }

    /// Whether the empty line has arrived.
    pub(crate) fn done(&self) -> bool {
        self.done
    }

    /// Counts `chunk`; whatever follows the empty line is body and not counted.
    pub(crate) fn count(&mut self, chunk: &[u8]) -> Result<(), BadHead> {
        self.bytes = self.bytes.saturating_add(chunk.len());
        if self.done {
            return Ok(());
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', chunk) {
            let piece = content(&chunk[start..end]);
            if self.lines == 0 {
                self.request_line(piece)?;
            }
            self.line += piece.len();
            start = end + 1;
            if self.lines == 0 && self.line > 0 && self.spaces != 2 {
                return Err(BadHead::RequestLine);
            }
            // Empty lines before the request line are allowed (RFC 9112 §2.2).
            if self.line == 0 && self.lines > 0 {
                self.done = true;
                break;
            }
            self.lines += usize::from(self.line > 0);
            self.line = 0;
        }
        if self.done {
            let fields = self.lines - 1;
            return if fields > MAX_FIELDS + self.slack {
                Err(BadHead::LargeFields)
            } else {
                Ok(())
            };
        }
        let rest = content(&chunk[start..]);
        if self.lines == 0 {
            self.request_line(rest)?;
        }
        self.line += rest.len();
        // Room for the method and the version beside the target.
        if self.lines == 0 && self.line > MAX_TARGET + 64 {
            return Err(BadHead::LongTarget);
        }
        if self.lines > MAX_FIELDS + 1 + self.slack || self.bytes > MAX_HEAD {
            return Err(BadHead::LargeFields);
        }
        Ok(())
    }

    /// Looks at a piece of the request line: `METHOD SP target SP version` (RFC 9112 §3).
    fn request_line(&mut self, piece: &[u8]) -> Result<(), BadHead> {
        for &byte in piece {
            match byte {
                b' ' => self.spaces += 1,
                0..b' ' | 0x7f => return Err(BadHead::RequestLine),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A piece of a line, without the CR that may end it.
fn content(piece: &[u8]) -> &[u8] {
    piece.strip_suffix(b"\r").unwrap_or(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_not_counted() {
        let mut head = HeadCounter::default();
        assert_eq!(head.count(b"POST / HTTP/1.1\r\nhost: a\r\n\r"), Ok(()));
        assert!(!head.done());
        assert_eq!(head.count(b"\n"), Ok(()));
        assert!(head.done());
        assert_eq!(head.count(&[b'x'; 2 * MAX_HEAD]), Ok(()));
    }

    #[test]
    fn long_targets_and_many_fields_are_told_apart() {
        let target = [b"GET /".to_vec(), vec![b'a'; MAX_TARGET + 100]].concat();
        assert_eq!(HeadCounter::default().count(&target), Err(BadHead::LongTarget));

        let mut head = HeadCounter::default();
        assert_eq!(head.count(b"GET / HTTP/1.1\r\n"), Ok(()));
        assert_eq!(head.count(&b"a: b\r\n".repeat(MAX_FIELDS)), Ok(()));
        assert_eq!(head.count(b"a: b\r\n"), Err(BadHead::LargeFields));

        let whole = [b"GET / HTTP/1.1\r\n", &b"a: b\r\n".repeat(300)[..], b"\r\n"].concat();
        assert_eq!(HeadCounter::default().count(&whole), Err(BadHead::LargeFields));

        let mut head = HeadCounter::default();
        assert_eq!(head.count(b"GET / HTTP/1.1\r\na: "), Ok(()));
        assert_eq!(head.count(&vec![b'b'; MAX_HEAD]), Err(BadHead::LargeFields));
    }

    #[test]
    fn a_request_line_is_three_words() {
        let count = |bytes: &[u8]| HeadCounter::default().count(bytes);
        for line in
            ["GET /a\0b HTTP/1.1\r\n", "GET /a b HTTP/1.1\r\n", "GET /\r\n", "GET /\t HTTP/1.1"]
        {
            assert_eq!(count(line.as_bytes()), Err(BadHead::RequestLine), "{line:?}");
        }
        let mut head = HeadCounter::default();
        for byte in b"GET /%20 HTTP/1.1\r\nx: a b c\0\r\n" {
            assert_eq!(head.count(&[*byte]), Ok(()));
        }
    }

    #[test]
    fn the_rest_of_a_head_is_no_request_line() {
        let mut head = HeadCounter::midway();
        assert_eq!(head.count(b"1.1\r\nhost: a\r\n\r\n"), Ok(()));
        assert!(head.done());
        assert_eq!(
            HeadCounter::midway().count(&b"a: b\r\n".repeat(300)),
            Err(BadHead::LargeFields)
        );
    }

    #[test]
    fn empty_lines_may_come_first() {
        let mut head = HeadCounter::default();
        assert_eq!(head.count(b"\r\n\r\nGET / HTTP/1.1\r\n"), Ok(()));
        assert!(!head.done());
        assert_eq!(head.count(b"\r\n"), Ok(()));
        assert!(head.done());
    }
}

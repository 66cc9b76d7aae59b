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
pub(crate) enum TooLarge {
    /// The request line: 414.
    Target,
    /// The header fields: 431.
    Fields,
}

/// Counts one head.
#[derive(Debug, Default)]
pub(crate) struct HeadCounter {
    bytes: usize,
    lines: usize,
    /// Bytes of the current line, without the CR before its LF.
    line: usize,
    done: bool,
}

impl HeadCounter {
    /// Whether anything has arrived.
    pub(crate) fn started(&self) -> bool {
        self.bytes > 0
    }

    /// Whether the empty line has arrived.
    pub(crate) fn done(&self) -> bool {
        self.done
    }

    /// Counts `chunk`; whatever follows the empty line is body and not counted.
    pub(crate) fn count(&mut self, chunk: &[u8]) -> Result<(), TooLarge> {
        self.bytes = self.bytes.saturating_add(chunk.len());
        if self.done {
            return Ok(());
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', chunk) {
            self.line += content(&chunk[start..end]);
            start = end + 1;
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
            return if fields > MAX_FIELDS { Err(TooLarge::Fields) } else { Ok(()) };
        }
        self.line += content(&chunk[start..]);
        // Room for the method and the version beside the target.
        if self.lines == 0 && self.line > MAX_TARGET + 64 {
            return Err(TooLarge::Target);
        }
        if self.lines > MAX_FIELDS + 1 {
            return Err(TooLarge::Fields);
        }
        if self.bytes > MAX_HEAD { Err(TooLarge::Fields) } else { Ok(()) }
    }
}

/// The length of a piece of a line, without the CR that may end it.
fn content(piece: &[u8]) -> usize {
    piece.strip_suffix(b"\r").unwrap_or(piece).len()
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
        assert_eq!(HeadCounter::default().count(&target), Err(TooLarge::Target));

        let mut head = HeadCounter::default();
        assert_eq!(head.count(b"GET / HTTP/1.1\r\n"), Ok(()));
        assert_eq!(head.count(&b"a: b\r\n".repeat(MAX_FIELDS)), Ok(()));
        assert_eq!(head.count(b"a: b\r\n"), Err(TooLarge::Fields));

        let whole = [b"GET / HTTP/1.1\r\n", &b"a: b\r\n".repeat(300)[..], b"\r\n"].concat();
        assert_eq!(HeadCounter::default().count(&whole), Err(TooLarge::Fields));

        let mut head = HeadCounter::default();
        assert_eq!(head.count(b"GET / HTTP/1.1\r\na: "), Ok(()));
        assert_eq!(head.count(&vec![b'b'; MAX_HEAD]), Err(TooLarge::Fields));
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

//! The head of a request, checked on the wire: its limits, its lines, and how its body is framed.
//!
//! pingora parses the head and refuses what is no HTTP with 400, but its limits (1 MiB, 256 fields)
//! answer 400 too, and it takes some heads that another parser reads otherwise: lines that end in
//! a bare LF, a target that it first has to escape, two framings in one message. This one sees the
//! bytes first. It keeps none but the beginning of a line that came in pieces, and leaves to
//! pingora what pingora is strict about: the characters of names and values.

/// The largest head, request line included.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

/// The most header fields.
pub(crate) const MAX_FIELDS: usize = 100;

/// The longest request target.
pub(crate) const MAX_TARGET: usize = 16 * 1024;

/// The longest request line: a method and the version beside the target.
const MAX_REQUEST_LINE: usize = MAX_TARGET + 64;

/// A line that says how the body is framed is no longer than this: `transfer-encoding: chunked`
/// with some blanks.
const MAX_FRAMING_LINE: usize = 64;

/// A `content-length` has no more digits: below 2⁶³, and far above any body.
const MAX_LENGTH_DIGITS: usize = 18;

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    /// The request line is too long: 414.
    LongTarget,
    /// The header fields are too large or too many: 431.
    LargeFields,
    /// It has more than one reading: 400.
    Malformed,
}

/// How the body is delimited (RFC 9112 §6.3); a length of 0 if the head does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
}

/// Reads one head.
#[derive(Debug)]
pub(crate) struct Head {
    bytes: usize,
    /// Lines that have ended; empty ones before the request line do not count.
    lines: usize,
    /// Spaces in the request line.
    spaces: usize,
    /// Bytes of the current line in pieces before this one.
    line: usize,
    /// The piece before this one ended in a CR.
    after_return: bool,
    framing: Option<Framing>,
    /// The beginning of a line in pieces.
    kept: [u8; MAX_FRAMING_LINE],
}

impl Default for Head {
    fn default() -> Self {
        Self {
            bytes: 0,
            lines: 0,
            spaces: 0,
            line: 0,
            after_return: false,
            framing: None,
            kept: [0; MAX_FRAMING_LINE],
        }
    }
}

impl Head {
    /// Whether anything has arrived but empty lines.
    pub(crate) fn started(&self) -> bool {
        self.lines > 0 || self.line > 0
    }

    /// Reads on. `Some` when the empty line is there: how many of `bytes` were the rest of the
    /// head, and how its body is framed.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Option<(usize, Framing)>, Bad> {
        let mut start = 0;
        if self.after_return && !bytes.is_empty() {
            self.after_return = false;
            if bytes[0] != b'\n' {
                return Err(Bad::Malformed);
            }
            start = 1;
            if self.line_ends(&[], 1)? {
                return Ok(Some((1, self.framing())));
            }
        }
        while let Some(length) = memchr::memchr2(b'\r', b'\n', &bytes[start..]) {
            let piece = &bytes[start..start + length];
            self.grow(piece)?;
            match bytes.get(start + length..) {
                Some([b'\r', b'\n', ..]) => {}
                Some([b'\r']) => {
                    self.keep(piece);
                    self.bytes += 1;
                    self.after_return = true;
                    return Ok(None);
                }
                _ => return Err(Bad::Malformed),
            }
            start += length + 2;
            if self.line_ends(piece, 2)? {
                return Ok(Some((start, self.framing())));
            }
        }
        let rest = &bytes[start..];
        self.grow(rest)?;
        self.keep(rest);
        Ok(None)
    }

    fn framing(&self) -> Framing {
        self.framing.unwrap_or(Framing::Length(0))
    }

    /// Counts a piece of the current line.
    fn grow(&mut self, piece: &[u8]) -> Result<(), Bad> {
        self.bytes += piece.len();
        if self.lines == 0 {
            let length = self.line + piece.len();
            let excess = length.saturating_sub(MAX_REQUEST_LINE).min(piece.len());
            for byte in &piece[..piece.len() - excess] {
                match byte {
                    b' ' => self.spaces += 1,
                    // pingora would percent-encode these and go on with another target than the
                    // client sent; and it drops fragments, which no client may send.
                    0..b' ' | b'#' | 0x7f => return Err(Bad::Malformed),
                    _ => {}
                }
            }
            if excess > 0 {
                return Err(Bad::LongTarget);
            }
        }
        if self.bytes > MAX_HEAD { Err(Bad::LargeFields) } else { Ok(()) }
    }

    /// Keeps the beginning of a line of which more is to come.
    fn keep(&mut self, piece: &[u8]) {
        if let Some(room) = self.kept.get_mut(self.line..) {
            let kept = room.len().min(piece.len());
            room[..kept].copy_from_slice(&piece[..kept]);
        }
        self.line += piece.len();
    }

    /// A line ends with `piece` and `ending` bytes more. Whether it was the last.
    fn line_ends(&mut self, piece: &[u8], ending: usize) -> Result<bool, Bad> {
        self.bytes += ending;
        let length = self.line + piece.len();
        if length == 0 {
            // Empty lines before the request line are allowed (RFC 9112 §2.2).
            return Ok(self.lines > 0);
        }
        if self.lines == 0 {
            // `METHOD SP target SP version` (RFC 9112 §3).
            if self.spaces != 2 {
                return Err(Bad::Malformed);
            }
        } else if self.line == 0 {
            let start = &piece[..length.min(MAX_FRAMING_LINE)];
            self.framing = field(start, length, self.framing)?;
        } else {
            self.keep(piece);
            let start = &self.kept[..length.min(MAX_FRAMING_LINE)];
            self.framing = field(start, length, self.framing)?;
        }
        self.line = 0;
        self.lines += 1;
        if self.lines > 1 + MAX_FIELDS { Err(Bad::LargeFields) } else { Ok(false) }
    }
}

/// Looks at one field line: `length` bytes that begin with `start`. The framing it leaves.
fn field(start: &[u8], length: usize, framing: Option<Framing>) -> Result<Option<Framing>, Bad> {
    let name: &[u8] = match start.first() {
        // The continuation of the line before: nobody may send one (RFC 9112 §5.2).
        Some(b' ' | b'\t') => return Err(Bad::Malformed),
        Some(b'c' | b'C') => b"content-length",
        Some(b't' | b'T') => b"transfer-encoding",
        _ => return Ok(framing),
    };
    let Some((found, rest)) = start.split_at_checked(name.len()) else { return Ok(framing) };
    // Gateway interfaces such as CGI's make a dash of an underscore.
    let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a, *b) == (b'_', b'-');
    if !found.iter().zip(name).all(same) {
        return Ok(framing);
    }
    let value = match rest {
        [b':', value @ ..] => trimmed(value),
        [b' ' | b'\t', ..] | [] => return Err(Bad::Malformed),
        // A longer name.
        _ => return Ok(framing),
    };
    let plain = length <= MAX_FRAMING_LINE && !found.contains(&b'_');
    // One framing, said once (RFC 9112 §6.3): neither twice the same nor a length beside chunks.
    if !plain || framing.is_some() {
        return Err(Bad::Malformed);
    }
    let framing = match name {
        b"content-length" => body_length(value).map(Framing::Length),
        _ => value.eq_ignore_ascii_case(b"chunked").then_some(Framing::Chunked),
    };
    framing.map(Some).ok_or(Bad::Malformed)
}

/// Digits only, and no leading zero: there are parsers that take it for octal.
fn body_length(value: &[u8]) -> Option<u64> {
    if !matches!(value, [b'0'] | [b'1'..=b'9', ..]) || value.len() > MAX_LENGTH_DIGITS {
        return None;
    }
    value.iter().try_fold(0, |length, byte| {
        byte.is_ascii_digit().then(|| length * 10 + u64::from(byte - b'0'))
    })
}

/// A field's value without the blanks around it (RFC 9110 §5.5).
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict on all of `bytes`, which has to be the same in one piece and byte by byte.
    fn read(bytes: &[u8]) -> Result<Option<(usize, Framing)>, Bad> {
        let whole = Head::default().feed(bytes);
        let mut head = Head::default();
        let pieces = bytes.iter().enumerate().find_map(|(at, byte)| {
            let found = head.feed(&[*byte]).transpose()?;
            Some(found.map(|(length, framing)| (at + length, framing)))
        });
        assert_eq!(pieces.transpose(), whole, "{:?}", bytes.escape_ascii().to_string());
        whole
    }

    fn with_fields(fields: &str) -> Result<Option<(usize, Framing)>, Bad> {
        read(format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\nbody").as_bytes())
    }

    #[test]
    fn a_head_ends_at_the_empty_line() {
        let head = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        assert_eq!(read(head), Ok(Some((head.len(), Framing::Length(0)))));
        let more = [head, &b"\0".repeat(2 * MAX_HEAD)[..]].concat();
        assert_eq!(read(&more), Ok(Some((head.len(), Framing::Length(0)))));
        assert_eq!(read(&head[..head.len() - 1]), Ok(None));
        // Empty lines before the request line.
        let more = [b"\r\n\r\n", &head[..]].concat();
        assert_eq!(read(&more), Ok(Some((head.len() + 4, Framing::Length(0)))));
        assert!(!Head::default().started());
    }

    #[test]
    fn long_targets_and_many_fields_are_told_apart() {
        let target = |length: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(length));
        assert_eq!(read(target(MAX_TARGET).as_bytes()), Ok(None));
        assert_eq!(read(target(MAX_TARGET + 100).as_bytes()), Err(Bad::LongTarget));
        assert_eq!(
            read(&target(MAX_TARGET + 100).as_bytes()[..MAX_TARGET + 90]),
            Err(Bad::LongTarget)
        );

        let fields = |count: usize| format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(count));
        assert_eq!(read(fields(MAX_FIELDS).as_bytes()), Ok(None));
        assert_eq!(read(fields(MAX_FIELDS + 1).as_bytes()), Err(Bad::LargeFields));
        assert_eq!(with_fields(&format!("a: {}", "b".repeat(MAX_HEAD))), Err(Bad::LargeFields));
        assert_eq!(
            with_fields(&format!("a: {}", "b".repeat(MAX_HEAD / 2))).map(|found| found.is_some()),
            Ok(true)
        );
        assert_eq!(read(&b"\r\n".repeat(MAX_HEAD)), Err(Bad::LargeFields));
    }

    #[test]
    fn a_request_line_is_three_words() {
        for line in [
            "GET /a\0b HTTP/1.1\r\n",
            "GET /a b HTTP/1.1\r\n",
            "GET /\r\n",
            "GET /\t HTTP/1.1",
            "GET /\x7f HTTP/1.1",
            "GET /a#b HTTP/1.1",
            "\0",
        ] {
            assert_eq!(read(line.as_bytes()), Err(Bad::Malformed), "{line:?}");
        }
    }

    #[test]
    fn a_line_ends_in_cr_and_lf() {
        for head in [
            "\n",
            "GET / HTTP/1.1\n",
            "GET / HTTP/1.1\r\r\n",
            "GET / HTTP/1.1\r\nhost: a\n",
            "GET / HTTP/1.1\r\nhost: a\rb\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n\n",
            "GET / HTTP/1.1\r\nhost: a\r\n\rx",
            "GET / HTTP/1.1\r\n x: folded\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n\tfolded\r\n",
        ] {
            assert_eq!(read(head.as_bytes()), Err(Bad::Malformed), "{head:?}");
        }
    }

    #[test]
    fn a_body_is_framed_once_and_plainly() {
        let framing = |fields| with_fields(fields).map(|found| found.map(|(_, framing)| framing));
        for (field, length) in [
            ("content-length: 0", 0),
            ("Content-Length:17", 17),
            ("CONTENT-LENGTH: \t 999999999999999999 \t", 999_999_999_999_999_999),
            ("content-length-x: 5", 0),
            ("content-lengt: 5", 0),
            ("transfer-encodings: chunked", 0),
            ("te: trailers", 0),
            ("x: content-length: 5", 0),
        ] {
            assert_eq!(framing(field), Ok(Some(Framing::Length(length))), "{field:?}");
        }
        for field in ["transfer-encoding: chunked", "Transfer-Encoding:\tCHUNKED "] {
            assert_eq!(framing(field), Ok(Some(Framing::Chunked)), "{field:?}");
        }
        for fields in [
            "content-length:",
            "content-length: +5",
            "content-length: -5",
            "content-length: 05",
            "content-length: 00",
            "content-length: 5 5",
            "content-length: 5,5",
            "content-length: 5, 5",
            "content-length: 0x5",
            "content-length: 5.0",
            "content-length: \u{663}",
            "content-length: 1e3",
            "content-length: \"5\"",
            "content-length: 9999999999999999999",
            "content-length : 5",
            "content-length\t: 5",
            "content_length: 5",
            "content-length: 5\r\ncontent-length: 5",
            "content-length: 5\r\ncontent-length: 6",
            "content-length",
            "transfer-encoding: chunked\r\ncontent-length: 5",
            "content-length: 5\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "transfer-encoding: identity",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: chunked, identity",
            "transfer-encoding: chunked,",
            "transfer-encoding: xchunked",
            "transfer-encoding: \"chunked\"",
            "transfer-encoding: chunked;a=b",
            "transfer-encoding: \x0bchunked",
            "transfer-encoding : chunked",
            "transfer_encoding: chunked",
            "transfer-encoding:",
        ] {
            assert_eq!(framing(fields), Err(Bad::Malformed), "{fields:?}");
        }
        let blanks = format!("content-length: {}5", " ".repeat(MAX_FRAMING_LINE));
        assert_eq!(framing(&blanks), Err(Bad::Malformed));
    }
}

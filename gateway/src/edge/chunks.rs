//! The chunks of a request's body, checked on the wire (RFC 9112 §7.1).
//!
//! pingora's parser reads chunks as generously as most do: blanks after a size, any byte in an
//! extension, junk where trailers belong. What one parser passes over, the next one may take for
//! the end of the message and the beginning of another request. So this one sees the bytes first
//! and takes the grammar by the letter. It keeps none of them, and what arrives in pieces gets the
//! verdict of the whole.
//!
//! Rejected: to understand extensions and trailers. Nobody behind the gateway ever sees one:
//! pingora writes the chunks anew. They have to be harmless, and small.

/// Hex digits of a size, leading zeros included: more than 64 bits is no size.
const MAX_DIGITS: u8 = 16;

/// How far the bytes of size lines may get ahead of what they are worth: a line may have
/// [`LINE_WORTH`] bytes and two more for each byte of data. Without that limit a client has the
/// gateway read for ever and sends nothing (CVE-2023-39326, CVE-2024-22019); with a plain total a
/// long stream whose chunks are signed would end some day.
const MAX_EXCESS: u32 = 4096;

/// A size line of this length is nothing special.
const LINE_WORTH: u32 = 16;

/// All trailers together.
const MAX_TRAILERS: u32 = 8192;

/// Fields that say where a message ends or whom it is for, and come too late for that.
const FORBIDDEN: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"host"];

/// As many bytes of a trailer's name as tell the longest of [`FORBIDDEN`] from all others.
const NAME: usize = 18;

/// Not the chunks of RFC 9112: 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadChunks;

/// Reads one body.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    /// The chunk's size so far, then what is left of its data.
    size: u64,
    digits: u8,
    /// Bytes of the current size line, or of all trailers.
    line: u32,
    excess: u32,
    name: [u8; NAME],
    name_length: usize,
}

/// What the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A digit, or what ends them.
    Size,
    Extension,
    /// The LF that ends a size line.
    SizeEnd,
    Data,
    /// The CR behind the data.
    DataReturn,
    DataEnd,
    /// The beginning of a trailer, or the CR of the last line.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    /// The last LF.
    End,
}

impl Default for Chunks {
    fn default() -> Self {
        let (state, name) = (State::Size, [0; NAME]);
        Self { state, size: 0, digits: 0, line: 0, excess: 0, name, name_length: 0 }
    }
}

impl Chunks {
    /// Reads on. `Some(length)`: that many of `bytes` were the rest of the body, and what follows
    /// belongs to the next request.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Option<usize>, BadChunks> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if self.state == State::Data {
                let rest = (bytes.len() - at) as u64;
                let taken = self.size.min(rest);
                self.size -= taken;
                // No more than `rest`, which is a length.
                at += taken as usize;
                if self.size == 0 {
                    self.state = State::DataReturn;
                }
                continue;
            }
            at += 1;
            if self.state == State::End {
                return if *byte == b'\n' { Ok(Some(at)) } else { Err(BadChunks) };
            }
            self.state = self.next(*byte)?;
        }
        Ok(None)
    }

    fn next(&mut self, byte: u8) -> Result<State, BadChunks> {
        let state = match (self.state, byte) {
            (State::Size, b'\r') if self.digits > 0 => State::SizeEnd,
            (State::Size, b';') if self.digits > 0 => State::Extension,
            (State::Size, digit) => {
                self.digit(digit)?;
                State::Size
            }
            (State::Extension, b'\r') => State::SizeEnd,
            (State::Extension, byte) if is_text(byte) => State::Extension,
            (State::SizeEnd, b'\n') => return Ok(self.size_line()),
            (State::DataReturn, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => State::Size,
            (State::Trailer, b'\r') => State::End,
            (State::Trailer | State::TrailerName, byte) if is_token(byte) => {
                self.name_byte(byte);
                State::TrailerName
            }
            (State::TrailerName, b':') => self.trailer_name()?,
            (State::TrailerValue, b'\r') => State::TrailerEnd,
            (State::TrailerValue, byte) if is_text(byte) => State::TrailerValue,
            (State::TrailerEnd, b'\n') => State::Trailer,
            _ => return Err(BadChunks),
        };
        match state {
            State::Size | State::Extension => self.count(MAX_EXCESS - self.excess + LINE_WORTH)?,
            State::TrailerName | State::TrailerValue => self.count(MAX_TRAILERS)?,
            _ => {}
        }
        Ok(state)
    }

    fn count(&mut self, limit: u32) -> Result<(), BadChunks> {
        self.line += 1;
        if self.line > limit { Err(BadChunks) } else { Ok(()) }
    }

    fn digit(&mut self, byte: u8) -> Result<(), BadChunks> {
        let digit = char::from(byte).to_digit(16).ok_or(BadChunks)?;
        if self.digits == MAX_DIGITS {
            return Err(BadChunks);
        }
        self.digits += 1;
        self.size = self.size << 4 | u64::from(digit);
        Ok(())
    }

    /// What follows a size line.
    fn size_line(&mut self) -> State {
        let worth = u32::try_from(self.size.saturating_mul(2)).unwrap_or(u32::MAX);
        let worth = worth.saturating_add(LINE_WORTH);
        self.excess = (self.excess + self.line).saturating_sub(worth);
        (self.digits, self.line) = (0, 0);
        if self.size == 0 { State::Trailer } else { State::Data }
    }

    fn name_byte(&mut self, byte: u8) {
        if let Some(place) = self.name.get_mut(self.name_length) {
            *place = byte;
            self.name_length += 1;
        }
    }

    fn trailer_name(&mut self) -> Result<State, BadChunks> {
        let name = &self.name[..self.name_length];
        if FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden)) {
            return Err(BadChunks);
        }
        self.name_length = 0;
        Ok(State::TrailerValue)
    }
}

/// Neither a control character nor an end of line.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

/// A character of a field's name (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The verdict on all of `bytes`, given in pieces that end at `cuts`: where the body ends.
    fn verdict(bytes: &[u8], cuts: &[usize]) -> Result<Option<usize>, BadChunks> {
        let (mut chunks, mut start) = (Chunks::default(), 0);
        for end in cuts.iter().copied().chain([bytes.len()]) {
            if let Some(length) = chunks.feed(&bytes[start..end])? {
                return Ok(Some(start + length));
            }
            start = end;
        }
        Ok(None)
    }

    fn whole(bytes: &[u8]) -> Result<Option<usize>, BadChunks> {
        verdict(bytes, &[])
    }

    #[test]
    fn a_body_ends_where_it_says() {
        for body in [
            "0\r\n\r\n",
            "5\r\nabcde\r\n0\r\n\r\n",
            "00a\r\n0123456789\r\n1\r\nx\r\n000\r\n\r\n",
            "A;name=value\r\n0123456789\r\n0;last\r\n\r\n",
            "2;a=\"b; c\\\"é\";\td\r\nab\r\n0\r\n\r\n",
            "1\r\n\n\r\n0\r\nx-sum: 1\r\ny:\r\n\r\n",
            "0\r\ncontent-length-x: 5\r\n\r\n",
            "0\r\ntransfer-encodings: 5\r\n\r\n",
        ] {
            let length = body.len();
            assert_eq!(whole(body.as_bytes()), Ok(Some(length)), "{body:?}");
            let next = format!("{body}GET / HTTP/1.1\r\n");
            assert_eq!(whole(next.as_bytes()), Ok(Some(length)), "{body:?}");
            for end in 0..length {
                assert_eq!(whole(&body.as_bytes()[..end]), Ok(None), "{body:?} up to {end}");
            }
        }
    }

    #[test]
    fn what_another_parser_might_read_otherwise_is_refused() {
        for body in [
            "",
            "\r\n",
            ";",
            ";a\r\n",
            "\n",
            " 5\r\n",
            "5 \r\n",
            "5\t;a\r\n",
            "+5\r\n",
            "-0\r\n",
            "0x5\r\n",
            "5h\r\n",
            "g\r\n",
            "5\n",
            "5\rx",
            "5;a\n",
            "5;a\0b\r\n",
            "5;a\rb\r\n",
            "5;a\x7f\r\n",
            "5;\x0b\r\n",
            "5,\r\n",
            "5:a\r\n",
            "\u{ff15}\r\n",
            "11111111111111111\r\n",
            "00000000000000005\r\n",
            "5\r\nabcdef\r\n",
            "5\r\nabcd\r\n0",
            "5\r\nabcde\n",
            "5\r\nabcde0\r\n\r\n",
            "5\r\nabcde\rx",
            "5\r\nabcde\r\n\r\n",
            "0\r\n\n",
            "0\r\n\rx",
            "0\n\r\n",
            "0\r\nGET / HTTP/1.1\r\n",
            "0\r\n x: folded\r\n",
            "0\r\nx : y\r\n",
            "0\r\n: y\r\n",
            "0\r\nx: a\nb",
            "0\r\nx: a\0",
            "0\r\nx: a\rb",
            "0\r\nx\r\n",
            "0\r\nx: y\r\n\n",
            "0\r\nContent-Length: 5\r\n",
            "0\r\nTRANSFER-ENCODING: chunked\r\n",
            "0\r\nhost: b\r\n",
        ]
        .iter()
        .filter(|body| !body.is_empty())
        {
            let body = format!("{body}\0");
            assert_eq!(whole(body.as_bytes()), Err(BadChunks), "{body:?}");
        }
        assert_eq!(whole(b""), Ok(None));
    }

    #[test]
    fn the_largest_size_is_a_size() {
        assert_eq!(whole(b"ffffffffffffffff\r\nabc"), Ok(None));
        assert_eq!(whole(b"0000000000000001\r\na\r\n0\r\n\r\n"), Ok(Some(26)));
    }

    #[test]
    fn extensions_are_bounded_by_the_data_they_come_with() {
        let line = |bytes: usize| format!("1;{}\r\nx\r\n", "e".repeat(bytes));
        assert_eq!(whole(line(4000).as_bytes()), Ok(None));
        assert_eq!(whole(line(5000).as_bytes()), Err(BadChunks));
        assert_eq!(whole(line(3000).repeat(2).as_bytes()), Err(BadChunks));
        // A thousand chunks with a little each.
        assert_eq!(whole(line(30).repeat(1000).as_bytes()), Err(BadChunks));
        assert_eq!(whole("1\r\nx\r\n".repeat(100_000).as_bytes()), Ok(None));
        let signed = format!("400;chunk-signature={}\r\n{}\r\n", "f".repeat(64), "x".repeat(1024));
        assert_eq!(whole(signed.repeat(1000).as_bytes()), Ok(None));
    }

    #[test]
    fn trailers_are_bounded() {
        let trailers = |count: usize| format!("0\r\n{}\r\n", "x-trailer: value\r\n".repeat(count));
        let few = trailers(100);
        assert_eq!(whole(few.as_bytes()), Ok(Some(few.len())));
        assert_eq!(whole(trailers(1000).as_bytes()), Err(BadChunks));
    }

    /// Bytes of which a body is made, and some that it must not have.
    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            8 => (0_usize..20, "(;[a-z=\" ]{0,4})?").prop_map(|(size, extension)| {
                [format!("{size:x}{extension}\r\n").into_bytes(), vec![b'd'; size], b"\r\n".into()]
                    .concat()
            }),
            2 => Just(b"0\r\n\r\n".to_vec()),
            2 => Just(b"0\r\nx: y\r\n\r\n".to_vec()),
            1 => Just(b"0\r\nhost: y\r\n\r\n".to_vec()),
            1 => prop::collection::vec(prop::sample::select(b"\r\n0;: ax\0\t".to_vec()), 0..4),
        ];
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn the_verdict_does_not_depend_on_the_pieces(
            bytes in pieces(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let expected = whole(&bytes);
            prop_assert_eq!(verdict(&bytes, &cuts), expected);
            let each: Vec<_> = (1..=bytes.len()).collect();
            prop_assert_eq!(verdict(&bytes, &each), expected);
        }
    }
}

//! How much memory a decoder takes for a stream, from the stream's first bytes.
//!
//! A stream says how far it refers back, and its decoder keeps that much. Rejected: charging each
//! stream for the largest window there is (24 MiB would be held for answers of a few hundred
//! bytes), and not at all (a hundred answers would take gigabytes that nobody counted).

use super::codec::Codec;
use crate::NotCompared;

/// What a decoder of `codec` takes for the stream at the start of `input`, in bytes. It is
/// undecodable if it is no such stream, or wants a larger window than it may have.
pub(super) fn memory(codec: Codec, input: &[u8]) -> Result<usize, NotCompared> {
    match codec {
        Codec::Gzip | Codec::Zlib | Codec::Deflate => Ok(DEFLATE_MEMORY),
        Codec::Brotli => {
            let window = input.first().and_then(|head| brotli_window(*head));
            Ok(window.ok_or(NotCompared::Undecodable)? + BROTLI_TABLES)
        }
        Codec::Zstd => {
            let window = zstd_window(input).ok_or(NotCompared::Undecodable)?;
            if window > 1 << ZSTD_LOG_MAX {
                return Err(NotCompared::Undecodable);
            }
            Ok(window + ZSTD_STATE)
        }
    }
}

/// The largest window of RFC 1951, as a power of two.
pub(super) const DEFLATE_LOG: u8 = 15;

/// Two windows, as zlib-ng keeps them, and its state with all tables.
const DEFLATE_MEMORY: usize = (2 << DEFLATE_LOG) + 48 * 1024;

/// The largest window of a zstd stream, as a power of two: 8 MiB, what RFC 9659 allows for
/// `content-encoding`.
pub(super) const ZSTD_LOG_MAX: u32 = 23;

/// A decoder, one block of 128 KiB as it comes, and what its window has beyond its size: two more
/// blocks and a margin.
const ZSTD_STATE: usize = (3 * 128 + 192) * 1024;

/// What brotli's prefix codes take at most: 256 of each of three kinds at 1,080 entries of 4 bytes,
/// and the context maps.
const BROTLI_TABLES: usize = 3 * 256 * 1_080 * 4 + 64 * 1024;

/// The window of a brotli stream whose first byte is `head` (RFC 7932 §9.1).
fn brotli_window(head: u8) -> Option<usize> {
    let log = match (head & 1, head >> 1 & 7, head >> 4 & 7) {
        (0, _, _) => 16,
        (_, 0, 0) => 17,
        // A large window, which that RFC does not have.
        (_, 0, 1) => return None,
        (_, 0, low) => 8 + low,
        (_, high, _) => 17 + high,
    };
    Some(1 << log)
}

/// The window of a zstd frame (RFC 8878 §3.1.1). Only of frames of that RFC: the library also
/// knows the formats of before 2016.
fn zstd_window(input: &[u8]) -> Option<usize> {
    let magic = u32::from_le_bytes(*input.first_chunk()?);
    // A skippable frame.
    if magic & 0xffff_fff0 == 0x184d_2a50 {
        return Some(0);
    }
    if magic != 0xfd2f_b528 {
        return None;
    }
    let descriptor = *input.get(4)?;
    let single_segment = descriptor & 0x20 != 0;
    if single_segment {
        return zstd_content(descriptor, &input[5..]);
    }
    let window = *input.get(5)?;
    let base = 1_usize << (10 + u32::from(window >> 3)).min(usize::BITS - 2);
    Some(base + base / 8 * usize::from(window & 7))
}

/// The size that a single segment says it has, which is its window.
fn zstd_content(descriptor: u8, fields: &[u8]) -> Option<usize> {
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let field = fields.get(dictionary..)?;
    let size = match descriptor >> 6 {
        0 => u64::from(*field.first()?),
        1 => u64::from(u16::from_le_bytes(*field.first_chunk()?)) + 256,
        2 => u64::from(u32::from_le_bytes(*field.first_chunk()?)),
        _ => u64::from_le_bytes(*field.first_chunk()?),
    };
    Some(usize::try_from(size).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brotli_windows_are_those_of_the_rfc() {
        // The table of §9.1, bits from the right.
        let table = [
            (0b0, 16),
            (0b000_0001, 17),
            (0b0011, 18),
            (0b0101, 19),
            (0b1011, 22),
            (0b1111, 24),
            (0b010_0001, 10),
            (0b111_0001, 15),
        ];
        for (head, log) in table {
            assert_eq!(brotli_window(head), Some(1 << log), "{head:b}");
        }
        assert_eq!(brotli_window(0b001_0001), None);
    }

    #[test]
    fn zstd_windows_are_those_of_the_rfc() {
        let frame = |rest: &[u8]| zstd_window(&[&[0x28, 0xb5, 0x2f, 0xfd], rest].concat());
        assert_eq!(frame(&[0, 0]), Some(1024));
        assert_eq!(frame(&[0, 13 << 3]), Some(1 << 23));
        assert_eq!(frame(&[0, 13 << 3 | 1]), Some((1 << 23) + (1 << 20)));
        assert_eq!(frame(&[0x20, 7]), Some(7));
        assert_eq!(frame(&[0x61, 9, 1, 2]), Some(256 + 0x201));
        assert_eq!(frame(&[0xe0, 0, 0, 0, 0, 1, 0, 0, 0]), Some(1 << 32));
        assert_eq!((frame(&[]), frame(&[0x60]), frame(&[0])), (None, None, None));
        assert_eq!(zstd_window(&[0x5f, 0x2a, 0x4d, 0x18, 0]), Some(0));
        // zstd 0.7.
        assert_eq!(zstd_window(&[0x27, 0xb5, 0x2f, 0xfd, 0]), None);
    }

    #[test]
    fn large_windows_are_not_decoded() {
        for rest in [&[0, 13 << 3 | 1][..], &[0, 0xff], &[0xe0, 0, 0, 0, 1, 0, 0, 0, 0]] {
            let input = [&[0x28, 0xb5, 0x2f, 0xfd], rest].concat();
            assert_eq!(memory(Codec::Zstd, &input), Err(NotCompared::Undecodable));
        }
        assert_eq!(memory(Codec::Brotli, &[0x11]), Err(NotCompared::Undecodable));
    }
}

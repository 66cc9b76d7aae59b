//! Undoing `content-encoding`, within bounds.
//!
//! A body of a few bytes may decode to gigabytes, so the output is bounded and charged as it
//! grows, and what a decoder itself may take (its window, mostly, which the body chooses) is
//! charged before it starts. Rejected: comparing compressed bytes, which differ between two builds
//! of the same compressor; forwarding without `accept-encoding`, which would no longer be the
//! request that was made.

mod codec;
mod window;

use crate::{Answer, Charge, NotCompared};
use codec::{Codec, Progress, Stream};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use std::borrow::Cow;

/// The body of `answer` without its content encoding, no longer than `max_body`.
///
/// What is returned stays charged to `charge`, and nothing does after an error.
pub fn decode<'a>(
    answer: &'a Answer,
    max_body: usize,
    charge: &mut Charge,
) -> Result<Cow<'a, [u8]>, NotCompared> {
    let before = charge.bytes();
    let decoded = decode_all(answer, max_body, charge);
    if decoded.is_err() {
        charge.back_to(before);
    }
    decoded
}

fn decode_all<'a>(
    answer: &'a Answer,
    max_body: usize,
    charge: &mut Charge,
) -> Result<Cow<'a, [u8]>, NotCompared> {
    let mut body = Cow::Borrowed(&*answer.body);
    if body.len() > max_body {
        return Err(NotCompared::TooLarge);
    }
    // An answer to HEAD names the encoding that its body would have had.
    if body.is_empty() {
        return Ok(body);
    }
    let codecs = codecs(&answer.headers)?;
    // The last that was applied is named last.
    for codec in codecs.into_iter().rev() {
        let decoded = undo(codec, &body, max_body, charge)?;
        if let Cow::Owned(encoded) = std::mem::replace(&mut body, Cow::Owned(decoded)) {
            charge.shrink(encoded.capacity());
        }
    }
    Ok(body)
}

/// How many encodings may lie on each other. One is usual, two happen by mistake.
const CODECS_MAX: usize = 3;

/// The encodings of a body, in the order in which they were applied.
fn codecs(headers: &HeaderMap) -> Result<Vec<Codec>, NotCompared> {
    let mut codecs = Vec::new();
    for name in headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii))
    {
        let codec = match name.to_ascii_lowercase().as_slice() {
            b"" | b"identity" => continue,
            b"gzip" | b"x-gzip" => Codec::Gzip,
            b"deflate" => Codec::Zlib,
            b"br" => Codec::Brotli,
            b"zstd" => Codec::Zstd,
            _ => return Err(NotCompared::Undecodable),
        };
        if codecs.len() == CODECS_MAX {
            return Err(NotCompared::Undecodable);
        }
        codecs.push(codec);
    }
    Ok(codecs)
}

/// Whether two bodies have the same encodings, known or not.
pub(crate) fn same_encoding(a: &HeaderMap, b: &HeaderMap) -> bool {
    a.get_all(CONTENT_ENCODING).iter().eq(b.get_all(CONTENT_ENCODING).iter())
}

fn undo(
    codec: Codec,
    input: &[u8],
    max_body: usize,
    charge: &mut Charge,
) -> Result<Vec<u8>, NotCompared> {
    let before = charge.bytes();
    match run(codec, input, max_body, charge) {
        // Some servers call it deflate and leave the zlib header out.
        Err(NotCompared::Undecodable) if codec == Codec::Zlib => {
            charge.back_to(before);
            run(Codec::Deflate, input, max_body, charge)
        }
        result => result,
    }
}

/// Decodes all of `input`, which may be several streams behind each other.
fn run(
    codec: Codec,
    mut input: &[u8],
    max_body: usize,
    charge: &mut Charge,
) -> Result<Vec<u8>, NotCompared> {
    let mut output = Output { bytes: Vec::new(), length: 0, max_body };
    let mut stream = Stream::new(codec);
    let before = charge.bytes();
    // What the decoder has at most by now.
    let mut working = 0;
    for _ in 0..STREAMS_MAX {
        let need = window::memory(codec, input)?;
        if !charge.grow(need.saturating_sub(working)) {
            return Err(NotCompared::MemoryBudget);
        }
        working = working.max(need);
        stream.restart()?;
        input = output.fill(&mut stream, input, charge)?;
        if input.is_empty() {
            drop(stream);
            charge.back_to(before + output.bytes.capacity());
            return Ok(output.finish());
        }
        if !codec.may_repeat() {
            break;
        }
    }
    Err(NotCompared::Undecodable)
}

/// How many streams may follow each other. Compressors that work in blocks make one for each of
/// 64 KiB or more; thousands of empty ones would only cost time.
const STREAMS_MAX: usize = 256;

/// What has been decoded.
struct Output {
    /// The buffer. Its capacity is what is charged for it.
    bytes: Vec<u8>,
    /// How much of it is filled.
    length: usize,
    max_body: usize,
}

impl Output {
    /// Decodes one stream from `input`, and returns what comes after it.
    fn fill<'i>(
        &mut self,
        stream: &mut Stream,
        mut input: &'i [u8],
        charge: &mut Charge,
    ) -> Result<&'i [u8], NotCompared> {
        loop {
            if self.length == self.bytes.len() {
                self.grow(input.len(), charge)?;
            }
            let Progress { read, written, ended } =
                stream.step(input, &mut self.bytes[self.length..])?;
            input = &input[read..];
            self.length += written;
            if self.length > self.max_body {
                return Err(NotCompared::TooLarge);
            }
            if ended {
                return Ok(input);
            }
            // With room left and nothing done it waits for bytes that do not come.
            if read == 0 && written == 0 && self.length < self.bytes.len() {
                return Err(NotCompared::Undecodable);
            }
        }
    }

    /// Makes room. The buffer doubles, so that all copies together cost no more than the last one;
    /// while it is copied, both are charged.
    fn grow(&mut self, input: usize, charge: &mut Charge) -> Result<(), NotCompared> {
        // One byte more than the body may have shows that there is more.
        let most = self.max_body.saturating_add(1);
        let first = input.saturating_mul(TYPICAL_RATIO).max(BLOCK);
        let wanted = self.bytes.len().saturating_mul(2).max(first).min(most);
        if !charge.grow(wanted) {
            return Err(NotCompared::MemoryBudget);
        }
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(wanted).is_err() {
            return Err(NotCompared::MemoryBudget);
        }
        bytes.extend_from_slice(&self.bytes);
        bytes.resize(wanted, 0);
        charge.shrink(self.bytes.capacity());
        self.bytes = bytes;
        Ok(())
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.truncate(self.length);
        self.bytes
    }
}

/// The least room that is made, in bytes.
const BLOCK: usize = 4 * 1024;

/// JSON compresses to about a quarter.
const TYPICAL_RATIO: usize = 4;

#[cfg(test)]
mod tests;

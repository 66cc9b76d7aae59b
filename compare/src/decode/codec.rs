//! The decoders behind one interface: some input, some output, how far each came.
//!
//! The interface is the lowest that each library has. Their readers are easier to use, but hide
//! whether a stream was complete (`flate2`) or followed by something else (`brotli`), and that is
//! what tells a broken answer from a good one.

use super::window;
use crate::NotCompared;
use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, Operation};

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    /// RFC 1952.
    Gzip,
    /// `deflate` as HTTP means it: RFC 1951 in the format of RFC 1950.
    Zlib,
    /// `deflate` as some send it: RFC 1951 alone.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl Codec {
    /// Whether another stream may follow one.
    pub(super) fn may_repeat(self) -> bool {
        matches!(self, Codec::Gzip | Codec::Zstd)
    }
}

/// How far a step came.
pub(super) struct Progress {
    pub(super) read: usize,
    pub(super) written: usize,
    /// The stream is complete.
    pub(super) ended: bool,
}

/// A decoder of one coding.
pub(super) struct Stream {
    codec: Codec,
    /// Made by [`Stream::restart`], once its memory is charged.
    decoder: Option<Inner>,
}

enum Inner {
    Zlib(Decompress),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(Decoder<'static>),
}

impl Stream {
    pub(super) fn new(codec: Codec) -> Self {
        Stream { codec, decoder: None }
    }

    /// Prepares for a stream, the first or another one.
    pub(super) fn restart(&mut self) -> Result<(), NotCompared> {
        let decoder = match (self.codec, self.decoder.take()) {
            // It expects another frame when one is complete.
            (Codec::Zstd, Some(used)) => used,
            (Codec::Zstd, None) => Inner::Zstd(zstd_decoder()?),
            (Codec::Gzip, _) => Inner::Zlib(Decompress::new_gzip(window::DEFLATE_LOG)),
            (Codec::Zlib, _) => Inner::Zlib(Decompress::new(true)),
            (Codec::Deflate, _) => Inner::Zlib(Decompress::new(false)),
            // Strict: without the windows of up to 1 GiB that RFC 7932 does not have.
            (Codec::Brotli, _) => Inner::Brotli(Box::new(BrotliState::new_strict(
                StandardAlloc::default(),
                StandardAlloc::default(),
                StandardAlloc::default(),
            ))),
        };
        self.decoder = Some(decoder);
        Ok(())
    }

    /// Decodes from `input` to `output` until one of them is used up or the stream is complete.
    pub(super) fn step(
        &mut self,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<Progress, NotCompared> {
        match &mut self.decoder {
            Some(Inner::Zlib(decoder)) => zlib_step(decoder, input, output),
            Some(Inner::Brotli(decoder)) => brotli_step(decoder, input, output),
            Some(Inner::Zstd(decoder)) => zstd_step(decoder, input, output),
            None => Err(NotCompared::Undecodable),
        }
    }
}

fn zlib_step(
    decoder: &mut Decompress,
    input: &[u8],
    output: &mut [u8],
) -> Result<Progress, NotCompared> {
    let (read, written) = (decoder.total_in(), decoder.total_out());
    let status = decoder
        .decompress(input, output, FlushDecompress::None)
        .map_err(|_| NotCompared::Undecodable)?;
    // Neither is more than what was given.
    Ok(Progress {
        read: (decoder.total_in() - read) as usize,
        written: (decoder.total_out() - written) as usize,
        ended: status == Status::StreamEnd,
    })
}

fn brotli_step(
    decoder: &mut BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    input: &[u8],
    output: &mut [u8],
) -> Result<Progress, NotCompared> {
    let (mut input_left, mut output_left) = (input.len(), output.len());
    let (mut read, mut written, mut total) = (0, 0, 0);
    let result = BrotliDecompressStream(
        &mut input_left,
        &mut read,
        input,
        &mut output_left,
        &mut written,
        output,
        &mut total,
        decoder,
    );
    match result {
        BrotliResult::ResultFailure => Err(NotCompared::Undecodable),
        BrotliResult::ResultSuccess => Ok(Progress { read, written, ended: true }),
        BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {
            Ok(Progress { read, written, ended: false })
        }
    }
}

fn zstd_decoder() -> Result<Decoder<'static>, NotCompared> {
    let mut decoder = Decoder::new().map_err(|_| NotCompared::MemoryBudget)?;
    decoder
        .set_parameter(DParameter::WindowLogMax(window::ZSTD_LOG_MAX))
        .map_err(|_| NotCompared::Undecodable)?;
    Ok(decoder)
}

fn zstd_step(
    decoder: &mut Decoder<'_>,
    input: &[u8],
    output: &mut [u8],
) -> Result<Progress, NotCompared> {
    let status = decoder.run_on_buffers(input, output).map_err(|_| NotCompared::Undecodable)?;
    let (read, written) = (status.bytes_read, status.bytes_written);
    Ok(Progress { read, written, ended: status.remaining == 0 })
}

//! HTTP/2 in frames: a client or a server that sends what it is told, allowed or not.
//!
//! Only what a well-behaved peer does without thinking happens by itself, and each of it can be left
//! out: settings and pings are acknowledged, and what has been read gives its window back. Header
//! blocks are written without compression, so that they have the bytes that the test says.

use crate::SOON;
use anyhow::{Context, Result, bail, ensure};
use loona_hpack::Decoder;
use std::{collections::HashMap, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Kinds of frames (RFC 9113 §6).
#[expect(missing_docs, reason = "their names are the RFC's")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
#[expect(missing_docs, reason = "their names are the RFC's")]
pub mod flag {
    pub const NONE: u8 = 0;
    pub const END_STREAM: u8 = 1;
    pub const ACK: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 32;
}

/// Error codes (RFC 9113 §7).
#[expect(missing_docs, reason = "their names are the RFC's")]
pub mod error {
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const INTERNAL_ERROR: u32 = 2;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// Settings (RFC 9113 §6.5.2).
#[expect(missing_docs, reason = "their names are the RFC's")]
pub mod setting {
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// One of [`kind`].
    pub kind: u8,
    /// Some of [`flag`].
    pub flags: u8,
    /// The stream; 0 is the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The number in the first four bytes of the payload: the code of a reset, the increment of a
    /// window.
    pub fn number(&self) -> u32 {
        self.payload.first_chunk().map_or(u32::MAX, |bytes| u32::from_be_bytes(*bytes))
    }
}

/// A field of a header block, not compressed and never to be.
pub fn field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = vec![0x10];
    for text in [name.as_ref(), value.as_ref()] {
        if text.len() < 127 {
            bytes.push(text.len() as u8);
        } else {
            bytes.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                bytes.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            bytes.push(rest as u8);
        }
        bytes.extend(text);
    }
    bytes
}

/// A header block.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In good order.
    Whole,
    /// Reset, with this code.
    Reset(u32),
    /// The connection did, perhaps after a GOAWAY with this code.
    Gone(Option<u32>),
}

/// What came on a stream.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Fields of the head.
    pub head: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Fields after the body.
    pub trailers: Vec<(String, String)>,
    /// Absent: it goes on.
    pub end: Option<End>,
}

impl Answer {
    /// A field of the head; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        value(&self.head, name)
    }

    /// A field after the body, or of a head that is all there is; empty when there is none.
    pub fn trailer(&self, name: &str) -> &str {
        value(if self.trailers.is_empty() { &self.head } else { &self.trailers }, name)
    }

    /// The status; 0 when there is none.
    pub fn status(&self) -> u16 {
        self.header(":status").parse().unwrap_or(0)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn value<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    fields.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
}

/// One side of a connection.
#[derive(Debug)]
pub struct Frames {
    stream: TcpStream,
    buffer: Vec<u8>,
    decoder: Decoding,
    /// What came on each stream so far.
    streams: HashMap<u32, Answer>,
    /// Settings that the peer told.
    pub settings: HashMap<u16, u32>,
    /// The code of a GOAWAY, when there was one.
    pub goaway: Option<u32>,
    /// The highest stream that the GOAWAY spares.
    pub last_stream: u32,
    /// Whether settings and pings are acknowledged. Yes at first.
    pub acknowledges: bool,
    /// Whether windows are given back. Yes at first.
    pub opens_windows: bool,
    over: bool,
    next: u32,
}

/// Says nothing when it is shown.
struct Decoding(Decoder<'static>);

impl std::fmt::Debug for Decoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

impl Frames {
    /// Connects as a client.
    ///
    /// # Errors
    /// When that fails or takes longer than [`SOON`].
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        Self::connect_with(address, &[]).await
    }

    /// Connects as a client with these settings.
    ///
    /// # Errors
    /// When that fails or takes longer than [`SOON`].
    pub async fn connect_with(address: SocketAddr, settings: &[(u16, u32)]) -> Result<Self> {
        let stream = timeout(SOON, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let mut frames = Self::over(stream);
        frames.write(PREFACE).await?;
        frames.send_settings(settings).await?;
        Ok(frames)
    }

    /// Accepts as a server.
    ///
    /// # Errors
    /// When the client does not begin.
    pub async fn accept(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        let mut frames = Self::over(stream);
        let mut preface = [0; PREFACE.len()];
        timeout(SOON, frames.stream.read_exact(&mut preface)).await??;
        ensure!(preface == PREFACE, "no preface: {preface:?}");
        frames.send_settings(&[]).await?;
        Ok(frames)
    }

    fn over(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            decoder: Decoding(Decoder::new()),
            streams: HashMap::new(),
            settings: HashMap::new(),
            goaway: None,
            last_stream: u32::MAX,
            acknowledges: true,
            opens_windows: true,
            over: false,
            next: 1,
        }
    }

    /// A stream that was not used yet.
    pub fn stream(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the peer has closed or does not read for [`SOON`].
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        timeout(SOON, self.stream.write_all(bytes.as_ref())).await.context("not read")??;
        Ok(())
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: impl Into<Vec<u8>>,
    ) -> Result<()> {
        self.write(Frame { kind, flags, stream, payload: payload.into() }.bytes()).await
    }

    /// Sends settings.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn send_settings(&mut self, settings: &[(u16, u32)]) -> Result<()> {
        let pair =
            |(key, value): &(u16, u32)| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let payload: Vec<u8> = settings.iter().flat_map(pair).collect();
        self.send(kind::SETTINGS, flag::NONE, 0, payload).await
    }

    /// Sends a head, or trailers, in one frame; `end` if nothing follows.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn headers(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) -> Result<()> {
        self.head(stream, block(fields), end).await
    }

    /// The same with a block that is made already.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn head(&mut self, stream: u32, block: Vec<u8>, end: bool) -> Result<()> {
        let flags = flag::END_HEADERS | if end { flag::END_STREAM } else { flag::NONE };
        self.send(kind::HEADERS, flags, stream, block).await
    }

    /// Sends a piece of a body, whatever the window is.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn data(&mut self, stream: u32, body: &[u8], end: bool) -> Result<()> {
        let flags = if end { flag::END_STREAM } else { flag::NONE };
        self.send(kind::DATA, flags, stream, body).await
    }

    /// Resets a stream.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn reset(&mut self, stream: u32, code: u32) -> Result<()> {
        self.send(kind::RST_STREAM, flag::NONE, stream, code.to_be_bytes()).await
    }

    /// Opens a window.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn window(&mut self, stream: u32, more: u32) -> Result<()> {
        self.send(kind::WINDOW_UPDATE, flag::NONE, stream, more.to_be_bytes()).await
    }

    /// Sends an ordinary GET and gives its stream.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn get(&mut self, path: &str) -> Result<u32> {
        let stream = self.stream();
        self.headers(stream, &Self::request("GET", path), true).await?;
        Ok(stream)
    }

    /// The fields that each request has.
    pub fn request<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
        [(":method", method), (":scheme", "http"), (":authority", "shop"), (":path", path)]
    }

    /// What came on `stream` so far.
    pub fn so_far(&self, stream: u32) -> Answer {
        self.streams.get(&stream).cloned().unwrap_or_default()
    }

    /// Whether the peer has ended `stream`.
    pub fn ended(&self, stream: u32) -> bool {
        self.streams.get(&stream).is_some_and(|answer| answer.end.is_some())
    }

    /// Waits for the end of `stream`.
    ///
    /// # Errors
    /// When it does not end within [`SOON`].
    pub async fn answer(&mut self, stream: u32) -> Result<Answer> {
        self.answer_within(SOON, stream).await
    }

    /// Waits for the end of `stream`, or of the connection.
    ///
    /// # Errors
    /// When there is none within `limit`.
    pub async fn answer_within(&mut self, limit: Duration, stream: u32) -> Result<Answer> {
        self.until(limit, "the stream's end", |frames| {
            let mut answer = frames.so_far(stream);
            if frames.over {
                answer.end.get_or_insert(End::Gone(frames.goaway));
            }
            answer.end.is_some().then_some(answer)
        })
        .await
    }

    /// Waits until `stream` has a head.
    ///
    /// # Errors
    /// When it has none within [`SOON`].
    pub async fn head_of(&mut self, stream: u32) -> Result<Answer> {
        self.until(SOON, "the head", |frames| {
            let answer = frames.so_far(stream);
            (!answer.head.is_empty() || frames.over).then_some(answer)
        })
        .await
    }

    /// Waits for the end of the connection; gives the code of the GOAWAY, if there was one.
    ///
    /// # Errors
    /// When it is still open after `limit`.
    pub async fn until_closed(&mut self, limit: Duration) -> Result<Option<u32>> {
        let closed = |frames: &mut Self| frames.over.then_some(frames.goaway);
        self.until(limit, "the connection's end", closed).await
    }

    /// Whether the peer still answers a ping.
    pub async fn is_alive(&mut self) -> bool {
        const MARK: [u8; 8] = *b"alive???";
        if self.send(kind::PING, flag::NONE, 0, MARK).await.is_err() {
            return false;
        }
        let answered = async {
            while let Some(frame) = self.read().await? {
                if frame.kind == kind::PING && frame.flags == flag::ACK && frame.payload == MARK {
                    return anyhow::Ok(true);
                }
            }
            Ok(false)
        };
        matches!(timeout(SOON, answered).await, Ok(Ok(true)))
    }

    /// Reads frames until `look` gives something.
    ///
    /// # Errors
    /// When it gives nothing within `limit`; `what` says what was waited for.
    pub async fn until<T>(
        &mut self,
        limit: Duration,
        what: &str,
        mut look: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T> {
        let reading = async {
            loop {
                if let Some(found) = look(self) {
                    return Ok(found);
                }
                if self.over {
                    bail!("the connection is over (GOAWAY {:?}): {what}", self.goaway);
                }
                self.read().await?;
            }
        };
        let result = timeout(limit, reading).await;
        result.with_context(|| format!("waited {limit:?} in vain: {what}"))?
    }

    /// Reads one frame and does what has to be done; nothing when the connection is over.
    ///
    /// # Errors
    /// When a header block cannot be read.
    pub async fn read(&mut self) -> Result<Option<Frame>> {
        let Some(frame) = self.raw().await else {
            self.over = true;
            return Ok(None);
        };
        // Answers to a peer that has gone are no errors: what it said first counts.
        match frame.kind {
            kind::SETTINGS if frame.flags & flag::ACK == 0 => {
                for pair in frame.payload.chunks_exact(6) {
                    let key = u16::from_be_bytes([pair[0], pair[1]]);
                    let value = u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]);
                    self.settings.insert(key, value);
                }
                if self.acknowledges {
                    _ = self.send(kind::SETTINGS, flag::ACK, 0, []).await;
                }
            }
            kind::PING if frame.flags & flag::ACK == 0 && self.acknowledges => {
                _ = self.send(kind::PING, flag::ACK, 0, frame.payload.clone()).await;
            }
            kind::GOAWAY => {
                self.last_stream = frame.number();
                let code = frame.payload.get(4..8).and_then(|bytes| bytes.first_chunk());
                self.goaway = code.map(|code| u32::from_be_bytes(*code));
            }
            kind::RST_STREAM => self.end(frame.stream, End::Reset(frame.number())),
            kind::HEADERS => {
                let fields = self.fields(&frame).await?;
                let answer = self.streams.entry(frame.stream).or_default();
                let interim = value(&fields, ":status").starts_with('1');
                match answer.head.is_empty() {
                    _ if interim => {}
                    true => answer.head = fields,
                    false => answer.trailers = fields,
                }
            }
            kind::DATA => {
                self.streams.entry(frame.stream).or_default().body.extend(&frame.payload);
                let length = u32::try_from(frame.payload.len())?;
                if self.opens_windows && length > 0 {
                    for stream in [0, frame.stream] {
                        _ = self.window(stream, length).await;
                    }
                }
            }
            _ => {}
        }
        let ends = matches!(frame.kind, kind::DATA | kind::HEADERS);
        if ends && frame.flags & flag::END_STREAM != 0 {
            self.end(frame.stream, End::Whole);
        }
        Ok(Some(frame))
    }

    /// The first end counts: a reset after it says only that the request's rest is not wanted.
    fn end(&mut self, stream: u32, end: End) {
        self.streams.entry(stream).or_default().end.get_or_insert(end);
    }

    /// The fields of a block that begins with `frame`.
    async fn fields(&mut self, frame: &Frame) -> Result<Vec<(String, String)>> {
        let mut block = frame.payload.clone();
        let mut whole = frame.flags & flag::END_HEADERS != 0;
        while !whole {
            let more = self.raw().await.context("a block without end")?;
            ensure!(more.kind == kind::CONTINUATION, "{more:?} within a block");
            whole = more.flags & flag::END_HEADERS != 0;
            block.extend(more.payload);
        }
        let fields = self.decoder.0.decode(&block);
        let fields = fields.map_err(|error| anyhow::anyhow!("no block: {error:?}"))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(fields.into_iter().map(|(name, value)| (text(name), text(value))).collect())
    }

    async fn raw(&mut self) -> Option<Frame> {
        loop {
            if let Some((head, rest)) = self.buffer.split_first_chunk::<9>() {
                let [a, b, c, kind, flags, id @ ..] = *head;
                let length = u32::from_be_bytes([0, a, b, c]) as usize;
                if rest.len() >= length {
                    let stream = u32::from_be_bytes(id) & 0x7fff_ffff;
                    let payload = rest[..length].to_vec();
                    self.buffer.drain(..9 + length);
                    return Some(Frame { kind, flags, stream, payload });
                }
            }
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                return None;
            }
        }
    }
}

//! Many clients over few upstream connections: whatever the others do, each gets its own answers.
//!
//! Every request has a token of its own, which the origin repeats in a header and in all of the
//! body. Clients pipeline, leave in the middle of a request or of an answer, and the origin fails,
//! stalls and breaks off; a byte in the wrong place is a token in the wrong place.

use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidegate_tests::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

const REQUESTS: u64 = 100_000;
const CLIENTS: u64 = 10;

/// Requests that a client sends before it reads an answer.
const DEPTH: usize = 8;

/// The bytes of a token.
const TOKEN: usize = 16;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Get,
    Head,
    /// The answer comes in chunks.
    Chunked,
    Post,
    /// The request comes in chunks.
    PostChunked,
    /// 500.
    Error,
    /// An answer with a pause in it.
    Slow,
    Large,
    /// The origin closes the connection after the answer.
    Close,
    /// The origin closes the connection without an answer.
    Hangup,
    /// The answer breaks off.
    Cut,
    /// The client leaves within its request.
    LeaveAsking,
    /// The client leaves within the answer.
    LeaveReading,
}

/// How many of a hundred requests are for what.
const MIX: [(Kind, u64); 13] = [
    (Kind::Get, 28),
    (Kind::Head, 10),
    (Kind::Chunked, 15),
    (Kind::Post, 13),
    (Kind::PostChunked, 10),
    (Kind::Error, 6),
    (Kind::Slow, 3),
    (Kind::Large, 3),
    (Kind::Close, 4),
    (Kind::Hangup, 2),
    (Kind::Cut, 2),
    (Kind::LeaveAsking, 2),
    (Kind::LeaveReading, 2),
];

/// One request.
#[derive(Debug)]
struct Ask {
    kind: Kind,
    token: String,
    attempts: u32,
}

impl Ask {
    fn new(client: u64, number: u64) -> Self {
        let mut draw = mixed(client << 32 | number) % 100;
        let kind = MIX.iter().find(|(_, share)| {
            let found = draw < *share;
            draw = draw.saturating_sub(*share);
            found
        });
        let kind = kind.map_or(Kind::Get, |(kind, _)| *kind);
        Self { kind, token: format!("<{client:04}.{number:08}.>"), attempts: 0 }
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { kind, token, .. } = self;
        let name = &token[1..TOKEN - 2];
        let method = match kind {
            Kind::Head => "HEAD",
            Kind::Post | Kind::PostChunked | Kind::LeaveAsking => "POST",
            _ => "GET",
        };
        let head = format!("{method} /{kind:?}/{name} HTTP/1.1\r\nHost: a\r\nX-Token: {token}\r\n");
        let times = 1 + mixed(name.len() as u64 ^ self.seed()) as usize % 50;
        let body = token.repeat(times);
        match kind {
            Kind::Post => format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()),
            Kind::PostChunked => {
                let (one, two) = body.split_at(body.len() / 3);
                let chunk = |data: &str| match data.len() {
                    0 => String::new(),
                    length => format!("{length:x}\r\n{data}\r\n"),
                };
                let (one, two) = (chunk(one), chunk(two));
                format!("{head}Transfer-Encoding: chunked\r\n\r\n{one}{two}0\r\n\r\n")
            }
            // As much again does not come.
            Kind::LeaveAsking => format!("{head}Content-Length: {}\r\n\r\n{body}", 2 * body.len()),
            _ => format!("{head}\r\n"),
        }
        .into_bytes()
    }

    fn seed(&self) -> u64 {
        self.token.bytes().fold(0, |sum, byte| mixed(sum ^ u64::from(byte)))
    }

    fn leaves(&self) -> bool {
        matches!(self.kind, Kind::LeaveAsking | Kind::LeaveReading)
    }
}

/// What became of the requests.
#[derive(Debug, Default)]
struct Counts {
    own: u64,
    /// 502, 503: the gateway's.
    refused: u64,
    cut: u64,
    left: u64,
    connections: u64,
}

#[tokio::test]
async fn nobody_gets_the_bytes_of_another_in_100_000_requests() -> Result<()> {
    let origin = TcpListener::bind("127.0.0.1:0").await?;
    let keys = format!("endpoints: [\"{}\"], limits: {{ connections: 16 }}", origin.local_addr()?);
    let variants = "[{ name: stable, upstream: v1 }]";
    let config = Config::new().upstream_with("v1", &keys).route("shop", "/", variants);
    let mut gateway = Gateway::start(&config.yaml()).await?;

    let wrong = Arc::new(Mutex::new(Vec::new()));
    let connections = Arc::new(AtomicU64::new(0));
    let serving = tokio::spawn(serve(origin, Arc::clone(&wrong), Arc::clone(&connections)));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let address = gateway.web();
        clients.spawn(async move {
            let run = ask_all(address, client, REQUESTS / CLIENTS);
            run.await.with_context(|| format!("client {client}"))
        });
    }
    let mut all = Counts::default();
    let joined = async {
        while let Some(counts) = clients.join_next().await {
            let Counts { own, refused, cut, left, connections } = counts??;
            all.own += own;
            all.refused += refused;
            all.cut += cut;
            all.left += left;
            all.connections += connections;
        }
        anyhow::Ok(())
    };
    timeout(Duration::from_secs(80), joined).await.context("not done in time")??;
    let upstream = connections.load(Ordering::Relaxed);
    eprintln!("{all:?}, {upstream} upstream connections");
    let wrong = std::mem::take(&mut *wrong.lock().unwrap_or_else(PoisonError::into_inner));
    ensure!(wrong.is_empty(), "the origin got what nobody sent: {wrong:#?}");
    ensure!(all.own + all.refused + all.cut + all.left == REQUESTS, "{all:?}");
    // All else failed because it was to fail, or met a connection that had.
    ensure!(all.own > REQUESTS * 85 / 100, "{all:?}");
    ensure!(upstream < REQUESTS / 5, "{upstream} connections for {REQUESTS} requests");
    serving.abort();
    gateway.healthy()?;
    gateway.stop().await
}

// === the clients ===

/// Sends `count` requests, some at a time, and reads what comes.
async fn ask_all(address: SocketAddr, client: u64, count: u64) -> Result<Counts> {
    let (mut counts, mut next) = (Counts::default(), 0);
    let mut waiting: VecDeque<Ask> = VecDeque::new();
    let mut kept: Option<Reader> = None;
    loop {
        while waiting.len() < DEPTH && next < count {
            waiting.push_back(Ask::new(client, next));
            next += 1;
        }
        if waiting.is_empty() {
            return Ok(counts);
        }
        let mut reader = match kept.take() {
            Some(reader) => reader,
            None => {
                counts.connections += 1;
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Reader { stream, buffer: Vec::new(), at: 0 }
            }
        };
        // Whoever leaves does so last.
        let last = waiting.iter().position(Ask::leaves).unwrap_or(waiting.len() - 1);
        let bytes: Vec<u8> = waiting.iter().take(last + 1).flat_map(Ask::bytes).collect();
        let mut open = reader.stream.write_all(&bytes).await.is_ok();
        for _ in 0..=last {
            let Some(ask) = waiting.front_mut() else { break };
            let answer = timeout(SOON, reader.answer(ask)).await;
            let answer = answer.with_context(|| format!("no answer to {ask:?}"))?;
            match answer.with_context(|| format!("the answer to {ask:?}"))? {
                Fate::Own => counts.own += 1,
                Fate::OwnAndClosed => (counts.own, open) = (counts.own + 1, false),
                Fate::Refused => (counts.refused, open) = (counts.refused + 1, false),
                Fate::Cut => (counts.cut, open) = (counts.cut + 1, false),
                Fate::Left => (counts.left, open) = (counts.left + 1, false),
                Fate::Unanswered => {
                    ask.attempts += 1;
                    ensure!(ask.attempts < 20, "closed again and again before {ask:?}");
                    open = false;
                    break;
                }
            }
            waiting.pop_front();
            if !open {
                break;
            }
        }
        kept = open.then_some(reader);
    }
}

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Own,
    OwnAndClosed,
    Refused,
    Cut,
    Left,
    /// The connection was closed before: the request has to be sent again.
    Unanswered,
}

/// Reads answers.
struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Read up to here.
    at: usize,
}

impl Reader {
    /// Reads the answer to `ask`, of which every byte has to be its own.
    async fn answer(&mut self, ask: &Ask) -> Result<Fate> {
        if ask.kind == Kind::LeaveAsking {
            return Ok(Fate::Left);
        }
        let Some(end) = self.until(b"\r\n\r\n").await? else {
            return if self.rest().is_empty() { Ok(Fate::Unanswered) } else { Ok(Fate::Cut) };
        };
        let head = std::str::from_utf8(&self.buffer[self.at..end])?.to_ascii_lowercase();
        self.at = end;
        let status = head.strip_prefix("http/1.1 ").and_then(|rest| rest.get(..3));
        let status: u16 = status.with_context(|| head.clone())?.parse()?;
        let field =
            |name: &str| head.split("\r\n").find_map(|line| line.strip_prefix(name)).map(str::trim);
        let closed = field("connection:") == Some("close");
        let token = field("x-token:");
        match (ask.kind, status) {
            (Kind::Error, 500) => {}
            (kind, 200) if kind != Kind::Error => {}
            (_, 502 | 503) if token.is_none() => {
                let length = field("content-length:").context("no length")?.parse()?;
                let length = if ask.kind == Kind::Head { 0 } else { length };
                let Some(body) = self.take(length).await? else { return Ok(Fate::Cut) };
                ensure!(!body.contains(&b'<'), "{status} with a body of somebody");
                // Closed or not, it is not worth to tell these apart.
                return Ok(Fate::Refused);
            }
            _ => bail!("{head:?}"),
        }
        ensure!(token == Some(&*ask.token), "{head:?}");
        if ask.kind == Kind::Head {
            return Ok(if closed { Fate::OwnAndClosed } else { Fate::Own });
        }
        if let Some(length) = field("content-length:") {
            let length = length.parse()?;
            if ask.kind == Kind::LeaveReading {
                let some = self.take(length / 4).await?;
                return some.map_or(Ok(Fate::Cut), |some| own(ask, &some).map(|()| Fate::Left));
            }
            let Some(body) = self.take(length).await? else {
                own(ask, self.rest())?;
                return Ok(Fate::Cut);
            };
            own(ask, &body)?;
        } else {
            ensure!(field("transfer-encoding:") == Some("chunked"), "{head:?}");
            let mut body = Vec::new();
            loop {
                let Some(end) = self.until(b"\r\n").await? else { return Ok(Fate::Cut) };
                let line = std::str::from_utf8(&self.buffer[self.at..end - 2])?;
                let size = usize::from_str_radix(line, 16).with_context(|| line.to_owned())?;
                self.at = end;
                let Some(data) = self.take(size + 2).await? else { return Ok(Fate::Cut) };
                body.extend_from_slice(data.strip_suffix(b"\r\n").context("no end of line")?);
                if size == 0 {
                    break;
                }
            }
            own(ask, &body)?;
            ensure!(body.len().is_multiple_of(TOKEN), "{} bytes", body.len());
        }
        Ok(if closed { Fate::OwnAndClosed } else { Fate::Own })
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Where `mark` ends; `None` at the connection's end.
    async fn until(&mut self, mark: &[u8]) -> Result<Option<usize>> {
        loop {
            if let Some(at) = find(self.rest(), mark) {
                return Ok(Some(self.at + at + mark.len()));
            }
            if !self.fill().await {
                return Ok(None);
            }
        }
    }

    async fn take(&mut self, length: usize) -> Result<Option<Vec<u8>>> {
        while self.rest().len() < length {
            if !self.fill().await {
                return Ok(None);
            }
        }
        let taken = self.rest()[..length].to_vec();
        self.at += length;
        Ok(Some(taken))
    }

    async fn fill(&mut self) -> bool {
        self.buffer.drain(..self.at);
        self.at = 0;
        matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..))
    }
}

/// Whether `body` is nothing but the token of `ask`, over and over.
fn own(ask: &Ask, body: &[u8]) -> Result<()> {
    for piece in body.chunks(TOKEN) {
        let (expected, _) = ask.token.as_bytes().split_at(piece.len());
        ensure!(piece == expected, "in the body: {:?}", piece.escape_ascii().to_string());
    }
    Ok(())
}

// === the origin ===

async fn serve(listener: TcpListener, wrong: Arc<Mutex<Vec<String>>>, count: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        count.fetch_add(1, Ordering::Relaxed);
        let wrong = Arc::clone(&wrong);
        connections.spawn(async move {
            if let Err(error) = converse(stream).await {
                wrong.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{error:#}"));
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Answers what is asked on one connection.
///
/// # Errors
/// When a request is not of one piece.
async fn converse(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = Reader { stream, buffer: Vec::new(), at: 0 };
    loop {
        let Some(end) = reader.until(b"\r\n\r\n").await? else { return Ok(()) };
        let head = std::str::from_utf8(&reader.buffer[reader.at..end])?.to_owned();
        reader.at = end;
        let mut words = head.split([' ', '/']).skip(2);
        let (kind, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let kind = MIX.iter().find(|(known, _)| format!("{known:?}") == kind);
        let (kind, _) = kind.with_context(|| head.clone())?;
        let token = format!("<{name}.>");
        let field = |name: &str| {
            head.split("\r\n").find_map(|line| {
                let (found, value) = line.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then_some(value)
            })
        };
        ensure!(field("x-token") == Some(&*token), "{head}");
        let ask = Ask { kind: *kind, token, attempts: 0 };
        let body = if let Some(length) = field("content-length") {
            reader.take(length.parse()?).await?
        } else if field("transfer-encoding").is_some() {
            chunks(&mut reader).await?
        } else {
            Some(Vec::new())
        };
        // Its client has left.
        let Some(body) = body else { return own(&ask, reader.rest()) };
        own(&ask, &body)?;
        if !answer(&mut reader.stream, &ask, body.len()).await.unwrap_or(false) {
            return Ok(());
        }
    }
}

async fn chunks(reader: &mut Reader) -> Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = reader.until(b"\r\n").await? else { return Ok(None) };
        let line = std::str::from_utf8(&reader.buffer[reader.at..end - 2])?;
        let size = usize::from_str_radix(line, 16).with_context(|| line.to_owned())?;
        reader.at = end;
        let Some(data) = reader.take(size + 2).await? else { return Ok(None) };
        body.extend_from_slice(data.strip_suffix(b"\r\n").context("no end of line")?);
        if size == 0 {
            return Ok(Some(body));
        }
    }
}

/// Whether the connection goes on.
async fn answer(stream: &mut TcpStream, ask: &Ask, body: usize) -> std::io::Result<bool> {
    let Ask { kind, token, .. } = ask;
    let times = match kind {
        Kind::Hangup => return Ok(false),
        Kind::Large | Kind::LeaveReading => 4000,
        Kind::Post | Kind::PostChunked => body / TOKEN,
        _ => ask.seed() as usize % 40,
    };
    let status = if *kind == Kind::Error { "500 Internal Server Error" } else { "200 OK" };
    let mut text = format!("HTTP/1.1 {status}\r\nX-Token: {token}\r\n");
    if *kind == Kind::Close {
        text.push_str("Connection: close\r\n");
    }
    if *kind == Kind::Chunked {
        text.push_str("Transfer-Encoding: chunked\r\n\r\n");
        for _ in 0..times % 5 {
            text.push_str(&format!("{:x}\r\n{token}{token}\r\n", 2 * TOKEN));
        }
        text.push_str("0\r\n\r\n");
    } else {
        text.push_str(&format!("Content-Length: {}\r\n\r\n", times * TOKEN));
        if *kind != Kind::Head {
            text.push_str(&token.repeat(times));
        }
    }
    let middle = text.len().saturating_sub(TOKEN * times / 2 + 5);
    match kind {
        Kind::Slow => {
            stream.write_all(&text.as_bytes()[..middle]).await?;
            sleep(Duration::from_millis(3)).await;
            stream.write_all(&text.as_bytes()[middle..]).await?;
        }
        Kind::Cut => stream.write_all(&text.as_bytes()[..middle]).await?,
        _ => stream.write_all(text.as_bytes()).await?,
    }
    Ok(!matches!(kind, Kind::Close | Kind::Cut))
}

/// A number that looks random (the finalizer of MurmurHash3).
fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = (number ^ number >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ number >> 33
}

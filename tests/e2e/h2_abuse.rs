//! Clients of HTTP/2 that cost more than they pay: others are served meanwhile, and what they make
//! the gateway hold is bounded.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use tidegate_tests::*;
use tokio::time::timeout;

/// How long an attack goes on, unless the gateway ends it.
const ATTACK: Duration = Duration::from_secs(3);

/// What an attack may add to the process's memory, unless it says so itself.
const MEMORY: u64 = 64 << 20;

/// An origin, and a gateway whose listener `h2c` is attacked.
struct Attacked {
    origin: Origin,
    gateway: Gateway,
}

impl Attacked {
    async fn start() -> Result<Self> {
        let origin = Origin::serving("v1", |got| {
            let large = got.uri.path() == "/large";
            let body = if large { vec![b'x'; 1 << 20] } else { b"ok".to_vec() };
            let mut answer = http::Response::new(Bytes::from(body));
            answer.headers_mut().insert("x-origin", http::HeaderValue::from_static("v1"));
            answer
        })
        .await?;
        let config = Config::single(origin.address()).h2c("timeouts: { head: 3s, body: 2s }");
        let gateway = Gateway::start(&config.yaml()).await?;
        // Whatever it holds from then on was there before.
        Load::run(&gateway.get("/"), 4, 400).await.flawless()?;
        Ok(Self { origin, gateway })
    }

    async fn connect(&self) -> Result<Frames> {
        Frames::connect(self.gateway.address("h2c")).await
    }

    /// Attacks while others ask for something; it may take `memory` more than before.
    async fn withstands<T>(
        mut self,
        memory: u64,
        attack: impl AsyncFnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        let before = self.gateway.memory("VmRSS")?;
        let address = self.gateway.address("h2c");
        let others = Load::paced(&self.gateway.get("/"), 100);
        let beside = tokio::spawn(async move {
            let http2 = Http2::open(address).await?;
            for _ in 0..50 {
                let answer = http2.send(&Call::get(address, "/")).await?;
                ensure!(answer.status == 200, "{answer:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        });
        let result = attack(&self).await?;
        beside.await?.context("somebody else's connection")?;
        let report = others.stop().await.flawless()?;
        ensure!(report.served() > 20, "{report:?}");
        let most = self.gateway.memory("VmHWM")?;
        ensure!(most < before + memory, "{} MiB more", (most - before) >> 20);
        self.gateway.healthy()?;
        let mut frames = self.connect().await?;
        let stream = frames.get("/").await?;
        ensure!(frames.answer(stream).await?.status() == 200);
        self.gateway.stop().await?;
        Ok(result)
    }
}

/// Sends `bytes` again and again until the attack is over or the gateway has closed; gives how often
/// it was sent. What comes back is not read.
async fn flood(frames: &mut Frames, bytes: &[u8], times: usize) -> usize {
    // Few writes, so that it is the gateway that has the work.
    let batch = (65_536 / bytes.len()).clamp(1, times);
    let many = bytes.repeat(batch);
    let (begin, mut sent) = (Instant::now(), 0);
    while sent < times && begin.elapsed() < ATTACK {
        match timeout(ATTACK, frames.write(&many)).await {
            Ok(Ok(())) => sent += batch,
            _ => break,
        }
    }
    sent
}

fn bytes(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Vec<u8> {
    Frame { kind, flags, stream, payload: payload.into() }.bytes()
}

/// An ordinary request that is all there.
fn get(stream: u32) -> Vec<u8> {
    let block = block(&Frames::request("GET", "/"));
    bytes(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, block)
}

/// CVE-2023-44487.
#[tokio::test]
async fn rapid_reset() -> Result<()> {
    let attacked = Attacked::start().await?;
    attacked.origin.behave(Behaviour::Delay(Duration::from_millis(200)));
    attacked
        .withstands(MEMORY, async |attacked| {
            let before = attacked.origin.hits();
            let mut frames = attacked.connect().await?;
            let begin = Instant::now();
            let mut sent = 0;
            'attack: while begin.elapsed() < ATTACK {
                let mut many = Vec::new();
                for _ in 0..50 {
                    let stream = frames.stream();
                    many.extend(get(stream));
                    many.extend(bytes(kind::RST_STREAM, 0, stream, error::CANCEL.to_be_bytes()));
                    sent += 1;
                }
                if frames.write(many).await.is_err() {
                    break 'attack;
                }
            }
            let code = frames.until_closed(SOON).await?;
            ensure!(code == Some(error::ENHANCE_YOUR_CALM), "{code:?} after {sent}");
            let reached = attacked.origin.hits() - before;
            ensure!(reached < 1000, "{reached} of {sent} reached the origin");
            Ok(())
        })
        .await
}

/// The same at a pace at which each request is begun before it is reset.
#[tokio::test]
async fn steady_reset() -> Result<()> {
    let attacked = Attacked::start().await?;
    attacked.origin.behave(Behaviour::Delay(Duration::from_millis(100)));
    attacked
        .withstands(MEMORY, async |attacked| {
            let mut frames = attacked.connect().await?;
            let before = attacked.origin.hits();
            for number in 1..=2000 {
                let stream = frames.get("/").await.unwrap_or(0);
                tokio::time::sleep(Duration::from_millis(1)).await;
                if stream == 0 || frames.reset(stream, error::CANCEL).await.is_err() {
                    ensure!(number > 50, "closed after {number}");
                    break;
                }
            }
            let code = frames.until_closed(SOON).await?;
            ensure!(code == Some(error::ENHANCE_YOUR_CALM), "{code:?}");
            ensure!(attacked.origin.hits() - before < 1000);
            Ok(())
        })
        .await
}

/// CVE-2025-8671: frames that oblige the gateway to reset the stream itself, so that the client may
/// begin the next one while the work for the last one goes on.
#[tokio::test]
async fn made_you_reset() -> Result<()> {
    type Trick = fn(u32) -> Vec<u8>;
    let tricks: [(&str, Trick); 4] = [
        ("a window by nothing", |stream| bytes(kind::WINDOW_UPDATE, 0, stream, 0u32.to_be_bytes())),
        ("a window beyond all", |stream| {
            bytes(kind::WINDOW_UPDATE, 0, stream, 0x7fff_ffffu32.to_be_bytes())
        }),
        ("a body after the end", |stream| bytes(kind::DATA, 0, stream, *b"x")),
        ("depends on itself", |stream| {
            bytes(kind::PRIORITY, 0, stream, [&stream.to_be_bytes()[..], &[0]].concat())
        }),
    ];
    for (what, trick) in tricks {
        let attacked = Attacked::start().await?;
        attacked.origin.behave(Behaviour::Delay(Duration::from_millis(50)));
        let reached = attacked
            .withstands(MEMORY, async |attacked| {
                let before = attacked.origin.hits();
                let mut frames = attacked.connect().await?;
                let begin = Instant::now();
                while begin.elapsed() < ATTACK {
                    let mut many = Vec::new();
                    for _ in 0..20 {
                        let stream = frames.stream();
                        many.extend(get(stream));
                        many.extend(trick(stream));
                    }
                    if timeout(ATTACK, frames.write(many)).await.is_ok_and(|sent| sent.is_ok()) {
                        continue;
                    }
                    break;
                }
                Ok(attacked.origin.hits() - before)
            })
            .await
            .context(what)?;
        // The streams of one connection are 100 at once.
        assert!(reached < 10_000, "{what}: {reached} requests reached the origin");
    }
    Ok(())
}

/// CVE-2024-27316 and its kin: a header block without an end.
#[tokio::test]
async fn continuation_flood() -> Result<()> {
    let piece = |payload: Vec<u8>| bytes(kind::CONTINUATION, 0, 1, payload);
    let large = field("x-large", "a".repeat(16_000));
    for (what, more) in
        [("large", piece(large)), ("small", piece(field("x", "y"))), ("empty", piece(Vec::new()))]
    {
        let attacked = Attacked::start().await?;
        attacked
            .withstands(MEMORY, async |attacked| {
                let mut frames = attacked.connect().await?;
                let begin = block(&Frames::request("GET", "/"));
                frames.send(kind::HEADERS, flag::END_STREAM, 1, begin).await?;
                let sent = flood(&mut frames, &more, 2_000_000).await;
                // Reading a block that is not its own end is over by the time for a head.
                frames.until_closed(SOON).await.with_context(|| format!("{sent} pieces"))?;
                Ok(())
            })
            .await
            .context(what)?;
    }
    Ok(())
}

#[tokio::test]
async fn large_header_lists() -> Result<()> {
    let request = block(&Frames::request("GET", "/"));
    let lines = |count: usize, length: usize| {
        let lines = (0..count).flat_map(|i| field(format!("x-{i}"), "a".repeat(length)));
        [request.clone(), lines.collect()].concat()
    };
    // One field that goes into the table of the connection, and many that point there: 20,000 bytes
    // that are 60 MB.
    let mut bomb = request.clone();
    bomb.push(0x40);
    bomb.extend([7, b'x', b'-', b'l', b'a', b'r', b'g', b'e']);
    bomb.extend([127, 0x80 | (3000u32 - 127) as u8 & 0x7f, ((3000 - 127) >> 7) as u8]);
    bomb.extend(vec![b'a'; 3000]);
    bomb.extend(vec![0x80 | 62; 20_000]);
    let attacked = Attacked::start().await?;
    attacked
        .withstands(MEMORY, async |attacked| {
            for (what, list) in [
                ("101 fields", lines(101, 1)),
                ("70 kB", lines(70, 1000)),
                ("a field of 70 kB", lines(1, 70_000)),
                ("1 MB", lines(1000, 1000)),
                ("a bomb", bomb),
            ] {
                let before = attacked.origin.recorded().len();
                let mut frames = attacked.connect().await?;
                let stream = frames.stream();
                let mut parts = list.chunks(16_000).peekable();
                let mut which = (kind::HEADERS, flag::END_STREAM);
                while let Some(part) = parts.next() {
                    let last = if parts.peek().is_none() { flag::END_HEADERS } else { 0 };
                    let sent = frames.send(which.0, which.1 | last, stream, part).await;
                    which = (kind::CONTINUATION, 0);
                    if sent.is_err() {
                        break;
                    }
                }
                let answer = frames.answer(stream).await.context(what)?;
                let refused = answer.status() == 431 || answer.head.is_empty();
                ensure!(refused, "{what}: {answer:?}");
                let large = |got: &Recorded| got.headers.len() > 20;
                ensure!(!attacked.origin.recorded()[before..].iter().any(large), "{what}");
            }
            // Just within: as over HTTP/1.1.
            let mut frames = attacked.connect().await?;
            for list in [lines(90, 10), lines(3, 5000)] {
                let stream = frames.stream();
                frames.head(stream, list, true).await?;
                let answer = frames.answer(stream).await?;
                ensure!(answer.status() == 200, "{answer:?}");
            }
            Ok(())
        })
        .await
}

/// A client that asks for a lot and takes nothing of it.
#[tokio::test]
async fn windows_that_never_open() -> Result<()> {
    let attacked = Attacked::start().await?;
    // Of each stream's answer eight pieces of 64 KiB are on their way: pingora's queue and what was
    // taken out of it.
    attacked
        .withstands(320 << 20, async |attacked| {
            let address = attacked.gateway.address("h2c");
            let mut stalled = Vec::new();
            for _ in 0..5 {
                let shut = [(setting::INITIAL_WINDOW_SIZE, 0)];
                let mut frames = Frames::connect_with(address, &shut).await?;
                frames.opens_windows = false;
                let mut streams = Vec::new();
                for _ in 0..100 {
                    streams.push(frames.get("/large").await?);
                }
                stalled.push((frames, streams));
            }
            for (frames, streams) in &mut stalled {
                for stream in streams {
                    let answer = frames.answer_within(2 * SOON, *stream).await?;
                    let end = answer.end;
                    ensure!(!matches!(end, None | Some(End::Whole)), "{end:?} without a window");
                }
            }
            attacked.gateway.counts("tidegate_requests_in_flight", &[], 0.0).await
        })
        .await
}

/// Frames that are allowed, cheap to send, and have to be looked at.
#[tokio::test]
async fn floods_of_small_frames() -> Result<()> {
    let unknown = bytes(0xfa, 0, 0, [0; 8]);
    for (what, frame) in [
        ("pings", bytes(kind::PING, 0, 0, [0; 8])),
        ("settings", bytes(kind::SETTINGS, 0, 0, [])),
        ("changes of settings", bytes(kind::SETTINGS, 0, 0, [0, 4, 0, 0, 0xff, 0xff])),
        ("priorities", bytes(kind::PRIORITY, 0, 1, [0, 0, 0, 3, 1])),
        ("empty pieces of a body", bytes(kind::DATA, 0, 1, [])),
        ("padding alone", bytes(kind::DATA, flag::PADDED, 1, [9, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("windows", bytes(kind::WINDOW_UPDATE, 0, 0, 1u32.to_be_bytes())),
        ("unknown ones", unknown),
    ] {
        let attacked = Attacked::start().await?;
        attacked
            .withstands(MEMORY, async |attacked| {
                let mut frames = attacked.connect().await?;
                frames.headers(1, &Frames::request("POST", "/"), false).await?;
                frames.acknowledges = false;
                let sent = flood(&mut frames, &frame, 300_000).await;
                ensure!(sent > 0, "not even one");
                Ok(())
            })
            .await
            .context(what)?;
    }
    Ok(())
}

#[tokio::test]
async fn windows_that_overflow() -> Result<()> {
    let attacked = Attacked::start().await?;
    attacked
        .withstands(MEMORY, async |attacked| {
            let most = 0x7fff_ffffu32;
            // The connection's window beyond 2^31 - 1.
            let mut frames = attacked.connect().await?;
            frames.window(0, most).await?;
            frames.window(0, most).await.ok();
            let code = frames.until_closed(SOON).await?;
            ensure!(code == Some(error::FLOW_CONTROL_ERROR), "{code:?}");
            // A setting beyond it; `h2` names another error.
            let mut frames = attacked.connect().await?;
            frames.send_settings(&[(setting::INITIAL_WINDOW_SIZE, most + 1)]).await?;
            let code = frames.until_closed(SOON).await?;
            ensure!(code.is_some_and(|code| code > 0), "{code:?}");
            // More of a body than there is a window for.
            attacked.origin.behave(Behaviour::Never);
            let mut frames = attacked.connect().await?;
            frames.headers(1, &Frames::request("POST", "/"), false).await?;
            let data = bytes(kind::DATA, 0, 1, vec![0; 16_000]);
            flood(&mut frames, &data, 4_000).await;
            let answer = frames.answer(1).await?;
            let allowed =
                [End::Reset(error::FLOW_CONTROL_ERROR), End::Gone(Some(error::FLOW_CONTROL_ERROR))];
            let end = answer.end.context("it goes on")?;
            // A reset that was on its way may be lost with the connection.
            ensure!(allowed.contains(&end) || end == End::Gone(None), "{end:?}");
            attacked.origin.behave(Behaviour::Echo);
            Ok(())
        })
        .await
}

/// Connections that say next to nothing.
#[tokio::test]
async fn silent_connections() -> Result<()> {
    let attacked = Attacked::start().await?;
    attacked
        .withstands(MEMORY, async |attacked| {
            let address = attacked.gateway.address("h2c");
            let mut silent = Vec::new();
            for number in 0..200 {
                let mut client = RawClient::connect(address).await?;
                let part = &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..number % 25];
                client.send(part).await?;
                silent.push(client);
            }
            // A head that stops in the middle.
            let mut half = attacked.connect().await?;
            half.send(kind::HEADERS, flag::END_STREAM, 1, block(&Frames::request("GET", "/")))
                .await?;
            half.until_closed(SOON).await?;
            let mut open = BTreeSet::new();
            for (number, client) in silent.iter_mut().enumerate() {
                // A whole preface is a client that may think for a while.
                if client.until_closed(SOON).await.is_err() {
                    open.insert(number % 25);
                }
            }
            ensure!(open.iter().all(|length| *length == 24), "{open:?}");
            Ok(())
        })
        .await
}

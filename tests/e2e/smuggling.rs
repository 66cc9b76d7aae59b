//! Request smuggling: whatever a client sends, an upstream sees the requests that the client plainly
//! sent and no other, each with one reading.

mod answers;
mod corpus;
mod recorder;

use anyhow::{Context, Result, bail, ensure};
use corpus::{Case, End};
use recorder::Recorder;
use std::time::Duration;
use tidegate_tests::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

/// What is sent behind a case: the request that a smuggler wants to see answered.
const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// How the bytes of a case leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// All at once.
    Whole,
    /// The head of the first request, and later the rest: the upstream has got a head by then.
    HeadFirst,
    /// A system call for each byte.
    ByteByByte,
}

#[tokio::test]
async fn no_request_is_smuggled_to_a_strict_upstream() -> Result<()> {
    let recorder = Recorder::start().await?;
    let mut gateway = Gateway::start(&Config::single(recorder.address()).yaml()).await?;
    let mut wrong = Vec::new();
    for case in corpus::cases()? {
        for pace in [Pace::Whole, Pace::HeadFirst, Pace::ByteByByte] {
            let mut result = run(&gateway, &case, pace, true).await;
            if result.is_ok() {
                let seen = recorder.take();
                result = check_seen(&case, &seen);
            }
            recorder.take();
            if let Err(error) = result {
                wrong.push(format!("{} ({pace:?}): {error:#}", case.name));
            }
        }
        gateway.healthy()?;
    }
    ensure!(wrong.is_empty(), "{} findings: {wrong:#?}", wrong.len());
    gateway.stop().await
}

/// nginx is what many have behind a gateway, and it is no stricter than they are.
#[tokio::test]
async fn no_request_is_smuggled_to_nginx() -> Result<()> {
    let nginx = Nginx::start("v1").await?;
    let mut gateway = Gateway::start(&Config::single(nginx.address()).yaml()).await?;
    let (mut wrong, mut logged) = (Vec::new(), 0);
    // This nginx answers before it has a body. What comes in one piece is judged before it sees any.
    for case in corpus::cases()?.into_iter().filter(|case| case.bytes.len() < 4000) {
        let mut result = run(&gateway, &case, Pace::Whole, false).await;
        // The good request comes last.
        let lines = eventually("nginx logs the good request", async || {
            let lines = nginx.log().unwrap_or_default();
            let last = lines.last()?;
            (lines.len() > logged && last.starts_with("GET /good ")).then_some(lines)
        });
        let lines = lines.await.with_context(|| case.name.clone())?;
        if result.is_ok() {
            let seen = lines[logged..]
                .iter()
                .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "));
            result = check_seen(&case, &seen.collect::<Vec<_>>());
        }
        logged = lines.len();
        if let Err(error) = result {
            wrong.push(format!("{}: {error:#}", case.name));
        }
    }
    gateway.healthy()?;
    ensure!(wrong.is_empty(), "{} findings: {wrong:#?}", wrong.len());
    gateway.stop().await
}

/// Sends a case and reads all that comes back; then a good request on a connection of its own.
async fn run(gateway: &Gateway, case: &Case, pace: Pace, names: bool) -> Result<()> {
    let exchange = exchange(gateway, case, pace);
    let got = timeout(SOON, exchange).await.context("neither answered nor closed")??;
    let answers = check_answers(case, &got, names)
        .with_context(|| got[..got.len().min(500)].escape_ascii().to_string());
    let good = gateway.get("/good").send().await.context("the good request")?;
    ensure!(good.status == 200, "the good request got {}", good.status);
    ensure!(!names || good.text() == "GET /good", "the good request got {:?}", good.text());
    answers
}

async fn exchange(gateway: &Gateway, case: &Case, pace: Pace) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(gateway.web()).await?;
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = stream.split();
    let bytes = [&case.bytes, NEXT].concat();
    // The gateway may close in the middle.
    let send = async {
        match pace {
            Pace::Whole => _ = writer.write_all(&bytes).await,
            Pace::HeadFirst => {
                let middle = find(&bytes, b"\r\n\r\n").map_or(bytes.len() / 2, |at| at + 4);
                _ = writer.write_all(&bytes[..middle]).await;
                // Nothing depends on its length, but what is tried.
                sleep(Duration::from_millis(5)).await;
                _ = writer.write_all(&bytes[middle..]).await;
            }
            Pace::ByteByByte => {
                for byte in bytes.iter().take(1000) {
                    _ = writer.write_all(&[*byte]).await;
                }
                _ = writer.write_all(&bytes[bytes.len().min(1000)..]).await;
            }
        }
    };
    let mut got = Vec::new();
    let receive = async { while let Ok(1..) = reader.read_buf(&mut got).await {} };
    tokio::join!(send, receive);
    Ok(got)
}

/// Each request that is served has its own answer, in order, and what is refused closes.
fn check_answers(case: &Case, got: &[u8], names: bool) -> Result<()> {
    let mut rest = got;
    let next = (case.end == End::Open).then_some("GET /next");
    for request in case.answered.iter().map(String::as_str).chain(next) {
        if let Ok(status) = request.parse::<u16>() {
            let own = answer(&mut rest, false)?.status;
            ensure!(own == status, "{own} and not {status}");
            continue;
        }
        let answer = answer(&mut rest, request.starts_with("HEAD "))
            .with_context(|| format!("the answer to {request:?}"))?;
        ensure!(!names || answer.status == 200, "{request:?} got {}", answer.status);
        let own = request.starts_with("HEAD ") || answer.body == request.as_bytes();
        ensure!(!names || own, "{request:?} got {:?}", String::from_utf8_lossy(&answer.body));
    }
    if case.end == End::Refused {
        let refusal = answer(&mut rest, false).context("the refusal")?;
        ensure!((400..600).contains(&refusal.status), "{} is no refusal", refusal.status);
        ensure!(refusal.close, "{} without `connection: close`", refusal.status);
    }
    ensure!(rest.is_empty(), "more behind: {:?}", rest.escape_ascii().to_string());
    Ok(())
}

fn check_seen(case: &Case, seen: &[String]) -> Result<()> {
    let next = (case.end == End::Open).then(|| "GET /next".to_owned());
    let good = "GET /good".to_owned();
    let expected: Vec<_> = case
        .answered
        .iter()
        .filter(|what| what.contains('/'))
        .cloned()
        .chain(next)
        .chain([good])
        .collect();
    ensure!(expected == seen, "the upstream saw {seen:#?}");
    Ok(())
}

struct Answer {
    status: u16,
    close: bool,
    body: Vec<u8>,
}

/// Takes the first answer off `bytes`; interim ones are passed over.
fn answer(bytes: &mut &[u8], to_head: bool) -> Result<Answer> {
    loop {
        let end = find(bytes, b"\r\n\r\n").context("no head")? + 4;
        let (head, rest) = bytes.split_at(end);
        let head = std::str::from_utf8(head)?.to_ascii_lowercase();
        let status = head.strip_prefix("http/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.with_context(|| format!("no status line: {head:?}"))?.parse()?;
        if (100..200).contains(&status) {
            *bytes = rest;
            continue;
        }
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let length = match field("content-length:") {
            Some(_) if to_head => 0,
            Some(length) => length.trim().parse()?,
            None => bail!("no length: {head:?}"),
        };
        let (body, rest) = rest.split_at_checked(length).context("a body cut off")?;
        *bytes = rest;
        let close = field("connection:").is_some_and(|value| value.trim() == "close");
        return Ok(Answer { status, close, body: body.to_vec() });
    }
}

//! Answers of a hostile upstream. Its one way to hurt is that the bytes behind an answer, or within
//! an ambiguous one, reach the next client: so each client gets its own answer or none, and nobody
//! gets what has more than one reading.

use anyhow::{Context, Result, bail, ensure};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidegate_tests::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    time::{sleep, timeout},
};

/// In all bytes that nobody may get.
const LEAK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nLEAK";

/// What may come of an answer for the client that asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its own answer.
    Own,
    /// 502, or an answer that breaks off.
    Broken,
    /// One or the other.
    Either,
}

use Fate::{Broken, Either, Own};

/// A request's method, the answer, and what may come of it. `own` is the body of the client's own
/// answer; `!` is [`LEAK`], and before what comes after a `~` the upstream waits, until the gateway
/// has the connection back.
const ANSWERS: &[(&str, &str, &str, Fate)] = &[
    ("plain", "GET", "200 OK\r\nContent-Length: 3\r\n\r\nown", Own),
    ("chunked", "GET", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nown\r\n0\r\n\r\n", Own),
    ("head", "HEAD", "200 OK\r\nContent-Length: 3\r\n\r\n", Own),
    ("204", "GET", "204 No Content\r\n\r\n", Own),
    ("304", "GET", "304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 4\r\n\r\n", Own),
    // Bytes behind the answer.
    ("behind-a-length", "GET", "200 OK\r\nContent-Length: 3\r\n\r\nown!", Own),
    ("behind-a-length-later", "GET", "200 OK\r\nContent-Length: 3\r\n\r\nown~!", Own),
    ("behind-a-length-0", "GET", "200 OK\r\nContent-Length: 0\r\n\r\n!", Own),
    (
        "behind-chunks",
        "GET",
        "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nown\r\n0\r\n\r\n!",
        Own,
    ),
    (
        "behind-chunks-later",
        "GET",
        "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nown\r\n0\r\n\r\n~!",
        Own,
    ),
    ("behind-204", "GET", "204 No Content\r\n\r\n!", Own),
    ("behind-204-later", "GET", "204 No Content\r\n\r\n~!", Own),
    ("behind-304", "GET", "304 Not Modified\r\n\r\n!", Own),
    ("behind-close", "GET", "200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nown!", Own),
    ("one-byte-behind", "GET", "200 OK\r\nContent-Length: 3\r\n\r\nown~\n", Own),
    // A body where none belongs.
    ("body-to-head", "HEAD", "200 OK\r\nContent-Length: 4\r\n\r\nLEAK", Own),
    ("body-to-head-later", "HEAD", "200 OK\r\nContent-Length: 4\r\n\r\n~LEAK", Own),
    ("answer-to-head", "HEAD", "200 OK\r\nContent-Length: 44\r\n\r\n!", Own),
    (
        "chunks-to-head",
        "HEAD",
        "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nLEAK\r\n0\r\n\r\n",
        Own,
    ),
    ("body-of-204", "GET", "204 No Content\r\nContent-Length: 4\r\n\r\nLEAK", Either),
    (
        "chunks-of-204",
        "GET",
        "204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nLEAK\r\n0\r\n\r\n",
        Either,
    ),
    ("body-of-304", "GET", "304 Not Modified\r\nContent-Length: 4\r\n\r\nLEAK", Own),
    ("body-of-304-later", "GET", "304 Not Modified\r\nContent-Length: 4\r\n\r\n~LEAK", Own),
    ("body-of-103", "GET", "103 Early Hints\r\nContent-Length: 4\r\n\r\nLEAK", Broken),
    // Two framings.
    (
        "length-and-chunks",
        "GET",
        "200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nown\r\n0\r\n\r\n!",
        Either,
    ),
    (
        "chunks-and-length",
        "GET",
        "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 49\r\n\r\n3\r\nown\r\n0\r\n\r\n!",
        Either,
    ),
    (
        "length-and-blank-before-colon",
        "GET",
        "200 OK\r\nContent-Length: 13\r\nTransfer-Encoding : chunked\r\n\r\n3\r\nown\r\n0\r\n\r\n!",
        Either,
    ),
    (
        "length-and-identity",
        "GET",
        "200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: identity\r\n\r\nown!",
        Broken,
    ),
    ("two-lengths", "GET", "200 OK\r\nContent-Length: 3\r\nContent-Length: 47\r\n\r\nown!", Broken),
    (
        "two-equal-lengths",
        "GET",
        "200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nown!",
        Either,
    ),
    ("list-of-lengths", "GET", "200 OK\r\nContent-Length: 3, 47\r\n\r\nown!", Broken),
    ("list-of-equal-lengths", "GET", "200 OK\r\nContent-Length: 3, 3\r\n\r\nown!", Either),
    (
        "chunked-twice",
        "GET",
        "200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nown\r\n0\r\n\r\n!",
        Either,
    ),
    (
        "chunked-chunked",
        "GET",
        "200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n3\r\nown\r\n0\r\n\r\n!",
        Either,
    ),
    (
        "gzip-chunked",
        "GET",
        "200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nown\r\n0\r\n\r\n!",
        Broken,
    ),
    (
        "chunked-identity",
        "GET",
        "200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n3\r\nown\r\n0\r\n\r\n!",
        Broken,
    ),
    (
        "xchunked",
        "GET",
        "200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n3\r\nown\r\n0\r\n\r\n!",
        Broken,
    ),
    (
        "chunks-of-http-1.0",
        "GET",
        "1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nown\r\n0\r\n\r\n!",
        Either,
    ),
    // Lengths that are none.
    ("length-plus", "GET", "200 OK\r\nContent-Length: +3\r\n\r\nown!", Broken),
    ("length-minus", "GET", "200 OK\r\nContent-Length: -3\r\n\r\nown!", Broken),
    ("length-hex", "GET", "200 OK\r\nContent-Length: 0x3\r\n\r\nown!", Broken),
    ("length-empty", "GET", "200 OK\r\nContent-Length:\r\n\r\nown!", Broken),
    (
        "length-overflow",
        "GET",
        "200 OK\r\nContent-Length: 18446744073709551619\r\n\r\nown!",
        Broken,
    ),
    ("length-leading-zero", "GET", "200 OK\r\nContent-Length: 03\r\n\r\nown!", Either),
    // Chunks that are none.
    ("chunk-bare-lf", "GET", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nown\n0\n\n!", Broken),
    (
        "chunk-too-long",
        "GET",
        "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nowner\r\n0\r\n\r\n!",
        Broken,
    ),
    (
        "chunk-no-size",
        "GET",
        "200 OK\r\nTransfer-Encoding: chunked\r\n\r\nown\r\n0\r\n\r\n!",
        Broken,
    ),
    (
        "chunk-overflow",
        "GET",
        "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nown\r\n0\r\n\r\n!",
        Broken,
    ),
    (
        "chunk-extension",
        "GET",
        "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nown\r\n0\r\n\r\n!",
        Own,
    ),
    (
        "chunk-trailer",
        "GET",
        "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nown\r\n0\r\nContent-Length: 9\r\n\r\n!",
        Own,
    ),
    // Heads that are none.
    ("bare-cr", "GET", "200 OK\r\nX: a\rb\r\nContent-Length: 3\r\n\r\nown!", Broken),
    ("nul", "GET", "200 OK\r\nX: a\0b\r\nContent-Length: 3\r\n\r\nown!", Broken),
    ("folded", "GET", "200 OK\r\nX: a\r\n b\r\nContent-Length: 3\r\n\r\nown!", Either),
    ("folded-length", "GET", "200 OK\r\nContent-Length:\r\n 3\r\n\r\nown!", Either),
    (
        "folded-framing",
        "GET",
        "200 OK\r\nX: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nown!",
        Either,
    ),
    ("bare-lf", "GET", "200 OK\nContent-Length: 3\n\nown!", Either),
    ("blank-before-colon", "GET", "200 OK\r\nContent-Length : 3\r\n\r\nown!", Either),
    ("no-colon", "GET", "200 OK\r\nX\r\nContent-Length: 3\r\n\r\nown!", Broken),
    ("no-name", "GET", "200 OK\r\n: x\r\nContent-Length: 3\r\n\r\nown!", Broken),
    (
        "connection-names-length",
        "GET",
        "200 OK\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\nown!",
        Own,
    ),
    ("status-of-two-digits", "GET", "99 OK\r\nContent-Length: 3\r\n\r\nown!", Broken),
    ("status-of-four-digits", "GET", "2000 OK\r\nContent-Length: 3\r\n\r\nown!", Broken),
    ("status-000", "GET", "000 OK\r\nContent-Length: 3\r\n\r\nown!", Broken),
    ("http-0.9", "GET", "=LEAK\r\n", Broken),
    ("http-2", "GET", "=HTTP/2 200 OK\r\nContent-Length: 3\r\n\r\nown!", Broken),
    ("tls", "GET", "=\x16\x03\x01\x02\0\x01\0LEAK", Broken),
    // Interim answers.
    (
        "101-unasked",
        "GET",
        "101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n!",
        Broken,
    ),
    (
        "100-then-own",
        "GET",
        "100 Continue\r\n\r\n=HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown!",
        Own,
    ),
    (
        "103-then-own",
        "GET",
        "103 Early Hints\r\nLink: </a>\r\n\r\n=HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown!",
        Own,
    ),
    ("100-then-garbage", "GET", "100 Continue\r\n\r\nLEAK\r\n\r\n!", Broken),
    ("100-then-nothing", "GET", "100 Continue\r\n\r\n", Broken),
    (
        "102-then-own-later",
        "GET",
        "102 Processing\r\n\r\n~=HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown~!",
        Own,
    ),
    // An answer that breaks off.
    ("cut-in-the-head", "GET", "200 OK\r\nContent-Le", Broken),
    ("cut-in-the-body", "GET", "200 OK\r\nContent-Length: 9\r\n\r\nown", Broken),
    ("cut-in-a-chunk", "GET", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nown", Broken),
    (
        "cut-before-the-last-chunk",
        "GET",
        "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nown\r\n",
        Broken,
    ),
    ("until-closed", "GET", "200 OK\r\n\r\nown", Own),
];

/// Interim answers in a row, of an upstream that has nothing else to say for a while.
const FLOOD: usize = 5000;

#[tokio::test]
async fn no_answer_reaches_another_client_through_smuggling() -> Result<()> {
    let said = Arc::new(Notify::new());
    let upstream = upstream(Arc::clone(&said)).await?;
    let mut gateway = Gateway::start(&Config::single(upstream.address()).yaml()).await?;
    let mut wrong = Vec::new();
    for (name, method, answer, fate) in ANSWERS {
        let later = answer.contains('~').then_some(&*said);
        if let Err(error) = run(&gateway, name, method, *fate, later).await {
            wrong.push(format!("{name}: {error:#}"));
        }
        gateway.healthy()?;
    }
    if let Err(error) = run(&gateway, "flood", "GET", Own, None).await {
        wrong.push(format!("flood: {error:#}"));
    }
    ensure!(wrong.is_empty(), "{} findings: {wrong:#?}", wrong.len());
    gateway.stop().await
}

/// An upstream that answers before it has the body: its connection has the rest of a body to come,
/// and the next request must not become that.
#[tokio::test]
async fn a_request_is_not_smuggled_into_the_body_of_another() -> Result<()> {
    let behind = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&behind);
    let upstream = RawOrigin::start(move |mut stream| {
        let kept = Arc::clone(&kept);
        async move {
            loop {
                let got = read_head(&mut stream).await?;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown";
                stream.write_all(answer).await?;
                if got.starts_with(b"POST") {
                    let mut rest = Vec::new();
                    while let Ok(1..) = stream.read_buf(&mut rest).await {}
                    kept.lock().unwrap_or_else(PoisonError::into_inner).extend(rest);
                    return Ok(got);
                }
            }
        }
    })
    .await?;
    let gateway = Gateway::start(&Config::single(upstream.address()).yaml()).await?;
    for framing in ["Content-Length: 500", "Transfer-Encoding: chunked"] {
        for _ in 0..10 {
            let mut client = RawClient::connect(gateway.web()).await?;
            client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n")).await?;
            let answer = client.response(SOON).await?;
            ensure!(answer.status == 200 && answer.text() == "own", "{answer:?}");
            drop(client);
            let good = gateway.get("/good").send().await?;
            ensure!(good.status == 200 && good.text() == "own", "{good:?}");
        }
    }
    gateway.stop().await?;
    let behind = behind.lock().unwrap_or_else(PoisonError::into_inner);
    ensure!(find(&behind, b"GET").is_none(), "a request came in the body of another");
    Ok(())
}

/// Answers `/good/WORD` with the word, and `/bad/NAME` as told.
async fn upstream(said: Arc<Notify>) -> Result<RawOrigin> {
    RawOrigin::start(move |stream| converse(stream, Arc::clone(&said))).await
}

async fn converse(mut stream: TcpStream, said: Arc<Notify>) -> Result<Vec<u8>> {
    // What is said has left.
    stream.set_nodelay(true)?;
    loop {
        let got = read_head(&mut stream).await?;
        let head = String::from_utf8_lossy(&got);
        let target = head.split(' ').nth(1).unwrap_or_default();
        if let Some(word) = target.strip_prefix("/good/") {
            let length = word.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{word}");
            stream.write_all(answer.as_bytes()).await?;
            continue;
        }
        let name = target.strip_prefix("/bad/").unwrap_or_default();
        if name == "flood" {
            let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(FLOOD);
            stream.write_all(interim.as_bytes()).await?;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown").await?;
            continue;
        }
        let told = ANSWERS.iter().find(|(known, ..)| *known == name);
        let (_, _, answer, fate) = told.context("an unknown answer")?;
        say(&mut stream, answer).await?;
        if answer.contains('~') {
            said.notify_one();
        }
        if *fate == Broken || name == "until-closed" {
            // Time to be wronged; nothing depends on its length.
            sleep(Duration::from_millis(20)).await;
            return Ok(got);
        }
    }
}

async fn say(stream: &mut TcpStream, answer: &str) -> Result<()> {
    let begin = match answer {
        _ if answer.starts_with('=') => "",
        _ if answer.starts_with("1.0") => "HTTP/",
        _ => "HTTP/1.1 ",
    };
    for (at, part) in format!("{begin}{answer}").split('~').enumerate() {
        if at > 0 {
            sleep(Duration::from_millis(20)).await;
        }
        stream.write_all(part.replace('=', "").replace('!', LEAK).as_bytes()).await?;
    }
    Ok(())
}

/// `later`: when the upstream has said all.
async fn run(
    gateway: &Gateway,
    name: &str,
    method: &str,
    fate: Fate,
    later: Option<&Notify>,
) -> Result<()> {
    let exchange = async {
        let mut stream = TcpStream::connect(gateway.web()).await?;
        // Nobody can tell an answer that comes too early from one that is the connection's next:
        // what comes later has to come while nobody asks.
        let last = "Connection: close\r\n";
        let (close, second) = match later {
            Some(_) => (last, String::new()),
            None => ("", format!("GET /good/second HTTP/1.1\r\nHost: a\r\n{last}\r\n")),
        };
        let first = format!("{method} /bad/{name} HTTP/1.1\r\nHost: a\r\n{close}\r\n");
        stream.write_all(format!("{first}{second}").as_bytes()).await?;
        let mut got = Vec::new();
        while let Ok(1..) = stream.read_buf(&mut got).await {}
        anyhow::Ok(got)
    };
    let got = timeout(SOON, exchange).await.context("neither answered nor closed")??;
    let result = check(&got, method == "HEAD", fate)
        .with_context(|| got[..got.len().min(500)].escape_ascii().to_string());
    if let Some(said) = later {
        timeout(SOON, said.notified()).await.context("the upstream has more to say")?;
    }
    // Others, at the same time and one after the other.
    let good = async |word: &str| {
        let answer = gateway.get(&format!("/good/{word}")).send().await?;
        ensure!(answer.status == 200 && answer.text() == word, "{word} got {answer:?}");
        Ok(())
    };
    for _ in 0..3 {
        tokio::try_join!(good("one"), good("another"))?;
    }
    result
}

/// What the client got: its own answer or a broken one, and perhaps the answer to its second
/// request.
fn check(got: &[u8], to_head: bool, fate: Fate) -> Result<()> {
    ensure!(find(got, b"LEAK").is_none(), "got what nobody may get");
    let (mut rest, mut own) = (got, false);
    let first = answer(&mut rest, to_head)?;
    if let Some((status, body)) = &first {
        own = *status < 500;
        let bodyless = to_head || body.is_empty();
        ensure!(!own || bodyless || body == b"own", "body {:?}", body.escape_ascii().to_string());
    }
    ensure!(own || fate != Own, "not its own answer");
    ensure!(!own || fate != Broken, "taken for an answer");
    if first.is_none() || rest.is_empty() {
        ensure!(rest.is_empty(), "more behind a broken answer");
        return Ok(());
    }
    let second = answer(&mut rest, false)?.context("the second answer breaks off")?;
    ensure!(second == (200, b"second".to_vec()), "the second answer is {second:?}");
    ensure!(rest.is_empty(), "more behind");
    Ok(())
}

/// Takes the first answer off `bytes`; `None` if it breaks off.
///
/// # Errors
/// When it has more than one reading.
fn answer(bytes: &mut &[u8], to_head: bool) -> Result<Option<(u16, Vec<u8>)>> {
    loop {
        let Some(end) = find(bytes, b"\r\n\r\n").map(|at| at + 4) else {
            *bytes = &[];
            return Ok(None);
        };
        let (head, rest) = bytes.split_at(end);
        *bytes = rest;
        let head = std::str::from_utf8(head)?.to_ascii_lowercase();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("http/1.1 "));
        let status: u16 = status.and_then(|rest| rest.get(..3)).context("no status")?.parse()?;
        let (mut length, mut chunked) = (None, false);
        for line in lines {
            let (name, value) = line.split_once(':').with_context(|| format!("line {line:?}"))?;
            ensure!(!name.contains(|c: char| c.is_ascii_whitespace()), "name {name:?}");
            ensure!(!value.contains(|c: char| c.is_ascii_control()), "value {value:?}");
            match (name, value.trim()) {
                ("content-length", value) => {
                    ensure!(length.is_none(), "two lengths: {head:?}");
                    ensure!(value.bytes().all(|byte| byte.is_ascii_digit()), "length {value:?}");
                    ensure!(value == "0" || !value.starts_with('0'), "length {value:?}");
                    length = Some(value.parse::<usize>()?);
                }
                ("transfer-encoding", "chunked") if !chunked => chunked = true,
                ("transfer-encoding", _) => bail!("codings: {head:?}"),
                _ => {}
            }
        }
        ensure!(length.is_none() || !chunked, "two framings: {head:?}");
        if status < 200 {
            ensure!(length.is_none() && !chunked, "an interim answer with a body: {head:?}");
            continue;
        }
        if status == 204 {
            ensure!(length.is_none() && !chunked, "204 with a body: {head:?}");
        }
        let body = match length {
            _ if to_head || status == 204 || status == 304 => Some((Vec::new(), 0)),
            Some(length) => rest.get(..length).map(|body| (body.to_vec(), length)),
            None if chunked => chunks(rest)?,
            // Until the connection ends: that is the end of `bytes`.
            None => Some((rest.to_vec(), rest.len())),
        };
        let Some((body, length)) = body else {
            *bytes = &[];
            return Ok(None);
        };
        *bytes = &rest[length..];
        return Ok(Some((status, body)));
    }
}

fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>> {
    let (mut at, mut body) = (0, Vec::new());
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[at..at + line])?, 16)?;
        at += line + 2;
        let Some(data) = bytes.get(at..at + size + 2) else { return Ok(None) };
        ensure!(data.ends_with(b"\r\n"), "no line end behind a chunk");
        body.extend_from_slice(&data[..size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

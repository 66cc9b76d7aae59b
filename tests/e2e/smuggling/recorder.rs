//! An upstream that writes down what it gets and takes the grammar by the letter: whatever it does
//! not find plain is a finding.

use anyhow::{Context, Result, bail, ensure};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tidegate_tests::find;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// Answers each request with its method and target. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Recorder {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Starts one on a port that the system chooses.
    ///
    /// # Errors
    /// When it cannot listen.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&kept)));
            }
        });
        Ok(Self { address, seen, task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came since the last call: `METHOD target`, or what is wrong.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<String>>>) -> Result<()> {
    let note = |what: String| seen.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    let mut buffer = Vec::new();
    loop {
        match request(&buffer) {
            Ok(Some((line, length))) => {
                note(line.clone());
                buffer.drain(..length);
                let body = if line.starts_with("HEAD ") { "" } else { &line };
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", line.len());
                stream.write_all(format!("{head}{body}").as_bytes()).await?;
            }
            Ok(None) => {
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
            }
            Err(error) => {
                let shown = buffer[..buffer.len().min(300)].escape_ascii().to_string();
                note(format!("{error:#}: {shown}"));
                return Ok(());
            }
        }
    }
}

/// The first request of `bytes` as `METHOD target`, and its length; `None` if there is more to come.
///
/// # Errors
/// When it is not as plain as can be.
pub(crate) fn request(bytes: &[u8]) -> Result<Option<(String, usize)>> {
    let Some(head_length) = find(bytes, b"\r\n\r\n").map(|at| at + 4) else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..head_length - 4]).unwrap_or_default();
    // Values may have bytes that are no text; what matters here has none.
    let lossy = String::from_utf8_lossy(&bytes[..head_length - 4]);
    let head = if head.is_empty() { &lossy } else { head };
    let mut lines = head.split("\r\n");
    let line = lines.next().context("no request line")?;
    let words: Vec<_> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { bail!("request line {line:?}") };
    ensure!(is_token(method), "method {method:?}");
    ensure!(target.starts_with('/') || target == "*", "target {target:?}");
    ensure!(target.bytes().all(|byte| byte.is_ascii_graphic()), "target {target:?}");

    let (mut hosts, mut length, mut chunked) = (0, None, false);
    for field in lines {
        let (name, value) = field.split_once(':').with_context(|| format!("field {field:?}"))?;
        ensure!(is_token(name), "name {name:?}");
        let value = value.trim_matches([' ', '\t']);
        let text = |c: char| !c.is_ascii_control() || c == '\t';
        ensure!(value.chars().all(text), "value {value:?}");
        match name.to_ascii_lowercase().replace('_', "-").as_str() {
            "host" => hosts += 1,
            "content-length" => {
                ensure!(length.is_none() && name.contains('-'), "twice: {head:?}");
                ensure!(value.bytes().all(|byte| byte.is_ascii_digit()), "length {value:?}");
                ensure!(value == "0" || !value.starts_with('0'), "length {value:?}");
                length = Some(value.parse::<usize>()?);
            }
            "transfer-encoding" => {
                ensure!(!chunked && name.contains('-'), "twice: {head:?}");
                ensure!(value == "chunked", "coding {value:?}");
                chunked = true;
            }
            "x-forwarded-for" => ensure!(value == "127.0.0.1", "a claim passed: {field:?}"),
            name => ensure!(!name.starts_with("x-tidegate-"), "a claim passed: {field:?}"),
        }
    }
    ensure!(hosts <= 1 && (hosts == 1 || target == "/a"), "{hosts} hosts: {head:?}");
    ensure!(length.is_none() || !chunked, "two framings: {head:?}");
    let body = &bytes[head_length..];
    let body_length = match length {
        _ if chunked => chunks(body)?,
        Some(length) => Some(length).filter(|length| *length <= body.len()),
        None => Some(0),
    };
    Ok(body_length.map(|length| (format!("{method} {target}"), head_length + length)))
}

/// The length of a chunked body, which has neither extensions nor trailers.
fn chunks(body: &[u8]) -> Result<Option<usize>> {
    let mut at = 0;
    loop {
        let Some(line) = find(&body[at..], b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&body[at..at + line])?;
        ensure!((1..=8).contains(&size.len()), "chunk size {size:?}");
        ensure!(size.bytes().all(|byte| byte.is_ascii_hexdigit()), "chunk size {size:?}");
        let size = usize::from_str_radix(size, 16)?;
        at += line + 2;
        let Some(end) = body.get(at + size..at + size + 2) else { return Ok(None) };
        ensure!(end == b"\r\n", "no line end behind a chunk");
        at += size + 2;
        if size == 0 {
            return Ok(Some(at));
        }
    }
}

fn is_token(text: &str) -> bool {
    let special = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || special(byte))
}

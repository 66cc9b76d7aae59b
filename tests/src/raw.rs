//! Sockets without HTTP: clients and servers that send the bytes they are given.

use crate::{Response, SOON};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::timeout,
};

/// Where `needle` begins in `haystack`.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Reads up to and including the empty line that ends a head; what came after it in the same read
/// is there too.
///
/// # Errors
/// When the peer ends or says nothing for [`SOON`] first.
pub async fn read_head(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut got = Vec::new();
    while find(&got, b"\r\n\r\n").is_none() {
        let read = timeout(SOON, stream.read_buf(&mut got)).await.context("no head in time")??;
        ensure!(read > 0, "the peer ended within the head: {:?}", String::from_utf8_lossy(&got));
    }
    Ok(got)
}

/// Reads a whole request, by its `Content-Length` or its last chunk.
///
/// # Errors
/// When the peer ends or falls silent first.
pub async fn read_request(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut got = read_head(stream).await?;
    let body = find(&got, b"\r\n\r\n").context("no head")? + 4;
    let head = String::from_utf8_lossy(&got[..body]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.map(|text| text.trim().parse::<usize>()).transpose()?;
    let chunked = head.contains("\r\ntransfer-encoding: chunked");
    let is_whole = |got: &[u8]| match length {
        Some(length) => got.len() >= body + length,
        None => !chunked || got.ends_with(b"\r\n0\r\n\r\n"),
    };
    while !is_whole(&got) {
        let read = timeout(SOON, stream.read_buf(&mut got)).await.context("no body in time")??;
        ensure!(read > 0, "the peer ended within the body");
    }
    Ok(got)
}

/// A client that sends the bytes it is given.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    /// Received and not yet taken.
    buffer: Vec<u8>,
}

impl RawClient {
    /// Connects.
    ///
    /// # Errors
    /// When that fails or takes longer than [`SOON`].
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = timeout(SOON, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Connects, sends `bytes` and reads the answer to a request that is not a HEAD.
    ///
    /// # Errors
    /// As [`Self::response`].
    pub async fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Result<Response> {
        let mut client = Self::connect(address).await?;
        client.send_some(bytes).await;
        client.response(SOON).await
    }

    /// Sends `bytes`.
    ///
    /// # Errors
    /// When the peer has closed or does not read for [`SOON`].
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        timeout(SOON, self.stream.write_all(bytes.as_ref())).await.context("not read")??;
        Ok(())
    }

    /// Sends as much of `bytes` as the peer takes; it may answer and close in the middle.
    pub async fn send_some(&mut self, bytes: impl AsRef<[u8]>) {
        _ = self.send(bytes).await;
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn half_close(&mut self) -> Result<()> {
        Ok(self.stream.shutdown().await?)
    }

    /// Reads one answer, by its `Content-Length`, its chunks or the connection's end. Interim
    /// answers (1xx) are passed over.
    ///
    /// # Errors
    /// When there is no whole answer within `limit`.
    pub async fn response(&mut self, limit: Duration) -> Result<Response> {
        match timeout(limit, self.read_response()).await {
            Ok(response) => response,
            Err(_) => bail!(
                "no whole answer in {limit:?}, only {:?}",
                String::from_utf8_lossy(&self.buffer)
            ),
        }
    }

    /// Reads to the connection's end (orderly or not), and gives everything.
    ///
    /// # Errors
    /// When the peer has not closed within `limit`.
    pub async fn until_closed(&mut self, limit: Duration) -> Result<Vec<u8>> {
        let end = async { while let Ok(1..) = self.stream.read_buf(&mut self.buffer).await {} };
        timeout(limit, end).await.with_context(|| format!("still open after {limit:?}"))?;
        Ok(std::mem::take(&mut self.buffer))
    }

    async fn read_response(&mut self) -> Result<Response> {
        loop {
            let end = self.fill_until(b"\r\n\r\n").await? + 4;
            let head: Vec<u8> = self.buffer.drain(..end).collect();
            let (status, headers) = parse_head(&String::from_utf8_lossy(&head))?;
            if (100..200).contains(&status) {
                continue;
            }
            let body = self.read_body(status, &headers).await?.into();
            return Ok(Response { status, headers, body, trailers: HeaderMap::new() });
        }
    }

    async fn read_body(&mut self, status: u16, headers: &HeaderMap) -> Result<Vec<u8>> {
        if status == 204 || status == 304 {
            return Ok(Vec::new());
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if text("transfer-encoding").is_some() {
            let mut body = Vec::new();
            loop {
                let line = self.fill_until(b"\r\n").await? + 2;
                let size: Vec<u8> = self.buffer.drain(..line).collect();
                let size = usize::from_str_radix(std::str::from_utf8(&size)?.trim(), 16)?;
                body.extend(self.take(size).await?);
                self.take(2).await?;
                if size == 0 {
                    return Ok(body);
                }
            }
        }
        if let Some(length) = text("content-length") {
            return self.take(length.parse()?).await;
        }
        while self.stream.read_buf(&mut self.buffer).await? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Reads until `mark` is buffered and says where it begins.
    async fn fill_until(&mut self, mark: &[u8]) -> Result<usize> {
        loop {
            if let Some(at) = find(&self.buffer, mark) {
                return Ok(at);
            }
            self.fill().await?;
        }
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn fill(&mut self) -> Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        ensure!(read > 0, "closed after {:?}", String::from_utf8_lossy(&self.buffer));
        Ok(())
    }
}

fn parse_head(head: &str) -> Result<(u16, HeaderMap)> {
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    let status = status.with_context(|| format!("no status line: {first:?}"))?.parse()?;
    let mut headers = HeaderMap::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').with_context(|| format!("no field: {line:?}"))?;
        headers.append(name.parse::<HeaderName>()?, value.trim().parse::<HeaderValue>()?);
    }
    Ok((status, headers))
}

/// A server whose every connection is a script, and which keeps what the script received.
#[derive(Debug)]
pub struct RawOrigin {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Bytes>>>,
    task: JoinHandle<()>,
}

impl RawOrigin {
    /// Runs `script` for each connection; what it gives back is kept as received.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start<F>(script: impl Fn(TcpStream) -> F + Send + 'static) -> Result<Self>
    where
        F: Future<Output = Result<Vec<u8>>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (run, kept) = (script(stream), Arc::clone(&kept));
                connections.spawn(async move {
                    if let Ok(bytes) = run.await {
                        kept.lock().unwrap_or_else(PoisonError::into_inner).push(bytes.into());
                    }
                });
            }
        });
        Ok(Self { address, received, task })
    }

    /// Reads one whole request, sends `answer` as it is and closes.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn answering(answer: impl Into<Bytes>) -> Result<Self> {
        let answer = answer.into();
        Self::start(move |mut stream| {
            let answer = answer.clone();
            async move {
                let got = read_request(&mut stream).await?;
                stream.write_all(&answer).await?;
                stream.shutdown().await?;
                Ok(got)
            }
        })
        .await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the finished connections received.
    pub fn received(&self) -> Vec<Bytes> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for RawOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address that refuses connections, and stays taken so that nobody else listens there.
#[derive(Debug)]
pub struct DeadAddress {
    address: SocketAddr,
    _bound: TcpSocket,
}

impl DeadAddress {
    /// Binds without listening.
    ///
    /// # Errors
    /// When no port is free.
    pub fn new() -> Result<Self> {
        let bound = TcpSocket::new_v4()?;
        bound.bind("127.0.0.1:0".parse()?)?;
        Ok(Self { address: bound.local_addr()?, _bound: bound })
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

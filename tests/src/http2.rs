//! Well-behaved HTTP/2 clients, without TLS.

use crate::{Call, Finished, Response, SOON, client::Body, run_within};
use anyhow::{Context, Result, bail};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use tokio::{net::TcpStream, time::timeout};

/// A connection that is kept. Clones share it.
#[derive(Debug, Clone)]
pub struct Http2 {
    sender: http2::SendRequest<Body>,
}

impl Http2 {
    /// Connects.
    ///
    /// # Errors
    /// When that fails or takes longer than [`SOON`].
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = timeout(SOON, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        // Its errors reach the sender as well.
        tokio::spawn(async move { _ = connection.await });
        Ok(Self { sender })
    }

    /// Sends `call`, whose address is not looked at.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub async fn send(&self, call: &Call) -> Result<Response> {
        let exchange = async {
            let (parts, body) = self.begin(call).await?.into_parts();
            Response::read(parts, body).await
        };
        match timeout(call.time(), exchange).await {
            Ok(answer) => answer.with_context(|| format!("{call:?}")),
            Err(_) => bail!("no answer in {:?}: {call:?}", call.time()),
        }
    }

    /// Sends `call` and waits for the head of its answer.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn begin(&self, call: &Call) -> Result<http::Response<Incoming>> {
        let mut sender = self.sender.clone();
        let head = async {
            sender.ready().await.context("the connection is over")?;
            Ok(sender.send_request(call.request_2()?).await?)
        };
        timeout(call.time(), head).await?
    }

    /// Whether the server has ended the connection.
    pub fn is_over(&self) -> bool {
        self.sender.is_closed()
    }
}

/// What `h2load` counted.
#[derive(Debug, Clone)]
pub struct H2Load {
    /// Requests that were answered.
    pub done: u64,
    /// Of these with a status of 200 to 299.
    pub ok: u64,
    /// Requests that were not answered.
    pub failed: u64,
    /// All that it said.
    pub said: Finished,
}

/// Runs h2load on a URL.
///
/// # Errors
/// When it is not installed or does not end.
pub async fn h2load(url: &str, arguments: &[&str]) -> Result<H2Load> {
    let said = run_within(6 * SOON, "h2load", &[arguments, &[url]].concat(), b"").await?;
    // `requests: N total, N started, N done, N succeeded, N failed, N errored, N timeout` and
    // `status codes: N 2xx, …`
    let number = |line: &str, unit: &str| {
        let line = said.stdout.lines().find_map(|text| text.strip_prefix(line))?;
        line.split(", ").find_map(|part| part.trim().strip_suffix(unit)?.trim().parse().ok())
    };
    let number = |line, unit| number(line, unit).with_context(|| format!("no {unit}: {said:?}"));
    Ok(H2Load {
        done: number("requests:", "done")?,
        ok: number("status codes:", "2xx")?,
        failed: number("requests:", "failed")?,
        said,
    })
}

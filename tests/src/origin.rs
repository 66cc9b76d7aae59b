//! An HTTP server that does as it is told and remembers what it got.

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinHandle, time::sleep};

/// How an origin answers. A request may ask for a status of its own with `x-want-status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// 200 at once.
    Echo,
    /// This status at once.
    Status(u16),
    /// 200 after a while.
    Delay(Duration),
    /// Nothing, ever.
    Never,
    /// The connection ends without an answer.
    Hangup,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The method.
    pub method: Method,
    /// The request target.
    pub uri: Uri,
    /// The header fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Recorded {
    /// A header's first value; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// All the values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    }
}

/// How an origin answers, where no [`Behaviour`] says it.
type Answer = Box<dyn Fn(&Recorded) -> Response<Bytes> + Send + Sync>;

/// The server. Every answer says `x-origin: NAME`, and its body is a JSON echo of the request's
/// method, target and headers. Ends when dropped.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    name: String,
    answer: Option<Answer>,
    behaviour: Mutex<Behaviour>,
    hits: AtomicU64,
    connections: AtomicU64,
    /// Only the latest are kept, so that a test under load does not collect them all.
    recorded: Mutex<Vec<Recorded>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A port that the system chooses.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How many requests an origin remembers.
const REMEMBERED: usize = 64;

impl Origin {
    /// Starts one on a port that the system chooses.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(name: &str) -> Result<Self> {
        Self::at(name, ANYWHERE).await
    }

    /// Starts one on this address.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub async fn at(name: &str, address: SocketAddr) -> Result<Self> {
        Self::listen(name, address, None, false).await
    }

    /// Starts one that speaks HTTP/2, without TLS.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn h2c(name: &str) -> Result<Self> {
        Self::listen(name, ANYWHERE, None, true).await
    }

    /// Starts one whose answers `answer` makes; [`Behaviour`]s other than an echo come first.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn serving(
        name: &str,
        answer: impl Fn(&Recorded) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Result<Self> {
        Self::listen(name, ANYWHERE, Some(Box::new(answer)), false).await
    }

    async fn listen(
        name: &str,
        address: SocketAddr,
        answer: Option<Answer>,
        http2: bool,
    ) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            answer,
            behaviour: Mutex::new(Behaviour::Echo),
            hits: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            recorded: Mutex::new(Vec::new()),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared), http2));
        Ok(Self { address, shared, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how it answers from the next request on.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    /// How many requests it got.
    pub fn hits(&self) -> u64 {
        self.shared.hits.load(Ordering::Relaxed)
    }

    /// How many connections it accepted.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The latest requests, oldest first.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.shared.recorded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The latest request.
    ///
    /// # Panics
    /// When there was none.
    pub fn last(&self) -> Recorded {
        self.recorded().pop().expect("the origin got no request")
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, speaks_http2: bool) {
    // Held here so that aborting this task ends the connections as well.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
            if speaks_http2 {
                let server = http2::Builder::new(TokioExecutor::new());
                _ = server.serve_connection(TokioIo::new(stream), service).await;
                return;
            }
            _ = http1::Builder::new()
                .max_headers(512)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> std::io::Result<Response<Full<Bytes>>> {
    shared.hits.fetch_add(1, Ordering::Relaxed);
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let got = Recorded { method: parts.method, uri: parts.uri, headers: parts.headers, body };
    let behaviour = *shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = got.header("x-want-status").parse().ok();
    let is_head = got.method == Method::HEAD;
    let answer = match &shared.answer {
        Some(answer) => answer(&got),
        None => echo(&shared.name, &got),
    };
    {
        let mut recorded = shared.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        if recorded.len() == REMEMBERED {
            recorded.remove(0);
        }
        recorded.push(got);
    }
    let status = match behaviour {
        Behaviour::Echo => wanted,
        Behaviour::Status(status) => wanted.or(Some(status)),
        Behaviour::Delay(delay) => {
            sleep(delay).await;
            wanted
        }
        Behaviour::Never => std::future::pending().await,
        Behaviour::Hangup => return Err(std::io::Error::other("as told")),
    };
    let (mut parts, mut body) = answer.into_parts();
    if is_head {
        // Only its length is told; hyper leaves the body out for HTTP/1.1 alone.
        parts.headers.insert("content-length", body.len().into());
        body.clear();
    }
    if let Some(status) = status {
        parts.status = StatusCode::from_u16(status).map_err(std::io::Error::other)?;
    }
    Ok(Response::from_parts(parts, Full::new(body)))
}

fn echo(name: &str, got: &Recorded) -> Response<Bytes> {
    let headers: Vec<_> = got
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let echo = json!({
        "origin": name,
        "method": got.method.as_str(),
        "path": got.uri.path(),
        "query": got.uri.query(),
        "headers": headers,
        "body_bytes": got.body.len(),
    });
    let mut answer = Response::new(echo.to_string().into());
    let headers = answer.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    if let Ok(name) = HeaderValue::from_str(name) {
        headers.insert("x-origin", name);
    }
    answer
}

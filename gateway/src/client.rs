//! An HTTP/1.1 client with kept connections: for commands that ask the admin API, and for the demo's
//! users.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::{error::Error, net::SocketAddr, time::Duration};

/// The longest wait for an answer. Longer than anything takes when all is well.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends requests; clones share their connections.
#[derive(Debug, Clone)]
pub(crate) struct Client(legacy::Client<HttpConnector, Empty<Bytes>>);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        Self(builder.pool_timer(TokioTimer::new()).build(connector))
    }

    /// Gets `path` from the server at `to`.
    ///
    /// # Errors
    /// In words, when no whole answer came in time.
    pub(crate) async fn get(
        &self,
        to: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, String> {
        self.request(Method::GET, &format!("http://{to}{path}"), headers).await
    }

    /// Asks for `url`.
    ///
    /// # Errors
    /// In words, when no whole answer came in time.
    pub(crate) async fn request(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
        let exchange = async {
            let response = self.0.request(request).await.map_err(|error| causes(&error))?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| causes(&error))?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        let timed_out = |_| format!("no answer within {} s", TIMEOUT.as_secs());
        tokio::time::timeout(TIMEOUT, exchange).await.map_err(timed_out)?
    }
}

/// The error and what is behind it.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

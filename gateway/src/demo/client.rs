//! An HTTP/1.1 client with kept connections, as any user of the gateway may have.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::{error::Error, net::SocketAddr, time::Duration};

/// The longest wait for an answer. Longer than anything in the demo takes when all is well.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends requests; clones share their connections.
#[derive(Debug, Clone)]
pub(super) struct Client(legacy::Client<HttpConnector, Empty<Bytes>>);

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Client {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        Self(builder.pool_timer(TokioTimer::new()).build(connector))
    }

    /// Gets `path` from the server at `to`.
    ///
    /// # Errors
    /// In words, when no whole answer came in time.
    pub(super) async fn get(
        &self,
        to: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, String> {
        let mut request = Request::get(format!("http://{to}{path}"));
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

//! gRPC, spoken by its own library.

use crate::{
    Authority, Pair, SOON,
    parts::{Part, pairs, value},
};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

/// A server; `tests/parts/grpc_server.py` says what it does. Ends when dropped.
#[derive(Debug)]
pub struct GrpcServer {
    part: Part,
    address: SocketAddr,
}

impl GrpcServer {
    /// Starts one without TLS.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(name: &str) -> Result<Self> {
        Self::listen(&[name.to_owned()]).await
    }

    /// Starts one with TLS.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn secure(name: &str, pair: &Pair) -> Result<Self> {
        let file = |path: &std::path::Path| path.display().to_string();
        Self::listen(&[name.to_owned(), file(&pair.cert), file(&pair.key)]).await
    }

    async fn listen(arguments: &[String]) -> Result<Self> {
        let part = Part::start("grpc_server.py", arguments).await?;
        let port = port(part.ready())?;
        Ok(Self { part, address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many calls it got.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn calls(&self) -> Result<u64> {
        self.seen().await?["calls"].as_u64().context("no number")
    }

    /// How many streams were taken from it before their end.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn cancelled(&self) -> Result<u64> {
        self.seen().await?["cancelled"].as_u64().context("no number")
    }

    /// A value in the metadata of its last call; empty when there is none.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn metadata(&self, name: &str) -> Result<String> {
        Ok(value(&self.seen().await?["metadata"], name))
    }

    /// The seconds that its last call had left when it came.
    ///
    /// # Errors
    /// When it does not say, or the call had no end.
    pub async fn deadline(&self) -> Result<f64> {
        self.seen().await?["deadline"].as_f64().context("no deadline")
    }

    /// From now on fails this share of its calls with `status`.
    ///
    /// # Errors
    /// When it does not hear.
    pub async fn fail(&self, share: f64, status: u8) -> Result<()> {
        self.part.ask("fail", json!({ "share": share, "status": status })).await.map(drop)
    }

    /// Its health service says this of `service`, such as `NOT_SERVING`.
    ///
    /// # Errors
    /// When it does not hear.
    pub async fn serving(&self, service: &str, status: &str) -> Result<()> {
        self.part.ask("serving", json!({ "service": service, "status": status })).await.map(drop)
    }

    /// Ends it at once.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(&self) -> Result<()> {
        self.part.kill().await
    }

    async fn seen(&self) -> Result<Value> {
        self.part.ask("seen", Value::Null).await
    }
}

pub(crate) fn port(ready: &Value) -> Result<u16> {
    let port = ready["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    port.with_context(|| format!("no port: {ready}"))
}

/// A client with one connection.
#[derive(Debug)]
pub struct GrpcClient {
    part: Part,
}

/// What came of a call.
#[derive(Debug, Clone)]
pub struct GrpcAnswer {
    /// Its status; 0 is success.
    pub code: u64,
    /// Its message.
    pub details: String,
    /// What was answered before the end.
    pub replies: Vec<String>,
    initial: Value,
    trailing: Value,
}

impl GrpcAnswer {
    fn read(value: &Value) -> Result<Self> {
        let replies = value["replies"].as_array().into_iter().flatten();
        Ok(Self {
            code: value["code"].as_u64().with_context(|| format!("no status: {value}"))?,
            details: value["details"].as_str().unwrap_or_default().to_owned(),
            replies: replies.filter_map(Value::as_str).map(str::to_owned).collect(),
            initial: value["initial"].clone(),
            trailing: value["trailing"].clone(),
        })
    }

    /// A value of the initial metadata; empty when there is none.
    pub fn initial(&self, name: &str) -> String {
        value(&self.initial, name)
    }

    /// A value of the trailing metadata; empty when there is none.
    pub fn trailing(&self, name: &str) -> String {
        value(&self.trailing, name)
    }

    /// The name of the server that answered.
    pub fn server(&self) -> &str {
        let reply = self.replies.first().map_or("", String::as_str);
        reply.split_once(' ').map_or("", |(name, _)| name)
    }
}

/// What came of many calls.
#[derive(Debug, Clone, Default)]
pub struct GrpcReport {
    /// Calls by their status.
    pub codes: BTreeMap<u64, u64>,
    /// Those that succeeded, by the server that answered.
    pub servers: BTreeMap<String, u64>,
}

impl GrpcReport {
    /// Calls with this status.
    pub fn code(&self, code: u64) -> u64 {
        self.codes.get(&code).copied().unwrap_or(0)
    }

    /// Calls that this server answered.
    pub fn of(&self, server: &str) -> u64 {
        self.servers.get(server).copied().unwrap_or(0)
    }

    fn read(value: &Value) -> Self {
        let mut report = Self::default();
        for (name, count) in value["codes"].as_object().into_iter().flatten() {
            report.codes.insert(name.parse().unwrap_or(99), count.as_u64().unwrap_or(0));
        }
        for (name, count) in value["servers"].as_object().into_iter().flatten() {
            report.servers.insert(name.clone(), count.as_u64().unwrap_or(0));
        }
        report
    }
}

impl GrpcClient {
    /// One for a server without TLS. It connects with its first call.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn new(address: SocketAddr) -> Result<Self> {
        Ok(Self { part: Part::start("grpc_client.py", &[address.to_string()]).await? })
    }

    /// One for the server `name`, which has to show a certificate of `authority`; shows `pair`, if
    /// there is one.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn secure(
        address: SocketAddr,
        authority: &Authority,
        name: &str,
        pair: Option<&Pair>,
    ) -> Result<Self> {
        let mut arguments = vec![address.to_string(), authority.path(), name.to_owned()];
        if let Some(pair) = pair {
            arguments.extend([&pair.cert, &pair.key].map(|path| path.display().to_string()));
        }
        Ok(Self { part: Part::start("grpc_client.py", &arguments).await? })
    }

    /// Calls `Unary`, `ServerStream`, `ClientStream` or `Bidi`, or something that there is not.
    ///
    /// # Errors
    /// When there is no status.
    pub async fn call(
        &self,
        method: &str,
        messages: &[&str],
        metadata: &[(&str, &str)],
    ) -> Result<GrpcAnswer> {
        self.call_within(Duration::from_secs(8), method, messages, metadata).await
    }

    /// The same with this time, which the server is told of.
    ///
    /// # Errors
    /// When there is no status.
    pub async fn call_within(
        &self,
        limit: Duration,
        method: &str,
        messages: &[&str],
        metadata: &[(&str, &str)],
    ) -> Result<GrpcAnswer> {
        let with = json!({
            "method": method,
            "messages": messages,
            "metadata": pairs(metadata),
            "timeout": limit.as_secs_f64(),
        });
        GrpcAnswer::read(&self.part.ask_within(limit + SOON, "call", with).await?)
    }

    /// Calls `Unary` with one message.
    ///
    /// # Errors
    /// When there is no status.
    pub async fn unary(&self, metadata: &[(&str, &str)]) -> Result<GrpcAnswer> {
        self.call("Unary", &["hello"], metadata).await
    }

    /// Opens a stream of both kinds under a number, and waits until the server has.
    ///
    /// # Errors
    /// When it ends first.
    pub async fn open(&self, stream: u64, metadata: &[(&str, &str)]) -> Result<String> {
        let with = json!({ "stream": stream, "metadata": pairs(metadata) });
        let opened = self.part.ask("open", with).await?;
        Ok(value(&opened["initial"], "x-server"))
    }

    /// Sends a message and waits for the reply.
    ///
    /// # Errors
    /// When the stream ends first.
    pub async fn send(&self, stream: u64, message: &str) -> Result<String> {
        let with = json!({ "stream": stream, "message": message });
        let answer = self.part.ask("send", with).await?;
        Ok(answer["reply"].as_str().context("the stream has ended")?.to_owned())
    }

    /// Sends nothing more, and waits for the end.
    ///
    /// # Errors
    /// When there is none.
    pub async fn end(&self, stream: u64) -> Result<GrpcAnswer> {
        GrpcAnswer::read(&self.part.ask("end", json!({ "stream": stream })).await?)
    }

    /// Waits until the stream ends.
    ///
    /// # Errors
    /// When it has not within `limit`.
    pub async fn wait(&self, stream: u64, limit: Duration) -> Result<GrpcAnswer> {
        let with = json!({ "stream": stream });
        GrpcAnswer::read(&self.part.ask_within(limit, "wait", with).await?)
    }

    /// Goes away from a stream.
    ///
    /// # Errors
    /// When there is none.
    pub async fn cancel(&self, stream: u64) -> Result<()> {
        self.part.ask("cancel", json!({ "stream": stream })).await.map(drop)
    }

    /// Calls `Unary` so often.
    ///
    /// # Errors
    /// When the calls do not end.
    pub async fn load(&self, count: u64, metadata: &[(&str, &str)]) -> Result<GrpcReport> {
        let with = json!({ "load": 0, "count": count, "metadata": pairs(metadata) });
        let report = self.part.ask_within(3 * SOON, "load", with).await?;
        Ok(GrpcReport::read(&report))
    }

    /// Calls `Unary` until `enough` is, whatever comes of it.
    ///
    /// # Errors
    /// Those of `enough`.
    pub async fn load_until<T>(
        &self,
        enough: impl Future<Output = Result<T>>,
    ) -> Result<(GrpcReport, T)> {
        let calls = self.part.ask_within(9 * SOON, "load", json!({ "load": 1 }));
        let stop = async {
            let result = enough.await;
            self.part.ask("stop", json!({ "load": 1 })).await?;
            result
        };
        let (report, result) = tokio::try_join!(calls, stop)?;
        Ok((GrpcReport::read(&report), result))
    }

    /// What the health service says of `service`.
    ///
    /// # Errors
    /// When it says nothing.
    pub async fn health(&self, service: &str) -> Result<String> {
        let answer = self.part.ask("health", json!({ "service": service })).await?;
        Ok(answer["status"].as_str().unwrap_or_default().to_owned())
    }
}

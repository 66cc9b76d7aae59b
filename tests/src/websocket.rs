//! WebSocket, spoken by a library for nothing else.

use crate::{
    grpc::port,
    parts::{Part, pairs, value},
};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};

/// A server that echoes; `tests/parts/websocket_server.py` says what else. Ends when dropped.
#[derive(Debug)]
pub struct WebSocketServer {
    part: Part,
    address: SocketAddr,
}

impl WebSocketServer {
    /// Starts one.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(name: &str) -> Result<Self> {
        let part = Part::start("websocket_server.py", &[name]).await?;
        let port = port(part.ready())?;
        Ok(Self { part, address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections are open, and how many were opened.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn connections(&self) -> Result<(u64, u64)> {
        let seen = self.part.ask("seen", Value::Null).await?;
        let number = |key: &str| seen[key].as_u64().context("no number");
        Ok((number("open")?, number("opened")?))
    }

    /// Code and reason of each connection's end.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn closed(&self) -> Result<Vec<(u64, String)>> {
        let seen = self.part.ask("seen", Value::Null).await?;
        let all = seen["closed"].as_array().into_iter().flatten();
        let text = |one: &Value| one[1].as_str().unwrap_or_default().to_owned();
        Ok(all.map(|one| (one[0].as_u64().unwrap_or(0), text(one))).collect())
    }

    /// A header of the last handshake; empty when there was none.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn header(&self, name: &str) -> Result<String> {
        Ok(value(&self.part.ask("seen", Value::Null).await?["headers"], name))
    }

    /// From now on what is no WebSocket gets this status.
    ///
    /// # Errors
    /// When it does not hear.
    pub async fn plain(&self, status: u16) -> Result<()> {
        self.part.ask("plain", json!({ "status": status })).await.map(drop)
    }

    /// Ends it at once.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(&self) -> Result<()> {
        self.part.kill().await
    }
}

/// A client with any number of connections, each with a number.
#[derive(Debug)]
pub struct WebSocketClient {
    part: Part,
}

/// The answer to a handshake.
#[derive(Debug, Clone)]
pub struct Opened {
    /// 101, or why not.
    pub status: u64,
    headers: Value,
}

impl Opened {
    /// A header; empty when there is none.
    pub fn header(&self, name: &str) -> String {
        value(&self.headers, name)
    }
}

impl WebSocketClient {
    /// Starts one.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start() -> Result<Self> {
        Ok(Self { part: Part::start("websocket_client.py", &[""; 0]).await? })
    }

    /// Opens a connection to a path, without TLS.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn open(
        &self,
        stream: u64,
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Opened> {
        let url = format!("ws://{address}{path}");
        self.opened(json!({ "stream": stream, "url": url, "headers": pairs(headers) })).await
    }

    /// Opens one over TLS; the server `name` has to show a certificate of the authority in `ca`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn open_secure(
        &self,
        stream: u64,
        address: SocketAddr,
        ca: &str,
        name: &str,
    ) -> Result<Opened> {
        let url = format!("wss://{address}/");
        self.opened(json!({ "stream": stream, "url": url, "ca": ca, "name": name })).await
    }

    async fn opened(&self, with: Value) -> Result<Opened> {
        let answer = self.part.ask("open", with).await?;
        let status = answer["status"].as_u64().context("no status")?;
        Ok(Opened { status, headers: answer["headers"].clone() })
    }

    /// Sends a text and gives what comes back.
    ///
    /// # Errors
    /// When the connection ends first.
    pub async fn send(&self, stream: u64, message: &str) -> Result<String> {
        let answer = self.part.ask("send", json!({ "stream": stream, "message": message })).await?;
        Ok(answer["reply"].as_str().context("no text")?.to_owned())
    }

    /// Sends about so many bytes and says whether the same come back.
    ///
    /// # Errors
    /// When the connection ends first.
    pub async fn send_bytes(&self, stream: u64, count: usize) -> Result<bool> {
        let answer = self.part.ask("send", json!({ "stream": stream, "binary": count })).await?;
        Ok(answer["same"] == true)
    }

    /// Sends a ping and waits for its pong.
    ///
    /// # Errors
    /// When there is none.
    pub async fn ping(&self, stream: u64) -> Result<()> {
        self.part.ask("ping", json!({ "stream": stream })).await.map(drop)
    }

    /// Closes with a code, and gives the one that came back.
    ///
    /// # Errors
    /// When nothing does.
    pub async fn close(&self, stream: u64, code: u16, reason: &str) -> Result<u64> {
        let with = json!({ "stream": stream, "code": code, "reason": reason });
        self.part.ask("close", with).await?["code"].as_u64().context("no code")
    }

    /// Asks the server to close with a code, because of `as told`.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn ask_to_close(&self, stream: u64, code: u16) -> Result<()> {
        let with = json!({ "stream": stream, "message": format!("close {code} as told") });
        self.part.ask("tell", with).await.map(drop)
    }

    /// Goes away without a word.
    ///
    /// # Errors
    /// When there is no such connection.
    pub async fn vanish(&self, stream: u64) -> Result<()> {
        self.part.ask("drop", json!({ "stream": stream })).await.map(drop)
    }

    /// Waits for the server to end a connection: its code (1006 if it gave none) and reason.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub async fn wait(&self, stream: u64, limit: Duration) -> Result<(u64, String)> {
        let with = json!({ "stream": stream });
        let answer = self.part.ask_within(limit, "wait", with).await?;
        let reason = answer["reason"].as_str().unwrap_or_default().to_owned();
        Ok((answer["code"].as_u64().context("no code")?, reason))
    }
}

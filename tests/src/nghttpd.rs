//! A real HTTP/2 server as an origin: nghttp2's.

use crate::{Pair, ports, within};
use anyhow::{Context, Result};
use std::{
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

/// One process. A GET of `/file` answers with [`Nghttpd::FILE`], a POST with its own
/// body. Ends when dropped.
#[derive(Debug)]
pub struct Nghttpd {
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    _child: Child,
    _documents: TempDir,
}

impl Nghttpd {
    /// What `/file` answers with.
    pub const FILE: &str = "a file\n";

    /// Starts one on a free port.
    ///
    /// # Errors
    /// When nghttpd is not installed, or no port of several was free.
    pub async fn start() -> Result<Self> {
        ports::first_free(async |address| {
            Self::try_address(address, &["--no-tls".to_owned()], &[]).await
        })
        .await
    }

    /// Starts one with TLS.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn secure(pair: &Pair) -> Result<Self> {
        let files = [&pair.key, &pair.cert].map(|file| file.display().to_string());
        ports::first_free(async |address| Self::try_address(address, &[], &files).await).await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says about every frame, a line each; `recv (stream_id=N) NAME: VALUE` for a header
    /// field.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The values of a header field in all requests so far.
    pub fn received(&self, name: &str) -> Vec<String> {
        let value = |line: &String| {
            let (_, field) = line.split_once(" recv (stream_id=")?.1.split_once(") ")?;
            Some(field.strip_prefix(name)?.strip_prefix(": ")?.to_owned())
        };
        self.log().iter().filter_map(value).collect()
    }

    async fn try_address(
        address: SocketAddr,
        options: &[String],
        files: &[String],
    ) -> Result<Option<Self>> {
        let documents = TempDir::new()?;
        std::fs::write(documents.path().join("file"), Self::FILE)?;
        let mut child = Command::new("nghttpd")
            .args(options)
            .args(["--verbose", "--echo-upload", "-a", &address.ip().to_string(), "-d"])
            .arg(documents.path())
            .arg(address.port().to_string())
            .args(files)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start nghttpd; `make deps` installs it")?;
        let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let listening = within(Duration::from_secs(5), "nghttpd listens", async || {
            if let Ok(Some(_)) = child.try_wait() {
                return Some(false);
            }
            TcpStream::connect(address).await.is_ok().then_some(true)
        })
        .await?;
        Ok(listening.then_some(Self { address, log, _child: child, _documents: documents }))
    }
}

//! The gateway under test.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ChildStderr, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::machine::{Process, on_cpu};

/// `tidegate run`, ready.
#[derive(Debug)]
pub struct Gateway {
    /// Its process.
    pub process: Process,
    listeners: HashMap<String, SocketAddr>,
}

impl Gateway {
    /// Writes the configuration into `file`, and starts the gateway with it.
    ///
    /// # Errors
    /// When the gateway refuses it or does not listen; its log tells why.
    pub fn start(
        binary: &Path,
        file: &Path,
        configuration: &str,
        cpu: u32,
    ) -> anyhow::Result<Self> {
        std::fs::write(file, configuration)?;
        let mut command = on_cpu(cpu, binary);
        command
            .args(["run", "--log-format", "json", "-c"])
            .arg(file)
            .env_remove("TIDEGATE_LOG")
            .stderr(Stdio::piped());
        let mut process = Process::start("tidegate", &mut command)?;
        let log = process.take_stderr().context("no pipe to the gateway's log")?;
        Ok(Self { listeners: announced(log)?, process })
    }

    /// Where the listener called `name` listens; the admin API's is `admin`.
    ///
    /// # Errors
    /// When the configuration has no such listener.
    pub fn address(&self, name: &str) -> anyhow::Result<SocketAddr> {
        self.listeners.get(name).copied().with_context(|| format!("no listener `{name}`"))
    }
}

/// Reads the log until the gateway is ready, for where it listens; then goes on emptying the pipe.
fn announced(log: ChildStderr) -> anyhow::Result<HashMap<String, SocketAddr>> {
    let mut log = BufReader::new(log);
    let mut seen = String::new();
    let mut listeners = HashMap::new();
    loop {
        let start = seen.len();
        let length = log.read_line(&mut seen)?;
        ensure!(length > 0, "tidegate ended before it was ready; its log was:\n{seen}");
        let line: Value = serde_json::from_str(&seen[start..]).unwrap_or_default();
        let field = |name: &str| line["fields"][name].as_str().unwrap_or_default();
        match field("message") {
            "listening" => {
                let (name, address) = (field("listener"), field("address"));
                let address = address.parse().with_context(|| format!("listener `{address}`"))?;
                listeners.insert(name.to_owned(), address);
            }
            "ready" => {
                std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
                return Ok(listeners);
            }
            _ => {}
        }
    }
}

//! A real Prometheus server.

use crate::{Call, ports, within};
use anyhow::{Context, Result};
use serde_json::json;
use std::{net::SocketAddr, process::Stdio, time::Duration};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Far above what it needs to start on an idle machine.
const STARTED: Duration = Duration::from_secs(15);

/// One process, which scrapes what it is told to each second. Ends when dropped.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    child: Child,
    directory: TempDir,
}

impl Prometheus {
    /// Starts one on a free port that scrapes nothing yet.
    ///
    /// # Errors
    /// When it is not installed, or no port of several was free.
    pub async fn start() -> Result<Self> {
        ports::first_free(Self::try_address).await
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Scrapes `/metrics` of this address from now on.
    ///
    /// # Errors
    /// When its list of targets cannot be written.
    pub fn scrape(&self, address: SocketAddr) -> Result<()> {
        let next = self.directory.path().join("next");
        std::fs::write(&next, json!([{ "targets": [address.to_string()] }]).to_string())?;
        Ok(std::fs::rename(next, self.directory.path().join("targets.json"))?)
    }

    /// Ends the process and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// `None` when the port is taken.
    async fn try_address(address: SocketAddr) -> Result<Option<Self>> {
        let directory = TempDir::new()?;
        let config = directory.path().join("prometheus.yml");
        std::fs::write(&config, CONFIG)?;
        std::fs::write(directory.path().join("targets.json"), "[]")?;
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start prometheus; `scripts/deps.sh test` gets it")?;
        let ready = within(STARTED, "prometheus is ready", async || {
            if let Ok(Some(_)) = child.try_wait() {
                return Some(false);
            }
            let answer = Call::get(address, "/-/ready").send().await.ok()?;
            (answer.status == 200).then_some(true)
        })
        .await?;
        Ok(ready.then_some(Self { address, child, directory }))
    }
}

const CONFIG: &str = "\
global: { scrape_interval: 1s, scrape_timeout: 1s }
scrape_configs:
  - job_name: gateway
    file_sd_configs: [{ files: [targets.json], refresh_interval: 1s }]
";

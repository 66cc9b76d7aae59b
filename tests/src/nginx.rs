//! A real nginx as an origin.

use crate::within;
use anyhow::{Context, Result, bail};
use std::{net::SocketAddr, process::Stdio, time::Duration};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

/// Ports to try from: below those that the system hands to clients, so that no connection of a test
/// beside this one takes the port between choosing and listening.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
const TRIES: usize = 10;

/// One process; every answer is 200 with its name as body and as `x-origin`. Ends when dropped.
#[derive(Debug)]
pub struct Nginx {
    address: SocketAddr,
    child: Child,
    _prefix: TempDir,
}

impl Nginx {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When nginx is not installed, or no port of several was free.
    pub async fn start(name: &str) -> Result<Self> {
        for _ in 0..TRIES {
            let port = rand::random_range(PORTS);
            if let Some(nginx) = Self::try_port(name, port).await? {
                return Ok(nginx);
            }
        }
        bail!("nginx found no free port in {TRIES} tries")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the process and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// `None` when the port is taken.
    async fn try_port(name: &str, port: u16) -> Result<Option<Self>> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if std::net::TcpListener::bind(address).is_err() {
            return Ok(None);
        }
        let prefix = TempDir::new()?;
        std::fs::write(prefix.path().join("nginx.conf"), text(name, address))?;
        let mut child = Command::new("nginx")
            .arg("-p")
            .arg(prefix.path())
            .args(["-e", "stderr", "-c", "nginx.conf"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start nginx; `make deps` installs it")?;
        let listening = within(Duration::from_secs(5), "nginx listens", async || {
            if let Ok(Some(_)) = child.try_wait() {
                return Some(false);
            }
            TcpStream::connect(address).await.is_ok().then_some(true)
        })
        .await?;
        Ok(listening.then_some(Self { address, child, _prefix: prefix }))
    }
}

/// A single process in the foreground: nothing is left when it is killed.
fn text(name: &str, address: SocketAddr) -> String {
    format!(
        "daemon off;
master_process off;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  keepalive_requests 1000000;
  server {{
    listen {address};
    location / {{ add_header x-origin {name}; return 200 {name}; }}
  }}
}}
"
    )
}

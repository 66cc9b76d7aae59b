//! A real nginx as an origin.

use crate::{Pair, ports, within};
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::{net::SocketAddr, process::Stdio, time::Duration};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

/// One process; every answer is 200 with its name as body and as `x-origin`; `x-protocol`,
/// `x-server-name` and `x-client` say what it was spoken to by, which name was asked for and whose
/// certificate was shown. Ends when dropped.
#[derive(Debug)]
pub struct Nginx {
    address: SocketAddr,
    child: Child,
    prefix: TempDir,
}

impl Nginx {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When nginx is not installed, or no port of several was free.
    pub async fn start(name: &str) -> Result<Self> {
        Self::listen(name, "", "").await
    }

    /// Starts one with TLS and HTTP/2; `more` are further lines of its server.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn secure(name: &str, pair: &Pair, more: &str) -> Result<Self> {
        let (cert, key) = (pair.cert.display(), pair.key.display());
        let lines = format!("ssl_certificate {cert}; ssl_certificate_key {key}; {more}");
        Self::listen(name, "ssl http2", &lines).await
    }

    async fn listen(name: &str, parameters: &str, lines: &str) -> Result<Self> {
        ports::first_free(async |address| {
            Self::try_address(address, &text(name, address, parameters, lines)).await
        })
        .await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Method, target, length and `x-tidegate-shadow` of each request, a line each.
    ///
    /// # Errors
    /// When there is no log.
    pub fn log(&self) -> Result<Vec<String>> {
        let text = std::fs::read_to_string(self.prefix.path().join("requests.log"))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Stops the process in the middle of whatever it does: connections stand, nothing answers.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(kill_process(pid.context("nginx is gone")?, signal)?)
    }

    /// Ends the process and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// `None` when the port is taken.
    async fn try_address(address: SocketAddr, text: &str) -> Result<Option<Self>> {
        let prefix = TempDir::new()?;
        std::fs::write(prefix.path().join("nginx.conf"), text)?;
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
        Ok(listening.then_some(Self { address, child, prefix }))
    }
}

/// A single process in the foreground: nothing is left when it is killed.
fn text(name: &str, address: SocketAddr, parameters: &str, lines: &str) -> String {
    format!(
        "daemon off;
master_process off;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 512; }}
http {{
  log_format requests '$request_method $request_uri $content_length $http_x_tidegate_shadow';
  access_log requests.log requests;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  keepalive_requests 1000000;
  server {{
    listen {address} {parameters};
    {lines}
    add_header x-origin {name}; add_header x-protocol $server_protocol;
    add_header x-server-name $ssl_server_name; add_header x-client $ssl_client_s_dn;
    location / {{ return 200 {name}; }}
  }}
}}
"
    )
}

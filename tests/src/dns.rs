//! A real DNS server: dnsmasq.

use crate::{ports, within};
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

/// One that answers for names under `.test`: what it was told, for a second, or that there is no such
/// name. Others it refuses. Ends when dropped.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    child: Option<Child>,
    hosts: PathBuf,
    _directory: TempDir,
}

impl Dns {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When dnsmasq is not installed, or no port of several was free.
    pub async fn start(names: &[(&str, &[IpAddr])]) -> Result<Self> {
        let directory = TempDir::new()?;
        let hosts = directory.path().join("hosts");
        write(&hosts, names)?;
        let (address, child) = ports::first_free(async |address| {
            Ok(listen(address, &hosts).await?.map(|child| (address, child)))
        })
        .await?;
        Ok(Self { address, child: Some(child), hosts, _directory: directory })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers with these from now on.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn answer(&self, names: &[(&str, &[IpAddr])]) -> Result<()> {
        write(&self.hosts, names)?;
        let id = self.child.as_ref().and_then(Child::id).context("it does not run")?;
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).context("no process")?;
        Ok(kill_process(pid, Signal::HUP)?)
    }

    /// Ends it at once.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        match self.child.take() {
            Some(mut child) => Ok(child.kill().await?),
            None => Ok(()),
        }
    }

    /// Starts it again where it was.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn revive(&mut self) -> Result<()> {
        let started = listen(self.address, &self.hosts).await?;
        self.child = Some(started.context("somebody else took the port")?);
        Ok(())
    }
}

fn write(hosts: &Path, names: &[(&str, &[IpAddr])]) -> Result<()> {
    let mut text = String::new();
    for (name, addresses) in names {
        for address in *addresses {
            writeln!(text, "{address} {name}")?;
        }
    }
    Ok(std::fs::write(hosts, text)?)
}

async fn listen(address: SocketAddr, hosts: &Path) -> Result<Option<Child>> {
    let mut child = Command::new("dnsmasq")
        .args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file="])
        .args(["--bind-interfaces", "--local=/test/", "--local-ttl=1"])
        .arg(format!("--listen-address={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .arg(format!("--addn-hosts={}", hosts.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start dnsmasq; `make deps` installs it")?;
    let listening = within(Duration::from_secs(5), "dnsmasq listens", async || {
        if let Ok(Some(_)) = child.try_wait() {
            return Some(false);
        }
        TcpStream::connect(address).await.is_ok().then_some(true)
    })
    .await?;
    Ok(listening.then_some(child))
}

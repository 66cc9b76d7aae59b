//! What stands behind the proxies.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;

use crate::machine::{Cpus, Process, free_address, get, on_cpu};

/// nginx with one worker that answers each request with three bytes, and counts them.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    status: SocketAddr,
    asked: Cell<u64>,
    _process: Process,
}

impl Origin {
    /// Starts one that keeps its files in `directory`; `locations` are more of nginx's `location`
    /// blocks.
    ///
    /// # Errors
    /// When nginx does not start.
    pub fn start(directory: &Path, cpus: &Cpus, locations: &str) -> anyhow::Result<Self> {
        let (address, status) = (free_address()?, free_address()?);
        std::fs::create_dir_all(directory)?;
        let http = format!(
            "    server {{
        listen {address} backlog=1024;
        location / {{ default_type text/plain; return 200 \"ok\\n\"; }}
        {locations}
    }}
    server {{
        listen {status};
        location / {{ stub_status; }}
    }}
"
        );
        let process = start_nginx("the origin (nginx)", directory, cpus.rest, address, &http)?;
        Ok(Self { address, status, asked: Cell::new(0), _process: process })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it got so far.
    ///
    /// # Errors
    /// When it does not say.
    pub fn requests(&self) -> anyhow::Result<u64> {
        // This question is one of the requests that nginx counts.
        self.asked.set(self.asked.get() + 1);
        let answer = get(self.status, "localhost", "/")?;
        let all = answer
            .lines()
            .skip_while(|line| !line.starts_with("server accepts"))
            .nth(1)
            .and_then(|counts| counts.split_whitespace().nth(2)?.parse::<u64>().ok())
            .with_context(|| format!("nginx's status is:\n{answer}"))?;
        Ok(all - self.asked.get())
    }
}

/// nginx with what `http` holds, in one process, so that its CPU time is in one place; it does a
/// worker's work as a worker does.
///
/// # Errors
/// When it does not listen on `address` soon.
pub fn start_nginx(
    name: &'static str,
    directory: &Path,
    cpu: u32,
    address: SocketAddr,
    http: &str,
) -> anyhow::Result<Process> {
    let file = directory.join("nginx.conf");
    let log = directory.join("nginx.log");
    let path = directory.display();
    let configuration = format!(
        "daemon off;
master_process off;
pid {path}/nginx.pid;
error_log {path}/nginx.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {path}/body;
    proxy_temp_path {path}/proxy;
    fastcgi_temp_path {path}/fastcgi;
    uwsgi_temp_path {path}/uwsgi;
    scgi_temp_path {path}/scgi;
{http}}}
"
    );
    std::fs::write(&file, configuration)?;
    let mut nginx = on_cpu(cpu, "nginx");
    let mut process = Process::start(name, nginx.arg("-e").arg(log).arg("-c").arg(file))?;
    process.await_listener(address)?;
    Ok(process)
}

//! What the proxies are measured with: two CPUs, an origin, a load.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

/// One CPU for the proxy under test, another for all else.
#[derive(Debug)]
pub(crate) struct Cpus {
    pub(crate) proxy: u32,
    pub(crate) rest: u32,
}

impl Cpus {
    /// The first two that this process may use.
    pub(crate) fn two() -> anyhow::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")
            .context("this measures with Linux's /proc")?;
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .context("/proc/self/status has no Cpus_allowed_list")?;
        match parse_cpu_list(list)[..] {
            [proxy, rest, ..] => Ok(Self { proxy, rest }),
            _ => bail!("two CPUs are needed, `{}` is allowed", list.trim()),
        }
    }
}

/// `0-2,5` as `[0, 1, 2, 5]`.
fn parse_cpu_list(list: &str) -> Vec<u32> {
    list.trim()
        .split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

/// A command whose process is kept on `cpu`; `taskset` becomes the program, so it has its id.
pub(crate) fn on_cpu(cpu: u32, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &cpu.to_string()]).arg(program.as_ref()).stdin(Stdio::null());
    command
}

/// A child process that ends with its owner.
#[derive(Debug)]
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; there is nobody left to tell.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address nobody listens on. It is free again when this returns, so somebody else may take it;
/// then the wait for the server fails and says so.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Waits until `address` accepts, for 10 seconds at most.
pub(crate) fn await_listener(name: &str, address: SocketAddr) -> anyhow::Result<()> {
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        let waited = started.elapsed();
        ensure!(waited < Duration::from_secs(10), "{name} does not listen on {address}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// nginx with one worker that answers each request with three bytes.
#[derive(Debug)]
pub(crate) struct Origin {
    address: SocketAddr,
    _process: Process,
}

impl Origin {
    pub(crate) fn start(directory: &Path, cpus: &Cpus) -> anyhow::Result<Self> {
        let address = free_address()?;
        let file = directory.join("nginx.conf");
        std::fs::write(&file, nginx_configuration(directory, address))?;
        let process = on_cpu(cpus.rest, "nginx")
            .arg("-e")
            .arg(directory.join("nginx.log"))
            .arg("-c")
            .arg(&file)
            .spawn()
            .context("taskset or nginx could not start; scripts/deps.sh bench gets them")?;
        let process = Process(process);
        await_listener("nginx", address)?;
        Ok(Self { address, _process: process })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn nginx_configuration(directory: &Path, address: SocketAddr) -> String {
    let directory = directory.display();
    format!(
        "daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen {address} backlog=1024;
        location / {{ default_type text/plain; return 200 \"ok\\n\"; }}
    }}
}}
"
    )
}

/// A thousand users, each on its own keep-alive request; the numbers come back as JSON.
const WRK_SCRIPT: &str = r#"
local requests, position = {}, 0
function init()
    wrk.headers["Host"] = "shop.example.com"
    for user = 1, 1000 do
        wrk.headers["x-user-id"] = string.format("user-%08d", user)
        requests[user] = wrk.format("GET", "/shop/items/42?page=2")
    end
end
function request()
    position = position % #requests + 1
    return requests[position]
end
function done(summary, latency)
    local e = summary.errors
    io.stderr:write(string.format(
        '{"requests":%d,"microseconds":%d,"not_ok":%d,"broken":%d}\n',
        summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout))
end
"#;

/// The load generator.
#[derive(Debug)]
pub(crate) struct Load {
    script: PathBuf,
    cpu: u32,
    connections: u32,
}

impl Load {
    pub(crate) fn prepare(directory: &Path, cpus: &Cpus, connections: u32) -> anyhow::Result<Self> {
        let script = directory.join("users.lua");
        std::fs::write(&script, WRK_SCRIPT)?;
        Ok(Self { script, cpu: cpus.rest, connections })
    }

    /// Loads `address` for `time`; the number of requests answered, and how long it really took.
    ///
    /// # Errors
    /// When a request failed or was answered with an error.
    pub(crate) fn run(&self, address: SocketAddr, time: Duration) -> anyhow::Result<(f64, f64)> {
        let output = on_cpu(self.cpu, "wrk")
            .args(["--threads", "1", "--connections", &self.connections.to_string()])
            .args(["--duration", &format!("{}s", time.as_secs()), "--script"])
            .arg(&self.script)
            .arg(format!("http://{address}/"))
            .output()
            .context("wrk could not start; scripts/deps.sh bench installs it")?;
        let text = String::from_utf8_lossy(&output.stderr);
        let numbers: Value = serde_json::from_str(text.trim())
            .with_context(|| format!("wrk did not report: {text}"))?;
        let number = |key: &str| numbers[key].as_f64().unwrap_or(f64::NAN);
        let (requests, not_ok, broken) = (number("requests"), number("not_ok"), number("broken"));
        ensure!(requests > 0.0, "{address} answered no request");
        ensure!(
            not_ok == 0.0 && broken == 0.0,
            "{address} answered {not_ok} of {requests} requests with an error, {broken} got no answer"
        );
        Ok((requests, number("microseconds") / 1e6))
    }
}

#[cfg(test)]
mod tests {
    use super::parse_cpu_list;

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpu_list("\t0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(parse_cpu_list("3"), [3]);
        assert_eq!(parse_cpu_list(""), [0_u32; 0]);
    }
}

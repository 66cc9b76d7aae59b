//! A proxy under test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{ChildStderr, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::machine::{Cpus, Load, Process, await_listener, free_address, on_cpu};
use crate::report::Turn;

/// A proxy that listens on `address`.
#[derive(Debug)]
pub(crate) struct Subject {
    name: &'static str,
    address: SocketAddr,
    process: Process,
}

impl Subject {
    /// The bare proxy, with the origin as both its upstreams.
    pub(crate) fn bare(
        name: &'static str,
        binary: &Path,
        origin: SocketAddr,
        cpus: &Cpus,
    ) -> anyhow::Result<Self> {
        let address = free_address()?;
        let process = on_cpu(cpus.proxy, binary)
            .args([address, origin, origin].map(|address| address.to_string()))
            .stderr(Stdio::null())
            .spawn()?;
        let process = Process(process);
        await_listener(name, address)?;
        Ok(Self { name, address, process })
    }

    /// The gateway, with the origin as the upstream of both variants.
    pub(crate) fn tidegate(
        binary: &Path,
        directory: &Path,
        origin: SocketAddr,
        cpus: &Cpus,
    ) -> anyhow::Result<Self> {
        let file = directory.join("tidegate.yaml");
        std::fs::write(&file, configuration(origin))?;
        let mut child = on_cpu(cpus.proxy, binary)
            .args(["run", "--log-format", "json", "-c"])
            .arg(&file)
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()?;
        let log = child.stderr.take().context("no pipe to the gateway's log")?;
        let process = Process(child);
        let address = announced_address(log)?;
        await_listener("tidegate", address)?;
        Ok(Self { name: "tidegate", address, process })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// One request, to see that the answer is the origin's: wrk counts only errors.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(
            b"GET /shop/items/42 HTTP/1.1\r\nHost: shop.example.com\r\nx-user-id: user-1\r\n\
              Connection: close\r\n\r\n",
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(
            answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok\n"),
            "{} did not pass on the origin's answer but sent:\n{answer}",
            self.name
        );
        Ok(())
    }

    /// Loads the proxy for `time` and takes its CPU time.
    pub(crate) fn turn(&self, load: &Load, time: Duration) -> anyhow::Result<Turn> {
        let before = self.cpu_seconds()?;
        let (requests, seconds) = load.run(self.address, time).context(self.name)?;
        let cpu_seconds = self.cpu_seconds()? - before;
        Ok(Turn { cpu_micros: cpu_seconds * 1e6 / requests, per_second: requests / seconds })
    }

    /// User and system time of the process so far.
    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/stat", self.process.0.id());
        let stat =
            std::fs::read_to_string(&path).with_context(|| format!("{} ended", self.name))?;
        cpu_ticks(&stat).map(|ticks| ticks / TICKS_PER_SECOND).with_context(|| path.clone())
    }
}

/// Linux reports times to user space in this unit (`USER_HZ`) on every common architecture,
/// whatever the kernel's own tick.
const TICKS_PER_SECOND: f64 = 100.0;

/// `utime + stime`, the 14th and 15th field. The second is the program's name in parentheses, which
/// may hold spaces.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some(ticks()? + ticks()?)
}

/// Reads the log until the gateway says where `web` listens, then goes on emptying the pipe.
fn announced_address(log: ChildStderr) -> anyhow::Result<SocketAddr> {
    let mut log = BufReader::new(log);
    let mut seen = String::new();
    loop {
        let start = seen.len();
        let length = log.read_line(&mut seen)?;
        ensure!(length > 0, "tidegate ended before it listened; its log was:\n{seen}");
        let line: Value = serde_json::from_str(&seen[start..]).unwrap_or_default();
        let fields = &line["fields"];
        if fields["message"] == "listening" && fields["listener"] == "web" {
            let address = fields["address"].as_str().unwrap_or_default();
            let address = address.parse().with_context(|| format!("listener `{address}`"))?;
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return Ok(address);
        }
    }
}

/// A canary in earnest: hosts, prefixes, a pin, a user's key; metrics are always on, the access log
/// is off unless asked for.
fn configuration(origin: SocketAddr) -> String {
    format!(
        "listeners:
  - {{ name: web, address: 127.0.0.1:0 }}
admin: {{ address: 127.0.0.1:0 }}
runtime: {{ threads: 1 }}
upstreams:
  - {{ name: shop-v1, endpoints: [\"{origin}\"] }}
  - {{ name: shop-v2, endpoints: [\"{origin}\"] }}
routes:
  - name: shop
    match: {{ hosts: [shop.example.com], path: {{ prefix: /shop }} }}
    variants:
      - {{ name: stable, upstream: shop-v1, weight: 90 }}
      - {{ name: canary, upstream: shop-v2, weight: 10, fallback: stable }}
    bucket_by: [{{ header: x-user-id }}, client_ip]
    pins:
      - {{ variant: canary, header: {{ name: x-canary, exact: \"always\" }} }}
  - name: basket
    match: {{ hosts: [shop.example.com], path: {{ prefix: /shop/basket }} }}
    variants: [{{ name: stable, upstream: shop-v1, weight: 1 }}]
  - name: home
    match: {{ hosts: [shop.example.com], path: {{ exact: / }} }}
    variants: [{{ name: stable, upstream: shop-v1, weight: 1 }}]
  - name: blog
    match: {{ hosts: [\"*.blog.example.com\"], path: {{ prefix: / }} }}
    variants: [{{ name: stable, upstream: shop-v1, weight: 1 }}]
"
    )
}

#[cfg(test)]
mod tests {
    use super::cpu_ticks;

    #[test]
    fn ticks_after_a_name_with_spaces_and_parentheses() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 213 0 1 0 31 11 0 0 20 0 1 0 9";
        assert_eq!(cpu_ticks(stat), Some(42.0));
        assert_eq!(cpu_ticks("nonsense"), None);
    }
}

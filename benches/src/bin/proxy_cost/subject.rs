//! A proxy under test.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tidegate_benches::gateway::Gateway;
use tidegate_benches::machine::{Cpus, Process, free_address, get, on_cpu};

use crate::load::Load;
use crate::report::Turn;

/// A proxy that listens on `address`.
#[derive(Debug)]
pub(crate) struct Subject {
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
        let mut command = on_cpu(cpus.proxy, binary);
        command
            .args([address, origin, origin].map(|address| address.to_string()))
            .stderr(Stdio::null());
        let mut process = Process::start(name, &mut command)?;
        process.await_listener(address)?;
        Ok(Self { address, process })
    }

    /// The gateway, with the origin as the upstream of both variants.
    pub(crate) fn tidegate(
        binary: &Path,
        directory: &Path,
        origin: SocketAddr,
        cpus: &Cpus,
    ) -> anyhow::Result<Self> {
        let file = directory.join("tidegate.yaml");
        let gateway = Gateway::start(binary, &file, &configuration(origin), cpus.proxy)?;
        Ok(Self { address: gateway.address("web")?, process: gateway.process })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.process.name()
    }

    /// One request, to see that the answer is the origin's: wrk counts only errors.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let answer = get(self.address, "shop.example.com", "/shop/items/42")?;
        ensure!(
            answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok\n"),
            "{} did not pass on the origin's answer but sent:\n{answer}",
            self.name()
        );
        Ok(())
    }

    /// Loads the proxy for `time` and takes its CPU time.
    pub(crate) fn turn(&self, load: &Load, time: Duration) -> anyhow::Result<Turn> {
        let before = self.process.cpu_seconds()?;
        let (requests, seconds) = load.run(self.address, time).context(self.name())?;
        let cpu_seconds = self.process.cpu_seconds()? - before;
        Ok(Turn { cpu_micros: cpu_seconds * 1e6 / requests, per_second: requests / seconds })
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

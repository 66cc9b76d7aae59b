//! The load: users who ask as fast as they are answered.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tidegate_benches::machine::{Cpus, on_cpu};

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

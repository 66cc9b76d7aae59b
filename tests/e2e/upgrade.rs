//! One process takes over from another: clients notice nothing, whatever becomes of either.

mod failed;
mod killed;
mod rollouts;
mod serving;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};
use tidegate_tests::*;

/// Where a process that was started from `file` can be asked to hand over.
fn socket_beside(file: &Path) -> PathBuf {
    file.with_file_name("tidegate.sock")
}

/// The process that answers at the address of the admin API, asked over a new connection.
async fn serving_process(gateway: &Gateway) -> Result<i64> {
    gateway.status().await?["pid"].as_i64().context("no pid")
}

/// Waits until `gateway` itself answers at its admin address.
async fn serves(gateway: &Gateway) -> Result<()> {
    let pid = i64::from(gateway.pid().as_raw_nonzero().get());
    let ready = async || (serving_process(gateway).await.ok()? == pid).then_some(());
    eventually("this process answers", ready).await?;
    let ready = async || Some(gateway.admin_get("/readyz").await.ok()?.status == 200);
    eventually("it is ready", async || ready().await.filter(|ready| *ready)).await?;
    anyhow::ensure!(gateway.get("/").send().await?.status == 200);
    Ok(())
}

/// A new process of which only the words are there. Its descriptors are thrown away.
struct Words {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Words {
    fn to(gateway: &Gateway) -> Result<Self> {
        let stream = UnixStream::connect(socket_beside(gateway.file()))?;
        stream.set_read_timeout(Some(SOON))?;
        let lines = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, lines })
    }

    fn say(&mut self, say: &Value) -> Result<()> {
        Ok(writeln!(self.stream, "{say}")?)
    }

    fn hear(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("heard {line:?}"))
    }

    /// Asks to take over; the addresses of the sockets that are offered.
    fn begin(&mut self) -> Result<Vec<Value>> {
        self.say(&json!({ "say": "upgrade", "protocols": [1], "release": "0", "pid": 1 }))?;
        let offer = self.hear()?;
        let count = offer["count"].as_u64().with_context(|| format!("{offer}"))?;
        (0..count).map(|_| Ok(self.hear()?["address"].take())).collect()
    }

    fn ask(&mut self, say: &Value, wanted: &str) -> Result<()> {
        self.say(say)?;
        let heard = self.hear()?;
        anyhow::ensure!(heard["say"] == wanted, "{heard}");
        Ok(())
    }
}

/// Longer than a process needs to notice that another has ended.
const A_MOMENT: Duration = Duration::from_millis(300);

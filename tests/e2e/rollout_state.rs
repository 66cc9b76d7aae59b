//! What a rollout is after whatever ends the gateway: the same, or earlier, and never more.

mod checks;
mod clock;
mod killed;
mod restarts;
mod traffic;

use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;
use tidegate_tests::*;

/// A directory with a configuration and the state beside it, and the servers behind it. They outlive
/// every gateway that is started there.
pub(crate) struct Place {
    directory: TempDir,
    pub(crate) stable: Canary,
    pub(crate) canary: Canary,
}

impl Place {
    pub(crate) async fn new() -> Result<Self> {
        let (stable, canary) = tokio::try_join!(Canary::start("v1"), Canary::start("v2"))?;
        Ok(Self { directory: TempDir::new()?, stable, canary })
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("tidegate.yaml")
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn state(&self) -> StateFile {
        StateFile::new(&self.path().join("tidegate.db"))
    }

    /// Users are told apart by `x-user`. The file gives most of them the candidate, so that its
    /// weights show at once should they ever be in force.
    pub(crate) fn config(&self) -> Config {
        Config::split(self.stable.origin.address(), "30", self.canary.origin.address(), "70")
            .also("bucket_by: { header: x-user }")
    }

    pub(crate) fn write(&self, config: &Config) -> Result<()> {
        Ok(std::fs::write(self.file(), config.yaml())?)
    }

    pub(crate) async fn start(&self) -> Result<Gateway> {
        Gateway::start_at(&self.file()).await
    }
}

/// The weight that is in force for the candidate, as a share of the two.
pub(crate) async fn weight(gateway: &Gateway) -> Result<f64> {
    let metrics = gateway.metrics().await?;
    let of = |variant| {
        metrics.sum("tidegate_variant_weight", &[("route", "shop"), ("variant", variant)])
    };
    let (stable, canary) = (of("stable"), of("canary"));
    anyhow::ensure!(stable + canary > 0.0, "nobody has weight: {}", metrics.text);
    Ok(canary / (stable + canary))
}

/// Waits until the candidate has this weight.
pub(crate) async fn weighs(gateway: &Gateway, expected: f64) -> Result<()> {
    let mut last = f64::NAN;
    let reached = eventually("", async || {
        last = weight(gateway).await.ok()?;
        (last == expected).then_some(())
    });
    reached.await.with_context(|| format!("the candidate's weight is {last} and not {expected}"))
}

/// Waits until a line of the log has all of `words`.
pub(crate) async fn says(gateway: &Gateway, words: &[&str]) -> Result<()> {
    let says = async || {
        let log = gateway.log();
        let mut lines = log.iter().filter(|line| words.iter().all(|word| line.contains(word)));
        lines.next().map(drop)
    };
    eventually(&format!("the log says {words:?}"), says).await
}

/// Milliseconds of the wall clock.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}

fn number(value: &Value) -> Result<u64> {
    value.as_u64().with_context(|| format!("no number: {value}"))
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("no text: {value}"))
}

//! The story that `tidegate demo` tells has to be true.

use anyhow::{Context, Result, ensure};
use std::{process::Stdio, time::Duration};
use tidegate_tests::tidegate_binary;
use tokio::{process::Command, time::timeout};

/// The command ends itself before that.
const LIMIT: Duration = Duration::from_secs(85);

#[tokio::test]
async fn the_whole_story_is_observed() -> Result<()> {
    let mut command = Command::new(tidegate_binary()?);
    command.args(["demo", "--once", "--json"]).stdin(Stdio::null()).kill_on_drop(true);
    let ended = timeout(LIMIT, command.output()).await.context("the demo does not end")??;
    let report: serde_json::Value = serde_json::from_slice(&ended.stdout)
        .with_context(|| String::from_utf8_lossy(&ended.stderr).into_owned())?;
    ensure!(ended.status.success() && report["ok"] == true, "{report:#}");
    ensure!(report["claims"].as_array().is_some_and(|claims| claims.len() >= 26), "{report:#}");
    // Those that the bad revision failed before it was rolled back; one claim is that there are no
    // others.
    let failed = report["failed"].as_u64().context("no count of failures")?;
    ensure!((1..200).contains(&failed), "{report:#}");
    ensure!(report["requests"].as_u64() > Some(10_000), "{report:#}");
    Ok(())
}

//! A real browser.

use crate::{Pair, parts::Part};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};

/// Far above what a page from this machine takes.
const LOADED: Duration = Duration::from_secs(30);

/// One, without a window. Ends when dropped.
#[derive(Debug)]
pub struct Browser {
    part: Part,
}

impl Browser {
    /// Starts one that finds `host` at `address` and accepts the key of `pair`.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(host: &str, address: SocketAddr, pair: &Pair) -> Result<Self> {
        let (port, key) = (address.port().to_string(), pair.public_key.display().to_string());
        Ok(Self { part: Part::start("browser.py", &[host, &port, &key]).await? })
    }

    /// Goes to a page. `responses` has all that were needed, `text` what a person reads.
    ///
    /// # Errors
    /// When there is no page.
    pub async fn load(&self, url: &str) -> Result<Value> {
        let page = self.part.ask_within(LOADED, "load", json!({ "url": url })).await?;
        anyhow::ensure!(page.get("failed").is_none(), "{url}: {page}");
        Ok(page)
    }

    /// What a script, or the promise that it gives, evaluates to in the page.
    ///
    /// # Errors
    /// When it has no value.
    pub async fn evaluate(&self, script: &str) -> Result<Value> {
        let with = json!({ "script": script });
        let mut answer = self.part.ask_within(LOADED, "evaluate", with).await?;
        Ok(answer.get_mut("value").context("no value")?.take())
    }
}

//! curl, a client that somebody else wrote and everybody has.

use crate::{Finished, run};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{net::SocketAddr, path::Path};

/// A call of curl.
#[derive(Debug, Clone)]
pub struct Curl {
    arguments: Vec<String>,
    urls: Vec<String>,
}

/// What curl says of one URL.
#[derive(Debug, Clone)]
pub struct Curled {
    /// The status; 0 when there was no answer.
    pub status: u64,
    /// `1.1`, `2` or the like.
    pub version: String,
    /// Connections that it took.
    pub connections: u64,
    /// curl's exit code for it; 0 is success.
    pub exit: u64,
    /// Why it failed, if it did.
    pub error: String,
    headers: Value,
    /// The body; of several URLs all bodies, one after the other.
    pub body: String,
}

impl Curl {
    /// Asks for a URL.
    pub fn new(url: &str) -> Self {
        Self { arguments: Vec::new(), urls: vec![url.to_owned()] }
    }

    /// Asks for a path of `host` over TLS at `address`, trusting `authority` alone.
    pub fn https(address: SocketAddr, authority: &Path, host: &str, path: &str) -> Self {
        Self::new(&format!("https://{host}{path}")).at(address).trusting(authority)
    }

    /// Whatever the URL's host and port, connects to this address.
    #[must_use]
    pub fn at(self, address: SocketAddr) -> Self {
        self.with(&["--connect-to", &format!("::{address}")])
    }

    /// Servers have to show a certificate of this authority.
    #[must_use]
    pub fn trusting(self, authority: &Path) -> Self {
        self.with(&["--cacert", &authority.display().to_string()])
    }

    /// Shows this certificate.
    #[must_use]
    pub fn showing(self, pair: &crate::Pair) -> Self {
        let (cert, key) = (pair.cert.display().to_string(), pair.key.display().to_string());
        self.with(&["--cert", &cert, "--key", &key])
    }

    /// Adds a header.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.with(&["-H", &format!("{name}: {value}")])
    }

    /// Any further arguments.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|text| (*text).to_owned()));
        self
    }

    /// Another URL after the others, over the same connection if that can be.
    #[must_use]
    pub fn then(mut self, url: &str) -> Self {
        self.urls.push(url.to_owned());
        self
    }

    /// Runs it for one URL.
    ///
    /// # Errors
    /// When curl does not run; an exchange that fails is none.
    pub async fn send(&self) -> Result<Curled> {
        self.send_all().await?.pop().context("curl said nothing")
    }

    /// Runs it, and gives what it said of each URL.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_all(&self) -> Result<Vec<Curled>> {
        // Standard error has what is told, standard output the bodies.
        let told = ["-q", "-s", "-m", "9", "--noproxy", "*"];
        let told = told.into_iter().chain(["-w", "%{stderr}%{json}\n%{header_json}\n"]);
        let words = told.chain(self.arguments.iter().map(String::as_str));
        let words: Vec<_> = words.chain(self.urls.iter().map(String::as_str)).collect();
        let done = run("curl", &words, b"").await?;
        let values = serde_json::Deserializer::from_str(&done.stderr).into_iter::<Value>();
        let values: Vec<_> =
            values.collect::<Result<_, _>>().with_context(|| format!("{done:?}"))?;
        let all: Result<Vec<_>> = values.chunks(2).map(|two| curled(two, &done)).collect();
        all.with_context(|| format!("{done:?}"))
    }
}

fn curled(two: &[Value], done: &Finished) -> Result<Curled> {
    let [told, headers] = two else { anyhow::bail!("half an answer") };
    let number = |key: &str| told[key].as_u64().with_context(|| format!("no {key}"));
    let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
    Ok(Curled {
        status: number("http_code")?,
        version: text("http_version"),
        connections: number("num_connects")?,
        exit: number("exitcode")?,
        error: text("errormsg"),
        headers: headers.clone(),
        body: done.stdout.clone(),
    })
}

impl Curled {
    /// The values of a header, joined by commas; empty when there is none.
    pub fn header(&self, name: &str) -> String {
        let values = self.headers[name].as_array().into_iter().flatten();
        values.filter_map(Value::as_str).collect::<Vec<_>>().join(",")
    }

    /// Status and version of HTTP.
    pub fn both(&self) -> (u64, &str) {
        (self.status, &self.version)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {self:?}"))
    }
}

//! The binary, running.

use crate::{Call, Metrics, Response, SOON, eventually, tidegate_binary};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    collections::HashMap,
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// How many lines of the log a failing test shows.
const SHOWN: usize = 40;

type Lines = Arc<Mutex<Vec<String>>>;

/// A running `tidegate run`. Killed when dropped; its log is printed then, which the test runner
/// shows for tests that failed.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    file: PathBuf,
    log: Lines,
    stdout: Lines,
    addresses: HashMap<String, SocketAddr>,
    /// Absent when the caller owns the directory.
    _directory: Option<TempDir>,
}

impl Gateway {
    /// Writes `yaml` into a directory of its own, starts, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready within [`SOON`]; the error quotes its log.
    pub async fn start(yaml: &str) -> Result<Self> {
        let directory = TempDir::new()?;
        let file = directory.path().join("tidegate.yaml");
        std::fs::write(&file, yaml)?;
        let mut gateway = Self::start_at(&file).await?;
        gateway._directory = Some(directory);
        Ok(gateway)
    }

    /// Starts from a file that is there already.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_at(file: &Path) -> Result<Self> {
        Self::start_through(&[], file).await
    }

    /// Starts by a program that in the end becomes the gateway, such as `env` or `sh` with `exec`:
    /// `through` has it and its arguments before the gateway's.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_through(through: &[&str], file: &Path) -> Result<Self> {
        Self::start_with(through, file, &[]).await
    }

    /// Starts another process from the same file, which takes over from this one.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn upgraded(&self) -> Result<Self> {
        Self::start_with(&[], &self.file, &["--upgrade"]).await
    }

    /// Starts by a program, as [`Self::start_through`], and with `more` arguments.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(through: &[&str], file: &Path, more: &[&str]) -> Result<Self> {
        let mut gateway = Self::launch(through, file, more)?;
        gateway.wait_ready().await?;
        Ok(gateway)
    }

    /// The same without waiting for anything: see [`Self::wait_ready`].
    ///
    /// # Errors
    /// When there is no such program.
    pub fn launch(through: &[&str], file: &Path, more: &[&str]) -> Result<Self> {
        let binary = tidegate_binary()?.into_os_string();
        let mut words = through.iter().map(OsString::from).chain([binary]);
        let mut child = Command::new(words.next().context("no program")?)
            .args(words)
            .args(["run", "--log-format", "json", "-c"])
            .arg(file)
            .args(more)
            .env_remove("RUST_LOG")
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let log = collect(child.stderr.take().context("no standard error")?);
        let stdout = collect(child.stdout.take().context("no standard output")?);
        let addresses = HashMap::new();
        let file = file.to_owned();
        Ok(Self { child, file, log, stdout, addresses, _directory: None })
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn wait_ready(&mut self) -> Result<()> {
        let log = Arc::clone(&self.log);
        let ended = eventually("the gateway says `ready`", async || {
            if events(&lines(&log)).any(|fields| fields["message"] == "ready") {
                return Some(None);
            }
            self.child.try_wait().ok().flatten().map(Some)
        })
        .await
        .with_context(|| format!("log: {:#?}", self.log()))?;
        if let Some(status) = ended {
            bail!("the gateway ended with {status}; log: {:#?}", self.log());
        }
        for fields in events(&self.log()) {
            if fields["message"] == "listening" {
                let text = |key: &str| fields[key].as_str().map(str::to_owned);
                let name = text("listener").context("`listening` without a listener")?;
                let address = text("address").context("`listening` without an address")?;
                self.addresses.insert(name, address.parse()?);
            }
        }
        Ok(())
    }

    /// Where a listener of this name (or `admin`) listens.
    ///
    /// # Panics
    /// When it never said so.
    pub fn address(&self, listener: &str) -> SocketAddr {
        *self.addresses.get(listener).unwrap_or_else(|| {
            panic!("no listener `{listener}` was logged, only {:?}", self.addresses)
        })
    }

    /// Where the listener `web` listens.
    pub fn web(&self) -> SocketAddr {
        self.address("web")
    }

    /// Where the admin API listens.
    pub fn admin(&self) -> SocketAddr {
        self.address("admin")
    }

    /// A GET to the listener `web`.
    pub fn get(&self, target: &str) -> Call {
        Call::get(self.web(), target)
    }

    /// Any method to the listener `web`.
    pub fn call(&self, method: &str, target: &str) -> Call {
        Call::new(self.web(), method, target)
    }

    /// A GET to the admin API.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn admin_get(&self, target: &str) -> Result<Response> {
        Call::get(self.admin(), target).send().await
    }

    /// A scrape of `/metrics`.
    ///
    /// # Errors
    /// When it is not served or cannot be read.
    pub async fn metrics(&self) -> Result<Metrics> {
        let answer = self.admin_get("/metrics").await?;
        ensure!(answer.status == 200, "/metrics answers {}", answer.status);
        Metrics::parse(&answer.text())
    }

    /// `/api/v1/status`.
    ///
    /// # Errors
    /// When it is not served or not JSON.
    pub async fn status(&self) -> Result<Value> {
        self.admin_get("/api/v1/status").await?.json()
    }

    /// The generation that `/metrics` shows.
    ///
    /// # Errors
    /// As [`Self::metrics`].
    pub async fn generation(&self) -> Result<f64> {
        Ok(self.metrics().await?.sum("tidegate_config_generation", &[]))
    }

    /// How many reloads with this result `/metrics` shows.
    ///
    /// # Errors
    /// As [`Self::metrics`].
    pub async fn reloads(&self, result: &str) -> Result<f64> {
        Ok(self.metrics().await?.sum("tidegate_config_reloads_total", &[("result", result)]))
    }

    /// Waits until the generation is more than `before`.
    ///
    /// # Errors
    /// When it is not within [`SOON`].
    pub async fn generation_after(&self, before: f64) -> Result<f64> {
        eventually(&format!("a generation after {before}"), async || {
            self.generation().await.ok().filter(|now| *now > before)
        })
        .await
    }

    /// Waits until more than `before` reloads have failed.
    ///
    /// # Errors
    /// When they have not within [`SOON`].
    pub async fn errors_after(&self, before: f64) -> Result<f64> {
        eventually(&format!("a failed reload after {before}"), async || {
            self.reloads("error").await.ok().filter(|now| *now > before)
        })
        .await
    }

    /// Waits until a metric's sum is `expected`; it is counted after the answer was sent.
    ///
    /// # Errors
    /// When it is something else after [`SOON`].
    pub async fn counts(&self, name: &str, labels: &[(&str, &str)], expected: f64) -> Result<()> {
        let mut last = f64::NAN;
        let reached = eventually("", async || {
            last = self.metrics().await.ok()?.sum(name, labels);
            (last == expected).then_some(())
        });
        if reached.await.is_err() {
            bail!("{name}{labels:?} is {last} and not {expected}");
        }
        Ok(())
    }

    /// The configuration file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Overwrites the configuration file in place.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, yaml: &str) -> Result<()> {
        Ok(std::fs::write(&self.file, yaml)?)
    }

    /// Asks for a reload over the admin API.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn reload(&self) -> Result<Response> {
        Call::new(self.admin(), "POST", "/api/v1/config/reload").send().await
    }

    /// The log so far, a line each.
    pub fn log(&self) -> Vec<String> {
        lines(&self.log)
    }

    /// What went to standard output so far, a line each.
    pub fn stdout(&self) -> Vec<String> {
        lines(&self.stdout)
    }

    /// The process.
    ///
    /// # Panics
    /// When it has been waited for.
    pub fn pid(&self) -> Pid {
        let id = self.child.id().expect("the gateway has ended");
        Pid::from_raw(id.cast_signed()).expect("no process has the number 0")
    }

    /// A number of bytes from the process's status, such as `VmRSS` or `VmHWM` (Linux).
    ///
    /// # Errors
    /// When the system does not say it.
    pub fn memory(&self, field: &str) -> Result<u64> {
        let pid = self.pid().as_raw_nonzero();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kibibytes = value.and_then(|value| value.trim().strip_suffix(" kB"));
        let kibibytes = kibibytes.with_context(|| format!("no {field}: {status}"))?;
        Ok(kibibytes.parse::<u64>()? * 1024)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid(), signal)?)
    }

    /// Waits for the end and gives the exit code.
    ///
    /// # Errors
    /// When it does not end within `limit`, or by a signal.
    pub async fn exit_code(&mut self, limit: Duration) -> Result<i32> {
        let status = timeout(limit, self.child.wait())
            .await
            .with_context(|| format!("still running after {limit:?}"))??;
        status.code().with_context(|| format!("ended by {status}"))
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// When it had ended already, or had panicked.
    pub async fn kill(&mut self) -> Result<()> {
        self.healthy()?;
        Ok(self.child.kill().await?)
    }

    /// Whether it runs, and never panicked.
    ///
    /// # Errors
    /// When it does not, or did.
    pub fn healthy(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the gateway ended with {status}");
        }
        self.never_panicked()
    }

    /// SIGTERM, then exit code 0.
    ///
    /// # Errors
    /// When it does not end within [`SOON`], ends with another code, or panicked before.
    pub async fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let code = self.exit_code(SOON).await?;
        ensure!(code == 0, "exit code {code}");
        self.never_panicked()
    }

    /// SIGTERM twice, for streams that would live as long as they are let: the second closes them.
    ///
    /// # Errors
    /// As [`Self::stop`].
    pub async fn cut(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        // It may have ended by itself.
        let _ = self.signal(Signal::TERM);
        let code = self.exit_code(SOON).await?;
        ensure!(code == 0, "exit code {code}");
        self.never_panicked()
    }

    /// Waits for the end of a process that another took over from.
    ///
    /// # Errors
    /// As [`Self::stop`].
    pub async fn retires(&mut self) -> Result<()> {
        let code = self.exit_code(SOON).await?;
        ensure!(code == 0, "exit code {code}");
        self.never_panicked()
    }

    fn never_panicked(&self) -> Result<()> {
        match self.log().iter().find(|line| line.contains("panicked at")) {
            Some(line) => bail!("{line}"),
            None => Ok(()),
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let log = self.log();
        for line in log.iter().skip(log.len().saturating_sub(SHOWN)) {
            eprintln!("gateway: {line}");
        }
    }
}

/// The fields of each line that is an event.
fn events(lines: &[String]) -> impl Iterator<Item = Value> {
    lines
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|mut event| event["fields"].take())
}

fn lines(lines: &Lines) -> Vec<String> {
    lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn collect(stream: impl AsyncRead + Unpin + Send + 'static) -> Lines {
    let lines = Lines::default();
    let kept = Arc::clone(&lines);
    tokio::spawn(async move {
        let mut stream = BufReader::new(stream).lines();
        while let Ok(Some(line)) = stream.next_line().await {
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    lines
}

//! The load: requests at a fixed rate, whatever becomes of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tidegate_benches::machine::{Process, on_cpu};

/// The load generator.
#[derive(Debug)]
pub(crate) struct Load {
    log: PathBuf,
    cpu: u32,
    rate: u32,
    connections: u32,
}

impl Load {
    pub(crate) fn new(log: PathBuf, cpu: u32, rate: u32, connections: u32) -> Self {
        Self { log, cpu, rate, connections }
    }

    /// Sends requests for `path` for some seconds, and waits one more for answers.
    ///
    /// # Errors
    /// When h2load does not run.
    pub(crate) fn run(
        &self,
        address: SocketAddr,
        path: &str,
        seconds: u32,
    ) -> anyhow::Result<Answers> {
        // h2load appends to the log.
        if self.log.exists() {
            std::fs::remove_file(&self.log)?;
        }
        let offered = self.rate * seconds;
        // Connections open one after the other, at the rate of the requests, so that these, each
        // connection's at its own fixed interval, come evenly too.
        let (at_once, period) =
            if self.rate < 1000 { (1, 1000 / self.rate) } else { (self.rate / 1000, 1) };
        let mut command = on_cpu(self.cpu, "h2load");
        command
            .args(["--h1", "--max-concurrent-streams=1"])
            .arg(format!("--clients={}", self.connections))
            .arg(format!("--requests={offered}"))
            .arg(format!("--rps={}", f64::from(self.rate) / f64::from(self.connections)))
            .arg(format!("--rate={at_once}"))
            .arg(format!("--rate-period={period}ms"))
            .arg(format!("--log-file={}", self.log.display()))
            .arg(format!("http://{address}{path}"))
            .stdout(Stdio::null());
        let deadline = Instant::now() + Duration::from_secs(u64::from(seconds) + 1);
        let status = Process::start("h2load", &mut command)?.end_by(deadline)?;
        if let Some(status) = status {
            ensure!(status.success(), "h2load ended with {status}; scripts/deps.sh bench gets it");
        }
        let log = std::fs::read_to_string(&self.log).context("h2load wrote no log")?;
        Answers::parse(&log, offered)
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answers {
    /// How many requests were to be sent.
    pub(crate) offered: u32,
    /// From the first request to the last answer, in seconds.
    seconds: f64,
    /// Sorted.
    latencies: Vec<u32>,
}

impl Answers {
    /// Reads the log: start in microseconds, status, microseconds to the end of the answer.
    fn parse(log: &str, offered: u32) -> anyhow::Result<Self> {
        let mut latencies = Vec::with_capacity(log.len() / 24);
        let (mut first, mut last) = (u64::MAX, 0);
        // h2load may have been ended in the middle of a line.
        let complete = log.rsplit_once('\n').map_or("", |(lines, _)| lines);
        for line in complete.lines() {
            let mut fields = line.split('\t');
            let mut number = || fields.next()?.parse::<i64>().ok();
            let (Some(start), Some(status), Some(micros)) = (number(), number(), number()) else {
                bail!("h2load logged `{line}`");
            };
            ensure!(status == 200, "a request was answered with status {status}");
            latencies.push(u32::try_from(micros)?);
            first = first.min(u64::try_from(start)?);
            last = last.max(u64::try_from(start + micros)?);
        }
        latencies.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "seconds in microseconds are exact")]
        let seconds = last.saturating_sub(first) as f64 / 1e6;
        Ok(Self { offered, seconds, latencies })
    }

    /// The share of requests that were answered.
    pub(crate) fn answered(&self) -> f64 {
        self.count() / f64::from(self.offered)
    }

    /// Answers a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.count() / self.seconds
    }

    /// The latency in microseconds that a share of all requests did not exceed; infinite where too
    /// few were answered.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let rank = (f64::from(self.offered) * share).ceil() - 1.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "of a u32")]
        let latency = self.latencies.get(rank.max(0.0) as usize);
        latency.map_or(f64::INFINITY, |micros| f64::from(*micros))
    }

    #[expect(clippy::cast_precision_loss, reason = "no more than were offered, a u32")]
    fn count(&self) -> f64 {
        self.latencies.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::Answers;

    #[test]
    fn what_was_not_answered_counts_as_never() -> anyhow::Result<()> {
        let log = "1000000\t200\t30\n1000010\t200\t10\n1000020\t200\t20\n100003";
        let answers = Answers::parse(log, 4)?;
        assert_eq!(answers.answered(), 0.75);
        assert_eq!(
            [0.0, 0.25, 0.5, 0.75].map(|share| answers.quantile(share)),
            [10., 10., 20., 30.]
        );
        assert_eq!(answers.quantile(0.99), f64::INFINITY);
        assert_eq!(answers.per_second().round(), 75_000.0);
        Ok(())
    }

    #[test]
    fn errors_are_errors() {
        assert!(Answers::parse("1\t503\t30\n", 1).is_err());
        assert!(Answers::parse("1\t-1\t30\n", 1).is_err());
        assert!(Answers::parse("nonsense\n", 1).is_err());
    }
}

//! A proxy under test, told what to do.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tidegate_benches::gateway::Gateway;
use tidegate_benches::machine::{Cpus, Process, free_address, get, on_cpu};
use tidegate_benches::origin::{Origin, start_nginx};

use crate::configuration::{self, Case, Proxy, Upstreams};
use crate::load::Load;
use crate::report::Turn;

/// What all subjects share.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) primary: Origin,
    pub(crate) dark: Origin,
    pub(crate) hung: SocketAddr,
    pub(crate) load: Load,
    pub(crate) tidegate: PathBuf,
    pub(crate) directory: PathBuf,
    pub(crate) cpus: Cpus,
}

/// A proxy that listens on `address`.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) proxy: Proxy,
    pub(crate) case: Case,
    address: SocketAddr,
    /// The gateway's admin API.
    admin: Option<SocketAddr>,
    process: Process,
}

impl Subject {
    pub(crate) fn start(stage: &Stage, proxy: Proxy, case: Case) -> anyhow::Result<Self> {
        let directory = stage.directory.join(format!("{proxy:?}-{case:?}"));
        std::fs::create_dir(&directory)?;
        let dark = match case {
            Case::Plain => None,
            Case::Mirror | Case::Document | Case::Compared => Some(stage.dark.address()),
            Case::Hung => Some(stage.hung),
        };
        let upstreams = Upstreams { primary: stage.primary.address(), dark };
        let cpu = stage.cpus.proxy;
        let (address, admin, process) = match proxy {
            Proxy::Tidegate => {
                let text = configuration::tidegate(upstreams, case == Case::Compared);
                let file = directory.join("tidegate.yaml");
                let gateway = Gateway::start(&stage.tidegate, &file, &text, cpu)?;
                (gateway.address("web")?, Some(gateway.address("admin")?), gateway.process)
            }
            Proxy::Envoy => {
                let address = free_address()?;
                let file = directory.join("envoy.yaml");
                std::fs::write(&file, configuration::envoy(upstreams, address))?;
                let mut command = on_cpu(cpu, "envoy");
                command
                    .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"])
                    .arg("--config-path")
                    .arg(file);
                let mut process = Process::start("envoy", &mut command)?;
                process.await_listener(address)?;
                (address, None, process)
            }
            Proxy::Nginx => {
                let address = free_address()?;
                let http = configuration::nginx(upstreams, address);
                let process = start_nginx("nginx", &directory, cpu, address, &http)?;
                (address, None, process)
            }
        };
        Ok(Self { proxy, case, address, admin, process })
    }

    /// One request, to see that the answer is the primary's: h2load looks only at the status.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let answer = get(self.address, "shop.example.com", self.case.path())?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let right = body == "ok\n" || body == configuration::primary_json();
        ensure!(
            head.starts_with("HTTP/1.1 200 ") && right,
            "{} did not pass on the primary's answer but sent:\n{answer}",
            self.process.name()
        );
        Ok(())
    }

    /// Loads the proxy for some seconds and sees what that took.
    pub(crate) fn turn(&self, stage: &Stage, seconds: u32) -> anyhow::Result<Turn> {
        let before = Counts::of(self, stage)?;
        let answers = stage
            .load
            .run(self.address, self.case.path(), seconds)
            .with_context(|| format!("{}, {}", self.proxy.name(), self.case.name()))?;
        std::thread::sleep(if self.case == Case::Hung { GIVE_UP } else { SETTLE });
        let after = Counts::of(self, stage)?;
        let offered = f64::from(answers.offered);
        let is_delivered = !matches!(self.case, Case::Plain | Case::Hung);
        Ok(Turn {
            cpu_micros: (after.cpu_seconds - before.cpu_seconds) * 1e6 / offered,
            per_second: answers.per_second(),
            answered: answers.answered(),
            p50_micros: answers.quantile(0.50),
            p99_micros: answers.quantile(0.99),
            delivered: is_delivered.then(|| (after.copies - before.copies) / offered),
            compared: (self.case == Case::Compared)
                .then(|| (after.comparisons - before.comparisons) / offered),
        })
    }

    /// How many answers the gateway found to be equal.
    fn comparisons(&self) -> anyhow::Result<f64> {
        let (Some(admin), Case::Compared) = (self.admin, self.case) else { return Ok(0.0) };
        let metrics = get(admin, "localhost", "/metrics")?;
        Ok(metrics
            .lines()
            .filter(|line| line.starts_with(COMPARISONS) && line.contains(EQUAL))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }
}

/// What is counted before and after a turn.
struct Counts {
    cpu_seconds: f64,
    copies: f64,
    comparisons: f64,
}

impl Counts {
    fn of(subject: &Subject, stage: &Stage) -> anyhow::Result<Self> {
        #[expect(clippy::cast_precision_loss, reason = "no counter gets that far")]
        let copies = stage.dark.requests()? as f64;
        let comparisons = subject.comparisons()?;
        Ok(Self { cpu_seconds: subject.process.cpu_seconds()?, copies, comparisons })
    }
}

/// For the last copies to be answered.
const SETTLE: Duration = Duration::from_millis(200);

/// For copies to a hung upstream to be given up (2 s), so that the next turn is not disturbed.
const GIVE_UP: Duration = Duration::from_millis(2200);

/// The gateway's counter of compared answers, and those without a difference.
const COMPARISONS: &str = "tidegate_mirror_compare_total{";
const EQUAL: &str = "outcome=\"match\"";

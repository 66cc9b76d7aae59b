//! Several clients that never stop, and count what failed.

use crate::{Call, Connection};
use anyhow::{Result, ensure};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How long a load runs at most, should a test forget to end it.
const LONGEST: Duration = Duration::from_secs(30);
/// How many failures a report quotes.
const QUOTED: usize = 5;

/// What the clients saw.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// Answers of 200, by the origin that gave them.
    pub by_origin: BTreeMap<String, u64>,
    /// Everything else: other statuses, broken and refused connections, answers cut short.
    pub failed: u64,
    /// The first failures.
    pub failures: Vec<String>,
    /// Connections opened.
    pub connections: u64,
}

impl Report {
    /// Answers of 200.
    pub fn served(&self) -> u64 {
        self.by_origin.values().sum()
    }

    /// Answers of 200 from this origin.
    pub fn of(&self, origin: &str) -> u64 {
        self.by_origin.get(origin).copied().unwrap_or(0)
    }

    /// The report, if nothing failed and something was served.
    ///
    /// # Errors
    /// When something failed, or nothing was asked.
    pub fn flawless(self) -> Result<Self> {
        ensure!(self.failed == 0 && self.served() > 0, "not flawless: {self:?}");
        Ok(self)
    }

    fn fail(&mut self, why: String) {
        self.failed += 1;
        if self.failures.len() < QUOTED {
            self.failures.push(why);
        }
    }

    fn merge(&mut self, other: Self) {
        for (origin, count) in other.by_origin {
            *self.by_origin.entry(origin).or_default() += count;
        }
        self.failed += other.failed;
        self.connections += other.connections;
        self.failures.extend(other.failures);
        self.failures.truncate(QUOTED);
    }
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<Report>,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    served: AtomicU64,
}

impl Load {
    /// Starts `clients` that send `call` one after the other until [`Self::stop`], each over a kept
    /// connection that is replaced when the server has said that it is over.
    pub fn start(call: &Call, clients: usize) -> Self {
        Self::spawn(call, clients, u64::MAX)
    }

    /// Sends `call` `total` times with `clients` and waits for it.
    pub async fn run(call: &Call, clients: usize, total: u64) -> Report {
        Self::spawn(call, clients, total / clients as u64).join().await
    }

    fn spawn(call: &Call, clients: usize, each: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            tasks.spawn(client(call.clone(), each, Arc::clone(&shared)));
        }
        Self { shared, clients: tasks }
    }

    /// How many answers of 200 there were so far.
    pub fn served(&self) -> u64 {
        self.shared.served.load(Ordering::Relaxed)
    }

    /// Lets each client finish its request, and adds up.
    pub async fn stop(self) -> Report {
        self.shared.over.store(true, Ordering::Relaxed);
        self.join().await
    }

    async fn join(mut self) -> Report {
        let mut sum = Report::default();
        while let Some(ended) = self.clients.join_next().await {
            match ended {
                Ok(report) => sum.merge(report),
                Err(error) => sum.fail(error.to_string()),
            }
        }
        sum
    }
}

async fn client(call: Call, each: u64, shared: Arc<Shared>) -> Report {
    let mut report = Report::default();
    let mut kept: Option<Connection> = None;
    let end = Instant::now() + LONGEST;
    for _ in 0..each {
        if shared.over.load(Ordering::Relaxed) || Instant::now() > end {
            break;
        }
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => match Connection::open(call.address()).await {
                Ok(connection) => {
                    report.connections += 1;
                    connection
                }
                Err(error) => {
                    report.fail(format!("{error:#}"));
                    continue;
                }
            },
        };
        match connection.send(&call).await {
            Ok(answer) if answer.status == 200 => {
                *report.by_origin.entry(answer.origin().to_owned()).or_default() += 1;
                shared.served.fetch_add(1, Ordering::Relaxed);
                if !connection.is_over().await {
                    kept = Some(connection);
                }
            }
            Ok(answer) => report.fail(format!("{}: {}", answer.status, answer.text())),
            Err(error) => report.fail(format!("{error:#}")),
        }
    }
    report
}

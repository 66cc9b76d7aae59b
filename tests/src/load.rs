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
use tokio::{task::JoinSet, time::sleep};

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

/// What a client does.
#[derive(Clone)]
struct Work {
    call: Arc<dyn Fn() -> Call + Send + Sync>,
    each: u64,
    /// Between an answer and the next request.
    pause: Option<Duration>,
    /// Each request has a connection of its own.
    fresh: bool,
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
        let call = call.clone();
        Self::start_each(clients, move || call.clone())
    }

    /// The same with calls that differ, such as those of many users.
    pub fn start_each(clients: usize, call: impl Fn() -> Call + Send + Sync + 'static) -> Self {
        Self::spawn(
            clients,
            &Work { call: Arc::new(call), each: u64::MAX, pause: None, fresh: false },
        )
    }

    /// Starts `clients` that send `call` one after the other until [`Self::stop`], each time over a
    /// connection of its own.
    pub fn fresh(call: &Call, clients: usize) -> Self {
        let call = call.clone();
        let call = Arc::new(move || call.clone());
        Self::spawn(clients, &Work { call, each: u64::MAX, pause: None, fresh: true })
    }

    /// One client that sends `call` about `per_second` times a second until [`Self::stop`].
    pub fn paced(call: &Call, per_second: u32) -> Self {
        let call = call.clone();
        let pause = Some(Duration::from_secs(1) / per_second);
        let call = Arc::new(move || call.clone());
        Self::spawn(1, &Work { call, each: u64::MAX, pause, fresh: false })
    }

    /// Sends `call` `total` times with `clients` and waits for it.
    pub async fn run(call: &Call, clients: usize, total: u64) -> Report {
        let (call, each) = (call.clone(), total / clients as u64);
        let work = Work { call: Arc::new(move || call.clone()), each, pause: None, fresh: false };
        Self::spawn(clients, &work).join().await
    }

    fn spawn(clients: usize, work: &Work) -> Self {
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            tasks.spawn(client(work.clone(), Arc::clone(&shared)));
        }
        Self { shared, clients: tasks }
    }

    /// How many answers of 200 there were so far.
    pub fn served(&self) -> u64 {
        self.shared.served.load(Ordering::Relaxed)
    }

    /// Waits until there were `more` answers of 200 than now.
    ///
    /// # Errors
    /// When there were not within [`crate::SOON`].
    pub async fn serves(&self, more: u64) -> Result<()> {
        let enough = self.served() + more;
        crate::eventually(&format!("{more} more answers"), async || {
            (self.served() >= enough).then_some(())
        })
        .await
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

async fn client(work: Work, shared: Arc<Shared>) -> Report {
    let mut report = Report::default();
    let mut kept: Option<Connection> = None;
    let end = Instant::now() + LONGEST;
    for _ in 0..work.each {
        if shared.over.load(Ordering::Relaxed) || Instant::now() > end {
            break;
        }
        if let Some(pause) = work.pause {
            sleep(pause).await;
        }
        let call = (work.call)();
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
            Ok(answer) => {
                if answer.status == 200 {
                    *report.by_origin.entry(answer.origin().to_owned()).or_default() += 1;
                    shared.served.fetch_add(1, Ordering::Relaxed);
                } else {
                    report.fail(format!("{}: {}", answer.status, answer.text()));
                }
                if !work.fresh && !connection.is_over().await {
                    kept = Some(connection);
                }
            }
            Err(error) => report.fail(format!("{error:#}")),
        }
    }
    report
}

//! Users who never stop asking, whether there is a gateway or not, and who remember who answered.

use super::now;
use anyhow::{Context, Result, ensure};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidegate_tests::*;
use tokio::{task::JoinSet, time::sleep};

/// How many ask at once.
const CLIENTS: usize = 3;

/// Between two requests of a client: the gateway and the tests share the machine.
const PACE: Duration = Duration::from_millis(1);

/// Users of whom is known which weights give them the candidate.
const KNOWN: usize = 60;

/// One answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Absent: somebody of whom nothing is known.
    user: Option<User>,
    canary: bool,
    /// When it was there.
    pub(super) at: u64,
}

/// A user, and the least weight in percent, of those that were tried, that gives them the candidate.
#[derive(Debug, Clone, Copy)]
struct User {
    number: usize,
    from: u64,
}

/// The clients. They end when it is dropped.
pub(super) struct Traffic {
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Answers that no version gave.
    strange: Arc<Mutex<Vec<String>>>,
    pub(super) sent: Arc<AtomicU64>,
    _clients: JoinSet<()>,
}

impl Seen {
    /// Whether `weights`, in millionths, can have led to this answer.
    pub(super) fn is_due_to(&self, weights: &[u64]) -> bool {
        weights.iter().any(|weight| match (self.user, *weight) {
            (_, 0) => !self.canary,
            (_, 1_000_000) => self.canary,
            (Some(user), weight) => self.canary == (user.from * 10_000 <= weight),
            (None, _) => true,
        })
    }
}

impl Traffic {
    /// Sends to `address` from now on. `split` are the addresses of both versions, and `weights`
    /// those in percent that will be in force, ascending.
    pub(super) async fn start(
        address: SocketAddr,
        split: [SocketAddr; 2],
        weights: &[u64],
    ) -> Result<Self> {
        let users = Arc::new(learn(split, weights).await?);
        let (seen, strange) = (Arc::default(), Arc::default());
        let sent = Arc::new(AtomicU64::new(0));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let (seen, strange) = (Arc::clone(&seen), Arc::clone(&strange));
            let client = Client { number, address, users: Arc::clone(&users), seen, strange };
            clients.spawn(client.work(Arc::clone(&sent)));
        }
        Ok(Self { seen, strange, sent, _clients: clients })
    }

    /// What was seen since the last time.
    pub(super) fn take(&self) -> Result<Vec<Seen>> {
        let strange = self.strange.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(strange.is_empty(), "answers of neither version: {strange:?}");
        Ok(std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Asks a gateway without rollouts who gets the candidate at which weight.
async fn learn([v1, v2]: [SocketAddr; 2], weights: &[u64]) -> Result<Vec<User>> {
    let mut users: Vec<_> = (0..KNOWN).map(|number| User { number, from: 100 }).collect();
    for weight in weights.iter().rev() {
        let config = Config::split(v1, &format!("{}%", 100 - weight), v2, &format!("{weight}%"));
        let gateway = Gateway::start(&config.also("bucket_by: { header: x-user }").yaml()).await?;
        for user in &mut users {
            if gateway.get("/").header("x-user", &user.name()).send().await?.origin() == "v2" {
                user.from = *weight;
            }
        }
        gateway.stop().await?;
    }
    for weight in weights {
        ensure!(users.iter().any(|user| user.from == *weight), "nobody begins at {weight}%");
    }
    Ok(users)
}

impl User {
    fn name(&self) -> String {
        format!("known-{}", self.number)
    }
}

struct Client {
    number: usize,
    address: SocketAddr,
    users: Arc<Vec<User>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    strange: Arc<Mutex<Vec<String>>>,
}

impl Client {
    async fn work(self, sent: Arc<AtomicU64>) {
        let mut kept = None;
        for turn in 0_usize.. {
            sleep(PACE).await;
            // One of four is known; the others are a new user each.
            let user = (turn % 4 == 0).then(|| self.users[turn / 4 % self.users.len()]);
            let name = user.map_or_else(|| format!("{}-{turn}", self.number), |user| user.name());
            let call = Call::get(self.address, "/").header("x-user", &name);
            sent.fetch_add(1, Ordering::Relaxed);
            // No gateway, or one that was just killed: that is how it is.
            kept = self.ask(user, &call, kept.take()).await.ok();
        }
    }

    async fn ask(
        &self,
        user: Option<User>,
        call: &Call,
        kept: Option<Connection>,
    ) -> Result<Connection> {
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::open(self.address).await?,
        };
        let answer = connection.send(call).await?;
        let canary = match answer.origin() {
            "v1" => false,
            "v2" => true,
            _ => {
                let said = format!("{}: {}", answer.status, answer.text());
                self.strange.lock().unwrap_or_else(PoisonError::into_inner).push(said);
                return Ok(connection);
            }
        };
        let seen = Seen { user, canary, at: now() };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        if connection.is_over().await {
            return Err(anyhow::anyhow!("the server ends it")).context("a thousand requests");
        }
        Ok(connection)
    }
}

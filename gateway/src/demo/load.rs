//! The users: some with a key, some without, at a modest steady rate.

use super::record::{Answered, Record, Sample, request_id};
use crate::client::{self, Client};
use serde::Deserialize;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval_at},
};

/// Users with a key.
pub(super) const USERS: u16 = 200;

/// Requests a second, all together.
pub(super) const RATE: u64 = PER_CLIENT * (KEYED_CLIENTS as u64 + UNKEYED_CLIENTS as u64);

/// Clients that send for the users with a key: 200 requests a second show each of them in 1 s.
const KEYED_CLIENTS: u16 = 20;

/// Clients that send without a key: 400 requests a second make a share certain in a few seconds,
/// and 1 % of all is still enough to judge a version by.
const UNKEYED_CLIENTS: u16 = 40;

/// Requests a second of each client.
const PER_CLIENT: u64 = 10;

/// The users at work.
#[derive(Debug)]
pub(super) struct Load {
    record: Arc<Record>,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts to send to the gateway at `to`.
    pub(super) fn start(client: &Client, to: SocketAddr) -> Self {
        let (record, stop) = (Arc::new(Record::default()), watch::Sender::new(false));
        let mut clients = JoinSet::new();
        let first = Instant::now();
        for number in 0..KEYED_CLIENTS + UNKEYED_CLIENTS {
            let users = match number.checked_sub(UNKEYED_CLIENTS) {
                Some(keyed) => (keyed..USERS).step_by(KEYED_CLIENTS.into()).map(Some).collect(),
                None => vec![None],
            };
            let (client, record) = (client.clone(), Arc::clone(&record));
            // Spread evenly over the period.
            let period = Duration::from_secs(1) / PER_CLIENT as u32;
            let start =
                first + period * u32::from(number) / u32::from(KEYED_CLIENTS + UNKEYED_CLIENTS);
            let mut stop = stop.subscribe();
            clients.spawn(async move {
                let mut ticks = interval_at(start.into(), period);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                for user in users.iter().cycle() {
                    tokio::select! {
                        _ = stop.wait_for(|stop| *stop) => return,
                        _ = ticks.tick() => {}
                    }
                    record.add(ask(&client, to, *user, record.number()).await);
                }
            });
        }
        Self { record, stop, clients }
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Sends no more, and waits for the answers to what was sent.
    pub(super) async fn stop(mut self) -> Arc<Record> {
        self.stop.send_replace(true);
        while self.clients.join_next().await.is_some() {}
        self.record
    }
}

async fn ask(client: &Client, to: SocketAddr, user: Option<u16>, number: u64) -> Sample {
    let sent = Instant::now();
    let (request, user_id) = (request_id(number), user.map(|user| format!("user-{user}")));
    let mut headers = vec![("x-request-id", request.as_str())];
    headers.extend(user_id.iter().map(|id| ("x-user-id", id.as_str())));
    let answer = client.get(to, "/", &headers).await;
    let took = sent.elapsed();
    let (by, failure) = match answer {
        Ok(answer) => answered(&answer),
        Err(why) => (None, Some(why)),
    };
    Sample { number, sent, took, user, by, failure }
}

/// Who answered, and why it is not what was asked for.
pub(super) fn answered(answer: &client::Answer) -> (Option<Answered>, Option<String>) {
    #[derive(Deserialize)]
    struct Body {
        version: String,
    }
    let status = answer.status.as_u16();
    let Ok(Body { version }) = serde_json::from_slice(&answer.body) else {
        return (None, Some(format!("HTTP {status} from the gateway")));
    };
    let failure = (!answer.status.is_success()).then(|| format!("HTTP {status} from {version}"));
    let variant = answer.headers.get("x-tidegate-variant");
    let variant = variant.and_then(|name| name.to_str().ok()).unwrap_or_default().to_owned();
    (Some(Answered { version, variant }), failure)
}

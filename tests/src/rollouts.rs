//! Rollouts, as programs see them: the admin API, and an origin that fails when it is told to.

use crate::{Call, Gateway, Origin, Recorded, within};
use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// A version of a service that fails a share of its requests.
#[derive(Debug)]
pub struct Canary {
    /// The server.
    pub origin: Origin,
    failing: Arc<AtomicU32>,
}

impl Canary {
    /// Starts one that fails nothing yet.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(name: &'static str) -> Result<Self> {
        let failing = Arc::new(AtomicU32::new(0));
        let share = Arc::clone(&failing);
        let origin = Origin::serving(name, move |_: &Recorded| {
            canary_answer(name, share.load(Ordering::Relaxed))
        })
        .await?;
        Ok(Self { origin, failing })
    }

    /// From now on fails this share of its requests, in `[0, 1]`.
    pub fn fail(&self, share: f64) {
        self.failing.store((share * 1e6) as u32, Ordering::Relaxed);
    }
}

/// 200, or 500 with a chance of `failing` in a million.
pub fn canary_answer(name: &str, failing: u32) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from_static(b"{\"ok\":true}"));
    if rand::random_range(0..1_000_000) < failing {
        *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    if let Ok(name) = name.parse() {
        answer.headers_mut().insert("x-origin", name);
    }
    answer
}

/// A rollout of a running gateway.
#[derive(Debug, Clone)]
pub struct Rollout {
    admin: std::net::SocketAddr,
    name: String,
}

impl Rollout {
    /// The rollout of this name.
    pub fn of(gateway: &Gateway, name: &str) -> Self {
        Self { admin: gateway.admin(), name: name.to_owned() }
    }

    /// Its JSON.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get(&self) -> Result<Value> {
        let target = format!("/api/v1/rollouts/{}", self.name);
        let answer = Call::get(self.admin, &target).send().await?;
        ensure!(answer.status == 200, "{target} answers {}: {}", answer.status, answer.text());
        answer.json()
    }

    /// Its decisions, the oldest first.
    ///
    /// # Errors
    /// When there are none.
    pub async fn decisions(&self) -> Result<Vec<Value>> {
        let target = format!("/api/v1/rollouts/{}/decisions?limit=1000", self.name);
        let answer = Call::get(self.admin, &target).send().await?;
        ensure!(answer.status == 200, "{target} answers {}: {}", answer.status, answer.text());
        let Value::Array(mut list) = answer.json()?["decisions"].take() else {
            bail!("no list of decisions: {}", answer.text());
        };
        list.reverse();
        Ok(list)
    }

    /// What was decided, in order.
    ///
    /// # Errors
    /// As [`Self::decisions`].
    pub async fn actions(&self) -> Result<Vec<String>> {
        let decisions = self.decisions().await?;
        Ok(decisions.iter().map(|one| one["action"].as_str().unwrap_or("?").to_owned()).collect())
    }

    /// Asks for a verb: the status and the answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn act(&self, verb: &str) -> Result<(u16, Value)> {
        let target = format!("/api/v1/rollouts/{}/{verb}", self.name);
        let answer = Call::new(self.admin, "POST", &target).send().await?;
        Ok((answer.status, answer.json()?))
    }

    /// Waits until it is in this state.
    ///
    /// # Errors
    /// When it is not within `limit`; the error shows what it is.
    pub async fn reaches(&self, state: &str, limit: Duration) -> Result<Value> {
        self.until(&format!("the rollout is {state}"), limit, |rollout| rollout["state"] == state)
            .await
    }

    /// Waits until `what` holds.
    ///
    /// # Errors
    /// When it does not within `limit`; the error shows the rollout.
    pub async fn until(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let mut last = None;
        let found = within(limit, what, async || {
            let rollout = self.get().await.ok()?;
            let found = holds(&rollout).then(|| rollout.clone());
            last = Some(rollout);
            found
        })
        .await;
        found.map_err(|error| error.context(format!("the rollout is {last:#?}")))
    }
}

//! Rollouts, as programs see them: the admin API, and versions that fail when they are told to.

use crate::{Call, Config, Gateway, Load, Origin, Recorded, within};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

/// A version of a service that fails a share of its requests.
#[derive(Debug)]
pub struct Canary {
    /// The server.
    pub origin: Origin,
    failing: Arc<AtomicU32>,
    last: Arc<AtomicU64>,
}

impl Canary {
    /// Starts one that fails nothing yet.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(name: &'static str) -> Result<Self> {
        let (failing, last) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU64::new(0)));
        let (share, noted) = (Arc::clone(&failing), Arc::clone(&last));
        let origin = Origin::serving(name, move |_: &Recorded| {
            noted.fetch_max(wall_clock(), Ordering::Relaxed);
            canary_answer(name, share.load(Ordering::Relaxed))
        })
        .await?;
        Ok(Self { origin, failing, last })
    }

    /// From now on fails this share of its requests, in `[0, 1]`.
    pub fn fail(&self, share: f64) {
        self.failing.store((share * 1e6) as u32, Ordering::Relaxed);
    }

    /// When its last request came, in milliseconds of the wall clock; 0 before the first.
    pub fn last_request(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
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

/// Milliseconds since 1970, as decisions have them.
pub fn wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A directory for a state file that no disk holds up, where the system has memory for it: how long
/// the disk takes of a machine that runs compilers beside the tests is another question.
///
/// # Errors
/// When it cannot be made.
pub fn quick_directory() -> Result<TempDir> {
    let memory = Path::new("/dev/shm");
    Ok(if memory.is_dir() { TempDir::new_in(memory)? } else { TempDir::new()? })
}

/// A rollout of a running gateway.
#[derive(Debug, Clone)]
pub struct Rollout {
    admin: std::net::SocketAddr,
    name: String,
    token: Option<String>,
}

impl Rollout {
    /// The rollout of this name.
    pub fn of(gateway: &Gateway, name: &str) -> Self {
        Self { admin: gateway.admin(), name: name.to_owned(), token: None }
    }

    /// The same, asked by whoever holds `token`.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// Its JSON.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get(&self) -> Result<Value> {
        let target = format!("/api/v1/rollouts/{}", self.name);
        match self.ask("GET", &target).await? {
            (200, body) => Ok(body),
            (status, body) => bail!("{target} answers {status}: {body}"),
        }
    }

    /// Its decisions, the oldest first.
    ///
    /// # Errors
    /// When there are none.
    pub async fn decisions(&self) -> Result<Vec<Value>> {
        let target = format!("/api/v1/rollouts/{}/decisions?limit=500", self.name);
        let (status, mut body) = self.ask("GET", &target).await?;
        ensure!(status == 200, "{target} answers {status}: {body}");
        let Value::Array(mut list) = body["decisions"].take() else {
            bail!("no list of decisions: {body}");
        };
        list.reverse();
        Ok(list)
    }

    /// The last decision with this action.
    ///
    /// # Errors
    /// When there is none.
    pub async fn decision(&self, action: &str) -> Result<Value> {
        let decisions = self.decisions().await?;
        let found = decisions.iter().rfind(|decision| decision["action"] == action);
        found.cloned().with_context(|| format!("nothing was {action}: {decisions:#?}"))
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
        self.ask("POST", &format!("/api/v1/rollouts/{}/{verb}", self.name)).await
    }

    /// Asks for a verb that has to be possible, and gives what the rollout is then.
    ///
    /// # Errors
    /// When it is not possible.
    pub async fn does(&self, verb: &str) -> Result<Value> {
        match self.act(verb).await? {
            (200, body) => Ok(body),
            (status, body) => bail!("{verb} answers {status}: {body}"),
        }
    }

    /// Freezes all rollouts, or lets them go on: the status and the answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn freeze_all(&self, freeze: bool) -> Result<(u16, Value)> {
        self.ask(if freeze { "POST" } else { "DELETE" }, "/api/v1/freeze").await
    }

    async fn ask(&self, method: &str, target: &str) -> Result<(u16, Value)> {
        let mut call = Call::new(self.admin, method, target);
        if let Some(token) = &self.token {
            call = call.header("authorization", &format!("Bearer {token}"));
        }
        let answer = call.send().await?;
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

/// The old and the new version of a shop, and a gateway that rolls the new one out: the rollout
/// `v2` of `canary` on the route `shop`. Requests have no key, so each is drawn for itself.
#[derive(Debug)]
pub struct Shop {
    /// The gateway, whose access log has every request.
    pub gateway: Gateway,
    /// The rollout.
    pub rollout: Rollout,
    /// The old version.
    pub v1: Canary,
    /// The new version.
    pub v2: Canary,
    _directory: TempDir,
}

impl Shop {
    /// Opens it with a rollout of these `keys`.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn open(keys: &str) -> Result<Self> {
        Self::open_with(keys, |config| config).await
    }

    /// Opens it with a rollout of these `keys`; `more` adds to its route, or to all of the rest.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn open_with(keys: &str, more: impl FnOnce(Config) -> Config) -> Result<Self> {
        let (v1, v2) = tokio::try_join!(Canary::start("v1"), Canary::start("v2"))?;
        let config = more(Self::route(&v1, &v2)).rollout("1", keys);
        Self::open_as(&config, v1, v2).await
    }

    /// Opens it with this whole configuration.
    ///
    /// # Errors
    /// When the gateway does not start.
    pub async fn open_as(config: &Config, v1: Canary, v2: Canary) -> Result<Self> {
        let directory = quick_directory()?;
        let file = directory.path().join("tidegate.yaml");
        std::fs::write(&file, config.yaml())?;
        let gateway = Gateway::start_at(&file).await?;
        let rollout = Rollout::of(&gateway, "v2");
        Ok(Self { gateway, rollout, v1, v2, _directory: directory })
    }

    /// Its configuration without the rollout.
    pub fn config(&self) -> Config {
        Self::route(&self.v1, &self.v2)
    }

    fn route(v1: &Canary, v2: &Canary) -> Config {
        Config::split(v1.origin.address(), "100", v2.origin.address(), "0")
            .top("access_log: { path: access.log }")
    }

    /// Clients that buy and never stop.
    pub fn load(&self, clients: usize) -> Load {
        Load::start(&self.gateway.get("/"), clients)
    }

    /// The configuration becomes `config`, which has to be another one.
    ///
    /// # Errors
    /// When the gateway refuses it.
    pub async fn becomes(&self, config: &Config) -> Result<()> {
        self.gateway.write(&config.yaml())?;
        let answer = self.gateway.reload().await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
        Ok(())
    }

    /// The candidate's share of the weights in force.
    ///
    /// # Errors
    /// When the metrics do not tell.
    pub async fn weight(&self) -> Result<f64> {
        let metrics = self.gateway.metrics().await?;
        let weight = |labels: &[(&str, &str)]| metrics.sum("tidegate_variant_weight", labels);
        Ok(weight(&[("route", "shop"), ("variant", "canary")]) / weight(&[("route", "shop")]))
    }

    /// The lines of the access log so far.
    ///
    /// # Errors
    /// When there are none.
    pub fn access(&self) -> Result<Vec<Value>> {
        let file = self.gateway.file().with_file_name("access.log");
        let text = std::fs::read_to_string(file)?;
        // The last line may be on its way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).context(line.to_owned())).collect()
    }
}

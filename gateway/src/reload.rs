//! Loading the configuration again: one worker, one door.
//!
//! Whatever asks for it (a changed file, SIGHUP, the admin API), the same thread reads the files,
//! compiles the whole, and publishes a new generation, or keeps the old one and says why. Nobody
//! else publishes files, so whatever comes in between, only weights can differ.

use crate::{
    access_log::AccessLog,
    edge::Listening,
    metrics::Metrics,
    mirror::Mirrors,
    rollout::{Door, carry},
    serving::Serving,
    upstream::first_look,
};
use serde::Serialize;
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::SystemTime,
};
use tidegate_config::{
    Diagnostic, Failure, Loaded, Plan, Severity, Snapshot, Store, Watcher, load,
};
use tokio::{runtime::Handle, sync::oneshot};

/// Requests to reload that may wait; a further one finds its wish already queued.
const QUEUE: usize = 64;

/// Why a reload was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A file that the configuration is made of changed.
    File,
    /// SIGHUP.
    Signal,
    /// `POST /api/v1/config/reload`.
    Api,
}

/// What came of a reload.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// The generation in force.
    pub(crate) generation: u64,
    /// `changed`, `unchanged` or `rejected`.
    pub(crate) result: &'static str,
    /// Why the new configuration, or a part of it, is not in force.
    pub(crate) errors: Vec<serde_json::Value>,
    pub(crate) warnings: Vec<serde_json::Value>,
    /// Changes that take effect after a restart.
    pub(crate) restart_needed: Vec<String>,
}

/// The state of the configuration, for people who ask.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    /// When the configuration in force was loaded.
    pub(crate) loaded_at: Option<SystemTime>,
    /// The last attempt, if it was not in all respects good.
    pub(crate) last_error: Option<(SystemTime, Vec<serde_json::Value>)>,
    pub(crate) restart_needed: Vec<String>,
}

/// Asks for reloads and knows how the last one went.
#[derive(Debug, Clone)]
pub(crate) struct Reloader {
    queue: SyncSender<(Cause, Option<oneshot::Sender<Report>>)>,
    status: Arc<Mutex<Status>>,
}

struct Worker {
    path: PathBuf,
    store: Arc<Store<Serving>>,
    door: Arc<Door>,
    metrics: Arc<Metrics>,
    mirrors: Arc<Mirrors>,
    listening: Arc<[Arc<Listening>]>,
    status: Arc<Mutex<Status>>,
    watcher: Option<Watcher>,
    /// What listens now, whatever the files say.
    running: Plan,
    /// Where look-ups of names run.
    runtime: Handle,
    /// Digest of the files that were rejected last: the same error is reported once.
    rejected: Option<u64>,
}

impl Reloader {
    /// Starts the worker and the file watcher.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn start(
        path: PathBuf,
        store: Arc<Store<Serving>>,
        door: Arc<Door>,
        metrics: Arc<Metrics>,
        mirrors: Arc<Mirrors>,
        listening: Arc<[Arc<Listening>]>,
        runtime: Handle,
    ) -> std::io::Result<Self> {
        let (queue, requests) = sync_channel(QUEUE);
        let status = Arc::new(Mutex::new(Status {
            loaded_at: Some(SystemTime::now()),
            ..Status::default()
        }));
        let reloader = Self { queue, status: Arc::clone(&status) };
        let snapshot = store.load();
        let notify = reloader.clone();
        let watched = snapshot.state.loaded.watched.clone();
        let watcher = Watcher::new(watched, move || notify.request(Cause::File))
            .inspect_err(|error| tracing::warn!(%error, "cannot watch the configuration's files"))
            .ok();
        let mut worker = Worker {
            path,
            store,
            door,
            metrics,
            mirrors,
            listening,
            status,
            watcher,
            running: snapshot.state.loaded.plan.clone(),
            runtime,
            rejected: None,
        };
        std::thread::Builder::new().name("reload".into()).spawn(move || {
            let runtime = worker.runtime.clone();
            let _runtime = runtime.enter();
            worker.work(&requests);
        })?;
        Ok(reloader)
    }

    /// Asks for a reload and does not wait.
    pub(crate) fn request(&self, cause: Cause) {
        let _ = self.queue.try_send((cause, None));
    }

    /// Asks for a reload and waits for what came of it; `None` when the worker is overwhelmed.
    pub(crate) async fn reload(&self, cause: Cause) -> Option<Report> {
        let (reply, report) = oneshot::channel();
        self.queue.try_send((cause, Some(reply))).ok()?;
        report.await.ok()
    }

    pub(crate) fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Worker {
    fn work(&mut self, requests: &Receiver<(Cause, Option<oneshot::Sender<Report>>)>) {
        while let Ok((cause, reply)) = requests.recv() {
            let report = self.reload(cause);
            if let Some(reply) = reply {
                let _ = reply.send(report);
            }
        }
    }

    fn reload(&mut self, cause: Cause) -> Report {
        let snapshot = self.store.load();
        let current = &snapshot.state.loaded;
        match load(&self.path, Some(current)) {
            Ok(next) if next.digest == current.digest => {
                // A rejected change that was taken back leaves nothing to say.
                if next.degraded.is_empty() {
                    self.forget_error();
                }
                // Whoever rotates logs asks with an unchanged configuration.
                if cause != Cause::File {
                    snapshot.state.access_log.iter().for_each(AccessLog::reopen);
                    self.metrics.reload_success.inc();
                    tracing::info!(generation = snapshot.generation, "configuration unchanged");
                }
                self.report("unchanged", &next.degraded, &next.warnings)
            }
            Ok(next) => self.publish(cause, &snapshot, next),
            Err(failure) => self.reject(cause, &failure),
        }
    }

    fn publish(&mut self, cause: Cause, snapshot: &Snapshot<Serving>, next: Loaded) -> Report {
        let (degraded, warnings) = (next.degraded.clone(), next.warnings.clone());
        let access_log = match self.open_log(&snapshot.state, &next.plan) {
            Ok(log) => log,
            Err(error) => {
                tracing::error!(%error, "configuration rejected");
                return self.refused(vec![serde_json::json!({ "message": error.to_string() })]);
            }
        };
        let watched = next.watched.clone();
        let shifts = carry(snapshot.state.shifts(), &next.plan);
        let (next, old) = (Arc::new(next), Some(&snapshot.state));
        let next = Serving::new(next, shifts, old, &self.metrics, access_log);
        self.runtime.block_on(first_look(&next.pools));
        let restart = restart_needed(&self.running, next.plan());
        let Some((replaced, generation)) = self.door.enter(&next) else {
            let message = "the weights changed too often meanwhile: try again";
            tracing::error!("configuration not in force: {message}");
            return self.refused(vec![serde_json::json!({ "message": message })]);
        };
        replaced.state.retire_mirrors(&next);
        if let Err(error) = self.mirrors.start_for(next.plan()) {
            tracing::error!(%error, "mirrors get no copies: no threads for them");
        }
        replaced.state.retire_pools(&next);
        self.adopt_listeners(next.plan());
        self.mirrors.budget.set_limit(next.plan().runtime.mirror_memory);
        if let Some(watcher) = &self.watcher {
            watcher.set_paths(watched);
        }
        self.rejected = None;
        if cause != Cause::File {
            self.store.load().state.access_log.iter().for_each(AccessLog::reopen);
        }
        let said =
            self.status.lock().unwrap_or_else(PoisonError::into_inner).restart_needed.clone();
        for change in restart.iter().filter(|change| !said.contains(change)) {
            tracing::warn!(generation, "{change}");
        }
        for error in &degraded {
            tracing::error!(generation, "the last good text of a file stays: {error}");
        }
        if degraded.is_empty() {
            self.metrics.reload_success.inc();
        } else {
            self.metrics.reload_error.inc();
        }
        tracing::info!(generation, "configuration in force");
        let errors: Vec<_> = degraded.iter().map(Diagnostic::json).collect();
        let now = SystemTime::now();
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Status {
            loaded_at: Some(now),
            last_error: (!errors.is_empty()).then_some((now, errors)),
            restart_needed: restart,
        };
        self.report("changed", &degraded, &warnings)
    }

    /// New connections get the certificates, limits and times of `plan`.
    fn adopt_listeners(&self, plan: &Plan) {
        for listening in self.listening.iter() {
            let config = plan.listeners.iter().find(|config| config.name == listening.name);
            if let Some(Err(error)) = config.map(|config| listening.adopt(config)) {
                tracing::error!(listener = %listening.name, %error, "the listener stays as it is");
            }
        }
    }

    fn reject(&mut self, cause: Cause, failure: &Failure) -> Report {
        let errors = failure.diagnostics.iter().filter(|one| one.severity == Severity::Error);
        let errors: Vec<_> = errors.map(Diagnostic::json).collect();
        if let Some(watcher) = &self.watcher {
            watcher.set_paths(failure.watched.clone());
        }
        if cause == Cause::File && self.rejected == Some(failure.digest) {
            return self.rejected_report(errors);
        }
        tracing::error!(
            "configuration rejected, the last good one stays\n{}",
            failure.render(false)
        );
        self.rejected = Some(failure.digest);
        self.refused(errors)
    }

    fn refused(&self, errors: Vec<serde_json::Value>) -> Report {
        self.metrics.reload_error.inc();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.last_error = Some((SystemTime::now(), errors.clone()));
        drop(status);
        self.rejected_report(errors)
    }

    fn rejected_report(&self, errors: Vec<serde_json::Value>) -> Report {
        let report = self.report("rejected", &[], &[]);
        Report { errors, ..report }
    }

    fn forget_error(&mut self) {
        self.rejected = None;
        self.status.lock().unwrap_or_else(PoisonError::into_inner).last_error = None;
    }

    fn report(
        &self,
        result: &'static str,
        errors: &[Diagnostic],
        warnings: &[Diagnostic],
    ) -> Report {
        let snapshot = self.store.load();
        Report {
            generation: snapshot.generation,
            result,
            errors: errors.iter().map(Diagnostic::json).collect(),
            warnings: warnings.iter().map(Diagnostic::json).collect(),
            restart_needed: restart_needed(&self.running, snapshot.state.plan()),
        }
    }

    /// The log of `plan`: the one in use, unless its target changed.
    fn open_log(&self, current: &Serving, plan: &Plan) -> std::io::Result<Option<AccessLog>> {
        let Some(config) = &plan.access_log else { return Ok(None) };
        let open = current.access_log.as_ref().zip(current.plan().access_log.as_ref());
        match open.filter(|(_, old)| old.target == config.target) {
            Some((log, _)) => Ok(Some(log.with_sample(config.sample))),
            None => AccessLog::open(config, &self.metrics).map(Some),
        }
    }
}

/// What differs from the running process and cannot change while it runs.
fn restart_needed(running: &Plan, next: &Plan) -> Vec<String> {
    let mut changes = Vec::new();
    for listener in &next.listeners {
        match running.listeners.iter().find(|old| old.name == listener.name) {
            Some(old) if old.address == listener.address => {
                let (was, is) = (old.protocol.kind(), listener.protocol.kind());
                if was != is {
                    changes.push(format!(
                        "listener `{}` goes on with {was}: {is} needs a restart",
                        listener.name
                    ));
                }
            }
            Some(old) => changes.push(format!(
                "listener `{}` stays at {}: moving it to {} needs a restart",
                listener.name, old.address, listener.address
            )),
            None => changes.push(format!("listener `{}` opens after a restart", listener.name)),
        }
    }
    for old in &running.listeners {
        if !next.listeners.iter().any(|listener| listener.name == old.name) {
            changes.push(format!("listener `{}` closes after a restart", old.name));
        }
    }
    if running.admin != next.admin {
        changes.push("a change of `admin` needs a restart".to_owned());
    }
    if running.state != next.state {
        changes.push("another file for `state` needs a restart".to_owned());
    }
    let (old, new) = (&running.runtime, &next.runtime);
    for (key, differs) in [
        ("threads", old.threads != new.threads),
        ("resolvers", old.resolvers != new.resolvers),
        ("upgrade_socket", old.upgrade_socket != new.upgrade_socket),
    ] {
        if differs {
            changes.push(format!("a change of `runtime.{key}` needs a restart"));
        }
    }
    changes
}

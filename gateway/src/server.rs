//! A gateway process: what it binds, what it starts. How it goes on and ends is its [`life`].
//!
//! [`life`]: crate::life

use crate::{
    access_log::AccessLog,
    admin,
    edge::{Bound, Doors, Drain, Listening},
    handover::{Giver, Lent, Offer, Sockets, Takeover},
    life::{self, AdminDoors, Event, Life},
    metrics::Metrics,
    mirror::Mirrors,
    proxy::{Gateway, MAX_ATTEMPTS},
    reload::{Cause, Reloader},
    rollout::{Control, Door, carry, restored},
    service::Service,
    serving::Serving,
    upstream::{authorities_file, first_look},
};
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tidegate_config::{Loaded, Store};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
};

/// Idle upstream connections kept for each thread: as many as one upstream may use by default.
const KEPT_CONNECTIONS: usize = 1024;

/// For the access log to be written at the end.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// A running gateway, as the admin API sees it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<Store<Serving>>,
    pub(crate) control: Control,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) reloader: Reloader,
    pub(crate) drain: Arc<Drain>,
    pub(crate) mirrors: Arc<Mirrors>,
    pub(crate) started: Instant,
    /// Names and real addresses of everything that listens.
    pub(crate) addresses: Vec<(Arc<str>, SocketAddr)>,
    ready: AtomicBool,
}

impl Shared {
    /// Whether new requests are welcome.
    pub(crate) fn ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }
}

/// What was there before this process, and who is to hear of it.
#[derive(Debug)]
pub(crate) struct Start {
    /// Sockets that listen already.
    pub(crate) sockets: Sockets,
    /// The process to take over from.
    pub(crate) takeover: Option<Takeover>,
    pub(crate) service: Service,
    /// Another process may take over from this one.
    pub(crate) may_hand_over: bool,
}

impl Start {
    /// A process of which nobody is to know.
    pub(crate) fn alone() -> Self {
        Self {
            sockets: Sockets::default(),
            takeover: None,
            service: Service::none(),
            may_hand_over: false,
        }
    }
}

/// Sockets and state, before anything runs.
pub(crate) struct Server {
    proxy: Runtime,
    control: Runtime,
    shared: Arc<Shared>,
    listeners: Vec<(Bound, Arc<Listening>)>,
    admin: Option<(Bound, admin::Tokens)>,
    takeover: Option<Takeover>,
    /// Where sockets are that came from the process that is taken over from.
    kept: Vec<SocketAddr>,
    service: Service,
    may_hand_over: bool,
    life: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
}

impl Server {
    /// Binds every address of `loaded`, the configuration of the file at `path`, where nobody has
    /// yet. Rollouts go on where the last process ended, or the running one is.
    ///
    /// # Errors
    /// When an address, the access log, the admin token or a thread cannot be had, or the running
    /// process does not let go; the message says which and why.
    pub(crate) fn bind(path: PathBuf, loaded: Loaded, start: Start) -> io::Result<Self> {
        let Start { mut sockets, mut takeover, service, may_hand_over } = start;
        let plan = &loaded.plan;
        let metrics = Arc::new(Metrics::new().map_err(io::Error::other)?);
        let mut listeners = Vec::with_capacity(plan.listeners.len());
        for listener in &plan.listeners {
            let bound = sockets.bind(&listener.name, listener.address)?;
            listeners.push((bound, Listening::new(listener)?));
        }
        let admin = match &plan.admin {
            Some(config) => {
                let bound = sockets.bind(&"admin".into(), config.address)?;
                let token = admin::Tokens::read(config.token_file.as_deref())?;
                Some((bound, token))
            }
            None => None,
        };
        let kept = sockets.close_rest();
        let proxy = runtime("proxy", plan.runtime.threads)?;
        let control = runtime("control", 1)?;
        let mirrors = Mirrors::new(plan.runtime.threads, plan.runtime.mirror_memory);
        mirrors.start_for(plan)?;
        let mirrors = Arc::new(mirrors);
        let access_log =
            plan.access_log.as_ref().map(|log| AccessLog::open(log, &metrics)).transpose()?;
        let loaded = Arc::new(loaded);
        let plan = &loaded.plan;
        let serving = {
            let _control = control.enter();
            let nothing = carry(&[], plan);
            Serving::new(Arc::clone(&loaded), nothing, None, &metrics, access_log)
        };
        control.block_on(first_look(&serving.pools));
        // As late as can be: from here on nobody judges, until the controller starts.
        if let Some(takeover) = &mut takeover {
            takeover.take_rollouts()?;
        }
        let serving = serving.shifted(restored(plan), &serving);
        metrics.adopt(serving.plan(), 1);
        let store = Arc::new(Store::new(serving));
        let door = Arc::new(Door::new(Arc::clone(&store), Arc::clone(&metrics)));
        let reloader = {
            let _control = control.enter();
            Reloader::start(
                path,
                Arc::clone(&store),
                Arc::clone(&door),
                Arc::clone(&metrics),
                Arc::clone(&mirrors),
                listeners.iter().map(|(_, listening)| Arc::clone(listening)).collect(),
                control.handle().clone(),
            )?
        };
        let control_of_rollouts = Control::start(&store, &door)?;
        let everything =
            listeners.iter().map(|(bound, _)| bound).chain(admin.iter().map(|(bound, _)| bound));
        let addresses = everything.map(|bound| (Arc::clone(&bound.name), bound.address)).collect();
        let shared = Arc::new(Shared {
            store,
            control: control_of_rollouts,
            reloader,
            drain: Drain::new(Arc::clone(&metrics)),
            mirrors,
            metrics,
            started: Instant::now(),
            addresses,
            ready: AtomicBool::new(false),
        });
        let life = mpsc::channel(life::QUEUE);
        Ok(Self {
            proxy,
            control,
            shared,
            listeners,
            admin,
            takeover,
            kept,
            service,
            may_hand_over,
            life,
        })
    }

    /// Where this process can be told what happens.
    pub(crate) fn life(&self) -> mpsc::Sender<Event> {
        self.life.0.clone()
    }

    /// Calls `f` where signals can be listened for.
    pub(crate) fn on_control<T>(&self, f: impl FnOnce() -> T) -> T {
        let _control = self.control.enter();
        f()
    }

    /// Where everything listens: names and addresses, `admin` among them.
    pub(crate) fn addresses(&self) -> &[(Arc<str>, SocketAddr)] {
        &self.shared.addresses
    }

    /// Serves until it is told to stop, or another process has taken over; then finishes the
    /// requests in flight.
    ///
    /// # Errors
    /// When a socket cannot be given to the runtime, the process that was to be taken over from goes
    /// on by itself, or something broke that nothing works without.
    pub(crate) fn run(self) -> io::Result<()> {
        let Self { proxy, control, shared, listeners, admin, life, service, .. } = self;
        let lent = self.may_hand_over.then(|| {
            let everything = listeners.iter().map(|(bound, _)| bound);
            lend(everything.chain(admin.iter().map(|(bound, _)| bound)))
        });
        let lent = lent.transpose()?;
        let threads = shared.store.load().state.plan().runtime.threads;
        let gateway = Gateway {
            store: Arc::clone(&shared.store),
            metrics: Arc::clone(&shared.metrics),
            mirrors: Arc::clone(&shared.mirrors),
        };
        let app = Arc::new(http_proxy(gateway, threads));
        let (life_of, events) = life;
        let mut life = Life::new(Arc::clone(&shared), app, proxy.handle().clone(), events, service);
        for (bound, listening) in listeners {
            tracing::info!(listener = %bound.name, address = %bound.address, "listening");
            life.open(bound, listening);
        }
        if let Some((bound, token)) = admin {
            tracing::info!(listener = "admin", address = %bound.address, "listening");
            let (address, socket) = (bound.address, bound.into_socket());
            let (doors, told) = watch::channel(Doors::Open);
            let (resting, rests) = watch::channel(false);
            let serve = admin::serve(socket, token, Arc::clone(&shared), told, resting);
            life.vital.spawn_on(async { ("the admin API", serve.await) }, control.handle());
            life.admin = Some(AdminDoors { address, doors, rests });
        }
        let sweep = Arc::clone(&shared.drain).sweep();
        life.vital.spawn_on(endless("the sweeper", sweep), control.handle());
        // From here on, and not from when the task runs: the signal would end the process.
        let hangup = {
            let _control = control.enter();
            signal(SignalKind::hangup())?
        };
        let reload = reload_on_hangup(hangup, Arc::clone(&shared), service);
        life.vital.spawn_on(endless("SIGHUP", reload), control.handle());
        let keep_alive = service.keep_alive(proxy.handle().clone());
        life.vital.spawn_on(endless("the watchdog", keep_alive), control.handle());
        shared.set_ready(true);

        let took_over = self.takeover.is_some();
        let begun = match self.takeover {
            Some(takeover) => takeover.serving(self.kept),
            None => Ok(None),
        };
        let ended = match begun {
            Ok(predecessor) => {
                life.predecessor = predecessor;
                life.giver = lent.map(|sockets| {
                    let sockets = Mutex::new(sockets);
                    let offer = Offer { sockets, control: shared.control.clone(), life: life_of };
                    let path = shared.store.load().state.plan().runtime.upgrade_socket.clone();
                    Giver::start(path, offer, took_over)
                });
                service.ready(&status(&shared), took_over);
                tracing::info!(generation = shared.store.load().generation, "ready");
                control.block_on(life.live())
            }
            Err(error) => {
                drop(lent);
                control.block_on(life.give_up());
                Err(error)
            }
        };
        if let Some(log) = &shared.store.load().state.access_log {
            log.flush(FLUSH_TIME);
        }
        shared.control.stop();
        proxy.shutdown_background();
        shared.mirrors.stop();
        control.shutdown_background();
        tracing::info!("stopped");
        ended
    }
}

/// The sockets once more, for other processes.
fn lend<'a>(bound: impl Iterator<Item = &'a Bound>) -> io::Result<Vec<Arc<Lent>>> {
    let lent = bound.map(|bound| {
        Ok(Arc::new(Lent {
            name: Arc::clone(&bound.name),
            address: bound.address,
            activated: bound.activated,
            socket: bound.lend()?,
        }))
    });
    lent.collect()
}

/// What only ends when it is broken.
async fn endless(
    what: &'static str,
    future: impl Future<Output = ()>,
) -> (&'static str, io::Result<()>) {
    future.await;
    (what, Ok(()))
}

/// In a few words, for the service manager.
fn status(shared: &Shared) -> String {
    format!("serves generation {}", shared.store.load().generation)
}

/// Ends on SIGTERM or SIGINT.
///
/// # Errors
/// When the signals cannot be listened for.
pub(crate) fn until_told_to_stop() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

async fn reload_on_hangup(mut hangup: Signal, shared: Arc<Shared>, service: Service) {
    while hangup.recv().await.is_some() {
        service.reloading();
        let report = shared.reloader.reload(Cause::Signal).await;
        let rejected = report.is_none_or(|report| report.result == "rejected");
        let note = if rejected { "; what was to be loaded is rejected" } else { "" };
        service.ready(&format!("{}{note}", status(&shared)), false);
    }
}

fn http_proxy(gateway: Gateway, threads: usize) -> HttpProxy<Gateway> {
    let conf = ServerConf {
        threads,
        max_retries: MAX_ATTEMPTS,
        upstream_keepalive_pool_size: KEPT_CONNECTIONS,
        ca_file: authorities_file(),
        ..ServerConf::default()
    };
    let mut proxy = HttpProxy::new(gateway, Arc::new(conf));
    proxy.handle_init_modules();
    proxy
}

fn runtime(name: &'static str, threads: usize) -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .enable_all()
        .build()
}

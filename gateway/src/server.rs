//! The life of a gateway process: bind, serve, drain.

use crate::{
    access_log::AccessLog,
    admin,
    edge::{self, Bound, Drain, Listening},
    metrics::Metrics,
    mirror::Mirrors,
    proxy::{Gateway, MAX_ATTEMPTS},
    reload::{Cause, Reloader},
    rollout::{Control, Door, restored},
    serving::Serving,
    upstream::resolve_first,
};
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tidegate_config::{Loaded, Store};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Idle upstream connections kept for each thread: as many as one upstream may use by default.
const KEPT_CONNECTIONS: usize = 1024;

/// How often a drain looks whether it is done.
const DRAIN_TICK: Duration = Duration::from_millis(20);

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
    pub(crate) addresses: Vec<(Arc<str>, std::net::SocketAddr)>,
    ready: AtomicBool,
}

impl Shared {
    /// Whether new requests are welcome.
    pub(crate) fn ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

/// Sockets and state, before anything runs.
pub(crate) struct Server {
    proxy: Runtime,
    control: Runtime,
    mirror: Runtime,
    shared: Arc<Shared>,
    listeners: Vec<(Bound, Arc<Listening>)>,
    admin: Option<(Bound, admin::Tokens)>,
}

impl Server {
    /// Binds every address of `loaded`, the configuration of the file at `path`. Rollouts go on
    /// where the last process ended.
    ///
    /// # Errors
    /// When an address, the access log, the admin token or a thread cannot be had; the message says
    /// which and why.
    pub(crate) fn bind(path: PathBuf, loaded: Loaded) -> io::Result<Self> {
        let plan = &loaded.plan;
        let metrics = Arc::new(Metrics::new().map_err(io::Error::other)?);
        let bind = |listener: &tidegate_config::plan::Listener| {
            edge::bind(&listener.name, listener.address)
        };
        let mut listeners = Vec::with_capacity(plan.listeners.len());
        for listener in &plan.listeners {
            listeners.push((bind(listener)?, Listening::new(listener)?));
        }
        let admin = match &plan.admin {
            Some(config) => {
                let bound = edge::bind(&"admin".into(), config.address)?;
                let token = admin::Tokens::read(config.token_file.as_deref())?;
                Some((bound, token))
            }
            None => None,
        };
        let proxy = runtime("proxy", plan.runtime.threads)?;
        let control = runtime("control", 1)?;
        let (mirrors, mirror) = Mirrors::start(plan.runtime.threads, plan.runtime.mirror_memory)?;
        let mirrors = Arc::new(mirrors);
        let access_log =
            plan.access_log.as_ref().map(|log| AccessLog::open(log, &metrics)).transpose()?;
        let serving = {
            let _control = control.enter();
            let shifts = restored(plan);
            Serving::new(Arc::new(loaded), shifts, None, &metrics, access_log)
        };
        control.block_on(resolve_first(&serving.all_pools()));
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
        Ok(Self { proxy, control, mirror, shared, listeners, admin })
    }

    /// Calls `f` where signals can be listened for.
    pub(crate) fn on_control<T>(&self, f: impl FnOnce() -> T) -> T {
        let _control = self.control.enter();
        f()
    }

    /// Where everything listens: names and addresses, `admin` among them.
    pub(crate) fn addresses(&self) -> &[(Arc<str>, std::net::SocketAddr)] {
        &self.shared.addresses
    }

    /// Serves until `stop` ends, then finishes the requests in flight.
    ///
    /// # Errors
    /// When a socket cannot be given to the runtime.
    pub(crate) fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let Self { proxy, control, mirror, shared, listeners, admin } = self;
        let (shutdown, watch) = watch::channel(false);
        let threads = shared.store.load().state.plan().runtime.threads;
        let gateway = Gateway {
            store: Arc::clone(&shared.store),
            metrics: Arc::clone(&shared.metrics),
            mirrors: Arc::clone(&shared.mirrors),
        };
        let app = Arc::new(http_proxy(gateway, threads));
        let mut accepting = Vec::new();
        for (bound, listening) in listeners {
            tracing::info!(listener = %bound.name, address = %bound.address, "listening");
            let (app, drain) = (Arc::clone(&app), Arc::clone(&shared.drain));
            let service = edge::Service { listening, app, drain, shutdown: watch.clone() };
            accepting.push(proxy.spawn(edge::serve(bound, service)));
        }
        if let Some((bound, token)) = admin {
            tracing::info!(listener = "admin", address = %bound.address, "listening");
            control.spawn(admin::serve(bound.into_socket(), token, Arc::clone(&shared)));
        }
        control.spawn(Arc::clone(&shared.drain).sweep());
        control.spawn(reload_on_hangup(shared.reloader.clone()));
        shared.ready.store(true, Ordering::Relaxed);
        tracing::info!(generation = shared.store.load().generation, "ready");

        control.block_on(async {
            stop.await;
            tracing::info!(connections = shared.drain.open(), "draining");
            shared.ready.store(false, Ordering::Relaxed);
            let _ = shutdown.send(true);
            for task in accepting {
                let _ = task.await;
            }
            drain(&shared).await;
        });
        if let Some(log) = &shared.store.load().state.access_log {
            log.flush(FLUSH_TIME);
        }
        shared.control.stop();
        proxy.shutdown_background();
        mirror.shutdown_background();
        control.shutdown_background();
        tracing::info!("stopped");
        Ok(())
    }
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

/// Waits until no connection is open, at most for the configured time.
async fn drain(shared: &Shared) {
    shared.drain.start();
    let limit = shared.store.load().state.plan().runtime.drain_timeout;
    let end = Instant::now() + limit;
    while shared.drain.open() > 0 {
        if Instant::now() >= end {
            let connections = shared.drain.open();
            tracing::warn!(connections, "the drain timeout is over: closing what is left");
            return;
        }
        tokio::time::sleep(DRAIN_TICK).await;
    }
}

async fn reload_on_hangup(reloader: Reloader) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        reloader.request(Cause::Signal);
    }
}

fn http_proxy(gateway: Gateway, threads: usize) -> HttpProxy<Gateway> {
    let conf = ServerConf {
        threads,
        max_retries: MAX_ATTEMPTS,
        upstream_keepalive_pool_size: KEPT_CONNECTIONS,
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

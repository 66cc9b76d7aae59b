//! From the first client to the last: what a process does about signals, and about one that takes
//! over from it.
//!
//! ```text
//! serves ── told to stop ──> not ready, accepts for `drain_delay` ──> drains ──> ends
//!        └─ taken over ────> not ready, accepts no more, drains ──────────────> ends
//!              ^                   │
//!              └── the other died ─┘
//! ```
//!
//! A drain ends with the last connection, after `drain_timeout`, or when the process is told to stop
//! again. A panic ends the connection that it happened in; in what serves all of them it ends the
//! process, with a drain and a status that a service manager takes for a failure. Rejected: to abort
//! at any panic (one bad request would end all others); to go on without (a process that looks
//! healthy, and of which a part is dead).

use crate::{
    edge::{self, Bound, Doors, Listening},
    handover::{Giver, Predecessor},
    proxy::Gateway,
    server::Shared,
    service::Service,
};
use pingora_proxy::HttpProxy;
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    panic,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};

/// Events that may wait.
pub(crate) const QUEUE: usize = 16;

/// How often a drain looks whether it is done.
const DRAIN_TICK: Duration = Duration::from_millis(20);

/// For the process that takes over to hear that this one accepts no more.
const KNOWN: Duration = Duration::from_secs(2);

/// For requests of the admin API to be answered when another process has its socket; those who
/// listen to events have to come back in any case.
const ADMIN: Duration = Duration::from_secs(1);

/// Threads that the process is of no use without: they reload, judge, and write what was judged.
const VITAL_THREADS: [&str; 3] = ["reload", "controller", "journal"];

/// What happens to a process.
#[derive(Debug)]
pub(crate) enum Event {
    /// Somebody wants it to end; the second time, at once.
    Stop,
    /// Something that it is of no use without has ended.
    Broken(String),
    /// Another process accepts clients from the sockets at these addresses.
    Retire {
        pid: u32,
        kept: Vec<SocketAddr>,
        /// Told when this process accepts none any more.
        done: oneshot::Sender<()>,
        /// The other process knows.
        known: oneshot::Receiver<()>,
    },
    /// That process has died.
    Return,
    /// It has ended in order: nobody is to accept from these sockets.
    Settle,
}

/// A process that serves.
pub(crate) struct Life {
    shared: Arc<Shared>,
    app: Arc<HttpProxy<Gateway>>,
    proxy: Handle,
    events: mpsc::Receiver<Event>,
    service: Service,
    /// Tells connections that the next request is their last.
    shutdown: watch::Sender<bool>,
    /// The listeners by name.
    listening: HashMap<Arc<str>, Arc<Listening>>,
    /// By the address of the listener.
    doors: HashMap<SocketAddr, watch::Sender<Doors>>,
    /// One task for each listener.
    accepting: JoinSet<io::Result<Option<Bound>>>,
    /// Sockets that another process accepts from.
    stand_by: Vec<Bound>,
    pub(crate) admin: Option<AdminDoors>,
    /// Tasks that only end when they are broken.
    pub(crate) vital: JoinSet<(&'static str, io::Result<()>)>,
    pub(crate) giver: Option<Giver>,
    pub(crate) predecessor: Option<Predecessor>,
}

/// The way into the admin API.
pub(crate) struct AdminDoors {
    pub(crate) address: SocketAddr,
    pub(crate) doors: watch::Sender<Doors>,
    /// Nobody is in while another process has the socket.
    pub(crate) rests: watch::Receiver<bool>,
}

impl Life {
    pub(crate) fn new(
        shared: Arc<Shared>,
        app: Arc<HttpProxy<Gateway>>,
        proxy: Handle,
        events: mpsc::Receiver<Event>,
        service: Service,
    ) -> Self {
        Self {
            shared,
            app,
            proxy,
            events,
            service,
            shutdown: watch::Sender::new(false),
            listening: HashMap::new(),
            doors: HashMap::new(),
            accepting: JoinSet::new(),
            stand_by: Vec::new(),
            admin: None,
            vital: JoinSet::new(),
            giver: None,
            predecessor: None,
        }
    }

    /// Accepts clients of `bound`.
    pub(crate) fn open(&mut self, bound: Bound, listening: Arc<Listening>) {
        self.listening.insert(Arc::clone(&bound.name), Arc::clone(&listening));
        let doors = watch::Sender::new(Doors::Open);
        let (told, shutdown) = (doors.subscribe(), self.shutdown.subscribe());
        self.doors.insert(bound.address, doors);
        let (app, drain) = (Arc::clone(&self.app), Arc::clone(&self.shared.drain));
        let reception = edge::Reception { listening, app, drain, shutdown };
        self.accepting.spawn_on(edge::serve(bound, reception, told), &self.proxy);
    }

    /// Serves until the end.
    ///
    /// # Errors
    /// When something broke that nothing works without.
    pub(crate) async fn live(mut self) -> io::Result<()> {
        loop {
            match self.next().await {
                Event::Stop => {
                    self.leave(self.shared.store.load().state.plan().runtime.drain_delay).await;
                    return Ok(());
                }
                Event::Broken(what) => {
                    tracing::error!("{what}: the process ends");
                    if let Some(predecessor) = self.predecessor.take() {
                        predecessor.call_back();
                    }
                    self.leave(Duration::ZERO).await;
                    return Err(io::Error::other(what));
                }
                Event::Retire { pid, kept, done, known } => {
                    self.step_aside(pid, &kept).await;
                    let _ = done.send(());
                    // Else it would take this process's end for a death.
                    let _ = timeout(KNOWN, known).await;
                    if self.retire().await {
                        return Ok(());
                    }
                }
                Event::Return | Event::Settle => {}
            }
        }
    }

    /// Ends before it has begun: finishes what was accepted already.
    pub(crate) async fn give_up(mut self) {
        self.leave(Duration::ZERO).await;
    }

    /// What happens next, of everything that may.
    async fn next(&mut self) -> Event {
        tokio::select! {
            event = self.events.recv() => event.unwrap_or(Event::Stop),
            Some(ended) = self.accepting.join_next() => Event::Broken(match ended {
                Ok(Ok(_)) => "a listener has ended".to_owned(),
                Ok(Err(error)) => format!("a listener has ended: {error}"),
                Err(error) => format!("a listener has ended: {}", explain(&error)),
            }),
            Some(ended) = self.vital.join_next() => Event::Broken(match ended {
                Ok((what, Ok(()))) => format!("{what} has ended"),
                Ok((what, Err(error))) => format!("{what} has ended: {error}"),
                Err(error) => explain(&error),
            }),
        }
    }

    /// Accepts for `delay`, then no more; ends when the requests in flight have.
    async fn leave(&mut self, delay: Duration) {
        let limit = self.shared.store.load().state.plan().runtime.drain_timeout;
        self.shared.set_ready(false);
        self.service.stopping(delay + limit);
        if let Some(giver) = &self.giver {
            giver.close();
        }
        // Before the sockets close: the old process's copies would keep them open.
        if let Some(predecessor) = &self.predecessor {
            predecessor.farewell();
        }
        if !delay.is_zero() {
            tracing::info!("not ready; accepts for {delay:?} yet");
            tokio::select! {
                () = sleep(delay) => {}
                () = told_again(&mut self.events) => return self.cut(),
            }
        }
        tracing::info!(connections = self.shared.drain.open(), "draining");
        let _ = self.shutdown.send(true);
        for doors in self.doors.values() {
            let _ = doors.send(Doors::Closed);
        }
        while self.accepting.join_next().await.is_some() {}
        self.shared.drain.start();
        let end = Instant::now() + limit;
        while !self.is_drained(end) {
            tokio::select! {
                () = sleep(DRAIN_TICK) => {}
                () = told_again(&mut self.events) => return self.cut(),
            }
        }
    }

    /// Accepts no more from the sockets at the addresses `kept`, and closes the others.
    async fn step_aside(&mut self, pid: u32, kept: &[SocketAddr]) {
        self.shared.set_ready(false);
        // Told by who is the main process still: it need not listen to others.
        self.service.main_is(pid);
        for (address, doors) in self.doors.drain() {
            let is_kept = kept.contains(&address);
            let _ = doors.send(if is_kept { Doors::Elsewhere } else { Doors::Closed });
        }
        if let Some(admin) = self.admin.as_ref().filter(|admin| kept.contains(&admin.address)) {
            let _ = admin.doors.send(Doors::Elsewhere);
        }
        if let Some(giver) = &self.giver {
            giver.keep(kept);
        }
        while let Some(ended) = self.accepting.join_next().await {
            if let Ok(Ok(Some(bound))) = ended {
                self.stand_by.push(bound);
            }
        }
        // It need not stand by any longer: this process does.
        if let Some(predecessor) = &self.predecessor {
            predecessor.farewell();
        }
        let connections = self.shared.drain.open();
        tracing::info!(pid, connections, "another process serves: draining");
    }

    /// Drains, and stands by. `false`: the process that took over died, and this one serves again.
    async fn retire(&mut self) -> bool {
        let _ = self.shutdown.send(true);
        self.shared.drain.start();
        let limit = self.shared.store.load().state.plan().runtime.drain_timeout;
        let (end, mut may_return, mut is_told) = (Instant::now() + limit, true, false);
        while !self.is_drained(end) {
            let event = tokio::select! {
                event = self.events.recv() => event.unwrap_or(Event::Stop),
                () = sleep(DRAIN_TICK) => continue,
            };
            match event {
                Event::Return if may_return => {
                    self.come_back();
                    return false;
                }
                Event::Stop if is_told => {
                    self.cut();
                    break;
                }
                Event::Stop | Event::Settle => {
                    is_told |= matches!(event, Event::Stop);
                    may_return = false;
                    self.stand_by.clear();
                    if let Some(admin) = &self.admin {
                        let _ = admin.doors.send(Doors::Closed);
                    }
                    if let Some(giver) = &self.giver {
                        giver.close();
                    }
                }
                Event::Broken(what) => tracing::error!("{what}"),
                Event::Return | Event::Retire { .. } => {}
            }
        }
        let mut admins = self.admin.iter_mut();
        if let Some(admin) = admins.find(|admin| *admin.doors.borrow() == Doors::Elsewhere) {
            let _ = timeout(ADMIN, admin.rests.wait_for(|rests| *rests)).await;
        }
        true
    }

    /// Serves as if nothing had happened.
    fn come_back(&mut self) {
        self.shared.drain.cancel();
        let _ = self.shutdown.send(false);
        for bound in std::mem::take(&mut self.stand_by) {
            if let Some(listening) = self.listening.get(&bound.name).map(Arc::clone) {
                self.open(bound, listening);
            }
        }
        if let Some(admin) = &self.admin {
            let _ = admin.doors.send(Doors::Open);
        }
        self.shared.control.resume();
        self.shared.set_ready(true);
        self.service.ready("serves again: the process that took over has died", true);
        let open = |address| self.doors.contains_key(address);
        let (admin, all) = (self.admin.as_ref().map(|admin| admin.address), &self.shared.addresses);
        for (name, address) in all.iter().filter(|(_, at)| !open(at) && Some(*at) != admin) {
            tracing::error!(%name, %address, "stays closed until a restart");
        }
        tracing::warn!("the process that took over has died: this one serves again");
    }

    /// Whether nobody is connected any more, or the time is over.
    fn is_drained(&self, end: Instant) -> bool {
        let connections = self.shared.drain.open();
        if connections > 0 && Instant::now() >= end {
            tracing::warn!(connections, "the drain timeout is over: closing what is left");
            return true;
        }
        connections == 0
    }

    fn cut(&self) {
        let connections = self.shared.drain.open();
        tracing::warn!(connections, "told to stop again: closing what is left");
    }
}

/// Waits for another wish to end.
async fn told_again(events: &mut mpsc::Receiver<Event>) {
    loop {
        match events.recv().await {
            Some(Event::Stop) => return,
            Some(Event::Broken(what)) => tracing::error!("{what}"),
            Some(_) => {}
            // Nobody can say it.
            None => std::future::pending().await,
        }
    }
}

fn explain(error: &JoinError) -> String {
    if error.is_panic() { "it panicked".to_owned() } else { error.to_string() }
}

/// From now on a panic is in the log, and ends the process if it is in a thread that it is of no use
/// without.
pub(crate) fn report_panics(life: mpsc::Sender<Event>) {
    panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("?");
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("?");
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(thread = name, %backtrace, "panicked at {location}: {text}");
        if VITAL_THREADS.contains(&name) {
            let _ = life.try_send(Event::Broken(format!("the thread `{name}` has panicked")));
        }
    }));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::server::{Server, Start};

    const CONFIG: &str = "listeners: [{ name: web, address: 127.0.0.1:0 }]
upstreams: [{ name: v1, endpoints: [\"127.0.0.1:9\"] }]
routes:
  - { name: shop, match: { path: { prefix: / } }, variants: [{ name: stable, upstream: v1 }] }
";

    fn server() -> (tempfile::TempDir, Server) {
        let directory = tempfile::TempDir::new().unwrap();
        let file = directory.path().join("tidegate.yaml");
        std::fs::write(&file, CONFIG).unwrap();
        let loaded = tidegate_config::load(&file, None).unwrap();
        let server = Server::bind(file, loaded, Start::alone()).unwrap();
        (directory, server)
    }

    #[test]
    fn what_is_broken_ends_the_process_as_a_failure() {
        let (_directory, server) = server();
        let life = server.life();
        life.try_send(Event::Broken("a part has ended".to_owned())).unwrap();
        assert_eq!(server.run().unwrap_err().to_string(), "a part has ended");
    }

    #[test]
    fn who_is_told_to_end_has_not_failed() {
        let (_directory, server) = server();
        let life = server.life();
        life.try_send(Event::Stop).unwrap();
        server.run().unwrap();
    }

    #[test]
    fn panics_of_threads_that_matter_are_told() {
        let (life, mut events) = mpsc::channel(QUEUE);
        let before = panic::take_hook();
        report_panics(life);
        for name in ["mirror", "controller"] {
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn(|| panic!("as told")).unwrap().join().unwrap_err();
        }
        panic::set_hook(before);
        let Ok(Event::Broken(what)) = events.try_recv() else { panic!("nothing was told") };
        assert_eq!(what, "the thread `controller` has panicked");
        assert!(events.try_recv().is_err());
    }
}

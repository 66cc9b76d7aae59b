//! The service manager, if there is one: systemd, or whatever speaks as it does.
//!
//! It is told what the process does (`sd_notify(3)`) and may have opened the sockets
//! (`sd_listen_fds(3)`). Without `NOTIFY_SOCKET` and `LISTEN_FDS` all of this is nothing.

use crate::handover::Sockets;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::{io, time::Duration};
use tokio::runtime::Handle;

/// Added to what an end may take: for the last writes.
const MARGIN: Duration = Duration::from_secs(10);

/// Who is told how the process does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Service {
    is_there: bool,
}

impl Service {
    /// The one that started this process, if any.
    pub(crate) fn of_environment() -> Self {
        Self { is_there: std::env::var_os("NOTIFY_SOCKET").is_some() }
    }

    /// Nobody.
    pub(crate) fn none() -> Self {
        Self { is_there: false }
    }

    /// Serves requests; `taken_over`: in the place of the service's main process. Also after a
    /// reload.
    pub(crate) fn ready(self, status: &str, taken_over: bool) {
        let main = taken_over.then(|| NotifyState::MainPid(std::process::id()));
        let ready = [NotifyState::Ready, NotifyState::Status(status)];
        self.tell(&main.into_iter().chain(ready).collect::<Vec<_>>());
    }

    /// Loads the configuration; [`Self::ready`] follows.
    pub(crate) fn reloading(self) {
        // From version 253 on the manager wants to know which reload is meant.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "the service manager hears of no reload"),
        }
    }

    /// Another process is the service's main one now.
    pub(crate) fn main_is(self, pid: u32) {
        self.tell(&[NotifyState::MainPid(pid)]);
    }

    /// Ends, and may take `limit` for it.
    pub(crate) fn stopping(self, limit: Duration) {
        let limit = u32::try_from((limit + MARGIN).as_micros()).unwrap_or(u32::MAX);
        self.tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(limit)]);
    }

    /// Shows for as long as it runs that the process does not hang: a tick counts when it has been
    /// through the threads of `proxy`. Runs for ever.
    pub(crate) async fn keep_alive(self, proxy: Handle) {
        let period = if self.is_there { sd_notify::watchdog_enabled() } else { None };
        let Some(period) = period else { return std::future::pending().await };
        // Half of it, as the manager's documentation advises.
        let mut tick = tokio::time::interval((period / 2).max(Duration::from_millis(1)));
        loop {
            tick.tick().await;
            if proxy.spawn(std::future::ready(())).await.is_ok() {
                self.tell(&[NotifyState::Watchdog]);
            }
        }
    }

    fn tell(self, states: &[NotifyState<'_>]) {
        if self.is_there
            && let Err(error) = sd_notify::notify(states)
        {
            tracing::warn!(%error, "the service manager cannot be told how this process does");
        }
    }
}

/// The sockets that the service manager opened for this process. Call it before there is a thread:
/// it takes them out of the environment.
pub(crate) fn activated() -> Sockets {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    let (mut sockets, mut passed) = (Sockets::default(), ListenFd::from_env());
    for position in 0..passed.len() {
        let name = names.next().filter(|name| !name.is_empty());
        let shown = name.clone().unwrap_or_else(|| position.to_string());
        let taken = passed.take_tcp_listener(position).and_then(|socket| match socket {
            Some(socket) => sockets.activate(name, socket),
            None => Err(io::Error::other("it is gone")),
        });
        if let Err(error) = taken {
            tracing::warn!("the service manager's socket `{shown}` cannot be used: {error}");
        }
    }
    sockets
}

//! The new process's side.

use super::{
    ANSWER, PROTOCOLS, RELEASE, Sockets,
    message::Say,
    wire::{Wire, is_gone},
};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixStream,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Sockets that are taken at most.
const MAX_SOCKETS: usize = 4096;

/// Who was found.
pub(crate) enum Found {
    /// No running process; in words.
    Nobody(String),
    /// One that will let this process take over.
    Running(Takeover),
}

/// On the way from one process to the other. Given up when dropped: the running one goes on.
#[derive(Debug)]
pub(crate) struct Takeover {
    wire: Wire,
    pid: u32,
    /// The other process has died meanwhile: there is nobody to be careful with.
    is_over: bool,
}

/// The process that was taken over from, while it drains.
#[derive(Debug)]
pub(crate) struct Predecessor(Mutex<Wire>);

/// Asks the process that listens at `path` for its sockets, and adds them to `sockets`.
///
/// # Errors
/// When there is one that refuses or does not answer; the message says why.
pub(crate) fn ask(path: &Path, sockets: &mut Sockets) -> io::Result<Found> {
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) => {
            let path = path.display();
            return Ok(Found::Nobody(format!("nobody listens at {path} ({error})")));
        }
    };
    match receive(Wire::new(stream)?, sockets) {
        Ok(takeover) => Ok(Found::Running(takeover)),
        // What came of its sockets is as good as if it were still there.
        Err(error) if is_gone(&error) => Ok(Found::Nobody("it has just ended".to_owned())),
        Err(error) => Err(explain("the running process", &error)),
    }
}

fn receive(mut wire: Wire, sockets: &mut Sockets) -> io::Result<Takeover> {
    if !wire.is_trusted()? {
        return Err(io::Error::other("it is another user's"));
    }
    let said = wire.say(&Say::Upgrade {
        protocols: PROTOCOLS.to_vec(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
    });
    // What it said before it broke off is still there to be heard.
    let (pid, count) = match wire.hear(Some(ANSWER))? {
        Say::Sockets { pid, release, count, .. } if count <= MAX_SOCKETS => {
            tracing::info!(pid, release, "takes over from the running process");
            (pid, count)
        }
        other => return Err(unexpected(other)),
    };
    said?;
    for _ in 0..count {
        let (name, activated) = match wire.hear(Some(ANSWER))? {
            Say::Socket { name, activated, .. } => (name, activated),
            other => return Err(unexpected(other)),
        };
        let Some(socket) = wire.descriptor() else {
            return Err(io::Error::other(format!("the socket of `{name}` did not come")));
        };
        sockets.inherit(name, activated, TcpListener::from(socket))?;
    }
    Ok(Takeover { wire, pid, is_over: false })
}

impl Takeover {
    /// Has the running process write down what it knows of the rollouts, and let go of it.
    ///
    /// # Errors
    /// When it will not. That it has died is none: then nobody else has them.
    pub(crate) fn take_rollouts(&mut self) -> io::Result<()> {
        self.ask(&Say::Rollouts, &Say::Released)
    }

    /// Tells the running process that this one accepts clients from those of its sockets that are
    /// at the addresses `kept`; it stops then. `None`: it is gone.
    ///
    /// # Errors
    /// When it has given up waiting and goes on by itself: then this process has to end.
    pub(crate) fn serving(mut self, kept: Vec<SocketAddr>) -> io::Result<Option<Predecessor>> {
        match self.ask(&Say::Serving { kept }, &Say::Draining) {
            Ok(()) if self.is_over => Ok(None),
            Ok(()) => {
                let speaker = self.wire.speaker()?;
                let pid = self.pid;
                std::thread::Builder::new().name("predecessor".into()).spawn(move || {
                    // It has nothing more to say.
                    while self.wire.hear(None).is_ok() {}
                    tracing::info!(pid, "the old process has ended");
                })?;
                Ok(Some(Predecessor(Mutex::new(speaker))))
            }
            // Both accept; that is safe, and it is for a person to find out what is wrong.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                tracing::error!(pid = self.pid, "the old process does not answer: end it");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn ask(&mut self, say: &Say, wanted: &Say) -> io::Result<()> {
        if self.is_over {
            return Ok(());
        }
        // What it said before it broke off is still there to be heard.
        let said = self.wire.say(say);
        match self.wire.hear(Some(RELEASE)) {
            Ok(heard) if heard == *wanted => said,
            Ok(other) => Err(explain("the running process", &unexpected(other))),
            Err(error) if is_gone(&error) => {
                tracing::warn!(pid = self.pid, "the running process has ended meanwhile");
                self.is_over = true;
                Ok(())
            }
            Err(error) => Err(explain("the running process", &error)),
        }
    }
}

impl Predecessor {
    /// Tells the old process, if it is still there, that this one ends in order: it need not serve
    /// again.
    pub(crate) fn farewell(&self) {
        let _ = self.wire().say(&Say::Farewell);
    }

    /// Has the old process serve again, as if this one had died.
    pub(crate) fn call_back(&self) {
        self.wire().hang_up();
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unexpected(say: Say) -> io::Error {
    match say {
        Say::Refused { why } => io::Error::other(format!("refuses: {why}")),
        other => io::Error::other(format!("says what makes no sense now: {other:?}")),
    }
}

fn explain(who: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{who}: {error}"))
}

//! The running process's side.

use super::{
    ANSWER, BEGINNING, PREPARATION, PROTOCOLS,
    message::Say,
    path::{self, SocketFile},
    wire::{Wire, is_gone},
};
use crate::{life::Event, rollout::Control};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::AsFd as _,
        unix::net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// How long to wait when `accept` fails: there may be no descriptor left.
const TROUBLE: Duration = Duration::from_secs(1);

/// For a process that is refused to say what it wants: nobody else can ask meanwhile.
const REFUSAL: Duration = Duration::from_secs(1);

/// What there is to hand over, and who is to know.
#[derive(Debug)]
pub(crate) struct Offer {
    /// Everything that listens. While they are here they are open.
    pub(crate) sockets: Mutex<Vec<Arc<Lent>>>,
    pub(crate) control: Control,
    /// The process's life.
    pub(crate) life: mpsc::Sender<Event>,
}

/// A socket that another process may have.
#[derive(Debug)]
pub(crate) struct Lent {
    /// The listener's name.
    pub(crate) name: Arc<str>,
    pub(crate) address: SocketAddr,
    pub(crate) activated: bool,
    pub(crate) socket: TcpListener,
}

/// Gives to whoever asks.
#[derive(Debug, Clone)]
pub(crate) struct Giver(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    offer: Offer,
    /// A process is taking over.
    is_busy: AtomicBool,
    /// This process ends: there is nothing to take over.
    is_closed: AtomicBool,
    file: Mutex<Option<SocketFile>>,
}

/// Why a hand-over came to nothing.
enum Failure {
    /// The other process is gone, or makes no sense.
    Wire(io::Error),
    /// It is told.
    Refusal(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Wire(error)
    }
}

impl Giver {
    /// Listens at `path`, in the place of whoever this process took over from if `replace` is set.
    /// If that is not possible it is said, and there is no hand-over from this process.
    pub(crate) fn start(path: PathBuf, offer: Offer, replace: bool) -> Self {
        let giver = Self(Arc::new(Shared {
            path,
            offer,
            is_busy: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            file: Mutex::default(),
        }));
        giver.listen(replace);
        giver
    }

    /// From now on nobody may take over.
    pub(crate) fn close(&self) {
        self.0.is_closed.store(true, Ordering::Relaxed);
        self.sockets().clear();
        self.file().take();
    }

    /// Lets go of sockets at other addresses than these.
    pub(crate) fn keep(&self, addresses: &[SocketAddr]) {
        self.sockets().retain(|lent| addresses.contains(&lent.address));
    }

    fn sockets(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Lent>>> {
        self.0.offer.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, replace: bool) {
        let path = self.0.path.display();
        let listening = path::listen(&self.0.path, replace).and_then(|(listener, file)| {
            *self.file() = Some(file);
            let giver = self.clone();
            let work = move || giver.serve(&listener);
            std::thread::Builder::new().name("upgrade".into()).spawn(work)
        });
        match listening {
            Ok(_) => tracing::debug!(%path, "a new process can take over here"),
            Err(error) => tracing::warn!(
                "no new process can take over (`run --upgrade`): cannot listen at {path}: {error}"
            ),
        }
    }

    fn file(&self) -> std::sync::MutexGuard<'_, Option<SocketFile>> {
        self.0.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, listener: &UnixListener) {
        for stream in listener.incoming() {
            match stream.and_then(|stream| self.admit(stream)) {
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(%error, "a process that asked to take over was not served");
                    if !is_gone(&error) {
                        std::thread::sleep(TROUBLE);
                    }
                }
            }
        }
    }

    fn admit(&self, stream: UnixStream) -> io::Result<()> {
        let mut wire = Wire::new(stream)?;
        if !wire.is_trusted()? {
            tracing::error!("a process of another user asked to take over");
            return Ok(());
        }
        if self.0.is_busy.swap(true, Ordering::AcqRel) {
            // Whoever is answered before it has asked takes that for an end.
            let _ = wire.hear(Some(REFUSAL))?;
            let why = "another process is taking over already".to_owned();
            return wire.say(&Say::Refused { why });
        }
        let busy = Busy(self.clone());
        let work = move || busy.0.hand_over(wire);
        std::thread::Builder::new().name("hand-over".into()).spawn(work).map(drop)
    }

    fn hand_over(&self, mut wire: Wire) {
        let (pid, kept) = match self.prepare(&mut wire) {
            Ok(serving) => serving,
            Err(failure) => {
                self.0.offer.control.resume();
                let why = match failure {
                    Failure::Wire(error) if is_gone(&error) => "it ended".to_owned(),
                    Failure::Wire(error) => error.to_string(),
                    Failure::Refusal(why) => why,
                };
                tracing::warn!("the new process does not take over: {why}; this one goes on");
                let _ = wire.say(&Say::Refused { why });
                return;
            }
        };
        let ((done, retired), (know, known)) = (oneshot::channel(), oneshot::channel());
        self.tell(Event::Retire { pid, kept, done, known });
        // Whoever ends by itself meanwhile drains as well.
        let _ = retired.blocking_recv();
        let _ = wire.say(&Say::Draining);
        let _ = know.send(());
        loop {
            match wire.hear(None) {
                Ok(Say::Farewell) => return self.tell(Event::Settle),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        if self.0.is_closed.load(Ordering::Relaxed) {
            return;
        }
        tracing::error!(pid, "the new process has died");
        self.tell(Event::Return);
        if !self.file().as_ref().is_some_and(SocketFile::is_ours) {
            self.listen(true);
        }
    }

    /// Up to the moment that the new process serves; its id, and the addresses that it kept.
    fn prepare(&self, wire: &mut Wire) -> Result<(u32, Vec<SocketAddr>), Failure> {
        let control = &self.0.offer.control;
        let (protocols, release, pid) = match wire.hear(Some(ANSWER))? {
            Say::Upgrade { protocols, release, pid } => (protocols, release, pid),
            other => return Err(unexpected(&other)),
        };
        if self.0.is_closed.load(Ordering::Relaxed) {
            return Err(Failure::Refusal("this process is ending".to_owned()));
        }
        let common = PROTOCOLS.iter().filter(|protocol| protocols.contains(protocol)).max();
        let Some(&protocol) = common else {
            return Err(Failure::Refusal(format!(
                "the versions {} and {release} have no way of handing over in common: stop this \
                 one and start the other",
                env!("CARGO_PKG_VERSION")
            )));
        };
        tracing::info!(pid, release, "a new process takes over");
        let sockets = self.sockets().clone();
        wire.say(&Say::Sockets {
            protocol,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            count: sockets.len(),
        })?;
        for lent in &sockets {
            let Lent { name, address, activated, socket } = &**lent;
            let (name, address, activated) = (name.to_string(), *address, *activated);
            wire.hand(&Say::Socket { name, address, activated }, socket.as_fd())?;
        }
        drop(sockets);
        match wire.hear(Some(PREPARATION))? {
            Say::Rollouts => {}
            other => return Err(unexpected(&other)),
        }
        control.release().map_err(Failure::Refusal)?;
        wire.say(&Say::Released)?;
        match wire.hear(Some(BEGINNING))? {
            Say::Serving { kept } => Ok((pid, kept)),
            other => Err(unexpected(&other)),
        }
    }

    fn tell(&self, event: Event) {
        // Nobody listens once the process ends.
        let _ = self.0.offer.life.blocking_send(event);
    }
}

/// Another process may ask once this is dropped.
struct Busy(Giver);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.is_busy.store(false, Ordering::Release);
    }
}

fn unexpected(say: &Say) -> Failure {
    Failure::Refusal(format!("the new process says what makes no sense now: {say:?}"))
}

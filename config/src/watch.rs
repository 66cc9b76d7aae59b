//! Watching files: says *that* something changed, soon and not too often.
//!
//! File events come from the directories, not from the files: an editor that saves by renaming
//! replaces the file, and Kubernetes swaps a symlink beside it. Both the directory of the path as
//! written and that of the file it leads to are watched. Once a second the files' sizes, times and
//! numbers are compared as well, for file systems that send no events and for symlinks further
//! away. The owner loads again and compares [`Loaded::digest`](crate::Loaded::digest), so a signal
//! too many costs a read and nothing else. Rejected: watching the files themselves (lost at the
//! first rename), polling alone (a second is a long time for a person who saved a file).

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};
use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher as _},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant, UNIX_EPOCH},
};

/// How long events have to be quiet: one save of an editor is several events.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// When a change is signalled though events go on.
const MAX_DEBOUNCE: Duration = Duration::from_millis(500);

/// How often files are looked at without an event.
const POLL: Duration = Duration::from_secs(1);

/// Watches paths on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    messages: Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Event(Event),
    Paths(Vec<PathBuf>),
    Stop,
}

impl Watcher {
    /// Calls `on_change` (on the watcher's thread) after something about `paths`, files or
    /// directories, may have changed; and once at the start, for what changed since they were
    /// read.
    ///
    /// # Errors
    /// When no thread can be started. Without file events (the system's limit is reached) it polls.
    pub fn new(
        paths: Vec<PathBuf>,
        on_change: impl FnMut() + Send + 'static,
    ) -> std::io::Result<Self> {
        Self::start(paths, on_change, true)
    }

    /// As [`Watcher::new`], by looking once a second alone.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn polling(
        paths: Vec<PathBuf>,
        on_change: impl FnMut() + Send + 'static,
    ) -> std::io::Result<Self> {
        Self::start(paths, on_change, false)
    }

    /// Watches these paths from now on, as after a load (also a failed one) that found other
    /// includes. Different paths are signalled once, for what changed since they were read.
    pub fn set_paths(&self, paths: Vec<PathBuf>) {
        // The thread ends only when the watcher is dropped or `on_change` panicked.
        let _ = self.messages.send(Message::Paths(paths));
    }

    fn start(
        paths: Vec<PathBuf>,
        on_change: impl FnMut() + Send + 'static,
        events: bool,
    ) -> std::io::Result<Self> {
        let (messages, received) = channel();
        let events = events.then(|| event_source(messages.clone())).flatten();
        let mut watch = Watch::new(events);
        watch.set_paths(paths);
        let thread = thread::Builder::new()
            .name("config-watch".to_owned())
            .spawn(move || watch.run(&received, on_change))?;
        Ok(Self { messages, thread: Some(thread) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            // `on_change` may hold the last reference to its own watcher.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

fn event_source(messages: Sender<Message>) -> Option<RecommendedWatcher> {
    let handler = move |event: notify::Result<Event>| {
        // An error of the source is made up for by polling.
        if let Ok(event) = event {
            let _ = messages.send(Message::Event(event));
        }
    };
    notify::recommended_watcher(handler).ok()
}

/// The state of the watching thread.
struct Watch {
    events: Option<RecommendedWatcher>,
    paths: Vec<PathBuf>,
    /// The paths as written and the files they lead to.
    names: HashSet<PathBuf>,
    /// What the watched directories are now, to tell one that was replaced from the same.
    directories: HashMap<PathBuf, u64>,
    seen: u64,
}

impl Watch {
    fn new(events: Option<RecommendedWatcher>) -> Self {
        let (paths, names) = (Vec::new(), HashSet::new());
        Self { events, paths, names, directories: HashMap::new(), seen: 0 }
    }

    fn run(mut self, received: &Receiver<Message>, mut on_change: impl FnMut()) {
        let mut next_poll = Instant::now() + POLL;
        on_change();
        loop {
            let wait = next_poll.saturating_duration_since(Instant::now());
            let changed = match received.recv_timeout(wait) {
                Ok(Message::Event(event)) if self.concerns(&event) => {
                    if self.settle(received).is_none() {
                        return;
                    }
                    true
                }
                Ok(Message::Event(_)) => false,
                Ok(Message::Paths(paths)) => self.set_paths(paths),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    next_poll = Instant::now() + POLL;
                    self.look()
                }
            };
            if changed {
                on_change();
            }
        }
    }

    /// After an event: takes in what follows until it is quiet; `None` to stop.
    fn settle(&mut self, received: &Receiver<Message>) -> Option<()> {
        let latest = Instant::now() + MAX_DEBOUNCE;
        let mut quiet = Instant::now() + DEBOUNCE;
        let mut paths = None;
        loop {
            let wait = quiet.min(latest).saturating_duration_since(Instant::now());
            match received.recv_timeout(wait) {
                Ok(Message::Event(event)) if self.concerns(&event) => {
                    quiet = Instant::now() + DEBOUNCE;
                }
                Ok(Message::Event(_)) => {}
                Ok(Message::Paths(new)) => paths = Some(new),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        if let Some(paths) = paths {
            self.set_paths(paths);
        }
        self.look();
        Some(())
    }

    /// Whether an event is about a watched file, or something beside it that changes where a
    /// watched path leads. A log that grows in the same directory is neither.
    fn concerns(&self, event: &Event) -> bool {
        let named = || event.paths.iter().any(|path| self.names.contains(path));
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => named(),
            EventKind::Access(_) => false,
            EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => named(),
            _ => event.need_rescan() || named() || fingerprint(&self.paths) != self.seen,
        }
    }

    /// Looks at the files; whether they are others than at the last look.
    fn look(&mut self) -> bool {
        let now = fingerprint(&self.paths);
        let changed = now != self.seen;
        self.seen = now;
        if changed || self.events.is_some() {
            self.follow();
        }
        changed
    }

    /// Whether these are other paths than before.
    fn set_paths(&mut self, paths: Vec<PathBuf>) -> bool {
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let paths: Vec<PathBuf> = paths.into_iter().map(absolute).collect();
        let others = paths != self.paths;
        if others {
            self.paths = paths;
            self.seen = fingerprint(&self.paths);
        }
        self.follow();
        others
    }

    /// Asks for the events of the directories that matter now.
    fn follow(&mut self) {
        self.names.clear();
        let mut wanted = HashMap::new();
        for path in &self.paths {
            let target = path.canonicalize().ok();
            for place in [Some(path), target.as_ref()].into_iter().flatten() {
                let directory = if place.is_dir() { Some(place.as_path()) } else { place.parent() };
                if let Some(directory) = directory {
                    wanted.entry(directory.to_owned()).or_insert_with(|| identity(directory));
                }
                self.names.insert(place.clone());
            }
        }
        let Some(events) = &mut self.events else { return };
        for directory in self.directories.keys() {
            if wanted.get(directory) != self.directories.get(directory) {
                // It may be gone already, and its watch with it.
                let _ = events.unwatch(directory);
            }
        }
        wanted.retain(|directory, number| {
            self.directories.get(directory) == Some(number)
                || events.watch(directory, RecursiveMode::NonRecursive).is_ok()
        });
        self.directories = wanted;
    }
}

/// A hash of what the file system says about the paths; absent ones count as such.
fn fingerprint(paths: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in paths {
        let known = std::fs::metadata(path).ok().map(|metadata| {
            let modified = metadata.modified().ok();
            let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            (metadata.len(), modified, identity(path))
        });
        known.hash(&mut hasher);
    }
    hasher.finish()
}

/// The number of a file or directory in its file system, so that one in its place is another.
#[cfg(unix)]
fn identity(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).map_or(0, |metadata| metadata.ino() ^ metadata.dev().rotate_left(32))
}

/// Where files have no numbers, sizes and times have to do.
#[cfg(not(unix))]
fn identity(path: &Path) -> u64 {
    u64::from(path.exists())
}

//! Real files, changed in the ways that editors and Kubernetes change them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};
use tempfile::{TempDir, tempdir};
use tidegate_config::Watcher;

/// Longer than a poll on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

type Outcome = Result<(), Box<dyn std::error::Error>>;

struct Watched {
    // Dropped before the directory goes.
    watcher: Watcher,
    signals: Receiver<Instant>,
    directory: TempDir,
}

impl Watched {
    fn start(
        events: bool,
        prepare: impl FnOnce(&Path) -> std::io::Result<PathBuf>,
    ) -> std::io::Result<Self> {
        let directory = tempdir()?;
        let file = prepare(directory.path())?;
        let (sender, signals) = channel();
        let on_change = move || {
            let _ = sender.send(Instant::now());
        };
        let watcher = if events {
            Watcher::new(vec![file], on_change)?
        } else {
            Watcher::polling(vec![file], on_change)?
        };
        let watched = Self { watcher, signals, directory };
        assert!(watched.signalled(), "once at the start");
        Ok(watched)
    }

    fn signalled(&self) -> bool {
        self.signals.recv_timeout(PATIENCE).is_ok()
    }

    /// Waits until no signal comes for a while and says how many came.
    fn drain(&self) -> usize {
        std::iter::from_fn(|| self.signals.recv_timeout(Duration::from_millis(1_500)).ok()).count()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn plain(directory: &Path) -> std::io::Result<PathBuf> {
    let file = directory.join("tidegate.yaml");
    fs::write(&file, "old")?;
    Ok(file)
}

#[test]
fn writes_in_place() -> Outcome {
    let watched = Watched::start(true, plain)?;
    let before = Instant::now();
    fs::write(watched.path("tidegate.yaml"), "new text")?;
    let signal = watched.signals.recv_timeout(PATIENCE)?;
    assert!(signal - before >= Duration::from_millis(50), "waits for the writer to finish");
    Ok(())
}

#[test]
fn editors_that_rename() -> Outcome {
    let watched = Watched::start(true, plain)?;
    for round in 0..3 {
        fs::write(watched.path(".tidegate.yaml.swp"), format!("new{round}"))?;
        fs::rename(watched.path(".tidegate.yaml.swp"), watched.path("tidegate.yaml"))?;
        assert!(watched.signalled(), "round {round}");
        watched.drain();
    }
    Ok(())
}

#[test]
fn vanishing_and_coming_back() -> Outcome {
    let watched = Watched::start(true, plain)?;
    fs::remove_file(watched.path("tidegate.yaml"))?;
    assert!(watched.signalled(), "gone");
    watched.drain();
    fs::write(watched.path("tidegate.yaml"), "back")?;
    assert!(watched.signalled(), "back");
    Ok(())
}

/// As the kubelet does it: `tidegate.yaml -> ..data/tidegate.yaml`, `..data -> ..1`, then `..data`
/// is replaced by a rename.
#[cfg(unix)]
#[test]
fn config_map_swaps() -> Outcome {
    use std::os::unix::fs::symlink;
    let version = |directory: &Path, number: u32| {
        let data = directory.join(format!("..{number}"));
        fs::create_dir(&data)?;
        fs::write(data.join("tidegate.yaml"), "same")?;
        symlink(format!("..{number}"), directory.join("..data_tmp"))?;
        fs::rename(directory.join("..data_tmp"), directory.join("..data"))
    };
    let watched = Watched::start(true, |directory| {
        version(directory, 1)?;
        symlink("..data/tidegate.yaml", directory.join("tidegate.yaml"))?;
        Ok(directory.join("tidegate.yaml"))
    })?;
    for number in 2..4 {
        version(watched.directory.path(), number)?;
        fs::remove_dir_all(watched.path(&format!("..{}", number - 1)))?;
        assert!(watched.signalled(), "version {number}");
        watched.drain();
    }
    Ok(())
}

#[test]
fn polling_alone_is_enough() -> Outcome {
    let watched = Watched::start(false, plain)?;
    fs::write(watched.path("tidegate.yaml"), "longer than before")?;
    assert!(watched.signalled());
    Ok(())
}

#[test]
fn a_storm_is_a_few_signals_and_reading_or_logging_is_none() -> Outcome {
    let watched = Watched::start(true, plain)?;
    for round in 0..200 {
        fs::write(watched.path("tidegate.yaml"), format!("{round}"))?;
    }
    let signals = watched.drain();
    assert!((1..10).contains(&signals), "{signals}");

    fs::write(watched.path("access.log"), "")?;
    watched.drain();
    for _ in 0..50 {
        fs::read(watched.path("tidegate.yaml"))?;
        fs::write(watched.path("access.log"), "a line")?;
        thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(watched.drain(), 0);
    Ok(())
}

#[test]
fn paths_can_change() -> Outcome {
    let watched = Watched::start(true, plain)?;
    fs::create_dir(watched.path("routes.d"))?;
    let paths = vec![watched.path("tidegate.yaml"), watched.path("routes.d")];
    watched.watcher.set_paths(paths.clone());
    assert!(watched.signalled(), "other paths are signalled once");
    // The making of the directory may be told only now that it is watched.
    watched.drain();
    watched.watcher.set_paths(paths);
    assert_eq!(watched.drain(), 0, "the same paths are not");
    fs::write(watched.path("routes.d").join("a.yaml"), "a")?;
    assert!(watched.signalled(), "a new entry of a directory");
    Ok(())
}

//! `tidegate demo`: versions of a service, a gateway in front, users, and rollouts to watch.
//!
//! The services, the users and the gateway share a process so that one command shows everything,
//! but they meet only where strangers would: over sockets, the configuration file and the admin
//! API. What the demo shows and claims is what a user could measure. Rejected: counters read from
//! the gateway's memory (they would prove nothing about the wire), and a terminal framework for a
//! table that a few escape sequences draw.

mod admin;
mod config;
mod director;
mod live;
mod load;
mod observer;
mod panel;
mod record;
mod report;
mod service;
mod stage;
mod stats;
mod story;
mod table;
mod users;

use crate::server::until_told_to_stop;
use config::{Plan, START};
use report::Report;
use stage::Stage;
use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

/// The longest that the unattended story may take, its start and end not counted.
const STORY_LIMIT: Duration = Duration::from_secs(75);

/// For tasks that are left when everything is over.
const LAST_TASKS: Duration = Duration::from_secs(1);

/// What the user asked for.
#[derive(Debug)]
pub(crate) struct Options {
    /// Where the configuration and the logs go; a directory that is removed at the end if `None`.
    pub(crate) dir: Option<PathBuf>,
    /// Play the story unattended and end with a report.
    pub(crate) once: bool,
    /// The report as JSON.
    pub(crate) json: bool,
}

/// Runs the demo; `false` when the story did not go as it should.
///
/// # Errors
/// When something cannot be started or the report cannot be written.
pub(crate) fn run(options: &Options) -> io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("demo")
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(play(options));
    runtime.shutdown_timeout(LAST_TASKS);
    outcome
}

async fn play(options: &Options) -> io::Result<bool> {
    // Signals first: whenever one comes, what was started is also ended.
    let told_to_stop = until_told_to_stop()?;
    let plan = if options.once { Plan::Fixed(START) } else { live::PLAN };
    let stage = Stage::set(options.dir.as_deref(), plan).await?;
    if options.once {
        tokio::select! {
            outcome = play_once(&stage, options.json) => {
                stage.clear().await?;
                outcome
            }
            () = told_to_stop => {
                stage.clear().await?;
                Err(io::Error::new(io::ErrorKind::Interrupted, "the story was interrupted"))
            }
        }
    } else {
        let shown = live::show(&stage, told_to_stop).await;
        let kept = options.dir.as_ref().map(|_| stage.file().to_owned());
        let totals = stage.clear().await?;
        match shown {
            // Whoever read it has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(true),
            shown => shown?,
        }
        let mut out = io::stdout().lock();
        writeln!(out, "{totals}")?;
        if let Some(file) = kept {
            writeln!(out, "the configuration is kept in {}", file.display())?;
        }
        Ok(true)
    }
}

async fn play_once(stage: &Stage, json: bool) -> io::Result<bool> {
    let mut report = Report::new(!json)?;
    let told = story::tell(stage, &mut report);
    let in_time = tokio::time::timeout(STORY_LIMIT, told).await;
    if in_time.is_err() {
        let observed = format!("it was not over after {} s", STORY_LIMIT.as_secs());
        report.claim("the story comes to its end", false, observed)?;
    }
    report.finish(stage.load().record().totals())
}

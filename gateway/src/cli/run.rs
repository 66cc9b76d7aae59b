//! `tidegate run`.

use super::{LogFormat, output};
use crate::{
    handover::{self, Found, respawn},
    life::{Event, report_panics},
    server::{Server, Start},
    service::{self, Service},
};
use futures_util::FutureExt as _;
use std::{io, path::PathBuf, process::ExitCode, time::Duration};
use tidegate_config::Loaded;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::Sender,
    time::sleep,
};
use tracing_subscriber::{EnvFilter, fmt};

/// The log's filter where `TIDEGATE_LOG` says nothing: pingora reports every client that goes away
/// as an error; the gateway counts these itself.
const DEFAULT_FILTER: &str = "info,pingora_core=off,pingora_proxy=off";

/// Signals within this time are one wish: a terminal tells all processes in it, and who started
/// them may pass it on.
const SAME_WISH: Duration = Duration::from_millis(500);

pub(super) fn run(config: PathBuf, log_format: LogFormat, upgrade: bool) -> ExitCode {
    // First of all, as there must be no thread yet.
    let sockets = service::activated();
    init_log(log_format);
    raise_descriptor_limit();
    let loaded = match tidegate_config::load(&config, None) {
        Ok(loaded) => loaded,
        Err(failure) => return output::fail_config(&failure),
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let mut start = Start {
        sockets,
        service: Service::of_environment(),
        may_hand_over: true,
        ..Start::alone()
    };
    let served = if upgrade { take_over(&mut start, &loaded) } else { Ok(()) };
    let served = served.and_then(|()| Server::bind(config, loaded, start)).and_then(|server| {
        report_panics(server.life());
        server.on_control(|| listen_to_signals(server.life()))?;
        server.run()
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&error.to_string()),
    }
}

/// Asks the running process for its sockets, if there is one.
fn take_over(start: &mut Start, loaded: &Loaded) -> io::Result<()> {
    match handover::ask(&loaded.plan.runtime.upgrade_socket, &mut start.sockets)? {
        Found::Running(takeover) => start.takeover = Some(takeover),
        Found::Nobody(why) => tracing::warn!("no process to take over from: {why}; just starts"),
    }
    Ok(())
}

/// Tells `life` of SIGTERM and SIGINT, and starts a new process on SIGUSR2.
fn listen_to_signals(life: Sender<Event>) -> io::Result<()> {
    let mut stop = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let mut upgrade = signal(SignalKind::user_defined2())?;
    tokio::spawn(async move {
        loop {
            next(&mut stop).await;
            let _ = life.send(Event::Stop).await;
            sleep(SAME_WISH).await;
            let _ = next(&mut stop).now_or_never();
        }
    });
    tokio::spawn(async move {
        while upgrade.recv().await.is_some() {
            if let Err(error) = respawn() {
                tracing::error!(%error, "no new process");
            }
        }
    });
    Ok(())
}

/// Waits for either.
async fn next([one, other]: &mut [Signal; 2]) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// Two descriptors a request: takes what the system allows, as the soft limit is often 1,024 for the
/// sake of programs that use `select`.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(limit = current, %error, "cannot raise the limit of open files");
    }
}

fn init_log(format: LogFormat) {
    let filter =
        EnvFilter::try_from_env("TIDEGATE_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let log = fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log.with_target(false).with_ansi(output::color()).init(),
    }
}

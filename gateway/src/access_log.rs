//! The access log: one JSON object a request, written by a thread of its own.
//!
//! A request never waits for a disk or a pipe: lines go through a bounded queue, and when that is
//! full they are dropped and counted.

use crate::{
    metrics::{Metrics, Outcome},
    mirror::Shadow,
    proxy::{Ctx, id_text},
};
use http::Version;
use pingora_error::Error;
use pingora_proxy::Session;
use prometheus::IntCounter;
use serde::{Serialize, Serializer};
use std::{
    borrow::Cow,
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    net::IpAddr,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tidegate_config::plan::{self, LogTarget};
use tidegate_policies::{Reason, Sample, trace_id};

/// Lines that wait for the writer: some 16 MiB.
const QUEUE: usize = 32 * 1024;

/// For a log file to open: a pipe nobody reads must not hold the gateway up.
const OPEN_TIME: Duration = Duration::from_secs(1);

/// An open access log. When the last clone is dropped, the writer writes what is queued and ends.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog {
    sample: Sample,
    queue: SyncSender<Entry>,
    dropped: IntCounter,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// The file may have been moved away: open it again.
    Reopen,
    /// Answered when everything before is written.
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// Opens the log of `config`.
    ///
    /// # Errors
    /// When the file cannot be opened; the message names it.
    pub(crate) fn open(config: &plan::AccessLog, metrics: &Metrics) -> io::Result<Self> {
        let (queue, entries) = sync_channel(QUEUE);
        let (opened, open) = sync_channel(1);
        let target = config.target.clone();
        std::thread::Builder::new().name("access-log".into()).spawn(move || {
            match open_target(&target) {
                Ok(out) => {
                    let _ = opened.send(Ok(()));
                    write_entries(&entries, &target, BufWriter::new(out));
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        })?;
        match open.recv_timeout(OPEN_TIME) {
            Ok(result) => result?,
            Err(_) => tracing::warn!(target = ?config.target, "the access log is not open yet"),
        }
        Ok(Self { sample: config.sample, queue, dropped: metrics.log_dropped.clone() })
    }

    /// The same log for another share of requests.
    pub(crate) fn with_sample(&self, sample: Sample) -> Self {
        Self { sample, ..self.clone() }
    }

    /// Queues a line, or drops and counts it.
    pub(crate) fn write(&self, line: &impl Serialize) {
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        if self.queue.try_send(Entry::Line(text)).is_err() {
            self.dropped.inc();
        }
    }

    /// Opens the file again, for whoever rotates logs.
    pub(crate) fn reopen(&self) {
        let _ = self.queue.try_send(Entry::Reopen);
    }

    /// Waits until what was queued is written, at most for `limit`.
    pub(crate) fn flush(&self, limit: Duration) {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(Entry::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(limit);
        }
    }
}

fn open_target(target: &LogTarget) -> io::Result<Box<dyn Write + Send>> {
    match target {
        LogTarget::Stdout => Ok(Box::new(io::stdout())),
        LogTarget::File(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            Ok(Box::new(file.map_err(|error| {
                let path = path.display();
                io::Error::new(error.kind(), format!("cannot open access log {path}: {error}"))
            })?))
        }
    }
}

/// Writes until every sender is gone; flushes whenever there is nothing to write.
fn write_entries(
    entries: &Receiver<Entry>,
    target: &LogTarget,
    mut out: BufWriter<Box<dyn Write + Send>>,
) {
    while let Ok(first) = entries.recv() {
        let mut next = Some(first);
        let mut flushed = Vec::new();
        let mut written = Ok(());
        while let Some(entry) = next {
            match entry {
                Entry::Line(line) => written = written.and(out.write_all(&line)),
                Entry::Flush(done) => flushed.push(done),
                Entry::Reopen => match open_target(target) {
                    Ok(file) => {
                        written = written.and(out.flush());
                        out = BufWriter::new(file);
                    }
                    Err(error) => tracing::error!(%error, "the access log's old file stays"),
                },
            }
            next = entries.try_recv().ok();
        }
        if let Err(error) = written.and(out.flush()) {
            tracing::error!(%error, "cannot write the access log");
        }
        for done in flushed {
            let _ = done.try_send(());
        }
    }
}

/// Whether this request is in the log's sample.
pub(crate) fn wanted(log: &AccessLog, ctx: &Ctx) -> bool {
    let salt = ctx.route().map(|(_, route)| route.log_salt);
    log.sample == Sample::ALL
        || salt.is_some_and(|salt| log.sample.includes(salt.point_of_draw(ctx.draw)))
}

/// One line; the field names are public interface.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    /// Seconds since 1970.
    time: f64,
    client: IpAddr,
    protocol: &'static str,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    route: Option<&'a str>,
    variant: Option<&'a str>,
    /// `pin`, `split` or `fallback`.
    reason: Option<&'static str>,
    /// The variant that was decided, where a fallback served instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    decided: Option<&'a str>,
    bucket: Option<f64>,
    generation: u64,
    /// 0 when the client got no response.
    status: u16,
    /// How a gRPC call ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_status: Option<u8>,
    duration_ms: f64,
    /// From the dispatch to the response's head.
    upstream_ms: Option<f64>,
    upstream: Option<std::net::SocketAddr>,
    outcome: Option<&'static str>,
    bytes_in: u64,
    bytes_out: u64,
    retries: u32,
    request_id: Option<Cow<'a, str>>,
    trace_id: Option<&'a str>,
    /// Each mirror of the route, and why it got no copy, or `queued`: the copy has a line of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    mirrors: Option<Fates<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What became of a request's copies, as a map.
#[derive(Debug)]
pub(crate) struct Fates<'a>(&'a Shadow);

impl Serialize for Fates<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.fates())
    }
}

/// The line of a finished request.
pub(crate) fn line<'a>(session: &'a Session, error: Option<&Error>, ctx: &'a Ctx) -> Line<'a> {
    let head = session.req_header();
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let chosen = ctx.chosen.as_ref();
    let fell_back = chosen.is_some_and(|chosen| chosen.serving != chosen.decision.variant);
    let decided = chosen
        .filter(|_| fell_back)
        .zip(ctx.route())
        .map(|(chosen, (route, _))| &*route.variants[usize::from(chosen.decision.variant.0)].name);
    Line {
        time: now.as_secs_f64(),
        client: ctx.client,
        method: head.method.as_str(),
        protocol: match head.version {
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        },
        host: match head.uri.authority() {
            Some(authority) => authority.as_str(),
            None => text("host").unwrap_or(""),
        },
        path: head.uri.path(),
        route: ctx.route().map(|(route, _)| &*route.name),
        variant: ctx.variant().map(|(variant, _)| &*variant.name),
        reason: chosen.map(|chosen| match chosen.decision.reason {
            _ if fell_back => "fallback",
            Reason::Pin(_) => "pin",
            Reason::Keyed(_) | Reason::Draw => "split",
        }),
        decided,
        bucket: chosen.map(|chosen| chosen.decision.point.as_fraction()),
        generation: ctx.snapshot.generation,
        status: session.response_written().map_or(0, |response| response.status.as_u16()),
        grpc_status: ctx.grpc_status,
        duration_ms: milliseconds(ctx.started.elapsed()),
        upstream_ms: ctx.upstream_time.map(milliseconds),
        upstream: ctx.last_endpoint,
        outcome: ctx.last_outcome.map(Outcome::label),
        bytes_in: ctx.body_in,
        bytes_out: session.body_bytes_sent() as u64,
        retries: ctx.attempts.saturating_sub(1),
        request_id: request_id(session, ctx),
        trace_id: text("traceparent").and_then(trace_id),
        mirrors: ctx.shadow.as_deref().map(Fates),
        error: error.map(|error| error.etype().as_str().to_owned()),
    }
}

/// The id that the request has for whoever handles it behind the gateway; `None`: it got nowhere.
pub(crate) fn request_id<'a>(session: &'a Session, ctx: &Ctx) -> Option<Cow<'a, str>> {
    if let Some(id) = ctx.request_id {
        return Some(String::from_utf8_lossy(id_text(id).as_bytes()).into_owned().into());
    }
    let id = session.req_header().headers.get("x-request-id").filter(|_| ctx.attempts > 0)?;
    id.to_str().ok().map(Cow::Borrowed)
}

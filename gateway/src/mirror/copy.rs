//! A copy on the mirrors' threads: admitted by the mirror's limits, sent, counted, compared, logged.

use super::{
    answer::{Answering, Kept, NoAnswer},
    exchange::{Exchange, Exchanged},
    outcome::{Compared, Outcome},
    state::{Slot, Tally},
};
use crate::{
    rollout::{Ended, Lane, Side},
    serving::Serving,
    upstream::Pool,
};
use bytes::Bytes;
use http::header;
use pingora_core::connectors::http::Connector;
use pingora_http::RequestHeader;
use serde::Serialize;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tidegate_compare::{Budget, Charge, NotCompared, Verdict, compare};
use tidegate_config::{
    Snapshot,
    plan::{self, Route},
};
use tidegate_policies::{Point, RouteId, VariantId, trace_id};
use tokio::sync::oneshot;

/// One copy for one mirror.
pub(super) struct Copy {
    pub(super) snapshot: Arc<Snapshot<Serving>>,
    pub(super) route: RouteId,
    /// Position in the route's mirrors.
    pub(super) mirror: usize,
    pub(super) payload: Arc<Payload>,
    /// The memory of all mirrors.
    pub(super) budget: Arc<Budget>,
    pub(super) observed: Observed,
    pub(super) tally: Tally,
    pub(super) against: Against,
}

/// The request that is copied; all mirrors of a route share it.
#[derive(Debug)]
pub(super) struct Payload {
    head: RequestHeader,
    body: Vec<Bytes>,
    /// Its framing is not in the head: it goes in chunks.
    chunked: bool,
    /// Pays for head and body.
    _charge: Charge,
}

/// What is known about the request.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) client: IpAddr,
    /// The variant that serves it, and where.
    pub(super) variant: VariantId,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) draw: u64,
    /// Where its user landed.
    pub(super) point: Point,
    /// The access log has a line of it.
    pub(super) logged: bool,
}

/// How late a timer fires on a machine that has a moment for it.
const LATE: Duration = Duration::from_millis(50);

/// What the answer is compared with.
pub(super) enum Against {
    /// It is thrown away.
    Nothing,
    /// The client is answered by another variant than the one that is compared with.
    AnotherVariant,
    /// The client's answer, when it comes.
    Primary(oneshot::Receiver<Result<Arc<Kept>, NoAnswer>>),
}

impl Payload {
    pub(super) fn new(
        head: RequestHeader,
        body: Vec<Bytes>,
        chunked: bool,
        charge: Charge,
    ) -> Self {
        let unframed = !body.is_empty() && !head.headers.contains_key(header::CONTENT_LENGTH);
        Self { head, body, chunked: chunked || unframed, _charge: charge }
    }

    pub(super) fn chunked(&self) -> bool {
        self.chunked
    }

    pub(super) fn head(&self) -> &RequestHeader {
        &self.head
    }

    pub(super) fn body(&self) -> &[Bytes] {
        &self.body
    }

    /// Sending it twice is as good as once (RFC 9110 §9.2.2).
    pub(super) fn repeatable(&self) -> bool {
        self.head.method.is_idempotent()
    }

    fn text(&self, name: &str) -> &str {
        self.head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

impl Copy {
    /// The copy with a place among those under way; else counts why it has none.
    pub(super) fn admit(mut self) -> Option<(Self, Slot)> {
        let limits = &self.plan().limits;
        match self.tally.state().admit(limits, &self.budget) {
            Ok(slot) => Some((self, slot)),
            Err(outcome) => {
                self.tally.outcome = outcome;
                None
            }
        }
    }

    pub(super) async fn run(mut self, slot: Slot, connector: Arc<Connector>) {
        let against = std::mem::replace(&mut self.against, Against::Nothing);
        let wanted = matches!(against, Against::Primary(_));
        let (sent, noise, answers) = self.send(&connector, wanted).await;
        drop(slot);
        self.tally.outcome = sent.outcome;
        let metrics = &self.tally.state().metrics;
        if sent.outcome.is_answer() {
            metrics.timed(sent.took);
        }
        if let Some(noise) = noise {
            metrics.noise[noise.outcome as usize].inc();
        }
        self.count_dark(&sent);
        self.tally.compared = match against {
            _ if !sent.outcome.is_sent() => None,
            Against::Nothing => None,
            Against::AnotherVariant => Some(Compared::NotBaseline),
            Against::Primary(primary) => {
                self.tally.compared = Some(Compared::Incomplete);
                Some(self.judge(answers, primary).await)
            }
        };
        let differs = self.tally.compared.and_then(Compared::differs);
        if let Some((lane, differs)) = self.lane().zip(differs) {
            lane.count_compared(differs);
        }
        if let Some(log) = self.snapshot.state.access_log.as_ref().filter(|_| self.observed.logged)
        {
            log.write(&self.line(&sent));
        }
    }

    /// Sends the copy to the dark upstream, and to the noise upstream at the same time; keeps the
    /// answers if they are `wanted`.
    async fn send(
        &self,
        connector: &Connector,
        wanted: bool,
    ) -> (Exchanged, Option<Exchanged>, Answers) {
        let plan = self.plan();
        let noise_pool = self.noise_pool().filter(|_| wanted);
        let answering = |wanted: bool| wanted.then(|| Answering::new(&self.budget));
        let (mut dark, mut noise) = (answering(wanted), answering(noise_pool.is_some()));
        let exchange = |pool, besides| Exchange {
            connector,
            pool,
            payload: &self.payload,
            mirror: &plan.name,
            changes: &plan.headers,
            point: self.observed.point,
            draw: self.observed.draw,
            besides,
            timeout: plan.timeout,
            rules: plan.compare.as_ref().map(|compare| &compare.rules),
        };
        let Some(pool) = self.snapshot.state.shadow_pool(plan.upstream) else {
            let sent = Exchanged::nothing(Outcome::NoEndpoint);
            return (sent, None, Answers { dark: None, noise: None });
        };
        let to_dark = exchange(pool, None);
        let (sent, sent_noise) = match noise_pool {
            None => (to_dark.run(&mut dark).await, None),
            Some(pool) => {
                // Two answers of one server would hide what differs between servers.
                let to_noise = exchange(pool, self.observed.endpoint);
                let (sent, sent_noise) =
                    tokio::join!(to_dark.run(&mut dark), to_noise.run(&mut noise));
                (sent, Some(sent_noise))
            }
        };
        // Only whole answers count: a copy that failed says so in its outcome.
        let noise_came = sent_noise.as_ref().is_some_and(|sent| sent.outcome.is_answer());
        let answers = Answers {
            dark: dark.filter(|_| sent.outcome.is_answer()).map(Answering::finish),
            noise: noise.filter(|_| noise_came).map(Answering::finish),
        };
        (sent, sent_noise, answers)
    }

    /// Compares, once the client's answer is there too.
    async fn judge(
        &self,
        answers: Answers,
        primary: oneshot::Receiver<Result<Arc<Kept>, NoAnswer>>,
    ) -> Compared {
        let plan = self.plan();
        let Some(rules) = plan.compare.as_ref().map(|compare| &compare.rules) else {
            return Compared::Incomplete;
        };
        let dark = match answers.dark.unwrap_or(Err(NoAnswer::Incomplete)) {
            Ok(dark) => dark,
            Err(why) => return why.into(),
        };
        let primary = match tokio::time::timeout(plan.timeout, primary).await {
            Ok(Ok(Ok(primary))) => primary,
            Ok(Ok(Err(why))) => return why.into(),
            Ok(Err(_)) | Err(_) => return Compared::Incomplete,
        };
        // Without a noise answer the comparison stands, and says nothing about noise.
        let noise = answers.noise.and_then(Result::ok);
        let mut charge = Charge::new(&self.budget);
        let mut whole = |answer: &Kept| answer.answer(rules.max_body, &mut charge);
        let (primary, dark, noise) =
            match (whole(&primary), whole(&dark), noise.as_ref().map(&mut whole).transpose()) {
                (Ok(primary), Ok(dark), Ok(noise)) => (primary, dark, noise),
                (Err(why), ..) | (_, Err(why), _) | (.., Err(why)) => return why.into(),
            };
        match compare(rules, &primary, &dark, noise.as_ref(), &mut charge) {
            Ok(comparison) => {
                let exchange = tidegate_compare::Exchange {
                    time: now(),
                    request_id: self.payload.text("x-request-id"),
                    method: self.payload.head.method.as_str(),
                    path: self.payload.head.uri.path(),
                };
                let verdict = self.tally.state().findings().ledger.record(&comparison, &exchange);
                verdict.into()
            }
            Err(why) => why.into(),
        }
    }

    /// Tells the rollout whose dark version this is how it did.
    fn count_dark(&self, sent: &Exchanged) {
        let Some((lane, failed)) = self.lane().zip(sent.outcome.failed()) else { return };
        if self.ran_late(sent) {
            return;
        }
        lane.count_dark(Side::Candidate, Ended { failed, took: Some(sent.took) });
        if failed {
            lane.sample(self.payload.text("x-request-id"));
        }
    }

    /// Whether its time was over because nobody had looked: mirrors' threads yield to all other work,
    /// and on a machine without a free moment a timer that fires late says nothing about the answer.
    fn ran_late(&self, sent: &Exchanged) -> bool {
        let plan = self.plan();
        let limit = match sent.outcome {
            Outcome::Timeout => plan.timeout,
            Outcome::ConnectFailure => {
                self.snapshot.state.plan().upstreams[plan.upstream].timeouts.connect
            }
            _ => return false,
        };
        sent.took > limit + LATE
    }

    /// The lane of the route's rollout, if this is its mirror.
    fn lane(&self) -> Option<&Lane> {
        let lane = self.snapshot.state.route(self.route).lane.as_ref()?;
        let is_ours = lane.mirror == Some(self.mirror);
        Some(&*lane.lane).filter(|lane| is_ours && lane.judges(self.snapshot.generation))
    }

    fn route(&self) -> &Route {
        &self.snapshot.state.plan().routes[self.route.0 as usize]
    }

    fn plan(&self) -> &plan::Mirror {
        &self.route().mirrors[self.mirror]
    }

    fn noise_pool(&self) -> Option<&Arc<Pool>> {
        let upstream = self.plan().compare.as_ref()?.noise_upstream?;
        self.snapshot.state.shadow_pool(upstream)
    }

    fn line(&self, sent: &Exchanged) -> Line<'_> {
        let route = self.route();
        let variant = route.variants.get(usize::from(self.observed.variant.0));
        let text = |name| Some(self.payload.text(name)).filter(|text| !text.is_empty());
        Line {
            time: now(),
            client: self.observed.client,
            method: self.payload.head.method.as_str(),
            host: self.payload.text("host"),
            path: self.payload.head.uri.path(),
            route: &route.name,
            mirror: &self.plan().name,
            variant: variant.map(|variant| &*variant.name),
            generation: self.snapshot.generation,
            status: sent.status.unwrap_or(0),
            duration_ms: sent.took.as_secs_f64() * 1e3,
            upstream: sent.endpoint,
            outcome: self.tally.outcome.label(),
            compare: self.tally.compared.map(Compared::label),
            bytes_in: self.payload.body.iter().map(Bytes::len).sum(),
            bytes_out: sent.received,
            request_id: text("x-request-id"),
            trace_id: text("traceparent").and_then(trace_id),
        }
    }
}

/// The copies' answers, where they are kept.
struct Answers {
    dark: Option<Result<Kept, NoAnswer>>,
    noise: Option<Result<Kept, NoAnswer>>,
}

/// A copy's line in the access log; the field names are public interface.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    /// Seconds since 1970.
    time: f64,
    client: IpAddr,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    route: &'a str,
    /// Only lines of copies have this.
    mirror: &'a str,
    /// The variant that served the client.
    variant: Option<&'a str>,
    generation: u64,
    /// 0 when there was no answer.
    status: u16,
    duration_ms: f64,
    upstream: Option<SocketAddr>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    compare: Option<&'static str>,
    bytes_in: usize,
    bytes_out: usize,
    request_id: Option<&'a str>,
    trace_id: Option<&'a str>,
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

impl From<Verdict> for Compared {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Match => Compared::Match,
            Verdict::Noise => Compared::Noise,
            Verdict::Mismatch => Compared::Mismatch,
        }
    }
}

impl From<NotCompared> for Compared {
    fn from(why: NotCompared) -> Self {
        match why {
            NotCompared::TooLarge => Compared::TooLarge,
            NotCompared::Undecodable => Compared::Undecodable,
            NotCompared::MemoryBudget => Compared::MemoryBudget,
        }
    }
}

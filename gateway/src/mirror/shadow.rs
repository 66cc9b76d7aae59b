//! A request's shadow: what the proxy's side of a mirror keeps while the request goes by.
//!
//! ```text
//! route and variant are chosen   begin     which mirrors want a copy?
//! the upstream's head is ready   dispatch  keep it; the copy is the request as its variant gets it
//! each piece of the body         body      keep it, as long as a mirror still wants one that large
//! the body's end                 launch    queue the copies: the primary has been sent
//! the answer goes by             answer    keep it, if an answer is to be compared with it
//! the request is over            finish    count what was not sent, and why
//! ```
//!
//! Nothing here waits, and nothing here can fail the request: whatever goes wrong is an outcome of
//! the mirror. A copy is sent when the request is complete, so a dark upstream never sees a part
//! of a request, and one request has one copy however often its variant was tried. Rejected:
//! sending the body along as it comes, which would tie the copy to the pace of the client and of
//! every retry.

use super::{
    Mirrors,
    answer::{Answering, Kept, NoAnswer},
    copy::{Against, Copy, Observed, Payload},
    gather::Gather,
    outcome::Outcome,
    state::{MirrorState, Tally},
};
use crate::serving::Serving;
use bytes::Bytes;
use http::{Method, header};
use pingora_http::{RequestHeader, ResponseHeader};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use tidegate_compare::Charge;
use tidegate_config::{
    Snapshot,
    plan::{self, Route},
};
use tidegate_policies::{Decision, RouteId, VariantId};
use tokio::sync::oneshot;

/// What one request keeps for the mirrors of its route.
#[derive(Debug)]
pub(crate) struct Shadow {
    snapshot: Arc<Snapshot<Serving>>,
    route: RouteId,
    decision: Decision,
    /// By position in the route's mirrors.
    copies: Vec<Fate>,
    /// The request's head as the first attempt's upstream got it.
    head: Option<Box<RequestHeader>>,
    head_cost: usize,
    /// The client sent the body in chunks.
    chunked: bool,
    body: Gather,
    charge: Charge,
    answering: Option<Answering>,
    /// Copies whose answers will be compared.
    waiting: Vec<oneshot::Sender<Result<Arc<Kept>, NoAnswer>>>,
}

/// What becomes of a mirror's copy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// The mirror wants it.
    Wanted,
    /// It is on its way to the mirrors' threads.
    Queued,
    /// There is none.
    Skipped(Outcome),
}

/// What is known about a request when its copies go out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch {
    pub(crate) client: IpAddr,
    /// The variant that serves it.
    pub(crate) serving: VariantId,
    /// Where it went.
    pub(crate) endpoint: Option<SocketAddr>,
    /// A random number of the request.
    pub(crate) draw: u64,
    /// The access log has a line of this request.
    pub(crate) logged: bool,
}

impl Shadow {
    /// The shadow of a request whose variant was chosen by `decision`; `None` where the route has
    /// no mirrors.
    pub(crate) fn begin(
        snapshot: &Arc<Snapshot<Serving>>,
        mirrors: &Mirrors,
        route: RouteId,
        decision: Decision,
        method: &Method,
        upgrade: bool,
    ) -> Option<Box<Self>> {
        let plan = &snapshot.state.plan().routes[route.0 as usize];
        if plan.mirrors.is_empty() {
            return None;
        }
        let fate = |mirror: &plan::Mirror| {
            let skipped = Outcome::of(mirror.policy.choose(method, &decision));
            match skipped.or(upgrade.then_some(Outcome::Upgrade)) {
                Some(outcome) => Fate::Skipped(outcome),
                None => Fate::Wanted,
            }
        };
        Some(Box::new(Self {
            route,
            decision,
            copies: plan.mirrors.iter().map(fate).collect(),
            head: None,
            head_cost: 0,
            chunked: false,
            body: Gather::default(),
            charge: Charge::new(&mirrors.budget),
            answering: None,
            waiting: Vec::new(),
            snapshot: Arc::clone(snapshot),
        }))
    }

    /// The request is about to be sent to an upstream: again, perhaps, and then its body comes
    /// again from the start. `received` is what the client sent, `head` what the upstream gets.
    pub(crate) fn dispatch(&mut self, received: &RequestHeader, head: &RequestHeader) {
        if !self.wanted() {
            return;
        }
        if self.head.is_some() {
            self.body = Gather::default();
            self.charge.shrink(self.charge.bytes() - self.head_cost);
        } else {
            let length = head.headers.get(header::CONTENT_LENGTH);
            let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
            self.refuse_early();
            self.limit_body(length.unwrap_or(0));
            let fields = head.headers.iter();
            let sizes = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD);
            self.head_cost = HEAD + 2 * (head.raw_path().len() + sizes.sum::<usize>());
            if !self.wanted() {
                return;
            }
            if self.charge.grow(self.head_cost) {
                self.head = Some(Box::new(head.clone()));
                self.chunked = received.headers.contains_key(header::TRANSFER_ENCODING);
            } else {
                self.skip_wanted(Outcome::MemoryBudget);
            }
        }
    }

    /// A piece of the body went to the upstream.
    pub(crate) fn body(&mut self, piece: &Bytes) {
        self.limit_body(self.body.len() + piece.len());
        if self.wanted() && self.body.push(piece, &mut self.charge).is_err() {
            self.skip_wanted(Outcome::MemoryBudget);
        }
    }

    /// The whole request went to the upstream: the copies may go out.
    pub(crate) fn launch(&mut self, mirrors: &Mirrors, launch: Launch) {
        let Some(head) = self.head.take_if(|_| self.copies.contains(&Fate::Wanted)) else { return };
        let charge = std::mem::replace(&mut self.charge, Charge::new(&mirrors.budget));
        let body = std::mem::take(&mut self.body).finish();
        let payload = Arc::new(Payload::new(*head, body, self.chunked, charge));
        for position in 0..self.copies.len() {
            if self.copies[position] == Fate::Wanted {
                self.copies[position] = match self.send(position, mirrors, &payload, launch) {
                    Ok(()) => Fate::Queued,
                    Err(outcome) => Fate::Skipped(outcome),
                };
            }
        }
    }

    fn send(
        &mut self,
        position: usize,
        mirrors: &Mirrors,
        payload: &Arc<Payload>,
        launch: Launch,
    ) -> Result<(), Outcome> {
        let (plan, state) = self.mirror(position);
        if state.is_retired() {
            return Err(Outcome::Removed);
        }
        let place = mirrors.place()?;
        let tally = Tally::new(state);
        let against = match plan.compare {
            None => Against::Nothing,
            Some(_) if launch.serving != BASELINE => Against::AnotherVariant,
            Some(_) => {
                let (answer, primary) = oneshot::channel();
                self.waiting.push(answer);
                self.answering.get_or_insert_with(|| Answering::new(&mirrors.budget));
                Against::Primary(primary)
            }
        };
        let observed = Observed {
            client: launch.client,
            variant: launch.serving,
            endpoint: launch.endpoint,
            draw: launch.draw,
            point: self.decision.point,
            logged: launch.logged,
        };
        place.send(Copy {
            snapshot: Arc::clone(&self.snapshot),
            route: self.route,
            mirror: position,
            payload: Arc::clone(payload),
            budget: Arc::clone(&mirrors.budget),
            observed,
            tally,
            against,
        });
        Ok(())
    }

    /// The head of the answer that the client gets.
    pub(crate) fn answer(&mut self, head: &ResponseHeader) {
        // Copies that were dropped since want no answer.
        if self.waiting.iter().all(oneshot::Sender::is_closed) {
            self.answering = None;
        }
        let Some(answering) = &mut self.answering else { return };
        let mirrors = &self.snapshot.state.plan().routes[self.route.0 as usize].mirrors;
        let compared = || mirrors.iter().filter_map(|mirror| mirror.compare.as_ref());
        answering.head(head, |name| compared().any(|compare| compare.rules.keeps(name)));
    }

    /// A piece of the answer's body.
    pub(crate) fn answer_body(&mut self, piece: Option<&Bytes>, end: bool) {
        let Some(answering) = &mut self.answering else { return };
        if let Some(piece) = piece {
            let mirrors = self.snapshot.state.plan().routes[self.route.0 as usize].mirrors.iter();
            let limits = mirrors.filter_map(|mirror| Some(mirror.compare.as_ref()?.rules.max_body));
            answering.body(piece, limits.max().unwrap_or(0));
        }
        if end {
            self.answered();
        }
    }

    /// The answer is complete: whoever waits for it gets it.
    fn answered(&mut self) {
        if let Some(answering) = self.answering.take() {
            let answer = answering.finish().map(Arc::new);
            for waiting in self.waiting.drain(..) {
                let _ = waiting.send(answer.clone());
            }
        }
    }

    /// The variant could not serve it after all: its fallback answers, which is compared with
    /// nothing.
    pub(crate) fn fell_back(&mut self) {
        self.answering = None;
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(Err(NoAnswer::AnotherVariant));
        }
    }

    /// The request is over; `complete`: the client got the whole answer. Whoever still waits for
    /// an answer that did not come learns it when this is dropped.
    pub(crate) fn finish(&mut self, complete: bool) {
        if complete {
            self.answered();
        }
        let never = match self.head {
            Some(_) => Outcome::Incomplete,
            None => Outcome::NotDispatched,
        };
        self.skip_wanted(never);
        for (position, fate) in self.copies.iter().enumerate() {
            if let Fate::Skipped(outcome) = fate {
                self.mirror(position).1.metrics.count(*outcome);
            }
        }
    }

    /// Whether the mirror at `position` got a copy on its way.
    pub(crate) fn is_queued(&self, position: usize) -> bool {
        self.copies.get(position) == Some(&Fate::Queued)
    }

    /// For the access log: each mirror and what became of its copy.
    pub(crate) fn fates(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.plan().mirrors.iter().zip(&self.copies).map(|(mirror, fate)| {
            let fate = match fate {
                Fate::Wanted | Fate::Queued => "queued",
                Fate::Skipped(outcome) => outcome.label(),
            };
            (&*mirror.name, fate)
        })
    }

    fn plan(&self) -> &Route {
        &self.snapshot.state.plan().routes[self.route.0 as usize]
    }

    fn mirror(&self, position: usize) -> (&plan::Mirror, &Arc<MirrorState>) {
        let states = &self.snapshot.state.route(self.route).mirrors;
        (&self.plan().mirrors[position], &states[position])
    }

    fn wanted(&self) -> bool {
        self.copies.contains(&Fate::Wanted)
    }

    /// Skips the mirrors that could not send a copy now.
    fn refuse_early(&mut self) {
        for position in 0..self.copies.len() {
            if self.copies[position] == Fate::Wanted {
                let (plan, state) = self.mirror(position);
                if let Some(refusal) = state.refusal(&plan.limits) {
                    self.copies[position] = Fate::Skipped(refusal);
                }
            }
        }
    }

    /// Skips the mirrors that do not take a body of `length`, and lets go of a body that no mirror
    /// takes.
    fn limit_body(&mut self, length: usize) {
        let mirrors = &self.snapshot.state.plan().routes[self.route.0 as usize].mirrors;
        for (fate, mirror) in self.copies.iter_mut().zip(mirrors) {
            if *fate == Fate::Wanted && length > mirror.max_body {
                *fate = Fate::Skipped(Outcome::BodyTooLarge);
            }
        }
        if !self.wanted() {
            self.let_go();
        }
    }

    fn skip_wanted(&mut self, outcome: Outcome) {
        for fate in &mut self.copies {
            if *fate == Fate::Wanted {
                *fate = Fate::Skipped(outcome);
            }
        }
        self.let_go();
    }

    fn let_go(&mut self) {
        self.body = Gather::default();
        self.head = None;
        self.charge.shrink(self.charge.bytes());
    }
}

/// The variant whose answers the dark version's are compared with.
const BASELINE: VariantId = VariantId(0);

/// What a head costs beside its fields: they are parts of the buffer that it was read into, which
/// holds twice of what is in it and a bit of the body.
const HEAD: usize = 4096 + 512;

/// What a field costs beside its text.
const FIELD: usize = 32;
